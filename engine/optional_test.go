package engine

import (
	"strings"
	"testing"

	"ensync/engine/replica/memory"
	"ensync/engine/rules"
	"ensync/store/object"
)

// optionalWorld is machines that synchronise owners and extended attributes where said.
func optionalWorld(t *testing.T, on ...bool) *world {
	w := newWorld(t, len(on))
	for i, m := range w.machines {
		m.tree.Owner = ":1001"
		m.sets(on[i])
	}
	return w
}

// sets turns the options of a machine on or off, as a change of its configuration does.
func (m *machine) sets(on bool) {
	set, err := rules.Parse(map[string]any{"root": map[string]any{"files": []map[string]any{
		{"mode": m.mode, "sync_owner": on, "sync_xattrs": on}}}})
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.set = set
}

// text is what the machine has of a path: owner, group, attributes.
func (m *machine) text(path string) string {
	e := m.tree.Entry(path)
	x, err := e.Xattrs.Parse()
	if e.Xattrs != "" && err != nil {
		m.w.t.Fatal(err)
	}
	words := []string{string(e.User) + string(e.Group)}
	for _, name := range e.Xattrs.Names() {
		words = append(words, strings.TrimPrefix(name, "user.")+"="+string(x[name]))
	}
	return strings.Join(words, " ")
}

func (m *machine) owns(path, user, group string) {
	m.w.t.Helper()
	if err := m.tree.Chown(path, object.Owner(user), object.Owner(group)); err != nil {
		m.w.t.Fatal(err)
	}
}

// tags sets an extended attribute, or removes it if there is no value.
func (m *machine) tags(path, name, value string) {
	m.w.t.Helper()
	b := []byte(value)
	if value == "" {
		b = nil
	}
	if err := m.tree.SetXattr(path, "user."+name, b); err != nil {
		m.w.t.Fatal(err)
	}
}

// has checks what machines have of a path.
func (w *world) has(path, want string, machines ...*machine) {
	w.t.Helper()
	for i, m := range machines {
		if got := m.text(path); got != want {
			w.t.Errorf("machine %d has %q for %q, want %q", i, got, path, want)
		}
	}
}

func TestOptionalStories(t *testing.T) {
	for _, s := range []struct {
		name string
		a, b func(*machine)
		want string // of f, in the end on both
		tree string
	}{
		{"chown", func(m *machine) { m.owns("f", ":5", "") }, nil, ":5:1001", "f=0"},
		{"chown, chgrp", func(m *machine) { m.owns("f", ":5", "") }, func(m *machine) { m.owns("f", "", ":6") }, ":5:6", "f=0"},
		{"chown, chown: the first to sync", func(m *machine) { m.owns("f", ":5", "") }, func(m *machine) { m.owns("f", ":6", "") }, ":5:1001", "f=0"},
		{"chown, edit", func(m *machine) { m.owns("f", ":5", "") }, func(m *machine) { m.user("write f=b") }, ":5:1001", "f=b"},
		{"edit, chown", func(m *machine) { m.user("write f=a") }, func(m *machine) { m.owns("f", ":5", "") }, ":5:1001", "f=a"},
		{"attribute, edit and chmod", func(m *machine) { m.tags("f", "a", "1") }, func(m *machine) { m.user("write f=b; chmod 600 f") },
			":1001:1001 a=1", "f=b@600"},
		{"attribute, attribute: the first to sync", func(m *machine) { m.tags("f", "a", "1") }, func(m *machine) { m.tags("f", "b", "2") },
			":1001:1001 a=1", "f=0"},
		{"same attribute on both", func(m *machine) { m.tags("f", "a", "1") }, func(m *machine) { m.tags("f", "a", "1") }, ":1001:1001 a=1", "f=0"},
		{"chown, delete", func(m *machine) { m.owns("f", ":5", "") }, func(m *machine) { m.user("rm f") }, "", ""},
	} {
		t.Run(s.name, func(t *testing.T) {
			w := optionalWorld(t, true, true)
			a, b := w.machines[0], w.machines[1]
			a.user("write f=0")
			a.sync()
			b.sync()
			s.a(a)
			if s.b != nil {
				s.b(b)
			}
			a.sync()
			b.sync()
			if got := w.settled(); got != s.tree {
				t.Errorf("all have %q, want %q", got, s.tree)
			}
			w.has("f", s.want, a, b)
		})
	}
}

