package worktree

import (
	"context"
	"syscall"
)

// Rename is renameat2(2) with the flags RenameNoReplace and RenameExchange. The content of a file that is renamed goes
// to the log first, so that a crash never shows the new name with less than the new content.
func (t *Tree) Rename(ctx context.Context, oldParent Ino, oldName string, newParent Ino, newName string, flags uint32) error {
	if flags&^(RenameNoReplace|RenameExchange) != 0 || flags == RenameNoReplace|RenameExchange {
		return syscall.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	if t.overtakes(oldParent, oldName) || flags&RenameExchange != 0 && t.overtakes(newParent, newName) {
		return syscall.ESTALE
	}
	r, err := t.planRename(oldParent, oldName, newParent, newName, flags)
	if err != nil || r.there == r.moved {
		return err
	}
	if err := t.mayRename(r, flags&RenameExchange != 0); err != nil {
		return err
	}
	if err := t.flush(r.moved); err != nil {
		return err
	}
	t.keep(r.moved)
	if r.there != nil {
		t.keep(r.there)
	}
	if flags&RenameExchange != 0 {
		if err := t.flush(r.there); err != nil {
			return err
		}
		return t.commit(t.exchangeOps(r)...)
	}
	t.leaves(r.moved, r.from, oldName)
	return t.commit(t.renameOps(r)...)
}

// renaming is a rename whose conditions hold.
type renaming struct {
	from, to         *inode // directories
	oldName, newName string
	moved, there     *inode // there: what newName means now, or nil
}

func (t *Tree) planRename(oldParent Ino, oldName string, newParent Ino, newName string, flags uint32) (r renaming, err error) {
	r.oldName, r.newName = oldName, newName
	if err := checkName(newName); err != nil {
		return r, err
	}
	if r.from, r.moved, err = t.named(oldParent, oldName); err != nil {
		return r, err
	}
	r.to, r.there, err = t.named(newParent, newName)
	exchange := flags&RenameExchange != 0
	switch {
	case err == syscall.ENOENT && r.to != nil && !exchange:
		if r.to.nlink == 0 {
			return r, syscall.ENOENT
		}
	case err != nil:
		return r, err
	case flags&RenameNoReplace != 0:
		return r, syscall.EEXIST
	case r.there == r.moved:
		return r, nil
	case !exchange && r.there.isDir() && !r.moved.isDir():
		return r, syscall.EISDIR
	case !exchange && !r.there.isDir() && r.moved.isDir():
		return r, syscall.ENOTDIR
	case !exchange && r.there.isDir():
		if err := t.mustBeEmpty(r.there); err != nil {
			return r, err
		}
	}
	if err := t.noLoop(r.moved, r.to); err != nil {
		return r, err
	}
	if exchange {
		return r, t.noLoop(r.there, r.from)
	}
	return r, nil
}

// noLoop refuses to move a directory into itself or below.
func (t *Tree) noLoop(moved, to *inode) error {
	if !moved.isDir() {
		return nil
	}
	for d := to; ; {
		if d == moved {
			return syscall.EINVAL
		}
		if d.parent() == d.ino {
			return nil
		}
		up, err := t.get(d.parent())
		if err != nil {
			return err
		}
		d = up
	}
}

func (t *Tree) renameOps(r renaming) []op {
	ops := []op{
		{code: opName, ino: r.from.ino, name: r.oldName},
		{code: opName, ino: r.to.ino, name: r.newName, child: r.moved.ino},
		t.linkCount(r.moved, r.moved.nlink),
	}
	if r.there != nil {
		ops = append(ops, t.unlinked(r.there))
	}
	from, to := r.from.nlink, r.to.nlink
	if r.moved.isDir() {
		ops = append(ops, op{code: opStale, ino: r.moved.ino})
		from, to = from-1, to+1
		if r.from == r.to {
			from, to = r.from.nlink, r.to.nlink
		}
		if r.there != nil { // an empty directory goes
			to--
		}
	}
	if r.from != r.to {
		ops = append(ops, t.nlinkOf(r.from, from))
	}
	return append(ops, t.nlinkOf(r.to, to))
}

func (t *Tree) exchangeOps(r renaming) []op {
	ops := []op{
		{code: opName, ino: r.from.ino, name: r.oldName},
		{code: opName, ino: r.to.ino, name: r.newName, child: r.moved.ino},
		{code: opName, ino: r.from.ino, name: r.oldName, child: r.there.ino},
		t.linkCount(r.moved, r.moved.nlink),
		t.linkCount(r.there, r.there.nlink),
	}
	shift := uint32(bit(r.there.isDir())) - uint32(bit(r.moved.isDir())) // what from gains
	for _, n := range []*inode{r.moved, r.there} {
		if n.isDir() {
			ops = append(ops, op{code: opStale, ino: n.ino})
		}
	}
	if r.from == r.to {
		return append(ops, t.timesOf(r.from))
	}
	return append(ops, t.nlinkOf(r.from, r.from.nlink+shift), t.nlinkOf(r.to, r.to.nlink-shift))
}
