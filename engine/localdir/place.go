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

var errWritten = fmt.Errorf("it is open for writing: %w", replica.ErrChanged)

// place puts what lies under a temporary name to its name: over what was listed, or over nothing.
func (h *handle) place(ctx context.Context, c replica.Change, old row, p *prepared) (*object.Entry, error) {
	name := c.New.Name
	looked, _ := coarseNow()
	if c.Old == nil {
		if err := h.moveIn(p, name); err != nil {
			return nil, err
		}
	} else if err := h.exchange(ctx, c.Old, old, p); err != nil {
		return nil, err
	}
	return h.placed(c, p, looked), nil
}

// moveIn gives what lies under a temporary name a name that is free; ErrChanged if it is not.
func (h *handle) moveIn(p *prepared, name string) error {
	err := moveNoReplace(h.fd(), p.name, name)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("something is there: %w", replica.ErrChanged)
	}
	return err
}

// placed remembers what we made, unless someone was faster to change it again.
func (h *handle) placed(c replica.Change, p *prepared, looked int64) *object.Entry {
	e := object.Entry{Name: c.New.Name, Kind: c.New.Kind, Target: c.New.Target}
	if e.Kind != object.Symlink {
		e.Mode = p.st.mode & 0o7777
	}
	if e.Kind == object.File {
		e.ModTime, e.Content = p.st.mtime, p.content
	}
	e.User, e.Group, e.Xattrs = p.has.User, p.has.Group, p.has.Xattrs
	st, err := statAt(h.fd(), e.Name)
	if err != nil || !st.moved(p.st) {
		h.forget(e.Name)
		return &e
	}
	r := row{st: st, content: p.content}
	r.racy = e.Kind == object.File && h.clockOf().racyTime(st, looked)
	h.learn(e.Name, r)
	return &e
}

// exchange swaps the new entry with the old one, looks at what came out, and removes it if it is what was listed.
//
// RACE: who has the old file open for reading goes on reading it; who opened it for writing is seen by the lease, where
// the system has leases (local file systems of Linux, own files). Elsewhere, what a program writes later to a file that
// it opened before the exchange is lost with the old file.
func (h *handle) exchange(ctx context.Context, e *object.Entry, old row, p *prepared) error {
	transit := h.d.owner.transitName(exchanged, p.st.ino, old.st, e.Name)
	if err := unix.Renameat(h.fd(), p.name, h.fd(), transit); err != nil {
		return err
	}
	p.name = transit
	err := swapNames(h.fd(), p.name, e.Name)
	if unsupported(err) {
		return h.replaceAside(ctx, e, old, p)
	}
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("it is gone: %w", replica.ErrChanged)
	}
	if err != nil {
		return err
	}
	if err := h.dispose(ctx, p.name, e, old); err != nil {
		return errors.Join(err, h.takeBack(e.Name, p))
	}
	return nil
}

// takeBack undoes an exchange that brought out a version that nobody has seen.
func (h *handle) takeBack(name string, p *prepared) error {
	err := swapNames(h.fd(), p.name, name)
	if errors.Is(err, unix.ENOENT) {
		// Ours was removed or moved meanwhile: the version that we hold goes back, to this name or beside it.
		if err = moveNoReplace(h.fd(), p.name, name); errors.Is(err, unix.EEXIST) {
			_, err = h.keep(p.name, name)
		}
		return err
	}
	if err != nil {
		return err
	}
	if h.untouched(p) {
		return nil // finish removes it
	}
	// RACE: someone replaced or edited our version in the instant that it had the name. Theirs is kept beside it.
	_, err = h.keep(p.name, name)
	p.name = ""
	return err
}

// untouched reports whether the entry under our temporary name is what we made, and nobody is writing to it.
func (h *handle) untouched(p *prepared) bool {
	st, err := statAt(h.fd(), p.name)
	if err != nil || !st.moved(p.st) {
		return false
	}
	if st.kind() != object.File {
		return true
	}
	fd, err := openRead(h.fd(), p.name)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	held, supported := takeLease(fd)
	if supported && !held {
		return false
	}
	st, err = statFile(fd)
	return err == nil && st.moved(p.st)
}

// dispose removes what was taken from its name, if it is what was listed there; ErrChanged if it is not, and it stays.
func (h *handle) dispose(ctx context.Context, temp string, e *object.Entry, old row) error {
	st, err := statAt(h.fd(), temp)
	if err != nil {
		return err
	}
	if !st.moved(old.st) {
		return replica.ErrChanged
	}
	if err := h.sameOptional(temp, e, st); err != nil {
		return err
	}
	if e.Kind == object.File {
		file, err := h.secure(ctx, temp, e, old)
		if err != nil {
			return err
		}
		if file != nil {
			defer file.Close() // and with it the lease, when the name is gone
		}
	}
	if e.Kind == object.Directory {
		return h.removeDirectory(temp)
	}
	return h.discard(temp, st)
}

