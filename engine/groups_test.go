package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ensync/engine/ancestor"
	"ensync/engine/remote/remotetest"
	"ensync/engine/replica"
)

// groupsOf are some machines of one tree, each with a passphrase that is in some groups.
func groupsOf(t *testing.T, groups ...string) *world {
	w := newWorld(t, len(groups))
	for i, g := range groups {
		w.machines[i].view = w.store.As(append(strings.Fields(g), "everyone")...)
	}
	return w
}

// trouble is the paths that a machine told of, with kinds.
func (m *machine) trouble() string {
	m.w.t.Helper()
	list, err := m.past.Issues(m.w.t.Context())
	if err != nil {
		m.w.t.Fatal(err)
	}
	var all []string
	for _, i := range list {
		all = append(all, string(i.Kind)+" "+i.Path)
	}
	return strings.Join(all, ", ")
}

// must checks a machine's tree, but for modes.
func (m *machine) must(want string) {
	m.w.t.Helper()
	words := strings.Fields(strings.ReplaceAll(m.String(), "%3d", "="))
	for i, word := range words {
		words[i], _, _ = strings.Cut(word, "@")
	}
	wanted := strings.Fields(want)
	slices.Sort(words)
	slices.Sort(wanted)
	if !slices.Equal(words, wanted) {
		m.w.t.Fatalf("machine %d has %q, want %q", m.number(), words, wanted)
	}
}

func (m *machine) number() int {
	for i, n := range m.w.machines {
		if n == m {
			return i
		}
	}
	return -1
}

func (w *world) round() {
	w.t.Helper()
	for range 2 {
		for _, m := range w.machines {
			m.sync()
		}
	}
}

// TestGroups has an owner, one who may write in a group's directory, one who may read it, and an outsider.
func TestGroups(t *testing.T) {
	w := groupsOf(t, "root r w", "r w", "r", "")
	owner, writer, reader, outsider := w.machines[0], w.machines[1], w.machines[2], w.machines[3]
	const dir = "d/x.ensync[r=r,w=w]"
	owner.user("write f=1; write " + dir + "/a=1; write " + dir + "/sub/b=2")
	w.round()
	writer.must("d/" + "x.ensync[r=r,w=w]/a=1 d/x.ensync[r=r,w=w]/sub/b=2 f=1")
	reader.must("d/x.ensync[r=r,w=w]/a=1 d/x.ensync[r=r,w=w]/sub/b=2 f=1")
	outsider.must("d/x.ensync[r=r,w=w]/ f=1")
	if mode := outsider.tree.Entry(dir).Mode; mode != 0 {
		t.Errorf("the outsider's directory has mode %o", mode)
	}

	// The writer writes there, and nowhere else.
	writer.user("write " + dir + "/a=3; write f=4; write new=5; rm " + dir + "/sub/b")
	writer.sync()
	if got, want := writer.trouble(), "unsynced f, unsynced new"; got != want {
		t.Errorf("the writer has issues %q, want %q", got, want)
	}
	// The reader's edits stay; what they are not about arrives.
	reader.user("write " + dir + "/sub/b=6; write " + dir + "/c=7")
	reader.sync()
	if got, want := reader.trouble(), "unsynced "+dir+"/c, conflicted "+dir+"/sub/b"; got != want {
		t.Errorf("the reader has issues %q, want %q", got, want)
	}
	reader.must("d/x.ensync[r=r,w=w]/a=3 d/x.ensync[r=r,w=w]/c=7 d/x.ensync[r=r,w=w]/sub/b=6 f=1")
	// What the outsider does there is no change of it, and is told.
	outsider.user("rm " + dir)
	outsider.sync()
	outsider.must("d/x.ensync[r=r,w=w]/ f=1")
	outsider.user("write " + dir + "/mine=8")
	outsider.sync()
	if got, want := outsider.trouble(), "unsynced "+dir; got != want {
		t.Errorf("the outsider has issues %q, want %q", got, want)
	}
	owner.sync()
	owner.must("d/x.ensync[r=r,w=w]/a=3 d/x.ensync[r=r,w=w]/sub/ f=1")
	outsider.user("rm " + dir + "/mine")
	outsider.sync()
	if got := outsider.trouble(); got != "" {
		t.Errorf("the outsider still has %q", got)
	}
}

// TestGroupIsRefused makes directories that nobody here can make.
func TestGroupIsRefused(t *testing.T) {
	w := groupsOf(t, "root a", "root a")
	one, two := w.machines[0], w.machines[1]
	one.user("write x.ensync[r=other]/f=1; write y.ensync[w=other]/f=2; write z.ensync[q=a]/f=3; write v.ensync[r=a/f=4; write ok=5")
	one.sync()
	if got, want := one.trouble(), "failed v.ensync[r=a, unsynced x.ensync[r=other], unsynced y.ensync[w=other], failed z.ensync[q=a]"; got != want {
		t.Errorf("issues %q, want %q", got, want)
	}
	two.sync()
	two.must("ok=5")
	one.user("mv x.ensync[r=other] x.ensync[r=a]; mv z.ensync[q=a] z; rm y.ensync[w=other]; mv v.ensync[r=a v")
	w.round()
	two.must("ok=5 v/f=4 x.ensync[r=a]/f=1 z/f=3")
	if got := one.trouble(); got != "" {
		t.Errorf("still %q", got)
	}
}

