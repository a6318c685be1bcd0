package localdir

import (
	"errors"
	"fmt"
	"os"

	"ensync/engine/replica"

	"golang.org/x/sys/unix"
)

// Identity returns what tells this root from another one at the same path: file system, inode, and time of birth where
// the file system has it. It stays the same across reboots and renames, and changes if the root is another directory,
// is made anew, or if its disk is not mounted.
func (d *Dir) Identity() (string, error) {
	st, err := statFile(int(d.root.Fd()))
	if err != nil {
		return "", fmt.Errorf("identify %q: %w", d.path, err)
	}
	now, err := os.Lstat(d.path)
	if err != nil {
		return "", fmt.Errorf("identify %q: %w; if its disk is not mounted, mount it; nothing was changed", d.path, err)
	}
	held, err := d.root.Stat()
	if err != nil {
		return "", fmt.Errorf("identify %q: %w", d.path, err)
	}
	if now.Mode()&os.ModeSymlink != 0 {
		now, err = os.Stat(d.path)
	}
	if err != nil || !os.SameFile(now, held) {
		return "", fmt.Errorf("identify %q: another directory is there now: %w", d.path, errors.Join(replica.ErrChanged, err))
	}
	return fmt.Sprintf("%x-%x-%x", fileSystemID(int(d.root.Fd()), st.dev), st.ino, st.btime), nil
}

// FileIdentity returns what no copy of a file has: its inode and, where the file system tells it, its time of birth.
func FileIdentity(path string) (string, error) {
	st, err := statAt(unix.AT_FDCWD, path)
	if err != nil {
		return "", fmt.Errorf("identify %q: %w", path, err)
	}
	return fmt.Sprintf("%x-%x", st.ino, st.btime), nil
}

// Stamp returns what SetStamp left on the root for an owner, by whichever process; "" if nothing did, or the file system
// can't.
func (d *Dir) Stamp(owner string) (string, error) {
	b := make([]byte, 256)
	n, err := unix.Fgetxattr(int(d.root.Fd()), stampName(owner), b)
	if errors.Is(err, errNoAttribute) || unsupportedAttribute(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the stamp of %q: %w", d.path, err)
	}
	return string(b[:n]), nil
}

// SetStamp leaves a short text on the root that is not synchronised. ok is false if the file system can't, or we may not.
func (d *Dir) SetStamp(owner, stamp string) (ok bool, err error) {
	err = unix.Fsetxattr(int(d.root.Fd()), stampName(owner), []byte(stamp), 0)
	if unsupportedAttribute(err) || errors.Is(err, errNoAttribute) /* some FUSE file systems */ || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("stamp %q: %w", d.path, err)
	}
	return true, nil
}

// stampName is the extended attribute that holds the stamp of one of those who synchronise the root.
func stampName(owner string) string { return "user.ensync." + owner }

func unsupportedAttribute(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}
