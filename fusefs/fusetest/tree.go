// Package fusetest is a file system in memory, small enough to read and true enough to be mounted, for tests of fusefs.
package fusetest

import (
	"context"
	"path"
	"sync"
	"syscall"
	"time"

	"ensync/engine/worktree"
)

// Tree is a fusefs.Tree in memory. It counts references as the interface asks, so a test can see that they are given
// back: Inodes tells how many inodes there are.
type Tree struct {
	mu      sync.Mutex
	nodes   map[worktree.Ino]*node
	last    worktree.Ino
	clock   time.Time
	notices chan worktree.Notice

	// Before, if set, runs before each call with the name of the method, with no lock held. An error is the answer.
	// It is set before the tree is mounted.
	Before func(ctx context.Context, call string) error
}

type node struct {
	attr     worktree.Attr
	parent   worktree.Ino            // of a directory
	children map[string]worktree.Ino // of a directory
	pages    map[uint64]*[pageSize]byte
	target   string
	xattrs   map[string][]byte
	refs     uint64
}

// New makes an empty tree whose root belongs to the caller.
func New() *Tree {
	t := &Tree{nodes: make(map[worktree.Ino]*node), notices: make(chan worktree.Notice, 1<<16)}
	t.add(worktree.Make{
		Mode: syscall.S_IFDIR | 0755,
		UID:  uint32(syscall.Getuid()), GID: uint32(syscall.Getgid()),
	}).parent = worktree.RootIno
	return t
}

// Inodes counts the inodes, with those that live by references alone.
func (t *Tree) Inodes() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.nodes)
}

// References sums up the references that the kernel holds.
func (t *Tree) References() (sum uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.nodes {
		sum += n.refs
	}
	return sum
}

// begin runs Before and takes the lock.
func (t *Tree) begin(ctx context.Context, call string) error {
	if t.Before != nil {
		if err := t.Before(ctx, call); err != nil {
			t.mu.Lock()
			return err
		}
	}
	t.mu.Lock()
	return nil
}

// now is later than at any call before.
func (t *Tree) now() time.Time {
	now := time.Now().Round(0)
	if !now.After(t.clock) {
		now = t.clock.Add(1)
	}
	t.clock = now
	return now
}

func (t *Tree) add(m worktree.Make) *node {
	t.last++
	now := t.now()
	n := &node{
		attr: worktree.Attr{
			Ino: t.last, Mode: m.Mode, Nlink: 1, UID: m.UID, GID: m.GID, Rdev: m.Rdev,
			Atime: now, Mtime: now, Ctime: now,
		},
		target: m.Target,
		xattrs: make(map[string][]byte),
	}
	switch m.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		n.children = make(map[string]worktree.Ino)
		n.attr.Nlink = 2
	case syscall.S_IFREG:
		n.pages = make(map[uint64]*[pageSize]byte)
	case syscall.S_IFLNK:
		n.attr.Size = uint64(len(m.Target))
	}
	t.nodes[t.last] = n
	return n
}

func (t *Tree) node(ino worktree.Ino) (*node, error) {
	n := t.nodes[ino]
	if n == nil {
		return nil, syscall.ENOENT
	}
	return n, nil
}

func (t *Tree) dir(ino worktree.Ino) (*node, error) {
	n, err := t.node(ino)
	if err == nil && n.children == nil {
		return nil, syscall.ENOTDIR
	}
	return n, err
}

// child returns a directory and what a name in it means, or ENOENT.
func (t *Tree) child(parent worktree.Ino, name string) (dir, n *node, err error) {
	if dir, err = t.dir(parent); err != nil {
		return nil, nil, err
	}
	n = t.nodes[dir.children[name]]
	if n == nil {
		return dir, nil, syscall.ENOENT
	}
	return dir, n, nil
}

func (n *node) isDir() bool { return n.children != nil }

func (n *node) stat() worktree.Attr {
	a := n.attr
	a.Blocks = uint64(len(n.pages)) * pageSize / 512
	return a
}

// touch notes a change of a directory's entries.
func (t *Tree) touch(n *node) {
	now := t.now()
	n.attr.Mtime, n.attr.Ctime = now, now
}

// attach gives an inode a name.
func (t *Tree) attach(dir *node, name string, n *node) {
	dir.children[name] = n.attr.Ino
	if n.isDir() {
		dir.attr.Nlink++
		n.parent = dir.attr.Ino
	}
	t.touch(dir)
}

// detach takes a name away; the inode stays as it is.
func (t *Tree) detach(dir *node, name string, n *node) {
	delete(dir.children, name)
	if n.isDir() {
		dir.attr.Nlink--
	}
	t.touch(dir)
}

// unlinked drops one link of an inode, which ends with the last link and reference.
func (t *Tree) unlinked(n *node) {
	if n.isDir() {
		n.attr.Nlink = 0
	} else {
		n.attr.Nlink--
	}
	n.attr.Ctime = t.now()
	t.reap(n)
}

