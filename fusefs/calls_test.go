//go:build linux

package fusefs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCalls checks single calls with the errors that they give, on the native file system too.
func TestCalls(t *testing.T) {
	defer syscall.Umask(syscall.Umask(027))
	systems(t, func(t *testing.T, dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, os.MkdirAll(at("full/sub"), 0755))
		must(t, os.Mkdir(at("empty"), 0755))
		mustFile(t, at("file"), "content")
		fd, err := unix.Open(at("file"), unix.O_RDWR, 0)
		must(t, err)
		defer unix.Close(fd)
		long := strings.Repeat("n", 256)
		big := make([]byte, 65537)
		buf := make([]byte, 3)
		second := func(_ int, err error) error { return err }
		for _, c := range []struct {
			what string
			got  error
			want error
		}{
			{"long name", os.Mkdir(at(long), 0755), unix.ENAMETOOLONG},
			{"longest name", os.Mkdir(at(long[1:]), 0755), nil},
			{"longest symlink", os.Symlink(strings.Repeat("t", 4095), at("sym")), nil},
			{"look up a long name", unix.Access(at(long), 0), unix.ENAMETOOLONG},
			{"mkdir over a file", os.Mkdir(at("file"), 0755), unix.EEXIST},
			{"mkdir below a file", os.Mkdir(at("file/d"), 0755), unix.ENOTDIR},
			{"rmdir of a full directory", unix.Rmdir(at("full")), unix.ENOTEMPTY},
			{"rmdir of a file", unix.Rmdir(at("file")), unix.ENOTDIR},
			{"unlink of a directory", unix.Unlink(at("empty")), unix.EISDIR},
			{"rename into itself", os.Rename(at("full"), at("full/sub/x")), unix.EINVAL},
			{"rename over a full directory", unix.Rename(at("empty"), at("full")), unix.ENOTEMPTY},
			{"rename a file over a directory", unix.Rename(at("file"), at("empty")), unix.EISDIR},
			{"rename a directory over a file", unix.Rename(at("empty"), at("file")), unix.ENOTDIR},
			{"noreplace", unix.Renameat2(-1, at("file"), -1, at("empty"), unix.RENAME_NOREPLACE), unix.EEXIST},
			{"exchange with nothing", unix.Renameat2(-1, at("file"), -1, at("none"), unix.RENAME_EXCHANGE), unix.ENOENT},
			{"exchange", unix.Renameat2(-1, at("full"), -1, at("file"), unix.RENAME_EXCHANGE), nil},
			{"exchange back", unix.Renameat2(-1, at("full"), -1, at("file"), unix.RENAME_EXCHANGE), nil},
			{"link of a directory", os.Link(at("full"), at("hard")), unix.EPERM},
			{"get no attribute", second(unix.Getxattr(at("file"), "user.a", nil)), unix.ENODATA},
			{"replace no attribute", unix.Setxattr(at("file"), "user.a", []byte("long"), unix.XATTR_REPLACE), unix.ENODATA},
			{"create an attribute", unix.Setxattr(at("file"), "user.a", []byte("long"), unix.XATTR_CREATE), nil},
			{"create it again", unix.Setxattr(at("file"), "user.a", nil, unix.XATTR_CREATE), unix.EEXIST},
			{"get into too little", second(unix.Getxattr(at("file"), "user.a", buf)), unix.ERANGE},
			{"list into too little", second(unix.Listxattr(at("file"), buf)), unix.ERANGE},
			{"huge attribute", unix.Setxattr(at("file"), "user.b", big, 0), unix.E2BIG},
			{"long attribute", unix.Setxattr(at("file"), "user."+long, nil, 0), unix.ERANGE},
			{"unknown attribute", unix.Setxattr(at("file"), "unknown.a", nil, 0), unix.EOPNOTSUPP},
			{"fallocate with a strange mode", unix.Fallocate(fd, 0x80, 0, 4096), unix.EOPNOTSUPP},
			{"hole without keeping the size", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE, 0, 4096), unix.EOPNOTSUPP},
			{"seek behind the end", seek(fd, 100, unix.SEEK_DATA), unix.ENXIO},
			{"unknown ioctl", unix.IoctlSetInt(fd, 0x1234, 0), unix.ENOTTY},
			{"truncate a directory", unix.Truncate(at("full"), 0), unix.EISDIR},
			{"open a missing file", open(at("none"), unix.O_RDONLY), unix.ENOENT},
			{"open to make what is there", open(at("file"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY), unix.EEXIST},
			{"open a directory to write", open(at("full"), unix.O_WRONLY), unix.EISDIR},
			{"open a symlink", open(at("sym"), unix.O_NOFOLLOW), unix.ELOOP},
			{"sync a directory", syncDir(at("full")), nil},
		} {
			if !errors.Is(c.got, c.want) {
				t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
			}
		}
	})
}

func seek(fd int, off int64, whence int) error {
	_, err := unix.Seek(fd, off, whence)
	return err
}

func open(path string, flags int) error {
	fd, err := unix.Open(path, flags, 0644)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// TestModes checks what becomes of modes and groups.
func TestModes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing owners needs root")
	}
	defer syscall.Umask(syscall.Umask(027))
	mode := func(path string) uint32 {
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		return st.Mode & 07777
	}
	systems(t, func(t *testing.T, dir string) {
		f, d := filepath.Join(dir, "f"), filepath.Join(dir, "d")
		check := func(what, path string, want uint32) {
			t.Helper()
			if got := mode(path); got != want {
				t.Errorf("%s: mode %o, want %o", what, got, want)
			}
		}
		must(t, open(f, unix.O_CREAT|unix.O_WRONLY))
		check("umask", f, 0640)
		for _, c := range []struct {
			what string
			do   func() error
			want uint32
		}{
			{"chown", func() error { return unix.Chown(f, 1, 2) }, 0755},
			{"chown to the same", func() error { return unix.Chown(f, -1, -1) }, 0755},
			{"write by root", func() error { return os.WriteFile(f, []byte("x"), 0) }, 06755},
			{"truncate by root", func() error { return os.Truncate(f, 0) }, 06755},
			{"chmod", func() error { return unix.Chmod(f, 02644) }, 02644},
		} {
			must(t, unix.Chmod(f, 06755))
			must(t, c.do())
			check(c.what, f, c.want)
		}
		must(t, unix.Mkdir(d, 0755))
		must(t, unix.Chown(d, 0, 7))
		must(t, unix.Chmod(d, 02777))
		must(t, unix.Mkdir(filepath.Join(d, "sub"), 0755))
		check("a directory in a setgid one", filepath.Join(d, "sub"), 02750)
		must(t, open(filepath.Join(d, "f"), unix.O_CREAT|unix.O_WRONLY))
		for _, name := range []string{"f", "sub"} {
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Join(d, name), &st))
			if st.Gid != 7 {
				t.Errorf("%s has group %d, want 7", name, st.Gid)
			}
		}
	})
}
