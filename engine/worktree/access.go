package worktree

import (
	"cmp"
	"syscall"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Directories may be for groups that the user of this tree is not in. The reconciler alone changes what the user may not,
// so requests are refused before they are in the log. All of this is called with mu held.

// rightsIn returns what may be done in a directory: nil, or EACCES and EROFS.
func (t *Tree) rightsIn(path string) (read, write error) {
	if t.opt.Access == nil {
		return nil, nil
	}
	read, write = t.opt.Access(path)
	switch {
	case read != nil:
		return syscall.EACCES, syscall.EACCES
	case write != nil:
		return nil, syscall.EROFS
	}
	return nil, nil
}

// maySee refuses to show what is in a directory.
func (t *Tree) maySee(d *inode) error {
	if t.opt.Access == nil {
		return nil
	}
	path, err := t.pathOf(d)
	if err != nil || !object.HasGroups(path) {
		return nil // it has no path any more, and nothing in it; or is where everybody who has the tree may look
	}
	read, _ := t.rightsIn(path)
	return read
}

// mayChangeIn refuses to change the names in a directory.
func (t *Tree) mayChangeIn(d *inode) error {
	if t.opt.Access == nil {
		return nil
	}
	path, err := t.pathOf(d)
	if err != nil {
		return nil // a directory without a name takes no new ones
	}
	_, write := t.rightsIn(path)
	return write
}

// mayName refuses to give or take the name of something: that of a directory for groups is theirs, too, and one that makes
// no sense can't be had.
func (t *Tree) mayName(d *inode, name string, isDir bool) error {
	if err := t.mayChangeIn(d); err != nil || !isDir || t.opt.Access == nil || !object.HasGroups(name) {
		return err
	}
	if _, _, err := object.ParseGroups(name, "", ""); err != nil {
		return syscall.EINVAL
	}
	path, err := t.pathOf(d)
	if err != nil {
		return err
	}
	_, write := t.rightsIn(replica.Join(path, name))
	return write
}

// mayChange refuses to change an inode. A file that has names in several directories is as free as the least of them.
func (t *Tree) mayChange(n *inode) error {
	if t.opt.Access == nil {
		return nil
	}
	if n.ino == RootIno {
		return t.mayChangeIn(n)
	}
	for _, l := range n.links {
		d, err := t.get(l.dir)
		if err == nil {
			err = t.mayName(d, l.name, n.isDir())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// MayWrite refuses to open for writing what may not be changed.
func (t *Tree) MayWrite(ino Ino) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	n, err := t.get(ino)
	if err != nil {
		return err
	}
	return t.mayChange(n)
}

// mayRename refuses a rename that changes names which the user may not.
func (t *Tree) mayRename(r renaming, exchange bool) error {
	err := cmp.Or(t.mayName(r.from, r.oldName, r.moved.isDir()), t.mayName(r.to, r.newName, r.moved.isDir()))
	if err == nil && r.there != nil {
		err = t.mayName(r.to, r.newName, r.there.isDir())
	}
	if err == nil && exchange {
		err = t.mayName(r.from, r.oldName, r.there.isDir())
	}
	return err
}
