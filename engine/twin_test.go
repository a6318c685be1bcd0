package engine

import (
	"strings"
	"testing"
	"time"

	"ensync/engine/remote"
	"ensync/engine/remote/remotetest"
	"ensync/engine/replica"
	"ensync/store/object"
)

// rootOf returns the entry of a directory that is a root, at the top.
func (m *machine) rootOf(name string) object.Entry {
	m.w.t.Helper()
	list, err := m.server().List(m.w.t.Context(), "")
	if err != nil {
		m.w.t.Fatal(err)
	}
	e := remotetest.Entries(list)[name]
	if (e.Root == object.RootID{}) {
		m.w.t.Fatalf("%s is no root", name)
	}
	return e
}

// TestTwinRoot has somebody who may write above, and not in a root, give that a second name. Who may write in it does not follow:
// else removing the new name, or what is below, would remove what the owner has asked nothing about.
func TestTwinRoot(t *testing.T) {
	w := groupsOf(t, "root a", "root a", "root")
	one, two, thief := w.machines[0], w.machines[1], w.machines[2]
	const dir, twin = "x.ensync[w=a]", "s.ensync[w=a]"
	one.user("write " + dir + "/f=1; write plain=2")
	w.round()
	top, err := thief.server().List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	forged := remotetest.Entries(top)
	forged[twin] = forged[dir]
	w.store.Forge(forged)
	one.user("write " + dir + "/g=3; write plain=4")
	w.round()
	one.must("plain=4 x.ensync[w=a]/f=1 x.ensync[w=a]/g=3 s.ensync[w=a]/")
	two.must("plain=4 x.ensync[w=a]/f=1 s.ensync[w=a]/")
	if got, want := two.trouble(), "failed "+twin+", failed "+dir; got != want {
		t.Errorf("issues %q, want %q", got, want)
	}
	// A user removes what does not belong there.
	server := two.server()
	e := two.rootOf(twin)
	if r := server.Apply(t.Context(), "", []replica.Change{{Old: &e}}); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	if err := server.Commit(t.Context(), func([]replica.Part) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.machines {
		m.user("rm " + twin)
	}
	w.round()
	for _, m := range w.machines {
		m.must("plain=4 x.ensync[w=a]/f=1 x.ensync[w=a]/g=3")
		if got := m.trouble(); got != "" {
			t.Errorf("machine %d still has %q", m.number(), got)
		}
	}
}

// soon fails the test if something takes long; it would go on for good.
func soon(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}

// TestRootsInCircles: roots can name each other in circles, as trees can't.
func TestRootsInCircles(t *testing.T) {
	w := groupsOf(t, "root", "root")
	one, two := w.machines[0], w.machines[1]
	one.user("write x.ensync[]/y.ensync[]/f=1; write plain=2")
	w.round()
	x := one.rootOf("x.ensync[]")
	list, err := one.server().List(t.Context(), "x.ensync[]")
	if err != nil {
		t.Fatal(err)
	}
	y := remotetest.Entries(list)["y.ensync[]"]
	back := remote.Root{ID: y.Root, Path: "x.ensync[]/y.ensync[]", Read: "everyone", Write: "root"}
	w.store.ForgeRoot(back, map[string]object.Entry{"z.ensync[]": x})
	one.user("write plain=3")
	soon(t, w.round)
	if !strings.Contains(two.String(), "plain%3d3") && !strings.Contains(two.String(), "plain=3") {
		t.Errorf("the rest is not synced: %s", two)
	}
	if got := two.trouble(); !strings.Contains(got, "failed x.ensync[]") {
		t.Errorf("issues %q", got)
	}
}

// TestRootsTwiceEach: forty roots of which each names the next one twice would be 2^40 directories.
func TestRootsTwiceEach(t *testing.T) {
	w := groupsOf(t, "root", "root")
	one := w.machines[0]
	one.user("write x.ensync[]/f=1; write plain=2")
	w.round()
	e := one.rootOf("x.ensync[]")
	for range 40 {
		next := e
		next.Root = w.store.NewID()
		w.store.ForgeRoot(remote.Root{ID: next.Root, Read: "everyone", Write: "root"}, map[string]object.Entry{"a.ensync[]": e, "b.ensync[]": e})
		e = next
	}
	top, err := one.server().List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	forged := remotetest.Entries(top)
	forged["t.ensync[]"] = e
	w.store.Forge(forged)
	one.user("write plain=3")
	soon(t, w.round)
	if got := one.trouble(); !strings.Contains(got, "failed t.ensync[]/a.ensync[]") {
		t.Errorf("issues %.300q", got)
	}
}

// TestDeepTree: a member nests directories without end. What is not too deep is synced, the rest is told of, and what there is to be
// held of the paths has a bound.
func TestDeepTree(t *testing.T) {
	w := groupsOf(t, "root", "root")
	one, two := w.machines[0], w.machines[1]
	one.user("write d/f=1; write plain=2")
	w.round()
	top, err := one.server().List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	forged := remotetest.Entries(top)
	d := forged["d"]
	name := strings.Repeat("n", 100)
	for range 20_000 {
		d.Name = name
		if d.Tree, err = w.store.PutTree(t.Context(), w.store.Top(), object.Tree{}, []object.Entry{d}); err != nil {
			t.Fatal(err)
		}
	}
	forged["d"] = d
	w.store.Forge(forged)
	one.user("write plain=3")
	soon(t, func() { one.try(nil); two.try(nil); one.try(nil) })
	if !strings.Contains(two.String(), "plain%3d3") && !strings.Contains(two.String(), "plain=3") {
		t.Errorf("the rest is not synced: %.300s", two.String())
	}
	if got := two.trouble(); !strings.Contains(got, "failed d/") {
		t.Errorf("issues %.300q", got)
	}
}
