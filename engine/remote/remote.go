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
	"slices"
	"strings"
	"sync"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Root is one root of a store: the one that the tree begins with, or one that a directory in it names.
type Root struct {
	ID   object.RootID // zero: the one that the tree begins with
	Path string        // of the directory, for messages
	Read string        // group for whose members it is
	// Write is the group whose members may change it.
	Write string
}

// Head is the state of a root that was committed last.
type Head struct {
	Tree   object.Tree   // zero: nothing was committed yet, or the root has ended
	Ended  bool          // it was removed: nobody commits to it any more
	Author object.Author // who committed it, and when
	// State is what the store wants back to replace this head; opaque here. nil: the root is to be made.
	State any
}

// Change replaces the head of a root by one with another tree; a zero tree ends the root.
type Change struct {
	Root Root
	Old  Head
	Tree object.Tree
	New  Head // set by Commit
}

// Store is what this package needs of an encrypted store. Methods may be called concurrently.
type Store interface {
	// Top returns the root that the tree begins with.
	Top() Root
	// Member returns nil if this client is in a group, or why not.
	Member(group string) error
	// NewID returns the id of a root that is not there yet.
	NewID() object.RootID

	// Heads returns the committed states of roots, asked for together. It never returns an older one than before.
	Heads(ctx context.Context, roots []Root) ([]Head, []error)
	// ReadTree returns the entries of a stored directory of a root, sorted by name.
	ReadTree(ctx context.Context, r Root, t object.Tree) ([]object.Entry, error)
	// OpenContent reads and verifies content.
	OpenContent(ctx context.Context, c object.Content) (io.ReadCloser, error)

	// PutContent stores content; it is durable from the next Commit on.
	PutContent(ctx context.Context, r io.Reader) (object.Content, error)
	// Adopt reports whether all of a content is in the store already, so that PutContent can be left out.
	Adopt(ctx context.Context, c object.Content) (bool, error)
	// PutTree stores a directory of a root, like PutContent. old is the committed one whose place it takes, or one that
	// was put since; zero if there is none.
	PutTree(ctx context.Context, r Root, old object.Tree, entries []object.Entry) (object.Tree, error)
	// Commit makes what was put durable, calls prepare with a tag for each change, and makes the changes: those of one
	// rank in any order, and none of a rank if one before it failed. replica.ErrLost if a head is no longer the old one.
	Commit(ctx context.Context, ranks [][]*Change, prepare func(tags []string) error) error
	// Happened reports whether the commit of that tag is part of a root's history.
	Happened(ctx context.Context, tag string) (bool, error)
	// Parent returns the head before one; ok is false if there was none.
	Parent(ctx context.Context, r Root, h Head) (parent Head, ok bool, err error)
}

// Tree is a root of a store, with the roots in it, as a replica.
type Tree struct {
	store    Store
	unsealed bool // see EnterUnsealed

	mu      sync.Mutex // guards what follows, and all nodes' links; never held over I/O
	top     *realm
	realms  map[object.RootID]*realm // the top's under zero
	nodes   map[string]*node
	written map[object.Tree][]object.Entry // stored since the last commit: not to be read from the store before it
	refs    map[object.Tree][]ref          // what refsBelow found
	places  map[object.RootID][]string     // what findPlaces found; nil: it is not asked for yet
	changes int
	bytes   int64
}

var _ replica.Server = (*Tree)(nil)

// A node is a directory that is being looked at.
type node struct {
	path  string
	realm *realm
	moved bool // it, or a directory above it, is not at its committed place

	mu       sync.Mutex // guards what follows; held over I/O, and together with another only parent before child
	base     object.Tree
	hasRoots bool // below it there may be roots
	loaded   bool
	entries  listing
	changed  bool
}

// Open returns the tree as it is committed now.
func Open(ctx context.Context, s Store) (*Tree, error) {
	t := &Tree{store: s}
	return t, t.Refresh(ctx)
}

// EnterUnsealed enters also directories whose names tell groups and that are stored with the directory above all the same: a
// version of ensync stored them that knew of no groups there, or whoever may write above made them. So what is in them must
// not be taken for what those groups wrote.
func (t *Tree) EnterUnsealed() { t.unsealed = true }

