package store

import (
	"errors"
	"testing"

	"ensync/store/object"
)

// TestNestedRollback puts an older head of a root that a directory names back: it is refused, until its user accepts that.
func TestNestedRollback(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{BlockSize: 4096})
	_, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	r := s.Nested(RootInfo{ID: NewRootID(), Name: "home/x", Read: "everyone", Write: "root"})
	w, err := s.Begin(t.Context())
	must(t, err)
	defer w.Close()
	group, err := r.ReadGroup()
	must(t, err)
	head, old := r.Unborn(), []byte(nil)
	for _, target := range []string{"one", "two"} {
		tree, err := w.ReplaceTree(t.Context(), group, object.Tree{}, []object.Entry{{Name: "l", Kind: object.Symlink, Target: target}})
		must(t, err)
		head, err = r.Commit(t.Context(), w, head, tree, nil)
		must(t, err)
		if old == nil {
			old, _, err = s.b.Load(t.Context(), headObject(r.info.ID))
			must(t, err)
		}
	}
	must(t, s.swap(t.Context(), headObject(r.info.ID), head.object, old))
	if _, errs := s.Heads(t.Context(), []*Root{r}); !errors.Is(errs[0], ErrRollback) {
		t.Fatalf("an older head: %v", errs[0])
	}
	rb, err := s.Rollback(t.Context(), "home")
	must(t, err)
	if !rb.Older || !errors.Is(rb.Cause, ErrRollback) {
		t.Fatalf("%+v", rb)
	}
	must(t, s.AcceptRollback(rb))
	heads, errs := s.Heads(t.Context(), []*Root{r})
	must(t, errs[0])
	if heads[0].Seq != 1 {
		t.Errorf("commit %d", heads[0].Seq)
	}
	// A name that tells another group does not make a head that one of that group.
	other := s.Nested(RootInfo{ID: r.info.ID, Name: "home/x", Read: "everyone", Write: "everyone"})
	if _, errs := s.Heads(t.Context(), []*Root{other}); !errors.Is(errs[0], ErrDamaged) {
		t.Errorf("a head that the group did not sign: %v", errs[0])
	}
}
