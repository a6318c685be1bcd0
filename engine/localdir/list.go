package localdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// List implements replica.Client. Content is Known from the cache if device, inode, size, mtime and ctime are as they
// were when it was read, and the file was not changed within the grain of the clock of that reading. Data is then nil, also of
// inline content: Hash reads it. An entry that can't be looked at, or that is not synchronised, is Special. Leftovers of
// dead processes are cleared away.
func (d *Dir) List(ctx context.Context, dir string) ([]object.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := d.open(dir)
	if err != nil {
		return nil, err
	}
	defer h.close()
	d.touch(h.fs)
	names, err := h.names()
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", dir, err)
	}
	l := listing{handle: h, before: d.remembered(h), rows: make(map[string]row, len(names))}
	entries := make([]object.Entry, 0, len(names))
	for i, name := range names {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if e, ok := l.look(name); ok {
			entries = append(entries, e)
		}
	}
	l.finish()
	return entries, nil
}

// names returns the sorted names of a directory, without temporary ones.
func (h *handle) names() ([]string, error) {
	for again := false; ; again = true {
		names, err := h.readNames()
		if err != nil {
			return nil, err
		}
		recovered := false
		names = slices.DeleteFunc(names, func(name string) bool {
			t, ok := parseTemp(name)
			if ok && !again && dead(t.owner) {
				recovered = h.recover(name, t) || recovered
			}
			return ok
		})
		if !recovered {
			slices.Sort(names)
			return names, nil
		}
	}
}