// Refresh drops all changes and shows what is committed now.
func (t *Tree) Refresh(ctx context.Context) error {
	top := t.store.Top()
	heads, errs := t.store.Heads(ctx, []Root{top})
	if errs[0] != nil {
		return errs[0]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes, t.bytes = 0, 0
	t.top = &realm{root: top, head: heads[0], base: heads[0].Tree}
	t.realms = map[object.RootID]*realm{top.ID: t.top}
	t.nodes = map[string]*node{"": {realm: t.top, base: t.top.base, hasRoots: true}}
	t.written, t.refs, t.places = map[object.Tree][]object.Entry{}, map[object.Tree][]ref{}, nil
	return nil
}

// maxPath bounds the path of a directory, in bytes: what is below a longer one, nobody could open by its name, and to hold
// the paths of a tree that is nested without end takes memory by the square of its depth.
const maxPath = 8192

func checkDepth(dir string) error {
	if len(dir) > maxPath {
		return fmt.Errorf("open directory %q... in the store: its path has %d bytes, %d can be", dir[:64], len(dir), maxPath)
	}
	return nil
}

// node returns a directory, loading those above it as needed.
func (t *Tree) node(ctx context.Context, dir string) (*node, error) {
	if err := checkDepth(dir); err != nil {
		return nil, err
	}
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
	fresh := &node{path: dir, realm: parent.realm, base: e.Tree, hasRoots: e.Roots, moved: parent.moved || e.fresh}
	if err := t.enterRealm(ctx, fresh, e.Entry); err != nil {
		return nil, fmt.Errorf("open directory %q in the store: %w", dir, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[dir]; n != nil {
		return n, nil
	}
	t.nodes[dir] = fresh
	return fresh, nil
}

func (n *node) load(ctx context.Context, t *Tree) error {
	if n.loaded {
		return nil
	}
	list, err := t.read(ctx, n.realm, n.base)
	if err == nil {
		list, err = t.withoutEnded(ctx, n, list)
	}
	if err != nil {
		return fmt.Errorf("read directory %q in the store: %w", n.path, err)
	}
	n.entries = listing{stored: list}
	n.loaded = true
	return nil
}

// read returns the entries of a stored directory, also of one that is not committed yet.
func (t *Tree) read(ctx context.Context, r *realm, tree object.Tree) ([]object.Entry, error) {
	if tree.IsZero() {
		return nil, nil
	}
	t.mu.Lock()
	list, ok := t.written[tree]
	t.mu.Unlock()
	if ok {
		return list, nil
	}
	return t.store.ReadTree(ctx, r.root, tree)
}

// put stores a directory in the place of old.
func (t *Tree) put(ctx context.Context, r *realm, old object.Tree, entries []object.Entry) (object.Tree, error) {
	tree, err := t.store.PutTree(ctx, r.root, old, entries)
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

// Mark returns what identifies the committed tree of a directory, with the roots below it.
func (t *Tree) Mark(ctx context.Context, dir string) (string, error) {
	n, err := t.node(ctx, dir)
	if errors.Is(err, replica.ErrNotExist) || errors.Is(err, replica.ErrNotAllowed) {
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
	return t.markOf(ctx, n)
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
	n.mu.Lock()
	defer n.mu.Unlock()
	return t.markOf(ctx, n)
}

// write stores a changed directory and puts its new key into its parent's entry. A root's key waits for Commit.
func (t *Tree) write(ctx context.Context, n *node) error {
	n.mu.Lock()
	if !n.changed {
		n.mu.Unlock()
		return nil
	}
	list := n.entries.all()
	tree, err := t.put(ctx, n.realm, n.base, list)
	roots := hasRoots(list)
	if err == nil {
		n.base, n.changed, n.hasRoots = tree, false, roots
	}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store directory %q: %w", n.path, err)
	}
	if n.path == n.realm.root.Path {
		t.mu.Lock()
		n.realm.base = tree
		t.mu.Unlock()
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
		e.Tree, e.Roots = tree, roots
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
func (t *Tree) Commit(ctx context.Context, prepare func([]replica.Part) error) error {
	if changes, _ := t.Pending(); changes == 0 {
		return nil
	}
	// Writing a directory changes the one above it, which may have to be opened again for that.
	for n := t.deepestChanged(); n != nil; n = t.deepestChanged() {
		if err := t.write(ctx, n); err != nil {
			return err
		}
	}
	ranks := t.changedRealms()
	if len(ranks) == 0 { // changes that cancelled each other out
		t.settle(nil)
		return nil
	}
	err := t.store.Commit(ctx, ranks, func(tags []string) error {
		var parts []replica.Part
		for _, c := range slices.Concat(ranks...) {
			parts = append(parts, replica.Part{Top: c.Root.Path, Tag: tags[len(parts)]})
		}
		return prepare(parts)
	})
	if errors.Is(err, replica.ErrLost) {
		return errors.Join(err, t.Refresh(ctx))
	}
	if err != nil {
		return err
	}
	t.settle(ranks)
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
func (t *Tree) settle(ranks [][]*Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range slices.Concat(ranks...) {
		if c.Tree.IsZero() {
			delete(t.realms, c.Root.ID)
		} else {
			t.realms[c.Root.ID].head = c.New
		}
	}
	t.changes, t.bytes = 0, 0
	t.written, t.places = map[object.Tree][]object.Entry{}, nil
	for _, n := range t.nodes {
		n.moved = false
		n.entries.settle()
	}
}

// Happened reports whether the commit of that tag is part of the root's history.
func (t *Tree) Happened(ctx context.Context, tag string) (bool, error) {
	return t.store.Happened(ctx, tag)
}
