package localdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// Hash implements replica.Client. It also fills in the Data of an inline file whose content is known already.
func (d *Dir) Hash(ctx context.Context, dir string, e object.Entry) (object.Entry, error) {
	if e.Content.Known && (e.Content.Size > object.InlineMax || e.Content.Data != nil) {
		return e, ctx.Err()
	}
	h, err := d.open(dir)
	if err != nil {
		return e, err
	}
	defer h.close()
	looked, _ := coarseNow()
	r, err := h.reader(ctx, e)
	if err != nil {
		return e, fmt.Errorf("hash %q: %w", h.path(e.Name), err)
	}
	content, err := d.hasher.Hash(ctx, r)
	if err == nil && content.Size != r.st.size {
		err = replica.ErrChanged
	}
	busy := r.isBeingWritten()
	if err = errors.Join(err, r.Close()); err != nil {
		return e, fmt.Errorf("hash %q: %w", h.path(e.Name), err)
	}
	h.learn(e.Name, row{st: r.st, content: content, racy: busy || h.clockOf().racy(r.st, looked)})
	if e.Content.Known && !e.Content.Same(content) { // what was known of it was wrong; see moved
		return e, fmt.Errorf("hash %q: %w", h.path(e.Name), replica.ErrChanged)
	}
	e.Content = content
	return e, nil
}

// Open implements replica.Client.
func (d *Dir) Open(ctx context.Context, dir string, e object.Entry) (io.ReadCloser, error) {
	h, err := d.open(dir)
	if err != nil {
		return nil, err
	}
	defer h.close()
	looked, _ := coarseNow()
	clock, path := h.clockOf(), h.path(e.Name)
	r, err := h.reader(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	r.closed = func(whole bool) {
		if whole {
			d.wasRead(path, row{st: r.st, racy: r.isBeingWritten() || clock.racy(r.st, looked)})
		}
	}
	return r, nil
}

// maxReads bounds how many files are remembered as read between Open and Learn.
const maxReads = 4096

func (d *Dir) wasRead(path string, r row) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.reads) >= maxReads {
		clear(d.reads) // they are hashed again
	}
	d.reads[path] = r
}

// Learn implements replica.Learner: what was read by Open to its end, is not to be hashed again.
func (d *Dir) Learn(dir string, e object.Entry) {
	path := replica.Join(dir, e.Name)
	d.mu.Lock()
	r, ok := d.reads[path]
	delete(d.reads, path)
	d.mu.Unlock()
	if !ok || !e.Content.Known || r.st.size != e.Content.Size {
		return
	}
	h, err := d.open(dir)
	if err != nil {
		return
	}
	defer h.close()
	r.content = e.Content
	r.content.Data = nil
	h.learn(e.Name, r)
}

// reader opens a file that must be as it was listed.
func (h *handle) reader(ctx context.Context, e object.Entry) (*reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	want, err := h.expected(&e)
	if err != nil {
		return nil, err
	}
	if e.Kind != object.File {
		return nil, fmt.Errorf("it is a %v, not a file", e.Kind)
	}
	fd, err := openRead(h.fd(), e.Name)
	if err != nil {
		if isNotDirectory(err) {
			err = fmt.Errorf("%w: %w", replica.ErrChanged, err)
		}
		return nil, err
	}
	h.d.touch(h.fs)
	r := &reader{ctx: ctx, file: os.NewFile(uintptr(fd), h.path(e.Name)), st: want.st}
	if err := r.check(); err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	return r, nil
}

// reader reads a file that is to stay as st says: the state at the last byte is compared with it.
type reader struct {
	ctx  context.Context
	file *os.File
	st   stat
	done int64 // bytes read
	end  bool  // all was read, and the file was then still as st says

	closed func(whole bool) // called before the file is closed; may be nil
}