func (t *Tree) reap(n *node) {
	if n.attr.Nlink == 0 && n.refs == 0 {
		delete(t.nodes, n.attr.Ino)
	}
}

// Lookup implements fusefs.Tree, as do the methods below.
func (t *Tree) Lookup(ctx context.Context, parent worktree.Ino, name string) (worktree.Attr, error) {
	err := t.begin(ctx, "Lookup")
	defer t.mu.Unlock()
	if err != nil {
		return worktree.Attr{}, err
	}
	_, n, err := t.child(parent, name)
	if err != nil {
		return worktree.Attr{}, err
	}
	n.refs++
	return n.stat(), nil
}

func (t *Tree) Forget(ino worktree.Ino, lookups uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[ino]; n != nil {
		if n.refs < lookups {
			panic("more references were given back than handed out")
		}
		n.refs -= lookups
		t.reap(n)
	}
}

func (t *Tree) Ref(ctx context.Context, ino worktree.Ino) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.node(ino)
	if err == nil {
		n.refs++
	}
	return err
}

func (t *Tree) GetAttr(ctx context.Context, ino worktree.Ino) (worktree.Attr, error) {
	err := t.begin(ctx, "GetAttr")
	defer t.mu.Unlock()
	if err != nil {
		return worktree.Attr{}, err
	}
	n, err := t.node(ino)
	if err != nil {
		return worktree.Attr{}, err
	}
	return n.stat(), nil
}

func (t *Tree) SetAttr(ctx context.Context, ino worktree.Ino, s worktree.SetAttr) (worktree.Attr, error) {
	err := t.begin(ctx, "SetAttr")
	defer t.mu.Unlock()
	if err != nil {
		return worktree.Attr{}, err
	}
	n, err := t.node(ino)
	if err != nil {
		return worktree.Attr{}, err
	}
	now := t.now()
	a := &n.attr
	a.Ctime = now
	if s.Mode != nil {
		a.Mode = a.Mode&syscall.S_IFMT | *s.Mode&07777
	}
	if s.KillPriv {
		n.killPriv(s.KillGroup)
	}
	if s.UID != nil {
		a.UID = *s.UID
	}
	if s.GID != nil {
		a.GID = *s.GID
	}
	if s.Size != nil {
		if n.pages == nil {
			return worktree.Attr{}, syscall.EINVAL
		}
		n.truncate(*s.Size)
		a.Mtime = now
	}
	if s.Atime != nil {
		a.Atime = *s.Atime
	}
	if s.Mtime != nil {
		a.Mtime = *s.Mtime
	}
	return n.stat(), nil
}

// killPriv is what Linux does to a file that is written or changes hands (setattr_should_drop_suidgid).
func (n *node) killPriv(strange bool) {
	if n.isDir() {
		return
	}
	n.attr.Mode &^= syscall.S_ISUID
	if strange || n.attr.Mode&0010 != 0 {
		n.attr.Mode &^= syscall.S_ISGID
	}
	delete(n.xattrs, "security.capability")
}

func (t *Tree) Readlink(ctx context.Context, ino worktree.Ino) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.node(ino)
	if err != nil {
		return "", err
	}
	return n.target, nil
}

func (t *Tree) ReadDir(ctx context.Context, ino worktree.Ino) ([]worktree.DirEntry, error) {
	err := t.begin(ctx, "ReadDir")
	defer t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n, err := t.dir(ino)
	if err != nil {
		return nil, err
	}
	list := make([]worktree.DirEntry, 0, len(n.children))
	for name, child := range n.children {
		list = append(list, worktree.DirEntry{Name: name, Attr: t.nodes[child].stat()})
	}
	return list, nil
}

func (t *Tree) Parent(ctx context.Context, ino worktree.Ino) (worktree.Ino, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.dir(ino)
	if err != nil {
		return 0, err
	}
	return n.parent, nil
}

func (t *Tree) PathOf(ctx context.Context, ino worktree.Ino) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	where := ""
	for ino != worktree.RootIno {
		n, err := t.dir(ino)
		if err != nil {
			return "", err
		}
		up, err := t.dir(n.parent)
		if err != nil {
			return "", err
		}
		name := ""
		for c, i := range up.children {
			if i == ino {
				name = c
			}
		}
		if name == "" {
			return "", syscall.ENOENT
		}
		where, ino = path.Join(name, where), n.parent
	}
	return where, nil
}

func (t *Tree) StatFS(ctx context.Context) (worktree.StatFS, error) {
	return worktree.StatFS{Total: 1 << 40, Free: 1 << 39, Available: 1 << 39, Files: 1 << 30, FilesFree: 1 << 29}, nil
}

func (t *Tree) Notices() <-chan worktree.Notice { return t.notices }

// Passed has nothing to do: tests that move a name before the kernel knows are not for this tree.
func (t *Tree) Passed(worktree.Notice) {}
