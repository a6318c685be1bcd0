package localdir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ensync/engine/localdir"
	"ensync/engine/replica"
	"ensync/engine/replica/memory"
	"ensync/store/object"
)

func newFile(name, data string) replica.Change {
	return replica.Change{New: &object.Entry{Name: name, Kind: object.File, Mode: 0o644, ModTime: 1e18, Content: memory.SHA256([]byte(data))},
		Source: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(data)), nil }}
}

// TestEditorBesideApply lets an editor write, replace, rename and remove while changes are applied to the same names.
// Each version is unique; it must be in the tree, or have been seen by whoever replaced it.
func TestEditorBesideApply(t *testing.T) {
	t.Run("exchange", editorBesideApply)
	t.Run("without exchange", func(t *testing.T) {
		localdir.WithoutExchange(t)
		editorBesideApply(t)
	})
}

func editorBesideApply(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "", localdir.Options{})
	seen := &versions{of: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var editor sync.WaitGroup
	editor.Go(func() { edit(ctx, t, root, seen) })
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 150 {
		applyAll(t, d, seen, round, random)
	}
	cancel()
	editor.Wait()
	left := contents(t, root)
	for data := range seen.wrote() {
		if !left[data] && !seen.saw(data) {
			t.Errorf("%q is lost", data)
		}
	}
}

// versions remembers what the editor wrote (false) and what was seen before it was replaced (true).
type versions struct {
	sync.Mutex
	of map[string]bool
}

func (v *versions) write(data string) {
	v.Lock()
	defer v.Unlock()
	if !v.of[data] {
		v.of[data] = false
	}
}

func (v *versions) see(data string) {
	v.Lock()
	defer v.Unlock()
	for version := range strings.SplitSeq(data, "|") {
		v.of[version] = true
	}
}

func (v *versions) saw(data string) bool {
	v.Lock()
	defer v.Unlock()
	return v.of[data]
}
func (v *versions) wrote() map[string]bool { return v.of }

var raceNames = []string{"a", "b", "c"}

// applyAll looks at the directory and replaces, removes, renames or touches each file.
func applyAll(t *testing.T, d *localdir.Dir, seen *versions, round int, random *rand.Rand) {
	entries, err := d.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var changes []replica.Change
	var sawn []string
	for _, e := range entries {
		if e, err = d.Hash(t.Context(), "", e); err != nil {
			continue
		}
		c := newFile(e.Name, fmt.Sprintf("server %d of %s", round, e.Name))
		c.Old = &e
		switch random.IntN(4) {
		case 0:
			c = replica.Change{Old: &e}
		case 1:
			updated := e
			updated.ModTime = int64(round)
			c = replica.Change{Old: &e, New: &updated}
		}
		changes, sawn = append(changes, c), append(sawn, string(e.Content.Data))
	}
	for i, r := range d.Apply(t.Context(), "", changes) {
		if r.Err == nil {
			seen.see(sawn[i])
		} else if !errors.Is(r.Err, replica.ErrChanged) {
			t.Errorf("%v", r.Err)
		}
	}
}

// edit is a program that writes in place, by rename, and through a handle that it keeps open. It removes and replaces
// only what it wrote last itself.
func edit(ctx context.Context, t *testing.T, root string, seen *versions) {
	random := rand.New(rand.NewPCG(3, 4))
	for i := 0; ctx.Err() == nil; i++ {
		path := filepath.Join(root, raceNames[random.IntN(len(raceNames))])
		data := fmt.Sprintf("user %06d", i)
		switch random.IntN(3) {
		case 0: // a new name, by rename without replacing
			temp := filepath.Join(root, "..", "editing")
			if os.WriteFile(temp, []byte(data), 0o644) == nil && os.Link(temp, path) == nil {
				seen.write(data)
			}
			os.Remove(temp)
		case 1: // appended by a handle that stays open for a while
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				continue
			}
			time.Sleep(time.Duration(random.IntN(300)) * time.Microsecond) // a slow writer is what is tested
			if _, err := f.WriteString("|" + data); err == nil {
				seen.write(data)
			}
			f.Close()
		case 2: // renamed away, seldom: each makes the directory longer
			if random.IntN(20) > 0 {
				continue
			}
			os.Rename(path, filepath.Join(root, fmt.Sprintf("moved %d", i%5)+filepath.Base(path)+fmt.Sprint(i)))
		}
	}
}

// contents returns every version that is found in a tree, and fails on temporary names.
func contents(t *testing.T, root string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	names, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if replica.Reserved(name.Name()) {
			t.Errorf("%q is left", name.Name())
		}
		data, err := os.ReadFile(filepath.Join(root, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range strings.Split(string(data), "|") {
			found[version] = true
		}
		found[string(data)] = true
	}
	return found
}

const childVariable = "ENSYNC_TEST_CHILD"

// TestMain runs the test binary as the child that a test asks for.
func TestMain(m *testing.M) {
	if job, root, ok := strings.Cut(os.Getenv(childVariable), ":"); ok {
		children[job](root)
		return
	}
	os.Exit(m.Run())
}

var children = map[string]func(root string){"apply": applyForEver, "unprivileged": withoutRights}

func child(job, root string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+job+":"+root)
	cmd.Stderr = os.Stderr
	return cmd
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const killedFiles, killedSize = 8, 50_000

// applyForEver creates, replaces and removes files, each full of one letter.
func applyForEver(root string) {
	d := must(localdir.Open(root, "", sha{}, localdir.Options{}))
	ctx := context.Background()
	for i := 0; ; i++ {
		var changes []replica.Change
		old := map[string]object.Entry{}
		for _, e := range must(d.List(ctx, "")) {
			old[e.Name] = must(d.Hash(ctx, "", e))
		}
		for n := range killedFiles {
			c := newFile(fmt.Sprint("f", n), strings.Repeat(string(rune('a'+(i+n)%26)), killedSize))
			if e, ok := old[c.New.Name]; ok {
				c.Old = &e
				if n == i%killedFiles {
					c = replica.Change{Old: &e}
				}
			}
			changes = append(changes, c)
		}
		for _, r := range d.Apply(ctx, "", changes) {
			if r.Err != nil {
				panic(r.Err)
			}
		}
		if i == 0 {
			fmt.Println("ready")
		}
	}
}

func TestKilledInApply(t *testing.T) {
	root := t.TempDir()
	random := rand.New(rand.NewPCG(5, 6))
	for range 12 {
		cmd := child("apply", root)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(30_000)) * time.Microsecond) // where the kill hits is what varies
		cmd.Process.Kill()
		cmd.Wait()
		d, err := localdir.Open(root, "", sha{}, localdir.Options{Report: func(s string) { t.Error(s) }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.List(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, root)
	}
}

func checkWhole(t *testing.T, root string) {
	t.Helper()
	names, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < killedFiles-2 { // one is removed per round, and each child starts anew with the first
		t.Errorf("only %d files are left", len(names))
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(root, name.Name()))
		if err != nil || len(data) != killedSize || len(bytes.Trim(data, string(data[:1]))) != 0 || replica.Reserved(name.Name()) {
			t.Errorf("%q has %d bytes, error %v", name.Name(), len(data), err)
		}
	}
}
