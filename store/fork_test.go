package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/enemy"
	"ensync/store/backend/memory"
	"ensync/store/block"
)

// forked is a store with the roots home and side, two commits in each, that two clients know; the enemy holds their lines.
type forked struct {
	*place
	alice, bob     *Store
	lineA, lineB   *enemy.Line
	storeA, storeB backend.Backend // the same until fork
	homeID, sideID string          // their heads
}

func newForked(t *testing.T) *forked {
	f := &forked{place: newPlace(t)}
	f.storeA = f.b
	f.storeB = f.b
	f.lineA, f.lineB = enemy.NewLine(f.b), enemy.NewLine(f.b)
	f.b = f.lineA
	f.alice = f.create(Params{})
	for _, name := range []string{"home", "side"} {
		r, err := f.alice.CreateRoot(t.Context(), name, 0o755)
		must(t, err)
		if name == "home" {
			f.homeID = headObject(r.info.ID)
		} else {
			f.sideID = headObject(r.info.ID)
		}
		must(t, f.commit(f.alice, name))
		must(t, f.commit(f.alice, name))
	}
	f.b = f.lineB
	f.bob = f.open("bob")
	must(t, f.read(f.bob, "home"))
	must(t, f.read(f.bob, "side"))
	return f
}

// fork gives bob a store of his own.
func (f *forked) fork() {
	f.storeB = memory.New()
	must(f.t, f.take(f.storeA).Put(f.t.Context(), f.storeB))
	f.lineB.Lead(f.storeB)
}

func (f *forked) take(b backend.Backend) enemy.State {
	f.t.Helper()
	s, err := enemy.Take(f.t.Context(), b)
	must(f.t, err)
	return s
}

// show lets bob see alice's state of one object, and all packs.
func (f *forked) show(name string) {
	f.t.Helper()
	both := f.take(f.storeA)
	for n, o := range f.take(f.storeB) {
		if _, ok := both[n]; !ok {
			both[n] = o
		}
	}
	must(f.t, both.Put(f.t.Context(), f.storeB, name, packPrefix, indexPrefix))
}

func (f *forked) commit(s *Store, name string) error {
	r, err := s.Root(f.t.Context(), name)
	if err != nil {
		return err
	}
	old, err := r.Head(f.t.Context())
	if err != nil {
		return err
	}
	w := begin(f.t, s)
	defer w.Close()
	g, err := r.ReadGroup()
	must(f.t, err)
	tree, err := w.PutTree(f.t.Context(), g, nil)
	must(f.t, err)
	_, err = r.Commit(f.t.Context(), w, old, tree, nil)
	return err
}

func (f *forked) read(s *Store, name string) error {
	s.ForgetEarly()
	r, err := s.Root(f.t.Context(), name)
	if err != nil {
		return err
	}
	_, err = r.Head(f.t.Context())
	return err
}