func TestOptionalOfDirectoriesAndLinks(t *testing.T) {
	w := optionalWorld(t, true, true)
	a, b := w.machines[0], w.machines[1]
	a.user("mkdir d; mkdir bare; chmod 555 bare; ln l->d")
	for i, path := range []string{"d", "bare", "l"} {
		a.owns(path, ":5", ":6")
		if i < 2 {
			a.tags(path, "a", "1")
		}
	}
	a.sync()
	b.sync()
	w.has("d", ":5:6 a=1", a, b)
	w.has("bare", ":5:6 a=1", a, b)
	w.has("l", ":5:6", a, b)
	b.owns("bare", ":7", "")
	b.owns("l", "", ":7")
	b.tags("d", "a", "")
	b.sync()
	a.sync()
	w.settled()
	w.has("d", ":5:6", a, b)
	w.has("bare", ":7:6 a=1", a, b)
	w.has("l", ":5:7", a, b)
}

// TestOptionalOff: who does not synchronise them strips nobody's, whatever he does, and gets them when he does.
func TestOptionalOff(t *testing.T) {
	w := optionalWorld(t, true, false, true)
	a, off, c := w.machines[0], w.machines[1], w.machines[2]
	a.user("write f=0; write d/g=0")
	for _, path := range []string{"f", "d", "d/g"} {
		a.owns(path, ":5", ":6")
		a.tags(path, "a", "1")
	}
	a.sync()
	off.sync()
	w.has("f", ":1001:1001", off)
	off.user("write f=1; chmod 600 d/g; chmod 700 d; write d/new=1")
	off.tags("f", "mine", "1")
	off.owns("f", ":8", "")
	off.sync()
	c.sync()
	w.has("f", ":5:6 a=1", c) // before a could have stored it again
	a.sync()
	c.sync()
	w.has("f", ":5:6 a=1", a, c)
	w.has("d", ":5:6 a=1", a, c)
	w.has("d/g", ":5:6 a=1", a, c)
	w.has("f", ":8:1001 mine=1", off)
	// What he made, and nobody knew an owner of, belongs to whoever first says so.
	w.has("d/new", ":1001:1001", a, c)
	if got := w.settled(); got != "d/@700 d/g=0@600 d/new=1 f=1" {
		t.Errorf("all have %q", got)
	}
	w.has("f", ":8:1001 mine=1", off)

	off.sets(true)
	if _, err := off.try(func(cfg *Config) { cfg.All = true }); err != nil {
		t.Fatal(err)
	}
	w.settled()
	w.has("f", ":5:6 a=1", a, off, c)
	w.has("d", ":5:6 a=1", a, off, c)
	if n := off.issues(); n != 0 {
		t.Errorf("%d issues", n)
	}
}

// TestOptionalUnknown: what a store does not know is not nothing.
func TestOptionalUnknown(t *testing.T) {
	w := optionalWorld(t, false, true)
	off, on := w.machines[0], w.machines[1]
	off.user("write f=0; write g=0; write d/h=0")
	off.sync()
	on.user("write f=0; write d/h=0")
	for _, path := range []string{"f", "d", "d/h"} {
		on.owns(path, ":5", "")
		on.tags(path, "a", "1")
	}
	on.sync()
	w.settled()
	w.has("f", ":5:1001 a=1", on)
	w.has("d/h", ":5:1001 a=1", on)
	off.sets(true)
	if _, err := off.try(func(cfg *Config) { cfg.All = true }); err != nil {
		t.Fatal(err)
	}
	w.settled()
	for _, path := range []string{"f", "d", "d/h"} {
		w.has(path, ":5:1001 a=1", on, off)
	}
	w.has("g", ":1001:1001", on, off)
	if got := on.String(); strings.Contains(got, "~") {
		t.Errorf("a conflict: %q", got)
	}
}

// TestOptionalHeld: what a machine can't have is not taken for its change, not tried for ever, and the others keep it.
func TestOptionalHeld(t *testing.T) {
	w := optionalWorld(t, true, true)
	a, poor := w.machines[0], w.machines[1]
	poor.tree.Owner, poor.tree.Fixed = ":2000", true
	a.user("write f=0; mkdir bare; chmod 555 bare; ln l->f; write d/g=0")
	for _, path := range []string{"f", "bare", "l", "d", "d/g"} {
		a.owns(path, ":5", ":6")
	}
	a.tags("f", "a", "1")
	a.tags("bare", "a", "1")
	check := func() {
		t.Helper()
		a.sync()
		poor.sync()
		w.settled()
		w.has("bare", ":5:6 a=1", a)
		w.has("bare", ":2000:2000", poor)
		for _, path := range []string{"d", "d/g", "l"} {
			w.has(path, ":5:6", a)
			w.has(path, ":2000:2000", poor)
		}
		if poor.issues() != 0 {
			t.Error("issues")
		}
	}
	check()
	poor.user("write f=1; chmod 600 d/g")
	poor.sync()
	check()
	w.has("f", ":5:6 a=1", a)
	a.user("write f=2")
	check()
	w.has("f", ":5:6 a=1", a)

	// What its user changes all the same goes out.
	poor.owns("f", "", ":9")
	poor.tags("f", "b", "2")
	poor.sync()
	check()
	w.has("f", ":5:9 b=2", a)

	// What he has in its place is a change like any other once he had the real one.
	poor.owns("d", ":5", ":6")
	poor.sync()
	poor.owns("d", ":2000", "")
	poor.sync()
	a.sync()
	w.has("d", ":2000:6", a)
}

