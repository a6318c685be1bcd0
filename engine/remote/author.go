package remote

import (
	"context"
	"fmt"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

var (
	_ replica.Historian = (*Tree)(nil)
	_ replica.Peeker    = (*Tree)(nil)
)

// maxBack is how many commits Author looks back. Who asks has usually synced not long ago.
const maxBack = 256

// Author implements replica.Historian: it goes back through the history to the last commit that made the entry what it is.
func (t *Tree) Author(ctx context.Context, dir string, e replica.Entry) (object.Author, error) {
	r := t.realmOf(dir)
	if r == nil || r.err != nil {
		return object.Author{}, nil
	}
	inside := strings.TrimPrefix(strings.TrimPrefix(dir, r.root.Path), "/")
	t.mu.Lock()
	head := r.head
	t.mu.Unlock()
	now, err := t.treeOf(ctx, r, head.Tree, inside)
	if err != nil {
		return object.Author{}, fmt.Errorf("look for the author of %q: %w", replica.Join(dir, e.Name), err)
	}
	for range maxBack {
		before, ok, err := t.store.Parent(ctx, r.root, head)
		if err != nil || !ok {
			return head.Author, err // the first commit made everything
		}
		was, err := t.treeOf(ctx, r, before.Tree, inside)
		if err != nil {
			return object.Author{}, err
		}
		if was != now {
			same, err := t.holds(ctx, r, was, e)
			if err != nil || !same {
				return head.Author, err
			}
			now = was
		}
		head = before
	}
	return object.Author{}, nil
}

// treeOf returns the stored directory of a path below a stored tree; zero if there is none.
func (t *Tree) treeOf(ctx context.Context, r *realm, tree object.Tree, dir string) (object.Tree, error) {
	if dir == "" || tree.IsZero() {
		return tree, nil
	}
	name, rest, _ := strings.Cut(dir, "/")
	list, err := t.store.ReadTree(ctx, r.root, tree)
	if err != nil {
		return object.Tree{}, err
	}
	for _, e := range list {
		if e.Name == name {
			return t.treeOf(ctx, r, e.Tree, rest) // zero if it is no directory
		}
	}
	return object.Tree{}, nil
}

// holds reports whether a stored directory has an entry as it is.
func (t *Tree) holds(ctx context.Context, r *realm, tree object.Tree, e replica.Entry) (bool, error) {
	if tree.IsZero() {
		return false, nil
	}
	list, err := t.store.ReadTree(ctx, r.root, tree)
	for _, was := range list {
		if was.Name == e.Name {
			return was.SameContent(e) && was.Tree == e.Tree && was.Root == e.Root, nil
		}
	}
	return false, err
}

// realmOf returns the realm of a directory; nil if that was not opened.
func (t *Tree) realmOf(dir string) *realm {
	d, err := t.Domain(dir)
	if err != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.realms {
		if r.root.Path == d.Top {
			return r
		}
	}
	return nil
}

// Peek implements replica.Peeker. Of what this client may not read it shows nothing.
func (t *Tree) Peek(ctx context.Context, dir string, e replica.Entry) ([]replica.Entry, error) {
	d, err := t.Domain(dir)
	if err != nil || checkDepth(dir) != nil { // whoever enters it is told
		return nil, ctx.Err()
	}
	root := Root{ID: e.Root, Path: d.Top, Read: d.Read, Write: d.Write}
	if dir == "" {
		root.ID = t.store.Top().ID
	}
	tree := e.Tree
	if dir == "" || e.Root != (object.RootID{}) {
		r := t.getRealms(ctx, []Root{root})[0]
		if r.err != nil {
			return nil, ctx.Err()
		}
		tree = r.head.Tree
	}
	if tree.IsZero() {
		return nil, nil
	}
	return t.store.ReadTree(ctx, root, tree)
}
