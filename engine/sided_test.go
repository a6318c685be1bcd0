package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"ensync/engine/plan"
	"ensync/engine/remote"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/object"
)

// What the rules of a machine in a sided run let happen: to everything, and to what is called b or e.
type sides struct{ usual, special string }

var (
	gentleModes = []string{"cud/cud", "cud/---", "---/cud", "---/---", "c--/cud", "cud/c--", "-u-/-u-", "cu-/cu-", "--d/--d", "c-d/-ud", "-u-/cud"}
	forcedModes = []string{"---/CUD", "CUD/---", "CUD/CUD", "-U-/cud", "cud/--D", "--D/---", "C--/c--"}
)

func (s sides) of(path string) plan.Mode {
	text := s.usual
	if base := path[strings.LastIndexByte(path, '/')+1:]; base == "b" || base == "e" {
		text = s.special
	}
	mode, err := plan.ParseMode(text)
	if err != nil {
		panic(err)
	}
	return mode
}

func (s sides) set(t *testing.T) *rules.Set {
	set, err := rules.Parse(map[string]any{"root": map[string]any{"files": []any{
		map[string]any{"mode": s.usual}, map[string]any{"name": "^[be]$", "mode": s.special},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestSidedModes edits on machines with all kinds of modes and checks of each sync, by comparing the trees before and
// after it, that no change reached a side that the mode keeps it from; that with gentle modes nothing is lost; that a
// second sync does nothing; and that neither another run nor more workers make it come out differently.
func TestSidedModes(t *testing.T) {
	first, last := uint64(1), *simCount/10 // each runs three times
	if testing.Short() {
		last = min(last, 6)
	}
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			log, text := sidedRun(t, seed, 1)
			if again, _ := sidedRun(t, seed, 1); again != log {
				t.Errorf("the same seed took another course:\n%s\nand\n%s", log, again)
			}
			if _, other := sidedRun(t, seed, 4); other != text {
				t.Errorf("several workers made\n%s, one\n%s", other, text)
			}
			if t.Failed() {
				t.Logf("go test ./engine -run SidedModes -seed=%d\n%s", seed, log)
			}
		})
	}
}

func sidedRun(t *testing.T, seed uint64, workers int) (log, text string) {
	s := &sim{world: newWorld(t, 2+int(seed%2)), rnd: rand.New(rand.NewPCG(seed, 2)),
		licensed: map[string]bool{}, written: map[string]bool{}, workers: workers}
	s.want = make([]string, len(s.machines))
	modes := gentleModes
	if seed%2 == 0 {
		modes = append(forcedModes, gentleModes...)
	}
	may := make([]sides, len(s.machines))
	for i := range may {
		may[i] = sides{modes[s.rnd.IntN(len(modes))], modes[s.rnd.IntN(len(modes))]}
		s.machines[i].own = may[i].set(t)
		s.note("%d: mode %s, for b and e %s", i, may[i].usual, may[i].special)
	}
	for range 3 + s.rnd.IntN(8) {
		i := s.rnd.IntN(len(s.machines))
		for range s.rnd.IntN(5) {
			s.editAtRandom(i)
		}
		s.sidedSync(i, may[i])
		if seed%2 == 1 {
			s.nothingLost()
		}
	}
	for range 3 {
		for i := range s.machines {
			s.sidedSync(i, may[i])
		}
	}
	for i, m := range s.machines { // two that force the same name undo each other's work, but each agrees with itself
		s.sidedSync(i, may[i])
		commits, was := s.store.Commits(), m.tree.StringWithTimes()
		if s.sidedSync(i, may[i]); s.store.Commits() != commits || m.tree.StringWithTimes() != was {
			t.Errorf("a second sync of machine %d changed something", i)
		}
		text += m.String() + "\n"
	}
	return strings.Join(s.log, "\n"), text
}

// sidedSync syncs, and checks what was changed where.
func (s *sim) sidedSync(i int, may sides) {
	m := s.machines[i]
	local, remote := words(m.String()), words(s.serverText())
	if _, err := m.try(func(c *Config) { c.Workers, c.ConfirmLoss = s.workers, true }); err != nil {
		s.t.Errorf("sync of machine %d: %v", i, err)
	}
	s.note("%d: sync, now %s, store %s", i, m, s.serverText())
	s.sidesKept(fmt.Sprintf("machine %d, local", i), local, words(m.String()), func(path string) plan.Rights { return may.of(path).In })
	s.sidesKept(fmt.Sprintf("machine %d, store", i), remote, words(s.serverText()), func(path string) plan.Rights { return may.of(path).Out })
}

// sidesKept checks a tree before and after. What moves aside (~) is neither created nor deleted, and a directory is made
// for what may be created in it.
func (s *sim) sidesKept(side string, before, after map[string]string, may func(path string) plan.Rights) {
	aside := func(path string) bool {
		for other := range after {
			stem, _, copied := strings.Cut(other, "~")
			if _, there := before[other]; copied && !there && strings.HasPrefix(path, stem) {
				return true
			}
		}
		return false
	}
	holds := func(path string) bool {
		for other := range after {
			_, there := before[other]
			if strings.HasPrefix(other, path+"/") && !there && may(other).Create != plan.Off {
				return true
			}
		}
		return false
	}
	for path, now := range after {
		was, there := before[path]
		switch {
		case !there && may(path).Create == plan.Off && !aside(path) && !holds(path):
			s.t.Errorf("%s: %s was created", side, path)
		case there && was != now && may(path).Update == plan.Off && !aside(path):
			s.t.Errorf("%s: %s was updated from %q to %q", side, path, was, now)
		}
	}
	for path := range before {
		if _, there := after[path]; !there && may(path).Delete == plan.Off && !aside(path) {
			s.t.Errorf("%s: %s was deleted", side, path)
		}
	}
}

// words takes the text of a tree apart: path, and what is there. Directories that only their content tells of count.
func words(text string) map[string]string {
	all := map[string]string{}
	for _, word := range strings.Fields(text) {
		end := strings.IndexAny(word, "=@-")
		if end < 0 {
			end = len(word)
		}
		path := strings.TrimSuffix(word[:end], "/")
		all[path] = word[end:]
		for up := replica.Parent(path); up != ""; up = replica.Parent(up) {
			if _, told := all[up]; !told {
				all[up] = ""
			}
		}
	}
	return all
}

// serverText is the text of the tree in the store, as far as rights are concerned.
func (s *sim) serverText() string {
	heads, errs := s.store.Heads(context.Background(), []remote.Root{s.store.Top()})
	if errs[0] != nil {
		s.t.Fatal(errs[0])
	}
	var text []string
	var walk func(dir string, t object.Tree)
	walk = func(dir string, t object.Tree) {
		if t.IsZero() {
			return
		}
		list, err := s.store.ReadTree(context.Background(), s.store.Top(), t)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range list {
			text = append(text, fmt.Sprintf("%s=%v@%o:%s%s", dir+e.Name, e.Kind, e.Mode, e.Content.Data, e.Target))
			walk(dir+e.Name+"/", e.Tree)
		}
	}
	walk("", heads[0].Tree)
	return strings.Join(text, " ")
}
