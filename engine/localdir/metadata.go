package localdir

import (
	"context"
	"errors"
	"fmt"
	"os"

	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// setMetadata sets mode and time, owner and extended attributes of a file whose bytes stay. As long as it works, a lease keeps writers out, so that the
// time that is set does not hide an edit; where there are no leases, the bytes are read again.
func (h *handle) setMetadata(ctx context.Context, c replica.Change, old row) (*object.Entry, error) {
	if err := h.makeReadable(c, &old); err != nil {
		return nil, err
	}
	fd, err := openRead(h.fd(), c.Old.Name)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), h.path(c.Old.Name))
	defer file.Close()
	looked, _ := coarseNow()
	held, supported := takeLease(fd)
	if supported && !held {
		return nil, errWritten
	}
	st, err := statFile(fd)
	if err != nil || !st.same(old.st) {
		return nil, errors.Join(replica.ErrChanged, err)
	}
	st, err = h.adjust(fd, *c.New, st)
	if err == nil && !supported && st.mtime != old.st.mtime && c.Old.Content.Known {
		err = h.verify(ctx, file, c.Old.Content)
	}
	if err == nil {
		err = h.stillAt(c.Old.Name, st)
	}
	if err != nil {
		h.forget(c.Old.Name)
		return nil, err
	}
	old.st = st
	old.racy = old.racy || h.clockOf().racyTime(st, looked)
	h.learn(c.Old.Name, old)
	e := *c.Old
	e.Mode, e.ModTime = st.mode&0o7777, st.mtime
	h.d.readOptional(fd, "", st, &e)
	return &e, nil
}

// adjust makes everything but the content of an open file that of e; ErrChanged if it was edited meanwhile.
func (h *handle) adjust(fd int, e object.Entry, was stat) (stat, error) {
	st, err := h.adjustMode(fd, e, was)
	if err != nil {
		return was, err
	}
	if st.size != was.size || st.mtime != was.mtime {
		return st, replica.ErrChanged
	}
	if e.ModTime == was.mtime {
		return st, nil
	}
	if err := setTime(fd, e.ModTime); err != nil {
		return st, err
	}
	if st, err = statFile(fd); err == nil && st.size != was.size {
		err = replica.ErrChanged
	}
	return st, err
}

// adjustMode sets owner, extended attributes and then the mode of an open file or directory.
func (h *handle) adjustMode(fd int, e object.Entry, was stat) (stat, error) {
	if err := h.setOptional(fd, e, was); err != nil {
		return was, err
	}
	st, err := statFile(fd)
	if err != nil || e.Mode == st.mode&0o7777 {
		return st, err
	}
	err = unix.Fchmod(fd, e.Mode)
	if errors.Is(err, unix.EBADF) { // it is open with O_PATH only
		err = chmodPath(fd, e.Mode)
	}
	if err = h.tolerate(err); err != nil {
		return st, err
	}
	return statFile(fd)
}

// makeReadable sets the mode first, through a handle that needs no right to read, of a file that we can't open as it is.
func (h *handle) makeReadable(c replica.Change, old *row) error {
	if err := unix.Faccessat(h.fd(), c.Old.Name, unix.R_OK, 0); err == nil || !errors.Is(err, unix.EACCES) {
		return nil
	}
	fd, err := unix.Openat(h.fd(), c.Old.Name, pathOnly|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if st, err := statFile(fd); err != nil || !st.same(old.st) {
		return errors.Join(replica.ErrChanged, err)
	}
	if err := h.tolerate(chmodPath(fd, c.New.Mode)); err != nil {
		return err
	}
	st, err := statFile(fd)
	if err == nil && (st.size != old.st.size || st.mtime != old.st.mtime) {
		err = replica.ErrChanged
	}
	if err != nil {
		h.forget(c.Old.Name)
		return err
	}
	old.st = st
	h.learn(c.Old.Name, *old)
	return nil
}

// stillAt makes sure that what was changed is what has the name.
func (h *handle) stillAt(name string, want stat) error {
	st, err := statAt(h.fd(), name)
	if err != nil || !st.same(want) {
		return fmt.Errorf("another one has its name: %w", errors.Join(replica.ErrChanged, err))
	}
	return nil
}

// updateDirectory sets mode, owner and extended attributes of a directory.
func (h *handle) updateDirectory(c replica.Change, old row) (*object.Entry, error) {
	fd, err := unix.Openat(h.fd(), c.Old.Name, pathOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	st, err := statFile(fd)
	if err != nil || !st.same(old.st) {
		return nil, errors.Join(replica.ErrChanged, err)
	}
	if st, err = h.adjustMode(fd, *c.New, st); err != nil {
		return nil, err
	}
	h.learn(c.Old.Name, row{st: st})
	e := *c.Old
	e.Mode = st.mode & 0o7777
	h.d.readOptional(fd, "", st, &e)
	return &e, nil
}
