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
	t.mu.Lock()
	head := t.head
	t.mu.Unlock()
	now, err := t.treeOf(ctx, head.Tree, dir)
	if err != nil {
		return object.Author{}, fmt.Errorf("look for the author of %q: %w", replica.Join(dir, e.Name), err)
	}
	for range maxBack {
		before, ok, err := t.store.Parent(ctx, head)
		if err != nil || !ok {
			return head.Author, err // the first commit made everything
		}
		was, err := t.treeOf(ctx, before.Tree, dir)
		if err != nil {
			return object.Author{}, err
		}
		if was != now {
			same, err := t.holds(ctx, was, e)
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
func (t *Tree) treeOf(ctx context.Context, tree object.Tree, dir string) (object.Tree, error) {
	if dir == "" || tree.IsZero() {
		return tree, nil
	}
	name, rest, _ := strings.Cut(dir, "/")
	list, err := t.store.ReadTree(ctx, tree)
	if err != nil {
		return object.Tree{}, err
	}
	for _, e := range list {
		if e.Name == name {
			return t.treeOf(ctx, e.Tree, rest) // zero if it is no directory
		}
	}
	return object.Tree{}, nil
}

// holds reports whether a stored directory has an entry as it is.
func (t *Tree) holds(ctx context.Context, tree object.Tree, e replica.Entry) (bool, error) {
	if tree.IsZero() {
		return false, nil
	}
	list, err := t.store.ReadTree(ctx, tree)
	for _, was := range list {
		if was.Name == e.Name {
			return was.SameContent(e) && was.Tree == e.Tree, nil
		}
	}
	return false, err
}

// Peek implements replica.Peeker.
func (t *Tree) Peek(ctx context.Context, dir string, e replica.Entry) ([]replica.Entry, error) {
	tree := e.Tree
	if dir == "" {
		t.mu.Lock()
		tree = t.head.Tree
		t.mu.Unlock()
	}
	if tree.IsZero() {
		return nil, nil
	}
	return t.store.ReadTree(ctx, tree)
}