// TestAttack15Fork (the original's claim; formal model of eprint 2024/989): two clients are shown different histories of one
// root. When either meets what the other saw, it refuses, says whose commit told, and changes nothing.
func TestAttack15Fork(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(f *forked)
		want string
	}{
		{"two histories", func(f *forked) { must(t, f.commit(f.alice, "home")); must(t, f.commit(f.bob, "home")) }, "another"},
		{"two histories of unequal length", func(f *forked) {
			must(t, f.commit(f.alice, "home"))
			for range 3 {
				must(t, f.commit(f.bob, "home"))
			}
		}, "not in its history"},
		{"one root stands still", func(f *forked) { must(t, f.commit(f.alice, "home")) }, "which has commit 2 here"},
		{"the keys stand still", func(f *forked) { must(t, f.group(f.alice, "team")) }, "version 2 of object keys, which has version 1 here"},
		{"two key stores", func(f *forked) {
			must(t, f.group(f.alice, "team"))
			must(t, f.group(f.bob, "mob"))
			must(t, f.group(f.bob, "more"))
		}, "another version 2 of object keys"},
		{"the list of roots stands still", func(f *forked) { must(t, f.root(f.alice, "third")) }, "object roots/index, which has version"},
		{"two lists of roots", func(f *forked) {
			must(t, f.root(f.alice, "x"))
			must(t, f.root(f.bob, "y"))
			must(t, f.root(f.bob, "z"))
		},
			"of object roots/index than was here"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := newForked(t)
			f.fork()
			c.do(f)
			must(t, f.read(f.bob, "side"))
			must(t, f.commit(f.alice, "side")) // tells what alice saw
			f.show(f.sideID)
			before := f.take(f.storeB)
			for _, s := range []*Store{f.bob, f.open("bob")} {
				err := f.read(s, "side")
				wantErr(t, err, ErrFork)
				for _, want := range []string{c.want, "maker", "side", "store accept-rollback"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v does not say %q", err, want)
					}
				}
				if err := f.commit(s, "side"); !errors.Is(err, ErrFork) {
					t.Errorf("commit: %v", err)
				}
			}
			if st := f.bob.opt.Memory.Seen(f.id("side")); st.Refused.IsZero() {
				t.Error("the memory does not tell that the store is refused")
			}
			now := f.take(f.storeB)
			if fmt.Sprint(now.Names()) != fmt.Sprint(before.Names()) {
				t.Error("something was written")
			}
			// The explicit way out holds for what was told, and for nothing that is told later.
			s := f.open("bob")
			rb, err := s.Rollback(t.Context(), "side")
			must(t, err)
			if !rb.Older || !errors.Is(rb.Cause, ErrFork) {
				t.Fatalf("%+v", rb)
			}
			must(t, s.AcceptRollback(rb))
			must(t, f.read(s, "side"))
			must(t, f.read(f.open("bob"), "side"))
			must(t, f.commit(f.alice, "home"))
			must(t, f.commit(f.alice, "side"))
			f.show(f.sideID)
			wantErr(t, f.read(f.open("bob"), "side"), ErrFork)
		})
	}
}

func (f *forked) id(name string) [16]byte {
	r, err := f.alice.Root(f.t.Context(), name)
	must(f.t, err)
	return r.info.ID
}

func (f *forked) group(s *Store, name string) error {
	return s.EditKeys(f.t.Context(), func(k *keys.File) (*keys.File, error) {
		return k.CreateGroups([]string{name}, s.Keys(), s.Keys())
	})
}

func (f *forked) root(s *Store, name string) error {
	_, err := s.CreateRoot(f.t.Context(), name, 0o755)
	return err
}

// TestForkOfNestedRoot: what directories name is told of as well.
func TestForkOfNestedRoot(t *testing.T) {
	f := newForked(t)
	id := NewRootID()
	commit := func(s *Store, old Head) Head {
		r := s.Nested(RootInfo{ID: id, Name: "home/d.ensync[]", Read: keys.Everyone, Write: keys.Root})
		if old.root != id {
			old = r.Unborn()
		}
		w := begin(t, s)
		defer w.Close()
		g, err := r.ReadGroup()
		must(t, err)
		h, err := r.Commit(t.Context(), w, old, must2(w.PutTree(t.Context(), g, nil)), nil)
		must(t, err)
		return h
	}
	h := commit(f.alice, Head{})
	f.fork()
	commit(f.alice, h)
	must(t, f.commit(f.alice, "side"))
	f.show(f.sideID)
	err := f.read(f.bob, "side")
	wantErr(t, err, ErrFork)
	if want := fmt.Sprintf("commit 2 of root %q", headObject(id)); !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %q", err, want)
	}
	f.show(headObject(id))
	must(t, f.read(f.bob, "side"))
}

// TestWitnessIsPassedOn: who was told, tells others.
func TestWitnessIsPassedOn(t *testing.T) {
	f := newForked(t)
	carol := f.open("carol")
	must(t, f.read(carol, "side"))
	was := f.take(f.storeA)
	must(t, f.commit(f.alice, "home"))
	must(t, f.commit(f.alice, "side"))
	must(t, f.commit(f.bob, "side")) // bob did not look at home himself
	must(t, was.Put(t.Context(), f.storeA, f.homeID))
	wantErr(t, f.read(f.open("carol"), "side"), ErrFork)
}