// TestGroupComesAndGoes takes a passphrase out of a group and puts it back: nothing is deleted, and what both sides did
// meanwhile is merged.
func TestGroupComesAndGoes(t *testing.T) {
	w := groupsOf(t, "root a", "root a")
	one, two := w.machines[0], w.machines[1]
	const dir = "x.ensync[rw=a]"
	one.user("write " + dir + "/f=1; write " + dir + "/g=1; write " + dir + "/h=1; write top=1")
	w.round()
	two.view = w.store.As("everyone", "root")
	one.user("write " + dir + "/f=2; rm " + dir + "/h")
	one.sync()
	two.user("write " + dir + "/g=3; write top=2")
	two.sync()
	two.sync()
	two.must(dir + "/f=1 " + dir + "/g=3 " + dir + "/h=1 top=2")
	if got := two.trouble(); got != "unsynced "+dir {
		t.Errorf("issues %q", got)
	}
	one.sync()
	one.must(dir + "/f=2 " + dir + "/g=1 top=2")
	two.view = w.store.As("everyone", "root", "a")
	w.round()
	for _, m := range w.machines {
		m.must(dir + "/f=2 " + dir + "/g=3 top=2")
	}
	if got := two.trouble(); got != "" {
		t.Errorf("still %q", got)
	}
	if mode := two.tree.Entry(dir).Mode; mode != one.tree.Entry(dir).Mode {
		t.Errorf("mode %o", mode)
	}
}

// TestClosedOpens gives a newcomer what was closed to him.
func TestClosedOpens(t *testing.T) {
	w := groupsOf(t, "root a", "")
	one, two := w.machines[0], w.machines[1]
	const dir = "x.ensync[rw=a]"
	one.user("write " + dir + "/f=1; chmod 750 " + dir)
	w.round()
	two.must(dir + "/")
	two.view = w.store.As("everyone", "a")
	w.round()
	two.must(dir + "/ " + dir + "/f=1") // it is told as a directory because of its mode
	for _, m := range w.machines {
		if mode := m.tree.Entry(dir).Mode; mode != 0o750 {
			t.Errorf("machine %d: mode %o", m.number(), mode)
		}
	}
}

// TestOtherGroups renames directories from one configuration to another: what is in them is stored anew, for those who may
// now read it, and nothing is lost.
func TestOtherGroups(t *testing.T) {
	w := groupsOf(t, "root a b", "root a", "root b")
	one, a, b := w.machines[0], w.machines[1], w.machines[2]
	one.user("write x.ensync[rw=a]/f=1; write x.ensync[rw=a]/sub/g=2; write plain/h=3")
	w.round()
	a.must("plain/h=3 x.ensync[rw=a]/f=1 x.ensync[rw=a]/sub/g=2")
	b.must("plain/h=3 x.ensync[rw=a]/")
	one.user("mv x.ensync[rw=a] x.ensync[rw=b]; mv plain plain.ensync[rw=a]")
	w.round()
	a.must("plain.ensync[rw=a]/h=3 x.ensync[rw=b]/")
	b.must("plain.ensync[rw=a]/ x.ensync[rw=b]/f=1 x.ensync[rw=b]/sub/g=2")
	one.user("mv x.ensync[rw=b] x; mv plain.ensync[rw=a]/h h")
	w.round()
	a.must("h=3 plain.ensync[rw=a]/ x/f=1 x/sub/g=2")
	b.must("h=3 plain.ensync[rw=a]/ x/f=1 x/sub/g=2")
	// The same configuration under another name is the same root: who is not in the group can follow.
	one.user("mv plain.ensync[rw=a] .ensync[rw=a]q; write .ensync[rw=a]q/k=4")
	w.round()
	a.must(".ensync[rw=a]q/k=4 h=3 x/f=1 x/sub/g=2")
	b.must(".ensync[rw=a]q/ h=3 x/f=1 x/sub/g=2")
}

// TestNestedRoots has roots in roots, which inherit what their names do not tell.
func TestNestedRoots(t *testing.T) {
	w := groupsOf(t, "root a b", "root a b", "b")
	one, two, outsider := w.machines[0], w.machines[1], w.machines[2]
	const in = "x.ensync[r=a]/p/y.ensync[w=b]"
	one.user("write " + in + "/f=1; write x.ensync[r=a]/g=2")
	w.round()
	two.must("x.ensync[r=a]/g=2 " + in + "/f=1")
	outsider.must("x.ensync[r=a]/")
	one.user("write " + in + "/f=3") // only the innermost head moves
	commits := w.store.Commits()
	one.sync()
	if n := w.store.Commits() - commits; n != 1 {
		t.Errorf("%d commits for a change of the innermost root", n)
	}
	two.sync()
	two.must("x.ensync[r=a]/g=2 " + in + "/f=3")
	// One removes all, the other has added something that nobody has seen.
	one.user("rm x.ensync[r=a]")
	two.user("write " + in + "/new=4")
	two.sync()
	w.round()
	for _, m := range w.machines[:2] {
		m.must(in + "/new=4")
	}
	one.user("rm x.ensync[r=a]")
	w.round()
	two.must("")
	outsider.must("")
}

