package localdir

import (
	"strconv"
	"strings"

	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// xattrPath leads to an open file, or, with a name, to an entry of an open directory, whatever became of their paths.
func xattrPath(fd int, name string) string {
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	if name != "" {
		path += "/" + name
	}
	return path
}

// xattrsOf returns the extended attributes that are synchronised, of an open file or of an entry of an open directory.
func xattrsOf(fd int, name string) (map[string][]byte, error) {
	list, get := unix.Llistxattr, unix.Lgetxattr
	if name == "" {
		list, get = unix.Listxattr, unix.Getxattr // through the link in /proc
	}
	path := xattrPath(fd, name)
	names, err := grow(func(b []byte) (int, error) { return list(path, b) })
	if err != nil || len(names) == 0 {
		return nil, err
	}
	set := map[string][]byte{}
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !object.ValidXattr(attr) {
			continue
		}
		value, err := grow(func(b []byte) (int, error) { return get(path, attr, b) })
		if err == unix.ENODATA {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		set[attr] = value
	}
	return set, nil
}

// grow calls read with ever larger buffers until one is large enough.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 8 {
		b := make([]byte, size)
		n, err := read(b)
		if err == unix.ERANGE && size <= 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
}

// copyACL gives an open file the access control list of an entry of an open directory, if that has one and it can be given.
func copyACL(dirfd int, name string, to int) {
	const acl = "system.posix_acl_access"
	value, err := grow(func(b []byte) (int, error) { return unix.Lgetxattr(xattrPath(dirfd, name), acl, b) })
	if err == nil && len(value) > 0 {
		_ = setXattr(to, acl, value)
	}
}

func setXattr(fd int, attr string, value []byte) error {
	return unix.Setxattr(xattrPath(fd, ""), attr, value, 0)
}

func removeXattr(fd int, attr string) error { return unix.Removexattr(xattrPath(fd, ""), attr) }

// chownFile changes the owner of an open file, which may be open with O_PATH only. -1 leaves one as it is.
func chownFile(fd, uid, gid int) error { return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH) }
