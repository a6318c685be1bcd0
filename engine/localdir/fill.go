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

// incoming is an entry under a temporary name.
type incoming struct {
	name    string
	st      stat
	content object.Content // of a file
	has     object.Entry   // owner, group and extended attributes
}

// fill writes the content of a new file under a temporary name.
func (h *handle) fill(ctx context.Context, c replica.Change) (in incoming, err error) {
	in.name = h.d.owner.tempName()
	fd, err := unix.Openat(h.fd(), in.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return in, err
	}
	file := os.NewFile(uintptr(fd), in.name)
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			unix.Unlinkat(h.fd(), in.name, 0)
		}
	}()
	if in.content, err = h.receive(ctx, c, file); err != nil {
		return in, err
	}
	e := h.inherit(c)
	if in.st, err = statFile(fd); err != nil {
		return in, err
	}
	if err = h.setOptional(fd, e, in.st); err != nil {
		return in, err
	}
	if err = h.keepAttributes(fd, c); err != nil {
		return in, err
	}
	if err = h.tolerate(unix.Fchmod(fd, c.New.Mode)); err != nil {
		return in, err
	}
	if err = setTime(fd, c.New.ModTime); err != nil {
		return in, err
	}
	if perFileSync {
		if err = file.Sync(); err != nil { // DURABLE: the bytes, before the name shows them
			return in, err
		}
	}
	in.st, err = statFile(fd)
	in.has.Kind = object.File
	h.d.readOptional(fd, "", in.st, &in.has)
	return in, err
}

// receive copies the source of c to a file, hashing what it copies.
func (h *handle) receive(ctx context.Context, c replica.Change, file *os.File) (object.Content, error) {
	source, err := c.Source(ctx)
	if err != nil {
		return object.Content{}, err
	}
	in := io.Reader(interruptible{ctx, source})
	if c.New.Content.Known {
		in = io.LimitReader(in, c.New.Content.Size+1)
	}
	w := &sparseWriter{file: file}
	content, err := h.d.hasher.Hash(ctx, io.TeeReader(in, w))
	if err = errors.Join(err, source.Close()); err != nil {
		return content, err
	}
	if content.Size != w.size {
		return content, fmt.Errorf("%d bytes arrived, %d were hashed", w.size, content.Size)
	}
	if c.New.Content.Known && !content.Same(c.New.Content) {
		return content, errors.New("what arrived is not the content that was announced; nothing is changed")
	}
	return content, w.finish()
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// sparseWriter writes a file from its beginning, leaving holes for blocks of zeros.
type sparseWriter struct {
	file *os.File
	size int64 // bytes taken so far
	hole bool  // the last of them are a hole
}

const holeSize = 4096 // bytes: the block of most file systems

var zeros [holeSize]byte

func (w *sparseWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, hole := w.run(p[written:])
		if !hole {
			if _, err := w.file.WriteAt(p[written:written+n], w.size); err != nil {
				return written, err
			}
		}
		w.size += int64(n)
		w.hole = hole
		written += n
	}
	return written, nil
}

// run returns how many bytes of p, cut at block boundaries of the file, are all of blocks of zeros, or all not.
func (w *sparseWriter) run(p []byte) (n int, hole bool) {
	for n < len(p) {
		block := p[n:min(len(p), n+holeSize-int((w.size+int64(n))%holeSize))]
		zero := string(block) == string(zeros[:len(block)])
		if n > 0 && zero != hole {
			break
		}
		hole = zero
		n += len(block)
	}
	return n, hole
}

// finish gives the file its size, which a hole at its end does not.
func (w *sparseWriter) finish() error {
	if !w.hole {
		return nil // some file systems can't even be asked
	}
	return w.file.Truncate(w.size)
}

// build makes a directory or symbolic link under a temporary name.
func (h *handle) build(e object.Entry) (in incoming, err error) {
	in.name = h.d.owner.tempName()
	if e.Kind == object.Symlink {
		err = h.buildSymlink(in.name, e)
	} else {
		err = h.buildDirectory(in.name, e)
	}
	if err == nil {
		in.st, err = statAt(h.fd(), in.name)
	} else if st, gone := statAt(h.fd(), in.name); gone == nil {
		h.discard(in.name, st)
	}
	if err != nil {
		return in, err
	}
	in.has.Kind = e.Kind
	h.d.readOptional(h.fd(), in.name, in.st, &in.has)
	return in, nil
}

func (h *handle) buildSymlink(name string, e object.Entry) error {
	if err := unix.Symlinkat(e.Target, h.fd(), name); err != nil {
		return err
	}
	st, err := statAt(h.fd(), name)
	if err != nil {
		return err
	}
	return h.setOwner(e, st, func(uid, gid int) error {
		return unix.Fchownat(h.fd(), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// buildDirectory makes a directory that we can fill; who asked for less gives it its mode when it is full. No rights at
// all are for one that stays empty.
func (h *handle) buildDirectory(name string, e object.Entry) error {
	if err := unix.Mkdirat(h.fd(), name, 0o700); err != nil {
		return err
	}
	fd, err := unix.Openat(h.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	st, err := statFile(fd)
	if err != nil {
		return err
	}
	if err := h.setOptional(fd, e, st); err != nil {
		return err
	}
	if st, err = statFile(fd); err != nil {
		return err
	}
	mode := e.Mode
	if mode != 0 {
		mode |= 0o700
	}
	if st.mode&0o7777 == mode {
		return nil
	}
	return h.tolerate(unix.Fchmod(fd, mode))
}
