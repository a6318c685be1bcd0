package fusetest

import (
	"context"
	"syscall"

	"ensync/engine/worktree"
)

// Make implements fusefs.Tree, as do the methods below.
func (t *Tree) Make(ctx context.Context, parent worktree.Ino, name string, m worktree.Make) (worktree.Attr, error) {
	err := t.begin(ctx, "Make")
	defer t.mu.Unlock()
	if err != nil {
		return worktree.Attr{}, err
	}
	dir, _, err := t.child(parent, name)
	if err == nil {
		return worktree.Attr{}, syscall.EEXIST
	}
	if err := usable(dir, err); err != nil {
		return worktree.Attr{}, err
	}
	n := t.add(m)
	n.refs = 1
	t.attach(dir, name, n)
	return n.stat(), nil
}

// usable says whether a name that was not found can be made.
func usable(dir *node, notFound error) error {
	if dir == nil {
		return notFound
	}
	if dir.attr.Nlink == 0 {
		return syscall.ENOENT
	}
	return nil
}

func (t *Tree) MakeUnnamed(ctx context.Context, parent worktree.Ino, m worktree.Make) (worktree.Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.dir(parent); err != nil {
		return worktree.Attr{}, err
	}
	n := t.add(m)
	n.attr.Nlink = 0
	n.refs = 1
	return n.stat(), nil
}

func (t *Tree) Link(ctx context.Context, ino, parent worktree.Ino, name string) (worktree.Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.node(ino)
	if err != nil {
		return worktree.Attr{}, err
	}
	if n.isDir() {
		return worktree.Attr{}, syscall.EPERM
	}
	dir, _, err := t.child(parent, name)
	if err == nil {
		return worktree.Attr{}, syscall.EEXIST
	}
	if err := usable(dir, err); err != nil {
		return worktree.Attr{}, err
	}
	t.attach(dir, name, n)
	n.attr.Nlink++
	n.attr.Ctime = t.now()
	n.refs++
	return n.stat(), nil
}

func (t *Tree) Unlink(ctx context.Context, parent worktree.Ino, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, n, err := t.child(parent, name)
	if err != nil {
		return err
	}
	if n.isDir() {
		return syscall.EISDIR
	}
	t.detach(dir, name, n)
	t.unlinked(n)
	return nil
}

func (t *Tree) Rmdir(ctx context.Context, parent worktree.Ino, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, n, err := t.child(parent, name)
	if err != nil {
		return err
	}
	if !n.isDir() {
		return syscall.ENOTDIR
	}
	if len(n.children) > 0 {
		return syscall.ENOTEMPTY
	}
	t.detach(dir, name, n)
	t.unlinked(n)
	return nil
}

func (t *Tree) Rename(ctx context.Context, oldParent worktree.Ino, oldName string, newParent worktree.Ino, newName string, flags uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, n, err := t.child(oldParent, oldName)
	if err != nil {
		return err
	}
	to, target, err := t.child(newParent, newName)
	if err != nil {
		if err := usable(to, err); err != nil {
			return err
		}
	}
	switch {
	case flags == worktree.RenameExchange:
		return t.exchange(from, oldName, n, to, newName, target)
	case flags == worktree.RenameNoReplace && target != nil:
		return syscall.EEXIST
	case target == n:
		return nil
	case target != nil:
		if err := replaceable(n, target); err != nil {
			return err
		}
		t.detach(to, newName, target)
		t.unlinked(target)
	}
	t.detach(from, oldName, n)
	t.attach(to, newName, n)
	n.attr.Ctime = t.now()
	return nil
}

func replaceable(n, target *node) error {
	switch {
	case n.isDir() && !target.isDir():
		return syscall.ENOTDIR
	case !n.isDir() && target.isDir():
		return syscall.EISDIR
	case len(target.children) > 0:
		return syscall.ENOTEMPTY
	}
	return nil
}

func (t *Tree) exchange(from *node, oldName string, n, to *node, newName string, target *node) error {
	if target == nil {
		return syscall.ENOENT
	}
	t.detach(from, oldName, n)
	t.detach(to, newName, target)
	t.attach(from, oldName, target)
	t.attach(to, newName, n)
	n.attr.Ctime, target.attr.Ctime = t.now(), t.now()
	return nil
}

// Replace makes a name mean a new regular file, as a change from another machine does, and tells nobody: see Notify.
func (t *Tree) Replace(parent worktree.Ino, name string, content []byte) worktree.Notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	notice := t.remove(parent, name)
	n := t.add(worktree.Make{Mode: syscall.S_IFREG | 0644})
	n.write(content, 0)
	t.attach(t.nodes[parent], name, n)
	return notice
}

// Remove takes a name away, as a change from another machine does, and tells nobody.
func (t *Tree) Remove(parent worktree.Ino, name string) worktree.Notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remove(parent, name)
}

func (t *Tree) remove(parent worktree.Ino, name string) worktree.Notice {
	notice := worktree.Notice{Parent: parent, Name: name}
	if dir, n, err := t.child(parent, name); err == nil {
		notice.Removed = n.attr.Ino
		t.detach(dir, name, n)
		t.unlinked(n)
	}
	return notice
}

// Move renames without telling anybody.
func (t *Tree) Move(oldParent worktree.Ino, oldName string, newParent worktree.Ino, newName string) []worktree.Notice {
	t.mu.Lock()
	ino := t.nodes[oldParent].children[oldName]
	t.mu.Unlock()
	if err := t.Rename(context.Background(), oldParent, oldName, newParent, newName, 0); err != nil {
		panic(err)
	}
	return []worktree.Notice{{Parent: oldParent, Name: oldName, Removed: ino}, {Parent: newParent, Name: newName}}
}

// Rewrite changes a file's content in place without telling anybody.
func (t *Tree) Rewrite(ino worktree.Ino, content []byte) worktree.Notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[ino]
	n.truncate(0)
	n.write(content, 0)
	n.attr.Mtime = t.now()
	return worktree.Notice{Inode: ino}
}

// Notify tells whoever shows the tree.
func (t *Tree) Notify(notices ...worktree.Notice) {
	for _, n := range notices {
		t.notices <- n
	}
}
