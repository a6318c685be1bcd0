package keys

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// world is a key store with keys a (everyone, root, staff), b (everyone, root) and c (everyone, staff), and their chains.
type world struct {
	f       *File
	a, b, c *Chain
}

func newWorld(t testing.TB) world {
	t.Helper()
	var w world
	var err error
	step := func(f *File, e error) {
		t.Helper()
		if e != nil {
			t.Fatal(e)
		}
		w.f = f
	}
	w.f, w.a, err = Create(testID, "a", long("a"), aDay)
	step(w.f, err)
	step(w.f.Add(ctx, w.a, "b", long("b"), nil, aDay))
	w.b = unlock(t, w.f, long("b"))
	step(w.f.CreateGroups([]string{"staff"}, w.a, nil))
	step(w.f.Add(ctx, w.a, "c", long("c"), nil, aDay))
	w.c = unlock(t, w.f, long("c"))
	step(w.f.Disassociate("c", []string{Root}, w.a))
	if got, want := describe(w.f), "a=everyone,root,staff b=everyone,root c=everyone,staff"; got != want {
		t.Fatalf("world is %s, want %s", got, want)
	}
	for _, c := range []**Chain{&w.a, &w.b, &w.c} {
		*c = must[*Chain](t)(w.f.Refresh(*c))
	}
	return w
}

