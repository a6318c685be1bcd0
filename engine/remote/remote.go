// Package remote is a tree in the store as a replica: the committed tree, and changes on top of it that become visible
// in one step.
//
// Directories are loaded when they are looked at and forgotten when the reconciler leaves them; a changed one is then
// already written to the store, under a name that nobody knows before the commit. So memory holds the directories
// between the root and those being worked on, whatever the size of the tree.
package remote

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Head is the state of a root that was committed last.
type Head struct {
	Tree   object.Tree
	Author object.Author // who committed it, and when
	// State is what the store wants back to replace this head; opaque here.
	State any
}

// Store is what this package needs of one root in a store. Methods may be called concurrently.
type Store interface {
	// Head returns the committed state. It never returns an older one than it did before.
	Head(ctx context.Context) (Head, error)
	// ReadTree returns the entries of a stored directory, sorted by name.
	ReadTree(ctx context.Context, t object.Tree) ([]object.Entry, error)
	// OpenContent reads and verifies content.
	OpenContent(ctx context.Context, c object.Content) (io.ReadCloser, error)

	// PutContent stores content; it is durable from the next Commit on.
	PutContent(ctx context.Context, r io.Reader) (object.Content, error)
	// Adopt reports whether all of a content is in the store already, so that PutContent can be left out.
	Adopt(ctx context.Context, c object.Content) (bool, error)
	// PutTree stores a directory, like PutContent. old is the committed one whose place it takes, or one that was put
	// since; zero if there is none.
	PutTree(ctx context.Context, old object.Tree, entries []object.Entry) (object.Tree, error)
	// Commit makes what was put durable, calls prepare with a tag, and replaces the head by one with this tree.
	// replica.ErrLost if the head is no longer old.
	Commit(ctx context.Context, old Head, tree object.Tree, prepare func(tag string) error) (Head, error)
	// Happened reports whether the commit of that tag is part of the history.
	Happened(ctx context.Context, tag string) (bool, error)
	// Parent returns the head before one; ok is false if there was none.
	Parent(ctx context.Context, h Head) (parent Head, ok bool, err error)
}

// Tree is one root of a store as a replica.
type Tree struct {
	store Store

	mu      sync.Mutex // guards what follows, and all nodes' links; never held over I/O
	head    Head
	nodes   map[string]*node
	written map[object.Tree][]object.Entry // stored since the last commit: not to be read from the store before it
	changes int
	bytes   int64
}

var _ replica.Server = (*Tree)(nil)

// A node is a directory that is being looked at.
type node struct {
	path  string
	moved bool // it, or a directory above it, is not at its committed place

	mu      sync.Mutex // guards what follows; held over I/O, and together with another only parent before child
	base    object.Tree
	loaded  bool
	entries listing
	changed bool
}

// Open returns the tree as it is committed now.
func Open(ctx context.Context, s Store) (*Tree, error) {
	t := &Tree{store: s}
	return t, t.Refresh(ctx)
}

// Refresh drops all changes and shows what is committed now.
func (t *Tree) Refresh(ctx context.Context) error {
	head, err := t.store.Head(ctx)
	if err != nil {
		return err
	}
	t.reset(head)
	return nil
}

func (t *Tree) reset(head Head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head, t.changes, t.bytes = head, 0, 0
	t.nodes = map[string]*node{"": {base: head.Tree}}
	t.written = map[object.Tree][]object.Entry{}
}

