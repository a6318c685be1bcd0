package engine

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/remote"
	"ensync/engine/remote/remotetest"
	"ensync/engine/replica/memory"
	"ensync/engine/rules"
)

// A world is some machines that share one root of one store.
type world struct {
	t        *testing.T
	store    *remotetest.Store
	machines []*machine
}

type machine struct {
	w      *world
	tree   *memory.Tree
	past   *ancestor.DB
	view   *remotetest.Store // the store as this machine sees it; nil: as all do
	mode   string
	own    *rules.Set // nil: mode for everything
	set    *rules.Set // nil: mode is for all
	events []Event
}

func newWorld(t *testing.T, machines int) *world {
	w := &world{t: t, store: remotetest.New(memory.SHA256)}
	for range machines {
		w.add("cud/cud")
	}
	return w
}

func (w *world) add(mode string) *machine {
	past, err := ancestor.Open(filepath.Join(w.t.TempDir(), "ancestor.sqlite"), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { past.Close() })
	m := &machine{w: w, tree: memory.New(nil), past: past, mode: mode}
	w.machines = append(w.machines, m)
	return m
}

func (m *machine) rules() *rules.Set {
	if m.own != nil {
		return m.own
	}
	if m.set != nil {
		return m.set
	}
	mode, err := plan.ParseMode(m.mode)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return rules.Always(mode)
}

func (m *machine) store() *remotetest.Store {
	if m.view != nil {
		return m.view
	}
	return m.w.store
}

func (m *machine) try(change func(*Config)) (Summary, error) {
	server, err := remote.Open(context.Background(), m.store())
	if err != nil {
		return Summary{}, err
	}
	m.events = nil
	cfg := Config{Client: m.tree, Server: server, Ancestor: m.past, Rules: m.rules(), Workers: 3,
		Report: func(e Event) { m.events = append(m.events, e) }}
	if change != nil {
		change(&cfg)
	}
	return Sync(context.Background(), cfg)
}

func (m *machine) server() *remote.Tree {
	m.w.t.Helper()
	server, err := remote.Open(context.Background(), m.store())
	if err != nil {
		m.w.t.Fatal(err)
	}
	return server
}

// sync must go well.
func (m *machine) sync() Summary {
	m.w.t.Helper()
	sum, err := m.try(nil)
	if err != nil {
		m.w.t.Fatalf("sync: %v", err)
	}
	return sum
}

// build sets up the machine's tree.
func (m *machine) build(text string) {
	m.w.t.Helper()
	tree, err := memory.Parse(text, nil)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.tree = tree
}

func (m *machine) String() string { return m.tree.String() }

// user runs edits written as "write d/f=1; rm x; mv a b; chmod 600 f; touch 9 f; mkdir d; ln l->f".
func (m *machine) user(script string) {
	m.w.t.Helper()
	for _, line := range strings.Split(script, ";") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		var err error
		switch f[0] {
		case "write":
			at := strings.LastIndex(f[1], "=") // names may have one, too
			err = m.tree.Write(f[1][:at], f[1][at+1:])
		case "rm":
			err = m.tree.Remove(f[1])
		case "mv":
			err = m.tree.Rename(f[1], f[2])
		case "mkdir":
			err = m.tree.Mkdir(f[1])
		case "chmod":
			err = m.tree.Chmod(f[2], octal(f[1]))
		case "touch":
			err = m.tree.Touch(f[2], int64(octal(f[1]))*1e9)
		case "ln":
			path, to, _ := strings.Cut(f[1], "->")
			m.tree.Remove(path)
			err = m.tree.Symlink(path, to)
		default:
			err = errors.New("no such edit")
		}
		if err != nil {
			m.w.t.Fatalf("%s: %v", line, err)
		}
	}
}

func octal(s string) uint32 {
	var n uint32
	for _, c := range s {
		n = n*8 + uint32(c-'0')
	}
	return n
}

// settled syncs everyone until each has seen all, at most once more each, and checks that all is quiet then.
func (w *world) settled() string {
	w.t.Helper()
	for range 2 {
		for _, m := range w.machines {
			m.sync()
		}
	}
	first := w.machines[0].tree.StringWithTimes()
	commits, puts := w.store.Commits(), w.store.Puts()
	for i, m := range w.machines {
		if got := m.tree.StringWithTimes(); got != first {
			w.t.Errorf("machine %d has %q,\nmachine 0 has %q", i, got, first)
		}
		sum := m.sync()
		if (sum.In != Counts{}) || (sum.Out != Counts{}) {
			w.t.Errorf("machine %d: a sync after the last one changed something: %+v", i, sum)
		}
	}
	if w.store.Commits() != commits || w.store.Puts() != puts {
		w.t.Errorf("a sync after the last one wrote to the store")
	}
	return w.machines[0].String()
}