func TestEdits(t *testing.T) {
	w := newWorld(t)
	type edit = func() (*File, error)
	tests := []struct {
		name string
		edit edit
		want error  // nil: it works
		then string // what the key store then is
	}{
		{"add", func() (*File, error) { return w.f.Add(ctx, w.b, "d", long("d"), nil, aDay) }, nil,
			"a=everyone,root,staff b=everyone,root c=everyone,staff d=everyone,root"},
		{"add by one not in root", func() (*File, error) { return w.f.Add(ctx, w.c, "d", long("d"), w.b, aDay) }, nil,
			"a=everyone,root,staff b=everyone,root c=everyone,staff d=everyone,staff"},
		{"add without root", func() (*File, error) { return w.f.Add(ctx, w.c, "d", long("d"), nil, aDay) }, ErrNotRoot, ""},
		{"add, root is not root", func() (*File, error) { return w.f.Add(ctx, w.c, "d", long("d"), w.c, aDay) }, ErrNotRoot, ""},
		{"add, name used", func() (*File, error) { return w.f.Add(ctx, w.a, "b", long("d"), nil, aDay) }, ErrKeyExists, ""},
		{"add, no name", func() (*File, error) { return w.f.Add(ctx, w.a, "", long("d"), nil, aDay) }, ErrBadName, ""},
		{"add, passphrase used", func() (*File, error) { return w.f.Add(ctx, w.a, "d", long("c"), nil, aDay) }, ErrPassphraseUsed, ""},
		{"add, own passphrase", func() (*File, error) { return w.f.Add(ctx, w.a, "d", long("a"), nil, aDay) }, ErrPassphraseUsed, ""},
		{"add, empty passphrase", func() (*File, error) { return w.f.Add(ctx, w.a, "d", nil, nil, aDay) }, ErrEmptyPassphrase, ""},

		{"change", func() (*File, error) { return w.f.Change(ctx, "a", w.a, long("n"), false, nil, nextDay) }, nil, describe(w.f)},
		{"change to the same", func() (*File, error) { return w.f.Change(ctx, "a", w.a, long("a"), false, nil, nextDay) }, nil, describe(w.f)},
		{"change with root", func() (*File, error) { return w.f.Change(ctx, "c", w.c, long("n"), false, w.b, nextDay) }, nil, describe(w.f)},
		{"change without root", func() (*File, error) { return w.f.Change(ctx, "c", w.c, long("n"), false, nil, nextDay) }, ErrNotRoot, ""},
		{"change, which", func() (*File, error) { return w.f.Change(ctx, "", w.a, long("n"), false, nil, nextDay) }, ErrWhichKey, ""},
		{"change, no key", func() (*File, error) { return w.f.Change(ctx, "z", w.a, long("n"), false, nil, nextDay) }, ErrNoKey, ""},
		{"change, passphrase of another", func() (*File, error) { return w.f.Change(ctx, "a", w.a, long("b"), false, nil, nextDay) }, ErrPassphraseUsed, ""},
		{"change another", func() (*File, error) { return w.f.Change(ctx, "b", w.a, long("n"), false, nil, nextDay) }, ErrOtherKey, ""},
		{"change another by force", func() (*File, error) { return w.f.Change(ctx, "b", w.a, long("n"), true, nil, nextDay) }, nil, describe(w.f)},
		{"change own by force", func() (*File, error) { return w.f.Change(ctx, "a", w.a, long("n"), true, nil, nextDay) }, nil, describe(w.f)},
		{"change by force, too few groups", func() (*File, error) { return w.f.Change(ctx, "a", w.b, long("n"), true, nil, nextDay) }, ErrLacksGroups, ""},
		{"change by force to one's own", func() (*File, error) { return w.f.Change(ctx, "b", w.a, long("a"), true, nil, nextDay) }, ErrPassphraseUsed, ""},

		{"remove", func() (*File, error) { return w.f.Remove("b", w.a) }, nil, "a=everyone,root,staff c=everyone,staff"},
		{"remove, no key", func() (*File, error) { return w.f.Remove("z", w.a) }, ErrNoKey, ""},
		{"remove oneself", func() (*File, error) { return w.f.Remove("a", w.a) }, ErrRootLost, ""},
		{"remove without root", func() (*File, error) { return w.f.Remove("b", w.c) }, ErrNotRoot, ""},
		{"remove without any", func() (*File, error) { return w.f.Remove("b", nil) }, ErrNotRoot, ""},

		{"create groups", func() (*File, error) { return w.f.CreateGroups([]string{"x", "lab"}, w.c, w.a) }, nil,
			"a=everyone,root,staff b=everyone,root c=everyone,lab,staff,x"},
		{"create without root", func() (*File, error) { return w.f.CreateGroups([]string{"x"}, w.c, nil) }, ErrNotRoot, ""},
		{"create, exists", func() (*File, error) { return w.f.CreateGroups([]string{"staff"}, w.b, nil) }, ErrGroupExists, ""},
		{"create everyone", func() (*File, error) { return w.f.CreateGroups([]string{Everyone}, w.b, nil) }, ErrGroupExists, ""},
		{"create twice", func() (*File, error) { return w.f.CreateGroups([]string{"x", "x"}, w.b, nil) }, ErrGroupExists, ""},
		{"create, no name", func() (*File, error) { return w.f.CreateGroups([]string{"x", ""}, w.b, nil) }, ErrBadName, ""},
		{"create, unusable name", func() (*File, error) { return w.f.CreateGroups([]string{"a,b"}, w.b, nil) }, ErrBadName, ""},
		{"create none", func() (*File, error) { return w.f.CreateGroups(nil, w.b, nil) }, ErrBadName, ""},

		{"associate", func() (*File, error) { return w.f.Associate([]string{"staff"}, w.a, w.b, nil) }, nil,
			"a=everyone,root,staff b=everyone,root,staff c=everyone,staff"},
		{"associate from one not in root", func() (*File, error) { return w.f.Associate([]string{"staff"}, w.c, w.b, nil) }, nil,
			"a=everyone,root,staff b=everyone,root,staff c=everyone,staff"},
		{"associate root", func() (*File, error) { return w.f.Associate([]string{Root}, w.b, w.c, nil) }, nil,
			"a=everyone,root,staff b=everyone,root c=everyone,root,staff"},
		{"associate, from has it not", func() (*File, error) { return w.f.Associate([]string{"staff"}, w.b, w.c, nil) }, ErrLacksGroups, ""},
		{"associate, to has it", func() (*File, error) { return w.f.Associate([]string{Root, "staff"}, w.a, w.c, nil) }, ErrHasGroup, ""},
		{"associate oneself", func() (*File, error) { return w.f.Associate([]string{Root}, w.a, w.a, nil) }, ErrHasGroup, ""},
		{"associate, no group", func() (*File, error) { return w.f.Associate([]string{"z"}, w.a, w.c, nil) }, ErrNoGroup, ""},
		{"associate none", func() (*File, error) { return w.f.Associate(nil, w.a, w.c, nil) }, ErrBadName, ""},

		{"disassociate", func() (*File, error) { return w.f.Disassociate("a", []string{Root, "staff"}, w.b) }, nil,
			"a=everyone b=everyone,root c=everyone,staff"},
		{"disassociate everyone", func() (*File, error) { return w.f.Disassociate("c", []string{"staff", Everyone}, w.a) }, ErrPermanent, ""},
		{"disassociate, not in it", func() (*File, error) { return w.f.Disassociate("b", []string{"staff"}, w.a) }, ErrLacksGroups, ""},
		{"disassociate twice", func() (*File, error) { return w.f.Disassociate("c", []string{"staff", "staff"}, w.a) }, ErrLacksGroups, ""},
		{"disassociate, no key", func() (*File, error) { return w.f.Disassociate("z", []string{"staff"}, w.a) }, ErrNoKey, ""},
		{"disassociate, no group", func() (*File, error) { return w.f.Disassociate("c", []string{"z"}, w.a) }, ErrNoGroup, ""},
		{"disassociate oneself from root", func() (*File, error) { return w.f.Disassociate("a", []string{Root}, w.a) }, ErrRootLost, ""},
		{"disassociate oneself otherwise", func() (*File, error) { return w.f.Disassociate("a", []string{"staff"}, w.a) }, nil,
			"a=everyone,root b=everyone,root c=everyone,staff"},
		{"disassociate none", func() (*File, error) { return w.f.Disassociate("a", nil, w.a) }, ErrBadName, ""},

		{"destroy", func() (*File, error) { return w.f.DestroyGroups([]string{"staff"}, w.b) }, nil,
			"a=everyone,root b=everyone,root c=everyone"},
		{"destroy everyone", func() (*File, error) { return w.f.DestroyGroups([]string{Everyone}, w.a) }, ErrPermanent, ""},
		{"destroy root", func() (*File, error) { return w.f.DestroyGroups([]string{"staff", Root}, w.a) }, ErrPermanent, ""},
		{"destroy, no group", func() (*File, error) { return w.f.DestroyGroups([]string{"z"}, w.a) }, ErrNoGroup, ""},
		{"destroy twice", func() (*File, error) { return w.f.DestroyGroups([]string{"staff", "staff"}, w.a) }, ErrNoGroup, ""},
		{"destroy without root", func() (*File, error) { return w.f.DestroyGroups([]string{"staff"}, w.c) }, ErrNotRoot, ""},
		{"destroy none", func() (*File, error) { return w.f.DestroyGroups(nil, w.a) }, ErrBadName, ""},
	}
	before := w.f.Hash()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			next, err := test.edit()
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("got error %v, want %v", err, test.want)
			}
			if w.f.Hash() != before || !slices.Equal(w.f.appendBody(nil), w.f.Encode()[:len(w.f.Encode())-64]) {
				t.Fatal("the edit changed the file that it was given")
			}
			if err != nil {
				return
			}
			if got := describe(next); got != test.then {
				t.Errorf("key store is %s, want %s", got, test.then)
			}
			checkSuccessor(t, w.f, next)
		})
	}
}