// readNames opens the directory once more if it was read already, where that may be done: not every file system shows its
// names again to who rewinds.
func (h *handle) readNames() ([]string, error) {
	file := h.file
	if h.wasRead {
		if fd, err := unix.Openat(h.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			file = os.NewFile(uintptr(fd), h.dir)
			defer file.Close()
		} else if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	h.wasRead = true
	names, err := file.Readdirnames(-1)
	if errors.Is(err, unix.EBADF) {
		return nil, unix.EACCES // openBelow got no more than a path
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if errors.Is(err, unix.ENOENT) { // it was removed since it was opened
		err = fmt.Errorf("%w: %w", replica.ErrNotExist, err)
	}
	return names, err
}

// remembered returns what is known of a directory: from this run, or from the cache.
func (d *Dir) remembered(h *handle) *state {
	d.mu.Lock()
	st, packed := d.states.get(h.dir), d.states.packed[h.dir]
	d.mu.Unlock()
	if st == nil && packed != nil {
		st, _ = decodeState(h.dir, packed)
	}
	if st == nil || st.fs != h.fs.id || st.self.ino != h.st.ino {
		st = d.cache.load(h.dir, h.fs.id, h.st.ino)
	}
	if st == nil {
		return &state{dir: h.dir, changed: true}
	}
	return st
}

// listing compares a directory with what is known of it.
type listing struct {
	*handle
	before  *state
	rows    map[string]row
	changed bool
	byInode map[uint64]string // names in before, made when it is needed
}

// look returns the entry of a name; false if it is gone by now.
func (l *listing) look(name string) (object.Entry, bool) {
	e := object.Entry{Name: name, Kind: object.Special}
	if replica.Reserved(name) {
		return e, true
	}
	st, err := statAt(l.fd(), name)
	if errors.Is(err, unix.ENOENT) {
		return e, false
	}
	if err != nil {
		e.Target = fmt.Sprintf("it can't be looked at: %v", err)
		return e, true
	}
	r := row{st: st}
	e, err = l.entry(name, &r)
	if errors.Is(err, unix.ENOENT) {
		return e, false
	}
	if err != nil {
		e.Target = fmt.Sprintf("it can't be read: %v", err)
	}
	l.rows[name] = r
	return e, true
}

// entry fills r and returns the entry of a name that looks like r.st.
func (l *listing) entry(name string, r *row) (object.Entry, error) {
	e := object.Entry{Name: name, Kind: r.st.kind()}
	switch e.Kind {
	case object.File:
		e.Mode, e.ModTime = r.st.mode&0o7777, r.st.mtime
		l.recognise(name, r)
		if !r.racy {
			e.Content = r.content
		}
		e.Content.Size = r.st.size
	case object.Directory:
		e.Mode = r.st.mode & 0o7777
	case object.Symlink:
		target, err := readLink(l.fd(), name)
		if err != nil {
			e.Kind = object.Special
			return e, err
		}
		e.Target = target
	}
	l.d.readOptional(l.fd(), name, r.st, &e)
	return e, nil
}

// recognise finds the content of a file without reading it.
func (l *listing) recognise(name string, r *row) {
	was, ok := l.before.rows[name]
	was.st.dev = l.device(was.st)
	if ok && was.st.same(r.st) {
		r.content, r.racy = was.content, was.racy
		return
	}
	l.changed = true
	if ok && was.st.ino == r.st.ino {
		return // the same file, changed
	}
	if found, ok := l.moved(r.st); ok {
		r.content = found.content
	}
}

// device is that of the directory for rows from the cache, which have none.
func (l *listing) device(st stat) uint64 {
	if st.dev == 0 {
		return l.st.dev
	}
	return st.dev
}

// moved finds the file that st was under another name, in this directory or elsewhere, by its inode.
//
// A rename changes ctime, so this rests on inode, size, mtime and birth: an edit of the same size that sets mtime back,
// between our last look and a rename, is taken for the rename alone, and found only when the file is next changed. Where
// the file system does not tell the birth, an inode used anew could look the same, and the file is read instead.
func (l *listing) moved(st stat) (row, bool) {
	if st.btime == 0 {
		return row{}, false
	}
	if l.byInode == nil {
		l.byInode = make(map[uint64]string, len(l.before.rows))
		for name, r := range l.before.rows {
			l.byInode[r.st.ino] = name
		}
	}
	if name, ok := l.byInode[st.ino]; ok && l.isMoved(l.before.rows[name], st, l.dir, name) {
		return l.before.rows[name], true
	}
	if st.size < movedMin {
		return row{}, false
	}
	l.d.mu.Lock()
	gone, ok := l.d.states.gone[st.ino]
	l.d.mu.Unlock()
	if ok && l.isMoved(gone.row, st, gone.dir, gone.name) {
		return gone.row, true
	}
	for _, other := range l.d.cache.findBig(l.fs.id, st.ino) {
		for name, r := range other.rows {
			if l.isMoved(r, st, other.dir, name) {
				return r, true
			}
		}
	}
	return row{}, false
}

// isMoved reports whether now is the file that was at another name, and no longer is.
func (l *listing) isMoved(was row, now stat, dir, name string) bool {
	was.st.dev = l.device(was.st)
	was.st.mode = now.mode // it may have changed with the name; the bytes have not
	if !was.content.Known || was.racy || was.st.btime != now.btime || !was.st.moved(now) {
		return false
	}
	h, err := l.d.open(dir)
	if err != nil {
		return errors.Is(err, replica.ErrNotExist)
	}
	defer h.close()
	st, err := statAt(h.fd(), name)
	return errors.Is(err, unix.ENOENT) || err == nil && (st.ino != now.ino || st.dev != now.dev)
}

// finish makes what was seen the state of the directory.
func (l *listing) finish() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	st := &state{dir: l.dir, self: l.st, fs: l.fs.id, rows: l.rows}
	st.changed = l.changed || l.before.changed || l.before.dir != l.dir
	for name, r := range l.before.rows {
		if now, ok := l.rows[name]; !ok || now.st.ino != r.st.ino {
			r.st.dev = l.device(r.st)
			l.d.states.vanished(l.dir, name, r)
			st.changed = true
		}
	}
	l.d.states.put(st)
}

// readLink returns the target of a symbolic link.
func readLink(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(dirfd, name, b)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}

// Peek implements replica.Peeker.
func (d *Dir) Peek(ctx context.Context, dir string, _ object.Entry) ([]object.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := d.open(dir)
	if err != nil {
		return nil, err
	}
	defer h.close()
	names, err := h.readNames()
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", dir, err)
	}
	slices.Sort(names)
	var entries []object.Entry
	for _, name := range names {
		st, err := statAt(h.fd(), name)
		if err != nil || replica.Reserved(name) {
			continue
		}
		e := object.Entry{Name: name, Kind: st.kind(), Mode: st.mode & 0o7777, ModTime: st.mtime}
		if e.Kind == object.File {
			e.Content.Size = st.size
		}
		entries = append(entries, e)
	}
	return entries, nil
}
