// Package memory is a directory tree in memory: a replica.Client for tests that behaves like a real directory, with
// edits by a user, faults, and power cuts.
package memory

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"ensync/engine/replica"
	"ensync/store/object"
)

// The modes that the one-line notation leaves out.
const (
	FileMode      = 0o644
	DirectoryMode = 0o755
)

// Tree is a directory tree. Methods may be called concurrently. The zero value is not usable: see New and Parse.
//
// Time is a counter: each edit by the user that sets a modification time takes the next whole second, so that the same
// calls always give the same tree.
type Tree struct {
	// Before, if set, is called without locks before each operation on each entry: it may edit the tree (a race), and
	// the error that it returns is what the operation gives, nothing being done. Set it before the tree is used.
	Before func(op Op, path string) error
	// AlwaysDirty makes Dirty say true, as a replica without a watcher does.
	AlwaysDirty bool
	// Owner, if set, is the user and group of what nobody gave another one, and owners and extended attributes are listed.
	Owner object.Owner
	// Fixed keeps Apply from setting owners and extended attributes, as on a file system that has none.
	Fixed bool

	hash func(data []byte) object.Content

	mu      sync.Mutex
	root    *node
	durable *node                              // what a power cut leaves
	clock   int64                              // seconds; counts the user's edits
	version uint64                             // counts changes of any node
	listed  map[string]map[string]uint64       // directory, name: the version that was shown to the caller
	settled map[string]map[string]object.Entry // directory, name: what the ancestor holds
	changed map[string]bool                    // paths changed by anyone since they were settled
	places  map[uint64]string                  // where directories were when they were settled, by id
}

// Op is an operation that Before may fail.
type Op string

// The operations. Write is called per change in Apply before content is fetched, Change right before its last look.
const (
	OpList   Op = "list"
	OpDirty  Op = "dirty"
	OpHash   Op = "hash"
	OpOpen   Op = "open"
	OpWrite  Op = "write"
	OpChange Op = "change"
	OpSync   Op = "sync"
	OpSettle Op = "settle"
)

type node struct {
	kind     object.Kind
	mode     uint32
	modTime  int64
	user     object.Owner // "": the tree's
	group    object.Owner
	xattrs   map[string][]byte // never changed in place
	target   string
	data     []byte // never changed in place
	known    bool   // someone has hashed data
	version  uint64 // changes with everything but the children
	id       uint64 // of a directory: stays with it wherever it is
	children map[string]*node
}

// New returns a tree with nothing in it. A nil hash means the SHA-256 of the bytes.
func New(hash func(data []byte) object.Content) *Tree {
	if hash == nil {
		hash = SHA256
	}
	t := &Tree{hash: hash, clock: 1, listed: map[string]map[string]uint64{}, settled: map[string]map[string]object.Entry{},
		changed: map[string]bool{}, places: map[uint64]string{}}
	t.root = &node{kind: object.Directory, mode: DirectoryMode, children: map[string]*node{}}
	t.durable = t.root.clone()
	return t
}

// SHA256 is the default hash: the key is the SHA-256 of the bytes, and small content lies in Data.
func SHA256(data []byte) object.Content {
	c := object.Content{Known: true, Size: int64(len(data)), Key: sha256.Sum256(data)}
	if len(data) <= object.InlineMax {
		c.Data = slices.Clone(data)
	}
	return c
}

func (n *node) clone() *node {
	c := *n
	if n.children != nil {
		c.children = make(map[string]*node, len(n.children))
		for name, child := range n.children {
			c.children[name] = child.clone()
		}
	}
	return &c
}

func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }

// touched marks n as another version than anyone has seen.
func (t *Tree) touched(n *node) *node {
	t.version++
	n.version = t.version
	if n.id == 0 {
		n.id = t.version
	}
	return n
}

func (t *Tree) before(op Op, path string) error {
	if t.Before == nil {
		return nil
	}
	if err := t.Before(op, path); err != nil {
		return fmt.Errorf("%s %q: %w", op, path, err)
	}
	return nil
}

// find returns the node at path, or nil.
func (t *Tree) find(path string) *node {
	n := t.root
	for _, name := range split(path) {
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	return n
}

// directory returns the directory at path; ErrNotExist if there is none.
func (t *Tree) directory(path string) (*node, error) {
	n := t.find(path)
	if n == nil || n.kind != object.Directory {
		return nil, fmt.Errorf("directory %q: %w", path, replica.ErrNotExist)
	}
	return n, nil
}

func split(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// entry is n as List shows it.
func (t *Tree) entry(name string, n *node) object.Entry {
	e := object.Entry{Name: name, Kind: n.kind}
	if replica.Reserved(name) {
		e.Kind = object.Special
		return e
	}
	switch n.kind {
	case object.File:
		e.Mode, e.ModTime = n.mode, n.modTime
		e.Content = object.Content{Size: int64(len(n.data))}
		if n.known {
			e.Content = t.hash(n.data)
		}
	case object.Directory:
		e.Mode = n.mode
	case object.Symlink:
		e.Target = n.target
	}
	if t.Owner == "" || n.kind == object.Special {
		return e
	}
	e.User, e.Group = cmp.Or(n.user, t.Owner), cmp.Or(n.group, t.Owner)
	if n.kind != object.Symlink {
		e.Xattrs = object.MakeXattrs(n.xattrs)
	}
	return e
}

// Crash is a power cut: of everything that differs from the last Sync, what keep says stays, and the rest is as it was
// then. A nil keep loses all of it. What Settle was told survives, and so does nothing else that the replica knew.
func (t *Tree) Crash(keep func(path string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if keep == nil {
		keep = func(string) bool { return false }
	}
	before := t.root
	t.root = t.survivor("", t.durable, t.root, keep)
	for _, n := range []*node{before, t.durable} {
		t.changeAll("", n)
	}
	t.durable = t.root.clone()
	t.listed = map[string]map[string]uint64{}
}

// survivor merges an old and a new directory: names in ascending order, so that keep can draw from a seed.
func (t *Tree) survivor(path string, old, new *node, keep func(string) bool) *node {
	n := old.clone()
	n.children = map[string]*node{}
	both := map[string]*node{}
	maps.Copy(both, old.children)
	maps.Copy(both, new.children)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		p, o, w := replica.Join(path, name), old.children[name], new.children[name]
		switch {
		case o != nil && w != nil && o.kind == object.Directory && w.kind == object.Directory:
			child := t.survivor(p, o, w, keep)
			if child.mode != w.mode && keep(p) {
				child.mode = w.mode
			}
			n.children[name] = child
		case o != nil && w != nil && o.version == w.version:
			n.children[name] = o.clone()
		case keep(p):
			if w != nil {
				n.children[name] = w.clone()
			}
		case o != nil:
			n.children[name] = o.clone()
		}
	}
	t.forgetHashes(n)
	return n
}

// changeAll notes every path below as changed: which of them a power cut took back, nobody noted.
func (t *Tree) changeAll(path string, n *node) {
	for name, child := range n.children {
		t.changed[replica.Join(path, name)] = true
		t.changeAll(replica.Join(path, name), child)
	}
}

func (t *Tree) forgetHashes(n *node) {
	for _, child := range n.children {
		child.known = false
	}
}

var errUsage = errors.New("not possible in this tree")