const readStep = 1 << 20 // bytes read between looks at the context

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.file.Read(p[:min(len(p), readStep)])
	r.done += int64(n)
	if r.done > r.st.size {
		return 0, fmt.Errorf("%q grew: %w", r.file.Name(), replica.ErrChanged)
	}
	if err != io.EOF {
		return n, err
	}
	if r.done < r.st.size {
		return 0, fmt.Errorf("%q shrank: %w", r.file.Name(), replica.ErrChanged)
	}
	if err := r.check(); err != nil {
		return 0, err
	}
	r.end = true
	return 0, io.EOF
}

func (r *reader) check() error {
	st, err := statFile(int(r.file.Fd()))
	if err != nil {
		return err
	}
	if !st.same(r.st) {
		return fmt.Errorf("%q: %w", r.file.Name(), replica.ErrChanged)
	}
	if perFileSync && r.done == r.st.size {
		return r.file.Sync() // DURABLE: what was read, before the ancestor says so
	}
	return nil
}

// isBeingWritten reports whether someone has the file open for writing, where the system can tell. Bytes stored through a
// memory mapping show in no time stamp until they are written back.
func (r *reader) isBeingWritten() bool {
	held, supported := takeLease(int(r.file.Fd()))
	if held {
		unlease(int(r.file.Fd()))
	}
	return supported && !held
}

func (r *reader) Close() error {
	if r.closed != nil {
		r.closed(r.end)
	}
	return r.file.Close()
}

// expected returns what is known of an entry as it was listed; ErrChanged if that is not what the caller says.
func (h *handle) expected(e *object.Entry) (row, error) {
	d := h.d
	d.mu.Lock()
	st := d.states.get(h.dir)
	r, ok := row{}, false
	if st != nil && st.self.ino == h.st.ino {
		r, ok = st.rows[e.Name]
	}
	d.mu.Unlock()
	if !ok {
		if st, err := statAt(h.fd(), e.Name); errors.Is(err, unix.ENOENT) {
			return r, fmt.Errorf("it is gone: %w", replica.ErrChanged)
		} else if err != nil {
			return r, err
		} else if st.kind() == object.File && e.Content.Known {
			r, ok = d.remembered(h).rows[e.Name]
			r.st.dev = h.st.dev
		}
	}
	if !ok {
		return r, fmt.Errorf("it is not as it was listed: %w", replica.ErrChanged)
	}
	return r, r.agrees(e)
}

// agrees returns ErrChanged if r is not what e describes.
func (r row) agrees(e *object.Entry) error {
	same := r.st.kind() == e.Kind
	switch e.Kind {
	case object.File:
		same = same && r.st.size == e.Content.Size && r.st.mtime == e.ModTime && r.st.mode&0o7777 == e.Mode &&
			(!e.Content.Known || r.content.Same(e.Content))
	case object.Directory:
		same = same && r.st.mode&0o7777 == e.Mode
	}
	if !same {
		return fmt.Errorf("it was listed anew since: %w", replica.ErrChanged)
	}
	return nil
}

// learn remembers what a name holds; forget that nothing is known of it.
func (h *handle) learn(name string, r row) { h.edit(func(st *state) { h.d.states.set(st, name, r) }) }

func (h *handle) forget(name string) { h.edit(func(st *state) { h.d.states.remove(st, name) }) }

func (h *handle) edit(f func(*state)) {
	d := h.d
	d.mu.Lock()
	st := d.states.get(h.dir)
	d.mu.Unlock()
	if st == nil || st.self.ino != h.st.ino {
		st = d.remembered(h)
		st.dir, st.self, st.fs = h.dir, h.st, h.fs.id
		if st.rows == nil {
			st.rows = map[string]row{}
		}
		for name, r := range st.rows {
			r.st.dev = h.st.dev
			st.rows[name] = r
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.states.get(h.dir); now != nil && now.self.ino == h.st.ino {
		st = now
	} else {
		d.states.put(st)
	}
	f(st)
}
