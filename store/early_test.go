package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/link"
	"ensync/store/object"
)

// known makes a store with a root that has two commits, of which client "reader" has seen the newest.
func known(t *testing.T) (*place, *Root, *Session) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	w := begin(t, s)
	for i := range byte(2) {
		commitTree(t, r, w, putFile(t, w, "f", []byte{i}))
	}
	_, _, err = headOf(t.Context(), p.open("reader"))
	must(t, err)
	return p, r, w
}

func headOf(ctx context.Context, s *Store) (*Root, Head, error) {
	r, err := s.Root(ctx, "home")
	if err != nil {
		return nil, Head{}, err
	}
	h, err := r.Head(ctx)
	return r, h, err
}

// TestOneRoundTrip: all that a client which knows the store asks before it knows that nothing has changed goes out at once.
func TestOneRoundTrip(t *testing.T) {
	p, _, _ := known(t)
	far := link.Wrap(p.b, link.Line{})
	p.b = far
	far.Hold(3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Open(ctx, p.b, pass, p.options("reader"))
	must(t, err)
	defer s.Close()
	_, h, err := headOf(ctx, s)
	must(t, err)
	if got := far.Traffic(); got.Loads != 3 || got.Gets+got.Lists != 0 || got.Depth != 1 || h.Seq != 2 {
		t.Errorf("commit %d: %+v", h.Seq, got)
	}
}

// TestEarlyHeadIsOld: between the early question and its use, another process of the same client commits. Were the
// early answer taken, what that process brought into the store would look removed from it.
func TestEarlyHeadIsOld(t *testing.T) {
	p, _, _ := known(t)
	slow := p.open("reader") // has asked
	slow.early.asking.Wait()
	quick := p.open("reader")
	r, _, err := headOf(t.Context(), quick)
	must(t, err)
	w := begin(t, quick)
	commitTree(t, r, w, putFile(t, w, "g", []byte("new")))
	_, h, err := headOf(t.Context(), slow)
	must(t, err)
	if h.Seq != 3 {
		t.Errorf("shown commit %d, where the client has made commit 3", h.Seq)
	}
	if _, h, err = headOf(t.Context(), slow); err != nil || h.Seq != 3 {
		t.Errorf("then commit %d, %v", h.Seq, err)
	}
}

// TestForgetEarly: a store that stays open shows what another client has committed since it was opened.
func TestForgetEarly(t *testing.T) {
	p, r, w := known(t)
	stays := p.open("reader") // has asked
	stays.early.asking.Wait()
	commitTree(t, r, w, putFile(t, w, "g", []byte("new")))
	stays.ForgetEarly()
	if _, h, err := headOf(t.Context(), stays); err != nil || h.Seq != 3 {
		t.Errorf("shown commit %d, %v, where another client has made commit 3", h.Seq, err)
	}
}

// TestEarlyRollback: what is asked early is checked like everything else.
func TestEarlyRollback(t *testing.T) {
	p, r, w := known(t)
	old := snap(t, p.b)
	commitTree(t, r, w, putFile(t, w, "f", []byte("three")))
	_, _, err := headOf(t.Context(), p.open("reader"))
	must(t, err)
	p.b = old.backend(t, "", nil)
	_, _, err = headOf(t.Context(), p.open("reader"))
	wantErr(t, err, ErrRollback)
}

// TestFormatIsLookedFor: a client that has a copy of the format looks for the object now and then, and whenever
// something else is wrong.
func TestFormatIsLookedFor(t *testing.T) {
	p, _, _ := known(t)
	all := snap(t, p.b)
	try := func(b backend.Backend) error {
		s, err := Open(t.Context(), b, pass, p.options("reader"))
		if err == nil {
			err = s.Close()
		}
		return err
	}
	must(t, try(all.backend(t, formatObject, nil))) // was there a moment ago
	b := all.backend(t, formatObject, nil)
	must(t, b.Delete(t.Context(), keysObject))
	err := try(b)
	wantErr(t, err, ErrMissing)
	if !strings.Contains(err.Error(), "object format") {
		t.Errorf("%v does not name the format", err)
	}
	other := newPlace(t)
	other.create(Params{})
	err = try(other.b)
	wantErr(t, err, ErrForeign)
	if !strings.Contains(err.Error(), "another store lies at this address") {
		t.Errorf("%v does not say that it is another store", err)
	}
	m := p.options("reader").Memory
	must(t, m.update(func(d *memoryData) bool { d.FormatSeen = time.Now().Add(-2 * formatEvery); return true }))
	err = try(all.backend(t, formatObject, nil))
	wantErr(t, err, ErrMissing)
	must(t, try(p.b))
	if !p.options("reader").Memory.formatIsFresh() {
		t.Error("that the format was seen is not remembered")
	}
}

// TestReplaceTree: what a directory keeps is not looked for again, however many packs it lies in.
func TestReplaceTree(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	g, err := r.ReadGroup()
	must(t, err)
	entries := manyEntries(20_000)
	w := begin(t, s)
	var tree object.Tree
	for i := range 5 { // as many packs
		entries[4000*i].Mode ^= 1
		tree, err = w.ReplaceTree(t.Context(), g, tree, entries)
		must(t, err)
		must(t, w.Flush(t.Context()))
	}
	empty, err := r.Head(t.Context())
	must(t, err)
	head, err := r.Commit(t.Context(), w, empty, tree, nil)
	must(t, err)
	must(t, w.Close())

	far := link.Wrap(p.b, link.Line{})
	p.b = far
	o := p.open("maker")
	r, head, err = headOf(t.Context(), o)
	must(t, err)
	_, err = o.ReadTree(t.Context(), g, head.Tree)
	must(t, err)
	ow := begin(t, o)
	far.Reset()
	entries[7].Mode ^= 1
	next, err := ow.ReplaceTree(t.Context(), g, head.Tree, entries)
	must(t, err)
	_, err = r.Commit(t.Context(), ow, head, next, nil)
	must(t, err)
	if got := far.Traffic(); got.Gets > 2 || got.Puts != 2 { // the commit's parents are read
		t.Errorf("%+v", got)
	}
	far.Reset()
	if _, err = ow.PutTree(t.Context(), g, manyEntries(20_000)); err != nil || far.Traffic().Gets == 0 {
		t.Errorf("blocks of which nobody says that they are there are not looked for: %v", err)
	}
	if got, err := o.ReadTree(t.Context(), g, next); err != nil || len(got) != len(entries) {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// TestEarlyListIsOld: between the early question and its use, this client creates a root, here or in another process.
// Were the early answer taken, it would look like a list from before.
func TestEarlyListIsOld(t *testing.T) {
	p, _, _ := known(t)
	here, there := p.open("reader"), p.open("reader") // both have asked
	_, err := here.CreateRoot(t.Context(), "work", 0o755)
	must(t, err)
	for _, s := range []*Store{here, there} {
		_, err := s.Root(t.Context(), "work")
		must(t, err)
	}
}