// node returns a directory, loading those above it as needed.
func (t *Tree) node(ctx context.Context, dir string) (*node, error) {
	t.mu.Lock()
	n := t.nodes[dir]
	t.mu.Unlock()
	if n != nil {
		return n, nil
	}
	up, name := replica.Split(dir)
	parent, err := t.node(ctx, up)
	if err != nil {
		return nil, err
	}
	e, err := parent.find(ctx, t, name)
	if err != nil {
		return nil, err
	}
	if e.Kind != object.Directory {
		return nil, fmt.Errorf("open directory %q in the store: %w", dir, replica.ErrNotExist)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[dir]; n != nil {
		return n, nil
	}
	n = &node{path: dir, base: e.Tree, moved: parent.moved || e.fresh}
	t.nodes[dir] = n
	return n, nil
}

func (n *node) load(ctx context.Context, t *Tree) error {
	if n.loaded {
		return nil
	}
	list, err := t.read(ctx, n.base)
	if err != nil {
		return fmt.Errorf("read directory %q in the store: %w", n.path, err)
	}
	n.entries = listing{stored: list}
	n.loaded = true
	return nil
}

// read returns the entries of a stored directory, also of one that is not committed yet.
func (t *Tree) read(ctx context.Context, tree object.Tree) ([]object.Entry, error) {
	if tree.IsZero() {
		return nil, nil
	}
	t.mu.Lock()
	list, ok := t.written[tree]
	t.mu.Unlock()
	if ok {
		return list, nil
	}
	return t.store.ReadTree(ctx, tree)
}

// put stores a directory in the place of old.
func (t *Tree) put(ctx context.Context, old object.Tree, entries []object.Entry) (object.Tree, error) {
	tree, err := t.store.PutTree(ctx, old, entries)
	if err == nil {
		t.mu.Lock()
		t.written[tree] = entries
		t.mu.Unlock()
	}
	return tree, err
}

func (n *node) find(ctx context.Context, t *Tree, name string) (item, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(ctx, t); err != nil {
		return item{}, err
	}
	return n.entries.get(name), nil
}

// List returns the entries of a directory.
func (t *Tree) List(ctx context.Context, dir string) ([]replica.Entry, error) {
	n, err := t.node(ctx, dir)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(ctx, t); err != nil {
		return nil, err
	}
	return n.entries.all(), nil
}

// Mark returns the key of the committed tree of a directory.
func (t *Tree) Mark(ctx context.Context, dir string) (string, error) {
	n, err := t.node(ctx, dir)
	if errors.Is(err, replica.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed || n.moved {
		return "", nil
	}
	return mark(n.base), nil
}

func mark(t object.Tree) string {
	if t.IsZero() {
		return "empty"
	}
	return fmt.Sprintf("%d:%s", t.Depth, hex.EncodeToString(t.Key[:]))
}

// Committed reports whether an entry is part of the committed tree.
func (t *Tree) Committed(ctx context.Context, dir, name string) (bool, error) {
	n, err := t.node(ctx, dir)
	if err != nil {
		return false, err
	}
	e, err := n.find(ctx, t, name)
	return err == nil && !n.moved && !e.fresh, err
}

// Source returns what opens the content of a listed file.
func (t *Tree) Source(e replica.Entry) replica.Source {
	return func(ctx context.Context) (io.ReadCloser, error) {
		if int64(len(e.Content.Data)) == e.Content.Size {
			return io.NopCloser(bytes.NewReader(e.Content.Data)), nil
		}
		return t.store.OpenContent(ctx, e.Content)
	}
}

// Leave writes a changed directory and tells its parent.
func (t *Tree) Leave(ctx context.Context, dir string) (string, error) {
	t.mu.Lock()
	n := t.nodes[dir]
	t.mu.Unlock()
	if n == nil {
		return "", nil
	}
	if err := t.write(ctx, n); err != nil {
		return "", err
	}
	if dir != "" {
		t.mu.Lock()
		delete(t.nodes, dir)
		t.mu.Unlock()
	}
	return mark(n.base), nil
}

// write stores a changed directory and puts its new key into its parent's entry. The root's key waits for Commit.
func (t *Tree) write(ctx context.Context, n *node) error {
	n.mu.Lock()
	if !n.changed {
		n.mu.Unlock()
		return nil
	}
	tree, err := t.put(ctx, n.base, n.entries.all())
	if err == nil {
		n.base, n.changed = tree, false
	}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store directory %q: %w", n.path, err)
	}
	if n.path == "" {
		return nil
	}
	up, name := replica.Split(n.path)
	parent, err := t.node(ctx, up)
	if err != nil {
		return err
	}
	parent.mu.Lock()
	defer parent.mu.Unlock()
	if err := parent.load(ctx, t); err != nil {
		return err
	}
	if e := parent.entries.get(name); e.Tree != tree {
		e.Tree = tree
		parent.entries.set(name, e)
		parent.changed = true
	}
	return nil
}

// Pending tells how much waits for Commit.
func (t *Tree) Pending() (changes int, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changes, t.bytes
}

// Commit makes all changes visible; see replica.Server.
func (t *Tree) Commit(ctx context.Context, prepare func(tag string) error) error {
	if changes, _ := t.Pending(); changes == 0 {
		return nil
	}
	// Writing a directory changes the one above it, which may have to be opened again for that.
	for n := t.deepestChanged(); n != nil; n = t.deepestChanged() {
		if err := t.write(ctx, n); err != nil {
			return err
		}
	}
	root := t.nodes[""]
	if root.base == t.head.Tree { // changes that cancelled each other out
		t.settle(t.head)
		return nil
	}
	head, err := t.store.Commit(ctx, t.head, root.base, prepare)
	if errors.Is(err, replica.ErrLost) {
		return errors.Join(err, t.Refresh(ctx))
	}
	if err != nil {
		return err
	}
	t.settle(head)
	return nil
}

// deepestChanged returns a changed directory that has no changed one below it; nil if there is none.
func (t *Tree) deepestChanged() *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	var deepest *node
	for _, n := range t.nodes {
		n.mu.Lock()
		if n.changed && (deepest == nil || depth(n.path) > depth(deepest.path)) {
			deepest = n
		}
		n.mu.Unlock()
	}
	return deepest
}

func depth(path string) int {
	if path == "" {
		return 0
	}
	return 1 + strings.Count(path, "/")
}

// settle makes what is shown the committed state.
func (t *Tree) settle(head Head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head, t.changes, t.bytes = head, 0, 0
	t.written = map[object.Tree][]object.Entry{}
	for _, n := range t.nodes {
		n.moved = false
		n.entries.settle()
	}
}

// Happened reports whether the commit of that tag is part of the root's history.
func (t *Tree) Happened(ctx context.Context, tag string) (bool, error) {
	return t.store.Happened(ctx, tag)
}
