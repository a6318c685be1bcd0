// Package manual reads and changes the trees of a store by hand: ls, cat, get, put, mkdir, rmdir and rm, with no tree on
// this machine (reference 1.3 and 1.14). What it changes, the next sync of each machine sees as a change elsewhere.
//
// A path that starts with '/' begins at the physical root, the list of all roots; any other begins in one root, the
// logical one. Empty parts and "." are left out, except for a "." at the start of a relative path: that one, and "..",
// are names like any other.
package manual

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"ensync/engine/remote"
	"ensync/engine/replica"
	"ensync/store"
	"ensync/store/object"
)

// The failures that callers tell apart, besides fs.ErrNotExist and fs.ErrExist.
var (
	ErrNotDirectory = errors.New("not a directory")
	ErrIsDirectory  = errors.New("is a directory")
	ErrNotEmpty     = errors.New("directory is not empty")
	ErrPhysicalRoot = errors.New("this can't be done to the list of all trees")
)

// Store is the trees of a store. It is not for concurrent use.
type Store struct {
	store *store.Store
	root  string // where relative paths begin
	open  map[string]*tree

	unsealed bool // directories whose names tell groups, but that are not stored for them, are entered too
}

// tree is one root that is being used.
type tree struct {
	*remote.Tree
	root *remote.Encrypted
	old  bool // looked at for an earlier change
}

// New returns the trees of an open store. Relative paths begin in the root of that name, which needs to exist only when
// one is used.
func New(s *store.Store, root string) *Store {
	return &Store{store: s, root: root, open: map[string]*tree{}}
}

// Close gives back what was opened. The store stays open.
func (s *Store) Close() error {
	var err error
	for _, t := range s.open {
		err = errors.Join(err, t.root.Close())
	}
	return err
}

// tree opens a root, as it is committed now or was when it was first used.
func (s *Store) tree(ctx context.Context, root string) (*tree, error) {
	if t := s.open[root]; t != nil {
		return t, nil
	}
	r, err := remote.OpenRoot(ctx, s.store, root)
	if errors.Is(err, store.ErrNoRoot) {
		return nil, fmt.Errorf("open /%s: %w", root, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	view, err := remote.Open(ctx, r)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if s.unsealed {
		view.EnterUnsealed()
	}
	s.open[root] = &tree{Tree: view, root: r}
	return s.open[root], nil
}

// forget drops a root that was removed.
func (s *Store) forget(root string) error {
	t := s.open[root]
	delete(s.open, root)
	if t == nil {
		return nil
	}
	return t.root.Close()
}

// A place is what a path names: parts[0] is a root, the others lie below it. Without parts it is the physical root.
type place struct {
	text  string // as given, for messages
	parts []string
}

func (s *Store) parse(path string) place {
	p := place{text: path}
	if !strings.HasPrefix(path, "/") {
		p.parts = append(p.parts, s.root)
	}
	for i, part := range strings.Split(path, "/") {
		if part == "" || part == "." && i > 0 {
			continue
		}
		p.parts = append(p.parts, part)
	}
	return p
}

func (p place) isPhysical() bool { return len(p.parts) == 0 }
func (p place) isRoot() bool     { return len(p.parts) == 1 }

// root is the name of the root, and inside the path in it.
func (p place) root() string   { return p.parts[0] }
func (p place) inside() string { return strings.Join(p.parts[1:], "/") }

// base is the last part.
func (p place) base() string { return p.parts[len(p.parts)-1] }

// parent is the place without its last part.
func (p place) parent() place {
	return place{text: p.text, parts: p.parts[:len(p.parts)-1]}
}

// child is a place below.
func (p place) child(name string) place {
	parts := append(p.parts[:len(p.parts):len(p.parts)], name)
	text := name
	if p.text != "" {
		text = strings.TrimSuffix(p.text, "/") + "/" + name
	}
	return place{text: text, parts: parts}
}

// errorf is an error about the place.
func (p place) errorf(what string, err error) error {
	return fmt.Errorf("%s %s: %w", what, p.text, err)
}

// directory is the entry that stands for a physical or logical root.
func directory(name string, mode uint32) object.Entry {
	return object.Entry{Name: name, Kind: object.Directory, Mode: mode}
}

// find returns the entry at a place; fs.ErrNotExist if there is none, ErrNotDirectory if the way leads through one that
// is none.
func (s *Store) find(ctx context.Context, p place) (object.Entry, error) {
	switch {
	case p.isPhysical():
		return directory("/", 0o700), nil
	case p.isRoot():
		infos, err := s.store.Roots(ctx)
		if err != nil {
			return object.Entry{}, err
		}
		for _, i := range infos {
			if i.Name == p.root() {
				return directory(i.Name, i.Mode), nil
			}
		}
		return object.Entry{}, fs.ErrNotExist
	}
	up, err := s.find(ctx, p.parent())
	if err != nil {
		return object.Entry{}, err
	}
	if up.Kind != object.Directory {
		return object.Entry{}, ErrNotDirectory
	}
	list, err := s.list(ctx, p.parent())
	if err != nil {
		return object.Entry{}, err
	}
	for _, e := range list {
		if e.Name == p.base() {
			return e, nil
		}
	}
	return object.Entry{}, fs.ErrNotExist
}

// list returns the entries of a directory, sorted by name.
func (s *Store) list(ctx context.Context, p place) ([]object.Entry, error) {
	if p.isPhysical() {
		infos, err := s.store.Roots(ctx)
		list := make([]object.Entry, len(infos))
		for i, info := range infos {
			list[i] = directory(info.Name, info.Mode)
		}
		return list, err
	}
	t, err := s.tree(ctx, p.root())
	if err != nil {
		return nil, err
	}
	list, err := t.List(ctx, p.inside())
	if errors.Is(err, replica.ErrNotExist) {
		err = fs.ErrNotExist
	}
	return list, err
}

// List returns the entries of a directory, or the entry itself of anything else, sorted by name.
func (s *Store) List(ctx context.Context, path string) ([]object.Entry, error) {
	p := s.parse(path)
	e, err := s.find(ctx, p)
	if err == nil && e.Kind != object.Directory {
		return []object.Entry{e}, nil
	}
	var list []object.Entry
	if err == nil {
		list, err = s.list(ctx, p)
	}
	if err != nil {
		return nil, p.errorf("list", err)
	}
	return list, nil
}

// maxRounds bounds how often a change is tried again because other machines were faster.
const maxRounds = 16

// change edits one root, as it is committed now, and commits. When another machine was faster, edit is called anew on what that one made. After an
// error nothing is changed.
func (s *Store) change(ctx context.Context, root string, edit func(*tree) error) error {
	t, err := s.tree(ctx, root)
	if err != nil {
		return err
	}
	if t.old {
		if err := t.Refresh(ctx); err != nil {
			return err
		}
	}
	t.old = true
	for range maxRounds {
		if err = edit(t); err == nil {
			err = t.Commit(ctx, func([]replica.Part) error { return nil })
		}
		if !errors.Is(err, replica.ErrLost) {
			break
		}
	}
	if err != nil {
		return errors.Join(err, t.Refresh(ctx))
	}
	return nil
}

// apply carries out one change of one directory.
func (t *tree) apply(ctx context.Context, dir string, c replica.Change) error {
	return t.Apply(ctx, dir, []replica.Change{c})[0].Err
}