// removeDirectory removes a directory if it is empty; ErrChanged if it is not.
func (h *handle) removeDirectory(name string) error {
	err := unix.Unlinkat(h.fd(), name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("the directory is not empty: %w", replica.ErrChanged)
	}
	return err
}

// secure makes sure that a file has the content that was listed and that nobody is about to change it, as long as the
// returned file is open. It is nil if we may not read it.
//
// RACE: an edit between the last look and the exchange that keeps the size and sets mtime back is not seen: the
// exchange changes ctime, too.
func (h *handle) secure(ctx context.Context, temp string, e *object.Entry, old row) (*os.File, error) {
	fd, err := openRead(h.fd(), temp)
	if errors.Is(err, unix.EACCES) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), h.path(e.Name))
	if held, supported := takeLease(fd); supported && !held {
		return nil, errors.Join(errWritten, file.Close())
	}
	st, err := statFile(fd)
	if err == nil && !st.moved(old.st) {
		err = replica.ErrChanged
	}
	if err == nil && old.racy && e.Content.Known {
		err = h.verify(ctx, file, e.Content)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// verify reads a file again and compares it.
func (h *handle) verify(ctx context.Context, file *os.File, want object.Content) error {
	if _, err := file.Seek(0, 0); err != nil {
		return err
	}
	got, err := h.d.hasher.Hash(ctx, interruptible{ctx, file})
	if err == nil && !got.Same(want) {
		err = replica.ErrChanged
	}
	return err
}

// replaceAside is exchange for file systems that have none.
//
// RACE: for a moment nothing is at the name. If we die in it, the next List of any process puts the old version back;
// of a name longer than about 110 bytes only the beginning is then left. An empty directory is not put back.
func (h *handle) replaceAside(ctx context.Context, e *object.Entry, old row, p *prepared) error {
	if e.Kind == object.Directory {
		if err := h.removeDirectory(e.Name); err != nil {
			return err
		}
		return h.moveIn(p, e.Name)
	}
	out, err := h.takeAside(e, old)
	if err != nil {
		return err
	}
	// What came out must not be removed before the new entry is in place, so it is only looked at.
	st, err := statAt(h.fd(), out)
	if err == nil && !st.moved(old.st) {
		err = replica.ErrChanged
	}
	if err == nil {
		err = h.moveIn(p, e.Name)
	}
	if err != nil {
		return errors.Join(err, h.putBack(out, e.Name))
	}
	p.name = e.Name
	if err := h.dispose(ctx, out, e, old); err != nil {
		// Ours has the name already: a version that nobody has seen is kept beside it.
		_, kept := h.keep(out, e.Name)
		return errors.Join(kept)
	}
	return nil
}

// takeAside moves an entry to a temporary name from which it comes back after a crash.
func (h *handle) takeAside(e *object.Entry, old row) (string, error) {
	out := h.d.owner.transitName(aside, 0, old.st, e.Name)
	err := moveNoReplace(h.fd(), e.Name, out)
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("it is gone: %w", replica.ErrChanged)
	}
	return out, err
}

// putBack undoes takeAside.
func (h *handle) putBack(out, name string) error {
	err := moveNoReplace(h.fd(), out, name)
	if errors.Is(err, unix.EEXIST) {
		_, err = h.keep(out, name)
	}
	return err
}

// remove removes what was listed.
func (h *handle) remove(ctx context.Context, c replica.Change, old row) error {
	if c.Old.Kind == object.Directory {
		err := h.removeDirectory(c.Old.Name)
		if err == nil {
			h.forget(c.Old.Name)
		}
		return err
	}
	out, err := h.takeAside(c.Old, old)
	if err != nil {
		return err
	}
	if err := h.dispose(ctx, out, c.Old, old); err != nil {
		return errors.Join(err, h.putBack(out, c.Old.Name))
	}
	h.forget(c.Old.Name)
	return nil
}

// rename gives what was listed another name.
func (h *handle) rename(c replica.Change, old row) (*object.Entry, error) {
	looked, _ := coarseNow()
	err := moveNoReplace(h.fd(), c.Old.Name, c.Rename)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%q: %w: %w", c.Rename, err, replica.ErrChanged)
	}
	if err != nil {
		return nil, err
	}
	st, err := statAt(h.fd(), c.Rename)
	if err != nil || !st.moved(old.st) {
		// RACE: if its name is taken again by now, it stays under the new one. No bytes are lost.
		err = errors.Join(replica.ErrChanged, err, moveNoReplace(h.fd(), c.Rename, c.Old.Name))
		h.forget(c.Old.Name)
		return nil, err
	}
	old.st = st
	old.racy = old.racy || st.kind() == object.File && h.clockOf().racyTime(st, looked)
	h.forget(c.Old.Name)
	h.learn(c.Rename, old)
	e := *c.Old
	e.Name = c.Rename
	return &e, nil
}