// TestLookAround: who syncs one root only tells of the others, too, and notices when they are shown as they were.
func TestLookAround(t *testing.T) {
	f := newForked(t)
	was := f.take(f.storeA)
	must(t, f.commit(f.alice, "home"))
	dave := f.open("dave")
	must(t, f.commit(dave, "side"))
	must(t, dave.opt.Memory.update(func(d *memoryData) bool { d.Upkeep = time.Time{}; return true }))
	must(t, dave.Upkeep(t.Context()))
	must(t, f.commit(dave, "side"))
	must(t, was.Put(t.Context(), f.storeA, f.homeID))
	wantErr(t, f.read(f.open("erin"), "side"), ErrFork)
	must(t, dave.opt.Memory.update(func(d *memoryData) bool { d.Upkeep = time.Time{}; return true }))
	wantErr(t, dave.Upkeep(t.Context()), ErrRollback)
	if dave.opt.Memory.Kept().Refused.IsZero() {
		t.Error("the memory does not tell")
	}
}

// TestNoFalseAlarm: clients that work on the same store in any order never contradict each other, and what is told costs no
// request when it is known.
func TestNoFalseAlarm(t *testing.T) {
	f := newForked(t)
	for i := range 6 {
		for _, s := range []*Store{f.alice, f.bob} {
			must(t, f.commit(s, []string{"home", "side"}[i%2]))
			if i == 2 {
				must(t, f.root(s, fmt.Sprintf("new %d %s", i, s.opt.Client)))
			}
			if i == 3 {
				must(t, f.group(s, fmt.Sprintf("group %d %s", i, s.opt.Client)))
			}
		}
	}
	must(t, f.read(f.alice, "home"))
	must(t, f.read(f.alice, "side"))
	must(t, f.read(f.open("dave"), "side"))
	must(t, f.commit(f.bob, "side"))
	f.lineA.Forget()
	must(t, f.read(f.alice, "side"))
	loads := 0
	for _, c := range f.lineA.Calls() {
		if strings.HasPrefix(c, "Load ") {
			loads++
		}
	}
	if loads > 3 { // the head, the list, and the root that bob told of
		t.Errorf("%d requests: %q", loads, f.lineA.Calls())
	}
}

// TestAttack16Freeze: a store that does not take what it acknowledges, or shows it no more, is refused; one that stands
// still for one client alone is told by the age of what others did, and by a fingerprint to compare.
func TestAttack16Freeze(t *testing.T) {
	f := newForked(t)
	frozen := memory.New()
	must(t, f.take(f.storeA).Put(t.Context(), frozen))
	// Bob's commit is acknowledged, and never seen again.
	must(t, f.commit(f.bob, "home"))
	f.lineB.Lead(frozen)
	wantErr(t, f.read(f.bob, "home"), ErrRollback)

	g := newForked(t)
	g.fork()
	must(t, g.commit(g.alice, "home"))
	must(t, g.read(g.bob, "home")) // nothing here contradicts
	a, b := g.alice.opt.Memory.Seen(g.id("home")), g.bob.opt.Memory.Seen(g.id("home"))
	if a.Fingerprint() == b.Fingerprint() || a.Fingerprint() == "" {
		t.Errorf("fingerprints %q and %q", a.Fingerprint(), b.Fingerprint())
	}
	if b.OthersMade.IsZero() || time.Since(b.OthersSeen) > time.Minute || !a.OthersMade.IsZero() {
		t.Errorf("alice knows of commits of others at %v, bob at %v", a.OthersMade, b.OthersMade)
	}
}

// TestWitnessOfManyRoots: a commit tells of so many roots and no more.
func TestWitnessOfManyRoots(t *testing.T) {
	f := newForked(t)
	mem := f.alice.opt.Memory
	must(t, mem.update(func(d *memoryData) bool {
		for i := range 3 * maxWitnessed {
			id := block.ID([32]byte{byte(i)})
			d.Roots[fmt.Sprintf("%x", id[:16])] = rootSeen{Seq: 1 << 61, Commit: id[:]}
		}
		return true
	}))
	w := f.alice.witness([16]byte{})
	if len(w.roots) != maxWitnessed {
		t.Errorf("%d roots are told of", len(w.roots))
	}
	if n := len(w.append(nil)); n > maxPrivate-1024 {
		t.Errorf("a witness has %d bytes", n)
	}
	must(t, f.commit(f.alice, "home"))
	must(t, f.read(f.bob, "home")) // roots that are in no list are no contradiction
}