// TestOptionalTooLarge: attributes beyond the bounds stay where they are, and that is said as long as it is so.
func TestOptionalTooLarge(t *testing.T) {
	w := optionalWorld(t, true, true)
	a, b := w.machines[0], w.machines[1]
	a.user("write f=0")
	a.tags("f", "a", "1")
	a.sync()
	b.sync()
	b.tags("f", "big", strings.Repeat("x", object.MaxXattrs))
	b.user("write f=1")
	for range 2 {
		b.sync()
		if b.issues() != 1 {
			t.Errorf("%d issues, not 1", b.issues())
		}
	}
	a.sync()
	w.has("f", ":1001:1001 a=1", a)
	a.user("write f=2")
	a.tags("f", "a", "3")
	b.user("chmod 600 f")
	a.sync()
	b.sync()
	if got := b.String(); got != "f=2@600" {
		t.Errorf("all else: %q", got)
	}
	if e := b.tree.Entry("f"); e.Xattrs != object.XattrsTooLarge {
		t.Errorf("they were overwritten by %q", e.Xattrs)
	}
	b.tags("f", "big", "")
	b.sync()
	a.sync()
	w.settled()
	w.has("f", ":1001:1001 a=3", a, b)
	if b.issues() != 0 {
		t.Errorf("%d issues", b.issues())
	}
}

func (m *machine) issues() int {
	m.w.t.Helper()
	list, err := m.past.Issues(m.w.t.Context())
	if err != nil {
		m.w.t.Fatal(err)
	}
	return len(list)
}

// TestOptionalWords: one owner with two names, as two machines have them, is one, and nobody's is sent back.
func TestOptionalWords(t *testing.T) {
	w := optionalWorld(t, true, true)
	a, b := w.machines[0], w.machines[1]
	a.tree.Owner, b.tree.Owner = ":0", "root:0"
	a.user("write f=0; write d/g=0")
	a.sync()
	b.sync()
	if sum := b.sync(); sum.Out != (Counts{}) || sum.In != (Counts{}) {
		t.Errorf("at rest: %+v", sum)
	}
	b.user("write f=1")
	b.sync()
	a.sync()
	w.settled()
	w.has("f", ":0:0", a)
	b.owns("f", ":5", "")
	b.sync()
	a.sync()
	w.has("f", ":5:0", a)

	a.user("write same=0; touch 7 same")
	b.user("write same=0; touch 7 same")
	a.sync()
	if sum := b.sync(); sum.In.Updated+sum.Out.Updated != 0 {
		t.Errorf("both have the same, in other words: %+v", sum)
	}
}

// TestOptionalAfterCrash: what came before a crash is known to have come, whatever became of its owner: deleted elsewhere,
// it does not come back.
func TestOptionalAfterCrash(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		w := optionalWorld(t, true, true)
		a, b := w.machines[0], w.machines[1]
		b.tree.Fixed = fixed
		a.user("write f=0; write g=0")
		a.owns("f", ":5", "")
		a.tags("f", "a", "1")
		a.sync()
		b.tree.Before = func(op memory.Op, _ string) error {
			if op == memory.OpSync {
				return errCrash
			}
			return nil
		}
		if _, err := b.try(nil); err == nil {
			t.Fatal("no crash")
		}
		b.tree.Before = nil
		a.user("rm f; rm g")
		for _, m := range []*machine{a, b} {
			if _, err := m.try(confirmed); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.settled(); got != "" {
			t.Errorf("fixed %v: %q came back", fixed, got)
		}
	}
}

// TestOptionalTurnedOff: it is at rest again, nobody loses anything, and turned on once more, the store's holds.
func TestOptionalTurnedOff(t *testing.T) {
	w := optionalWorld(t, true, true)
	a, b := w.machines[0], w.machines[1]
	a.user("write f=0; write d/g=0")
	a.owns("f", ":5", "")
	a.tags("d", "a", "1")
	a.sync()
	b.sync()
	all := func(cfg *Config) { cfg.All = true }
	b.sets(false)
	b.owns("f", ":6", "")
	b.tags("d", "a", "")
	b.user("chmod 700 d; write d/g=1")
	if _, err := b.try(all); err != nil {
		t.Fatal(err)
	}
	w.settled()
	w.has("f", ":5:1001", a)
	w.has("d", ":1001:1001 a=1", a)
	w.has("f", ":6:1001", b)
	b.sets(true)
	if _, err := b.try(all); err != nil {
		t.Fatal(err)
	}
	w.settled()
	w.has("f", ":5:1001", a, b)
	w.has("d", ":1001:1001 a=1", a, b)
}
