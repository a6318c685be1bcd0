package manual

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"ensync/engine/replica"
	"ensync/store"
	"ensync/store/object"
)

// Mkdir makes a directory in an existing one, or a root in the physical root. mode is the low 12 bits of st_mode.
func (s *Store) Mkdir(ctx context.Context, path string, mode uint32) error {
	p := s.parse(path)
	if p.isPhysical() {
		return p.errorf("make directory", fs.ErrExist)
	}
	if p.isRoot() {
		_, err := s.store.CreateRoot(ctx, p.root(), mode)
		if errors.Is(err, store.ErrRootExists) {
			err = p.errorf("make directory", fs.ErrExist)
		}
		return err
	}
	err := s.change(ctx, p.root(), func(t *tree) error {
		if err := s.mustBeDirectory(ctx, p.parent()); err != nil {
			return err
		}
		return t.mkdir(ctx, p.parent().inside(), p.base(), mode)
	})
	if err != nil {
		return p.errorf("make directory", err)
	}
	return nil
}

func (s *Store) mustBeDirectory(ctx context.Context, p place) error {
	e, err := s.find(ctx, p)
	if err == nil && e.Kind != object.Directory {
		err = ErrNotDirectory
	}
	return err
}

// mkdir makes a directory of a new name.
func (t *tree) mkdir(ctx context.Context, dir, name string, mode uint32) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, there, err := t.entry(ctx, dir, name); err != nil || there {
		return errors.Join(err, exists(there))
	}
	e := directory(name, mode)
	return t.apply(ctx, dir, replica.Change{New: &e})
}

func exists(there bool) error {
	if there {
		return fs.ErrExist
	}
	return nil
}

// checkName refuses names that no client would take.
func checkName(name string) error {
	if !object.ValidName(name) {
		return fmt.Errorf("%q is no name that a file can have", name)
	}
	if replica.Reserved(name) {
		return fmt.Errorf("the name %q is reserved", name)
	}
	return nil
}

// entry returns the entry of a name, and whether there is one.
func (t *tree) entry(ctx context.Context, dir, name string) (object.Entry, bool, error) {
	list, err := t.List(ctx, dir)
	if errors.Is(err, replica.ErrNotExist) {
		err = fs.ErrNotExist
	}
	for _, e := range list {
		if e.Name == name {
			return e, true, nil
		}
	}
	return object.Entry{}, false, err
}

// Rmdir removes an empty directory, or an empty root.
func (s *Store) Rmdir(ctx context.Context, path string) error {
	p := s.parse(path)
	err := s.rmdir(ctx, p)
	if err != nil {
		return p.errorf("remove directory", err)
	}
	return nil
}

func (s *Store) rmdir(ctx context.Context, p place) error {
	if p.isPhysical() {
		return ErrPhysicalRoot
	}
	empty := func() error {
		if err := s.mustBeDirectory(ctx, p); err != nil {
			return err
		}
		list, err := s.list(ctx, p)
		if err == nil && len(list) > 0 {
			err = ErrNotEmpty
		}
		return err
	}
	if p.isRoot() {
		if err := empty(); err != nil {
			return err
		}
		return errors.Join(s.store.RemoveRoot(ctx, p.root()), s.forget(p.root()))
	}
	return s.change(ctx, p.root(), func(t *tree) error {
		if err := empty(); err != nil {
			return err
		}
		e, _, err := t.entry(ctx, p.parent().inside(), p.base())
		if err != nil {
			return err
		}
		return t.apply(ctx, p.parent().inside(), replica.Change{Old: &e})
	})
}

// Remove removes what is not a directory, and with recursive a directory with all in it, or a whole root. It is one
// step: after an error nothing is removed. It returns the removed paths, those in a directory before the directory.
func (s *Store) Remove(ctx context.Context, path string, recursive bool) ([]string, error) {
	p := s.parse(path)
	s.unsealed = true // that is the way to be rid of it
	var gone []string
	err := func() error {
		if p.isPhysical() || path == "" {
			return ErrPhysicalRoot
		}
		e, err := s.find(ctx, p)
		if err != nil {
			return err
		}
		if e.Kind == object.Directory && !recursive {
			return fmt.Errorf("%w; remove it with -r", ErrIsDirectory)
		}
		err = s.change(ctx, p.root(), func(t *tree) error {
			gone = gone[:0]
			return s.remove(ctx, t, p, &gone)
		})
		if err == nil && p.isRoot() {
			gone = append(gone, p.text)
			err = errors.Join(s.store.RemoveRoot(ctx, p.root()), s.forget(p.root()))
		}
		return err
	}()
	if err != nil {
		return nil, p.errorf("remove", err)
	}
	return gone, nil
}

// remove empties a directory and removes it, or removes anything else. A root is only emptied.
func (s *Store) remove(ctx context.Context, t *tree, p place, gone *[]string) error {
	e, err := s.find(ctx, p)
	if err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if e.Kind == object.Directory {
		list, err := s.list(ctx, p)
		if err != nil {
			return err
		}
		var changes []replica.Change
		for _, c := range list {
			if c.Kind != object.Directory {
				changes = append(changes, replica.Change{Old: &c})
				*gone = append(*gone, p.child(c.Name).text)
			} else if err := s.remove(ctx, t, p.child(c.Name), gone); err != nil {
				return err
			}
		}
		for _, r := range t.Apply(ctx, p.inside(), changes) {
			if r.Err != nil {
				return r.Err
			}
		}
	}
	if p.isRoot() {
		return nil
	}
	*gone = append(*gone, p.text)
	if e, _, err = t.entry(ctx, p.parent().inside(), p.base()); err != nil {
		return err
	}
	return t.apply(ctx, p.parent().inside(), replica.Change{Old: &e})
}