// checkSuccessor checks what holds after every edit: the bytes parse to the same, they are a successor of what a client
// remembers, and every chain of the old file still opens what its key is in, or is stale.
func checkSuccessor(t *testing.T, f, next *File) {
	t.Helper()
	parsed := must[*File](t)(Parse(next.Encode()))
	if parsed.Hash() != next.Hash() || describe(parsed) != describe(next) {
		t.Error("the edited file does not parse to itself")
	}
	if err := parsed.CheckPin(f.Pin()); err != nil || next.Version() != f.Version()+1 {
		t.Errorf("not a successor: version %d, %v", next.Version(), err)
	}
	if err := f.CheckPin(next.Pin()); !errors.Is(err, ErrRollback) {
		t.Errorf("old file after the new one: %v", err)
	}
}

// After any number of edits every passphrase opens its groups, and the internal keys are the same for all members.
func TestGroupKeysAreShared(t *testing.T) {
	w := newWorld(t)
	f := must[*File](t)(w.f.Associate([]string{"staff"}, w.c, w.b, nil))
	f = must[*File](t)(f.Change(ctx, "b", w.a, long("new b"), true, nil, nextDay))
	f = must[*File](t)(f.Change(ctx, "c", w.c, long("new c"), false, w.a, nextDay))
	f = must[*File](t)(Parse(f.Encode()))
	chains := map[string]*Chain{"a": unlock(t, f, long("a")), "b": unlock(t, f, long("new b")), "c": unlock(t, f, long("new c"))}
	for name, c := range chains {
		if c.Name() != name {
			t.Errorf("passphrase of %s opens %s", name, c.Name())
		}
		for _, group := range c.Groups() {
			mine, _ := c.Group(group)
			theirs, _ := chains["a"].Group(group)
			if mine.Derive("x") != theirs.Derive("x") || !mine.Public().Equal(theirs.Public()) {
				t.Errorf("group %s: %s has another key", group, name)
			}
		}
	}
	for _, old := range []string{"b", "c"} {
		if _, err := f.Unlock(long(old), old); !errors.Is(err, ErrWrongPassphrase) {
			t.Errorf("old passphrase of %s: %v", old, err)
		}
	}
	info := f.List()[1]
	if !info.Created.Equal(aDay) || !info.Changed.Equal(nextDay) {
		t.Errorf("times after a change: %+v", info)
	}
}

