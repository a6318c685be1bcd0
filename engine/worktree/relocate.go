package worktree

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"ensync/engine/replica"
	"ensync/store/object"
)

var (
	_ replica.Relocator = (*Tree)(nil)
	_ replica.Tracker   = (*Tree)(nil)
)

// maxOrigins bounds how many moved directories are remembered until they are agreed on.
const maxOrigins = 10_000

// leaves remembers where a directory that a user is about to move was agreed to be. It is lost with the process, and then
// what was moved is made and deleted.
func (t *Tree) leaves(d *inode, dir *inode, name string) {
	if _, known := t.origins[d.ino]; known || len(t.origins) >= maxOrigins || !d.isDir() {
		return
	}
	up, err := t.pathOf(dir)
	if err == nil {
		t.origins[d.ino] = replica.Join(up, name)
	}
}

// pathOf returns where a directory is.
func (t *Tree) pathOf(d *inode) (string, error) {
	path := ""
	for d.ino != RootIno {
		if len(d.links) != 1 {
			return "", syscall.ENOENT
		}
		if path != "" {
			path = "/" + path
		}
		path = d.links[0].name + path
		up, err := t.get(d.parent())
		if err != nil {
			return "", err
		}
		d = up
	}
	return path, nil
}

// Was implements replica.Tracker.
func (t *Tree) Was(ctx context.Context, dir string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, _, err := t.resolve(dir)
	if errors.Is(err, replica.ErrNotExist) {
		return "", nil
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return "", wrap("look for the origin of", dir, err)
	}
	if was := t.origins[d.ino]; was != dir {
		return was, nil
	}
	return "", nil
}

// Relocate implements replica.Relocator. It is one record, durable after the next Sync.
func (t *Tree) Relocate(ctx context.Context, from, to string, e object.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := t.planRelocation(from, to, e)
	if err != nil {
		return wrap("move", from, err)
	}
	if err := t.flush(r.moved); err != nil {
		return wrap("move", from, err)
	}
	ops := append(t.renameOps(r), op{code: opListed, ino: r.to.ino})
	if err := t.commitFreeing(ops...); err != nil {
		return wrap("move", from, err)
	}
	t.tell(Notice{Parent: r.from.ino, Name: r.oldName, Removed: r.moved.ino})
	t.tell(Notice{Parent: r.to.ino, Name: r.newName})
	return nil
}

func (t *Tree) planRelocation(from, to string, e object.Entry) (r renaming, err error) {
	fromDir, fromName := replica.Split(from)
	toDir, toName := replica.Split(to)
	if !object.ValidName(toName) || replica.Reserved(toName) {
		return r, fmt.Errorf("%w: %q can't be a name here", replica.ErrChanged, toName)
	}
	src, _, err := t.resolve(fromDir)
	if err != nil {
		return r, err
	}
	dst, _, err := t.resolve(toDir)
	if err != nil {
		return r, err
	}
	if e.Kind == object.File {
		if _, err := t.asListed(src, &e); err != nil {
			return r, fmt.Errorf("%w: %w", replica.ErrChanged, err)
		}
	}
	r, err = t.planRename(src.ino, fromName, dst.ino, toName, RenameNoReplace)
	switch err {
	case syscall.EEXIST, syscall.EINVAL:
		err = fmt.Errorf("%w: %w", replica.ErrChanged, err)
	case syscall.ENOENT:
		err = replica.ErrNotExist
	}
	return r, err
}
