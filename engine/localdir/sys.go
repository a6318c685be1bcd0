package localdir

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// openStepwise opens a directory below root one name at a time.
func openStepwise(root int, dir string) (int, error) {
	fd := -1
	for name := range strings.SplitSeq(dir, "/") {
		parent := root
		if fd >= 0 {
			parent = fd
		}
		const flags = unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		next, err := unix.Openat(parent, name, unix.O_RDONLY|flags, 0)
		if err == unix.EACCES {
			next, err = unix.Openat(parent, name, pathOnly|flags, 0)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// isNotDirectory reports whether an error says that no directory is there: nothing, another kind, or a symbolic link.
func isNotDirectory(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// unsupported reports whether a file system can't do what it was asked.
func unsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) ||
		errors.Is(err, unix.EOPNOTSUPP)
}

// moveNoReplace renames within a directory; EEXIST if the new name is taken.
func moveNoReplace(dirfd int, from, to string) error {
	err := renameNoReplace(dirfd, from, to)
	if !unsupported(err) {
		return err
	}
	if err := unix.Linkat(dirfd, from, dirfd, to, 0); err == nil {
		return unix.Unlinkat(dirfd, from, 0)
	} else if err == unix.EEXIST || err == unix.ENOENT {
		return err
	}
	// RACE: a directory, or a file system with neither: a file that someone puts here between the look and the rename
	// is lost. A full directory is not, rename(2) refuses it.
	if _, err := statAt(dirfd, to); err == nil {
		return unix.EEXIST
	}
	return unix.Renameat(dirfd, from, dirfd, to)
}
