//go:build linux

package naming_test

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ensync/engine/localdir/foldtest"
	"ensync/engine/remote/remotetest"
	"ensync/engine/replica"
	"ensync/engine/replica/memory"
	"ensync/store/object"
)

// A sim has machines on different file systems, whose users pick names that fall together.
type sim struct {
	*rand.Rand
	t        *testing.T
	machines []*machine
	written  int
	trace    []string
}

var simNames = []string{"f", "F", "g", "G.x", "g.x", nfc, nfd, "a.", "a", "what?", "d", "D", "D.", "F~aside1"}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{Rand: rand.New(rand.NewPCG(seed, 1)), t: t}
	store := remotetest.New(memory.SHA256)
	s.machines = append(s.machines, newMachine(t, store, scratch(t)))
	for _, opt := range []foldtest.Options{foldtest.APFS, foldtest.HFS, foldtest.VFAT, foldtest.NTFS, foldtest.DOS} {
		if s.IntN(2) == 0 {
			s.machines = append(s.machines, newMachine(t, store, foldtest.New(t, opt)))
		}
	}
	return s
}

// paths are those of all files and directories of a machine.
func (m *machine) paths() (all []string) {
	filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if path != m.root && err == nil {
			all = append(all, path)
		}
		return nil
	})
	return all
}

func (s *sim) fresh(m *machine) string {
	dirs := []string{m.root}
	for _, path := range m.paths() {
		if info, err := os.Lstat(path); err == nil && info.IsDir() && strings.Count(path[len(m.root):], "/") < 3 {
			dirs = append(dirs, path)
		}
	}
	return filepath.Join(dirs[s.IntN(len(dirs))], simNames[s.IntN(len(simNames))])
}

// edit lets a user do something. It may fail, as it does for users. Without removals, no content ever goes.
func (s *sim) edit(m *machine, removals bool) {
	old := ""
	if all := m.paths(); len(all) > 0 {
		old = all[s.IntN(len(all))]
	}
	step := func(what string, paths ...string) {
		for i := range paths {
			paths[i] = strings.TrimPrefix(paths[i], m.root+"/")
		}
		s.trace = append(s.trace, fmt.Sprintf("%d: %s %q", slices.Index(s.machines, m), what, paths))
	}
	name := s.fresh(m)
	_, err := os.Lstat(name)
	free := os.IsNotExist(err)
	switch n := s.IntN(10); {
	case n < 4 && free:
		if os.WriteFile(name, []byte(strconv.Itoa(s.written+1)), 0o644) == nil { // not every name can be given
			s.written++
			step("write "+strconv.Itoa(s.written), name)
		}
	case n < 6 && free:
		step("mkdir", name)
		os.Mkdir(name, 0o755)
	case n < 8 && free && old != "" && !strings.HasPrefix(name, old+"/"):
		step("mv", old, name)
		os.Rename(old, name)
	case n == 8 && removals && old != "":
		step("rm", old)
		os.RemoveAll(old)
	case n == 9 && removals && old != "":
		s.written++
		step("edit "+strconv.Itoa(s.written), old)
		os.WriteFile(old, []byte(strconv.Itoa(s.written)), 0o644)
	}
}

// view is a machine's tree in the names of the store.
func (m *machine) view(dir string) []string {
	m.t.Helper()
	list, err := m.tree.List(m.t.Context(), dir)
	if err != nil {
		m.t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		path := replica.Join(dir, e.Name)
		if e.Kind == object.Directory {
			all = append(append(all, path+"/"), m.view(path)...)
			continue
		}
		r, err := m.tree.Open(m.t.Context(), dir, e)
		if err != nil {
			m.t.Fatal(err)
		}
		data := make([]byte, e.Content.Size)
		r.Read(data)
		r.Close()
		all = append(all, path+"="+string(data))
	}
	return all
}

func (s *sim) run(removals bool) {
	for range 6 + s.IntN(12) {
		m := s.machines[s.IntN(len(s.machines))]
		for range s.IntN(5) {
			s.edit(m, removals)
		}
		if s.IntN(4) == 0 {
			granted := s.Int64N(8)
			s.trace = append(s.trace, fmt.Sprintf("%d: sync that dies after %d changes", slices.Index(s.machines, m), granted))
			m.dying(granted)
			m.try()
			m.start()
			continue
		}
		s.trace = append(s.trace, fmt.Sprintf("%d: sync", slices.Index(s.machines, m)))
		m.sync()
	}
	for range 4 {
		for _, m := range s.machines {
			m.sync()
		}
	}
	want := s.machines[0].view("")
	for i, m := range s.machines {
		if got := m.view(""); !slices.Equal(got, want) {
			s.t.Errorf("machine %d has %q\nthe first has %q\nand lists %s", i, got, want, m)
		}
		m.idle("machine " + strconv.Itoa(i))
	}
	if removals {
		return
	}
	kept := map[string]bool{}
	for _, line := range want {
		if _, data, ok := strings.Cut(line, "="); ok {
			kept[data] = true
		}
	}
	for n := 1; n <= s.written; n++ {
		if !kept[strconv.Itoa(n)] {
			s.t.Errorf("what was written as %d is gone; there is %q", n, slices.Sorted(maps.Keys(kept)))
		}
	}
}

// TestSimulation: whatever users do with names that fall together, all machines end with the same, and nothing that
// nobody removed is gone. ENSYNC_SEEDS says how many seeds, from ENSYNC_SEED on.
func TestSimulation(t *testing.T) {
	seeds, first := 10, 1
	if text := os.Getenv("ENSYNC_SEEDS"); text != "" {
		seeds, _ = strconv.Atoi(text)
	}
	if text := os.Getenv("ENSYNC_SEED"); text != "" {
		first, _ = strconv.Atoi(text)
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			s := newSim(t, uint64(seed))
			defer func() {
				if t.Failed() {
					t.Logf("seed %d:\n%s", seed, strings.Join(s.trace, "\n"))
				}
			}()
			s.run(seed%2 == 0)
		})
	}
}
