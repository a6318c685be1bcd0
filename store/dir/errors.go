package dir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"ensync/store/backend"
)

// classify wraps what the file system said in the error of package backend that it amounts to. What it does not know
// means that nothing is known: never absence.
func classify(err error) error {
	for _, class := range []error{
		backend.ErrNotExist, backend.ErrExist, backend.ErrChanged, backend.ErrDenied, backend.ErrUnavailable,
		backend.ErrFull, backend.ErrInvalid, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, class) {
			return err
		}
	}
	for _, c := range []struct{ errno, class error }{
		{syscall.ENOSPC, backend.ErrFull}, {syscall.EDQUOT, backend.ErrFull}, {syscall.EFBIG, backend.ErrFull},
		{syscall.EACCES, backend.ErrDenied}, {syscall.EPERM, backend.ErrDenied},
	} {
		if errors.Is(err, c.errno) {
			return fmt.Errorf("%w: %w", c.class, err)
		}
	}
	if errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %w; until it can be written to, sync only reads", backend.ErrDenied, err)
	}
	if errors.Is(err, fs.ErrExist) {
		return err // Create's; elsewhere it has become backend.ErrExist
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}

// notThere reports whether err says that a name does not exist, be it because a directory on the way is a file.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// ignoreUnsupported is for directories on file systems that cannot sync them (FAT, some network ones): there, the
// entry is as durable as that file system makes it.
func ignoreUnsupported(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOTTY) {
		return nil
	}
	return err
}

// fsync is (*os.File).Sync; tests watch it.
var fsync = (*os.File).Sync

func syncDir(r *os.Root, name string) error {
	f, err := r.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return ignoreUnsupported(fsync(f))
}

func readDir(r *os.Root, name string) ([]os.DirEntry, error) {
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}