func TestLastKeyAndLastMember(t *testing.T) {
	f, a := newStore(t)
	if _, err := f.Remove("first", a); !errors.Is(err, ErrLastKey) {
		t.Errorf("remove the last key: %v", err)
	}
	if _, err := f.Disassociate("first", []string{Root}, a); !errors.Is(err, ErrLastMember) {
		t.Errorf("remove root from the last: %v", err)
	}
	// With one key only, its name may be left out.
	g := must[*File](t)(f.Change(ctx, "", a, long("new"), false, nil, nextDay))
	a = unlock(t, g, long("new"))

	g = must[*File](t)(g.Add(ctx, a, "second", long("second"), nil, aDay))
	second := unlock(t, g, long("second"))
	g = must[*File](t)(g.CreateGroups([]string{"own"}, second, nil))
	if _, err := g.Remove("second", a); !errors.Is(err, ErrLastMember) {
		t.Errorf("remove the last of a group: %v", err)
	}
	if _, err := g.Disassociate("second", []string{"own"}, a); !errors.Is(err, ErrLastMember) {
		t.Errorf("remove a group from its last: %v", err)
	}
	g = must[*File](t)(g.Disassociate("second", []string{Root}, a))
	if _, err := g.Disassociate("first", []string{Root}, a); !errors.Is(err, ErrLastMember) {
		t.Errorf("remove root from its last: %v", err)
	}
	if _, err := g.Remove("first", a); !errors.Is(err, ErrLastMember) {
		t.Errorf("remove the last of root: %v", err)
	}
}

// An edit that lost the race is repeated as it is on the newer file, with the chains it has.
func TestEditAgainOnNewerFile(t *testing.T) {
	w := newWorld(t)
	newer := must[*File](t)(w.f.Add(ctx, w.b, "d", long("d"), nil, aDay))
	again := must[*File](t)(newer.CreateGroups([]string{"x"}, w.c, w.a))
	if got, want := describe(again), "a=everyone,root,staff b=everyone,root c=everyone,staff,x d=everyone,root"; got != want {
		t.Errorf("key store is %s, want %s", got, want)
	}
	// What has changed meanwhile is noticed: a removed key, another passphrase, no root any more.
	removed := must[*File](t)(w.f.Remove("b", w.a))
	changed := must[*File](t)(w.f.Change(ctx, "b", w.b, long("n"), false, nil, nextDay))
	demoted := must[*File](t)(w.f.Disassociate("b", []string{Root}, w.a))
	for _, test := range []struct {
		name string
		f    *File
		want error
	}{{"removed", removed, ErrStale}, {"changed", changed, ErrStale}, {"demoted", demoted, ErrNotRoot}} {
		if _, err := test.f.Add(ctx, w.b, "d", long("d"), nil, aDay); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if _, err := test.f.DestroyGroups([]string{"staff"}, w.b); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	// A chain learns of new groups without its passphrase.
	c := must[*Chain](t)(again.Refresh(w.c))
	if _, ok := c.Group("x"); !ok {
		t.Errorf("refreshed chain has %v", c.Groups())
	}
}

func TestEditStopsWithContext(t *testing.T) {
	w := newWorld(t)
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.f.Add(done, w.a, "d", long("d"), nil, aDay); !errors.Is(err, context.Canceled) {
		t.Errorf("add: %v", err)
	}
	if _, err := w.f.Change(done, "a", w.a, long("d"), false, nil, aDay); !errors.Is(err, context.Canceled) {
		t.Errorf("change: %v", err)
	}
}
