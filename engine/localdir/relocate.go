package localdir

import (
	"context"
	"errors"
	"fmt"

	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

var (
	_ replica.Relocator = (*Dir)(nil)
	_ replica.Tracker   = (*Dir)(nil)
)

// Was implements replica.Tracker: a directory is known by its inode. An inode that was used anew is a wrong answer, which
// does no harm.
func (d *Dir) Was(ctx context.Context, dir string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	h, err := d.open(dir)
	if err != nil {
		return "", ignoreGone(err)
	}
	defer h.close()
	before := d.cache.load(dir, h.fs.id, h.st.ino)
	if before == nil || before.dir == dir {
		return "", nil
	}
	return before.dir, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, replica.ErrNotExist) {
		return nil
	}
	return err
}

// Relocate implements replica.Relocator. It is durable after the next Sync. Only within one file system.
func (d *Dir) Relocate(ctx context.Context, from, to string, e object.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fromDir, fromName := replica.Split(from)
	toDir, toName := replica.Split(to)
	if !object.ValidName(toName) || replica.Reserved(toName) {
		return fmt.Errorf("move %q to %q: not a name that a file can have: %w", from, to, replica.ErrChanged)
	}
	src, err := d.open(fromDir)
	if err != nil {
		return err
	}
	defer src.close()
	dst, err := d.open(toDir)
	if err != nil {
		return err
	}
	defer dst.close()
	d.touch(src.fs)
	d.touch(dst.fs)
	var old row
	if e.Kind == object.File {
		if old, err = src.expected(&e); err == nil {
			err = src.look(&e, old)
		}
		if err != nil {
			return fmt.Errorf("move %q: %w", from, err)
		}
	}
	looked, _ := coarseNow()
	// RACE: what is at from may have been replaced since it was looked at, and moves all the same: no bytes are lost.
	err = moveAcross(src.fd(), fromName, dst.fd(), toName)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("move %q to %q: %w: %w", from, to, err, replica.ErrChanged)
	}
	if unsupported(err) || errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("move %q: %w", from, errors.ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("move %q to %q: %w", from, to, err)
	}
	src.forget(fromName)
	d.mu.Lock()
	d.states.forget([]string{from})
	d.mu.Unlock()
	if e.Kind == object.File {
		dst.learnMoved(toName, old, looked)
	}
	return nil
}

// learnMoved remembers a file that came by a move, unless it is not the one that was looked at: then it is read.
func (h *handle) learnMoved(name string, old row, looked int64) {
	st, err := statAt(h.fd(), name)
	if err != nil || !st.moved(old.st) {
		h.forget(name)
		return
	}
	old.st = st
	old.racy = old.racy || h.clockOf().racyTime(st, looked)
	h.learn(name, old)
}
