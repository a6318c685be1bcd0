package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"ensync/store/backend"
)

// Get implements backend.Backend.
func (d *Dir) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := backend.CheckName(name); err != nil {
		return nil, err
	}
	if err := backend.CheckRange(name, offset, length); err != nil {
		return nil, err
	}
	return call(ctx, d, "read", name, func(_ *lease, r *os.Root) ([]byte, error) {
		f, size, err := openFile(r, name)
		if err != nil {
			if notThere(err) || errors.Is(err, errDirectory) {
				return nil, d.absent(r)
			}
			return nil, err
		}
		defer f.Close()
		return readRange(f, size, offset, length)
	})
}

// maxObject bounds what is read at once, in bytes: more than the largest object of a store.
const maxObject = 64 << 20

var errDirectory = errors.New("it is a directory")

// openFile opens what must be a regular file, and tells its size. Who holds the medium may have put anything else there: a
// pipe is not waited for.
func openFile(r *os.Root, name string) (*os.File, int64, error) {
	f, err := r.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case st.IsDir():
		err = errDirectory
	case !st.Mode().IsRegular():
		err = fmt.Errorf("%w: %s is no file (%v)", backend.ErrUnavailable, name, st.Mode().Type())
	default:
		return f, st.Size(), nil
	}
	return nil, 0, errors.Join(err, f.Close())
}

// readFile reads a whole file of an object.
func readFile(r *os.Root, name string) ([]byte, error) {
	f, size, err := openFile(r, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRange(f, size, 0, -1)
}

func readRange(f io.ReaderAt, size, offset, length int64) ([]byte, error) {
	if length < 0 {
		length = max(0, size-offset)
	}
	if offset+length > size {
		return nil, fmt.Errorf("%d bytes from %d of %d: %w", length, offset, size, io.ErrUnexpectedEOF)
	}
	if length > maxObject {
		return nil, fmt.Errorf("%w: %d bytes; no object has more than %d", backend.ErrUnavailable, length, maxObject)
	}
	data := make([]byte, length)
	n, err := f.ReadAt(data, offset)
	if int64(n) == length {
		return data, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // cut while it was being read: not by us
	}
	return nil, err
}

// Put implements backend.Backend. It does not read data any more once it has returned, also when ctx has ended. An
// object that ends up without its name being durable is reported as an error, although it may be there.
func (d *Dir) Put(ctx context.Context, name string, data []byte) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	_, err := call(ctx, d, "create", name, func(l *lease, r *os.Root) (struct{}, error) {
		return struct{}{}, d.create(l, r, name, data)
	})
	return err
}

// Renew implements backend.Renewer: what goes by age here goes by the time of the last change. It is not durable by itself.
func (d *Dir) Renew(ctx context.Context, name string, data []byte) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	data = bytes.Clone(data) // the caller may leave before it is compared
	_, err := call(ctx, d, "renew", name, func(l *lease, r *os.Root) (struct{}, error) {
		is, err := readFile(r, name)
		switch {
		case err != nil && notThere(err):
			return struct{}{}, d.absent(r)
		case err == nil && !bytes.Equal(is, data):
			err = backend.ErrChanged
		case err == nil:
			now := time.Now()
			if held := l.hold(func() { err = r.Chtimes(name, now, now) }); held != nil {
				err = held
			}
		}
		return struct{}{}, err
	})
	return err
}

// Delete implements backend.Backend. Of a mutable object, a tombstone becomes the highest number by the same
// compare-and-swap as every other state: a racing reader sees the last state or none, and of a racing Swap and Delete
// either the Swap comes first and is deleted, or it gets ErrChanged. The tombstone stays: 8 bytes for each mutable
// object that ever was. Delete of an immutable object is not durable by itself: after a power cut it may be back.
func (d *Dir) Delete(ctx context.Context, name string) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	_, err := call(ctx, d, "delete", name, func(l *lease, r *os.Root) (struct{}, error) {
		return struct{}{}, d.remove(l, r, name)
	})
	return err
}

func (d *Dir) remove(l *lease, r *os.Root, name string) error {
	var file os.FileInfo
	var err error
	if held := l.hold(func() {}); held != nil {
		return held
	}
	if file, err = r.Lstat(name); err == nil && !file.IsDir() {
		err = r.Remove(name)
	}
	if err != nil && !notThere(err) {
		return err
	}
	if file == nil {
		if err := d.absent(r); !errors.Is(err, backend.ErrNotExist) {
			return err
		}
	}
	return d.removeSeries(l, r, name)
}