// TestRootEndsOnce removes a directory while another machine stores something in it, between the two swaps that this takes.
func TestRootEndsOnce(t *testing.T) {
	for _, at := range []int{1, 2} {
		w := groupsOf(t, "root", "root")
		one, two := w.machines[0], w.machines[1]
		one.user("write x.ensync[]/f=1; write top=1")
		w.round()
		one.user("rm x.ensync[]")
		two.user("write x.ensync[]/new=2")
		swaps := 0
		one.view.Fault = func(op string) error {
			if op == "swap" {
				if swaps++; swaps == at {
					two.sync()
				}
			}
			return nil
		}
		one.sync()
		one.view.Fault = nil
		w.round()
		for _, m := range w.machines {
			m.must("top=1 x.ensync[]/new=2")
		}
	}
}

// TestCrashBetweenSwaps stops between the heads of one commit, while another machine goes on: no conflicts, nothing lost.
func TestCrashBetweenSwaps(t *testing.T) {
	crash := errors.New("crash")
	for at := 1; at <= 4; at++ {
		w := groupsOf(t, "root", "root")
		one, two := w.machines[0], w.machines[1]
		one.user("write x.ensync[]/f=1; write y.ensync[]/f=1; write top=1")
		w.round()
		one.user("write x.ensync[]/f=2; write y.ensync[]/f=2; write top=2; write z.ensync[]/f=2")
		swaps := 0
		one.view.Fault = func(op string) error {
			if op == "swap" {
				swaps++
			}
			if swaps >= at {
				return crash
			}
			return nil
		}
		if _, err := one.try(nil); !errors.Is(err, crash) {
			t.Fatalf("%d: %v", at, err)
		}
		one.view.Fault = nil
		two.sync()
		two.user("chmod 600 top; write x.ensync[]/more=3")
		for _, name := range []string{"x.ensync[]/f", "y.ensync[]/f"} {
			if strings.Contains(strings.ReplaceAll(two.String(), "%3d", "="), name+"=2") {
				two.user("write " + name + "=9") // edited on top of what arrived
			}
		}
		two.sync()
		w.round()
		got := one.String()
		if strings.Contains(got, "~") || !strings.Contains(got, "z.ensync[]/f=2") || !strings.Contains(got, "more=3") {
			t.Errorf("stopped at swap %d: %q", at, got)
		}
		if two.String() != got {
			t.Errorf("stopped at swap %d: %q and %q", at, got, two)
		}
	}
}

// TestLostPart loses one of the heads of a commit to another machine: what was seen by then is not a conflict later.
func TestLostPart(t *testing.T) {
	w := groupsOf(t, "root", "root", "root")
	one, two, three := w.machines[0], w.machines[1], w.machines[2]
	one.user("write x.ensync[]/f=1; write y.ensync[]/f=1")
	w.round()
	one.user("write x.ensync[]/f=2; write y.ensync[]/f=2")
	swaps := 0
	one.view.Fault = func(op string) error {
		switch {
		case op == "swap":
			if swaps++; swaps == 2 {
				two.sync() // has x/f=2 now
				two.user("write y.ensync[]/g=3; write x.ensync[]/f=4")
				two.sync()
			}
		case op == "head" && swaps == 2:
			three.sync()
		}
		return nil
	}
	one.sync()
	one.view.Fault = nil
	w.round()
	for _, m := range w.machines {
		m.must("x.ensync[]/f=4 y.ensync[]/f=2 y.ensync[]/g=3")
	}
}

// TestForgedDirectory has somebody who may write above put there what he may not make: a directory in a name that tells
// groups, and a root under another name.
func TestForgedDirectory(t *testing.T) {
	w := groupsOf(t, "root a", "root")
	one, thief := w.machines[0], w.machines[1]
	one.user("write x.ensync[rw=a]/f=1; write plain/g=2")
	w.round()
	server := thief.server()
	list, err := server.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	forged := remotetest.Entries(list)
	forged["x.ensync[rw=a]"], forged["plain"] = forged["plain"], forged["x.ensync[rw=a]"]
	w.store.Forge(forged)
	one.user("write x.ensync[rw=a]/secret=3")
	one.sync()
	one.must("plain/g=2 x.ensync[rw=a]/f=1 x.ensync[rw=a]/secret=3")
	if got, want := one.trouble(), "failed plain, failed x.ensync[rw=a]"; got != want {
		t.Errorf("issues %q, want %q", got, want)
	}
	if list, err := one.past.Issues(t.Context()); err != nil || list[0].Kind != ancestor.Failed || !strings.Contains(list[1].Reason, replica.ErrNotAllowed.Error()) {
		t.Errorf("%+v, %v", list, err)
	}
}
