package manual

import (
	"context"
	"errors"
	"io/fs"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Keep is which version of a conflict copy's file is kept.
type Keep uint8

// The versions.
const (
	KeepOriginal Keep = iota // what has the name: the copy is removed
	KeepCopy                 // the copy: it gets the name, and what had it is removed
	KeepBoth                 // both, as they are: the copy is one no longer
)

// ErrNoCopy says that an entry is no conflict copy.
var ErrNoCopy = errors.New("not a conflict copy")

// ErrNotSeen says that another machine was faster than a decision.
var ErrNotSeen = errors.New("another machine changed it since the last sync here; sync, look at it, and decide again")

// Seen are the versions (object.Entry.Version) that were decided on; empty where nobody knows.
type Seen struct{ Copy, Original string }

// Resolve settles what became of a conflict; path names the copy. It is one step: after an error nothing is changed.
func (s *Store) Resolve(ctx context.Context, path string, keep Keep, seen Seen) error {
	p := s.parse(path)
	if p.isPhysical() || p.isRoot() {
		return p.errorf("resolve", ErrNoCopy)
	}
	dir := p.parent()
	err := s.change(ctx, p.root(), func(t *tree) error {
		e, there, err := t.entry(ctx, dir.inside(), p.base())
		if err != nil || !there {
			return errors.Join(err, missing(there))
		}
		c, ok := e.Copy()
		if !ok {
			return ErrNoCopy
		}
		original, there, err := t.entry(ctx, dir.inside(), c.Of)
		if err != nil {
			return err
		}
		if keep != KeepBoth && !(isVersion(seen.Copy, e) && isVersion(seen.Original, original)) {
			return ErrNotSeen
		}
		none := &object.Copy{}
		switch keep {
		case KeepOriginal:
			return s.remove(ctx, t, p, new([]string))
		case KeepBoth:
			return t.apply(ctx, dir.inside(), replica.Change{Old: &e, New: &e, Copy: none})
		}
		if there {
			if err := s.remove(ctx, t, dir.child(c.Of), new([]string)); err != nil {
				return err
			}
		}
		return t.apply(ctx, dir.inside(), replica.Change{Old: &e, Rename: c.Of, Copy: none})
	})
	if err != nil {
		return p.errorf("resolve", err)
	}
	return nil
}

func isVersion(seen string, e object.Entry) bool { return seen == "" || seen == e.Version() }

func missing(there bool) error {
	if there {
		return nil
	}
	return fs.ErrNotExist
}
