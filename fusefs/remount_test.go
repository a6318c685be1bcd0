//go:build linux

package fusefs_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/engine/worktree"
	"ensync/fusefs"
)

// TestSameAfterRemount mounts a tree a second time: all that stat, readlink, listxattr and reading tell is as before, the
// numbers of inodes too.
func TestSameAfterRemount(t *testing.T) {
	state := t.TempDir()
	var before, after []string
	remount(t, state, func(dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, os.MkdirAll(at("d/sub"), 0755))
		mustFile(t, at("d/file"), strings.Repeat("content", 50000))
		must(t, os.Truncate(at("d/file"), 1<<33))
		must(t, os.Link(at("d/file"), at("hard")))
		must(t, os.Symlink("../nowhere", at("d/sym")))
		must(t, unix.Mkfifo(at("d/fifo"), 0600))
		must(t, unix.Mknod(at("d/socket"), unix.S_IFSOCK|0640, 0))
		must(t, unix.Setxattr(at("d/file"), "user.a", []byte("\x00value"), 0))
		must(t, unix.Setxattr(at("d"), "user.empty", nil, 0))
		if os.Getuid() == 0 {
			must(t, unix.Mknod(at("d/device"), unix.S_IFBLK|0600, int(unix.Mkdev(250, 70000))))
			must(t, unix.Chown(at("d/file"), 12345, 54321))
			must(t, unix.Setxattr(at("d/file"), "trusted.a", []byte("t"), 0))
		}
		must(t, unix.Chmod(at("d/file"), 06751))
		must(t, unix.Chmod(at("d/sub"), 03755))
		times := []unix.Timespec{{Sec: -5, Nsec: 123456789}, {Sec: 1 << 32, Nsec: 987654321}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at("d/sub"), times, 0))
		before = portrait(t, dir)
	})
	remount(t, state, func(dir string) { after = portrait(t, dir) })
	if !slices.Equal(before, after) {
		t.Errorf("after remounting\n%s\nbefore\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
}

// TestHandles opens by file handles what the kernel has never heard of: they are of the mount before.
func TestHandles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("opening by a file handle needs root")
	}
	state := t.TempDir()
	handles := make(map[string]unix.FileHandle)
	remount(t, state, func(dir string) {
		must(t, os.MkdirAll(filepath.Join(dir, "d/sub"), 0755))
		for _, name := range []string{"d/sub", "d/file", "d/gone", "d/moved", "."} {
			path := filepath.Join(dir, name)
			if filepath.Dir(name) == "d" && name != "d/sub" {
				mustFile(t, path, "content of "+name)
			}
			h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
			must(t, err)
			handles[name] = h
		}
	})
	remount(t, state, func(dir string) {
		must(t, os.Remove(filepath.Join(dir, "d/gone")))
		must(t, os.Rename(filepath.Join(dir, "d/moved"), filepath.Join(dir, "elsewhere")))
	})
	remount(t, state, func(dir string) {
		top, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(top)
		byHandle := func(name string) (*os.File, error) {
			fd, err := unix.OpenByHandleAt(top, handles[name], unix.O_RDONLY|unix.O_CLOEXEC)
			if err != nil {
				return nil, err
			}
			return os.NewFile(uintptr(fd), name), nil
		}
		for _, name := range []string{"d/file", "d/moved"} {
			f, err := byHandle(name)
			must(t, err)
			text, err := io.ReadAll(f)
			if string(text) != "content of "+name || err != nil {
				t.Errorf("%s: %q, %v", name, text, err)
			}
			must(t, f.Close())
		}
		if _, err := byHandle("d/gone"); err != unix.ESTALE {
			t.Errorf("a removed file: %v", err)
		}
		for _, name := range []string{"d/sub", "."} {
			f, err := byHandle(name)
			must(t, err)
			path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
			if path != filepath.Join(dir, name) || err != nil {
				t.Errorf("the directory %s is at %s, %v", name, path, err)
			}
			must(t, f.Close())
		}
	})
}

// remount mounts the tree in a state directory for as long as use runs.
func remount(t *testing.T, state string, use func(dir string)) {
	t.Helper()
	ctx := context.Background()
	tree, err := worktree.Open(ctx, state, [32]byte{1}, nil, worktree.Options{})
	must(t, err)
	s := mount(t, tree, fusefs.Options{})
	use(s.MountPoint())
	must(t, s.Unmount(ctx))
	must(t, tree.Close(ctx))
}

// portrait is what can be learnt of a tree.
func portrait(t *testing.T, dir string) (lines []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		target, _ := os.Readlink(path)
		buf := make([]byte, 1000)
		size, err := unix.Llistxattr(path, buf)
		must(t, err)
		xattrs := ""
		for name := range strings.SplitSeq(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
			n, _ := unix.Lgetxattr(path, name, buf[500:])
			xattrs += fmt.Sprintf("%s=%q ", name, buf[500:500+max(n, 0)])
		}
		lines = append(lines, fmt.Sprintf("%s ino %d mode %o links %d owner %d:%d device %d size %d blocks %d times %v %v %v ->%s %s",
			strings.TrimPrefix(path, dir), st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Rdev, st.Size, st.Blocks,
			st.Atim, st.Mtim, st.Ctim, target, xattrs))
		return nil
	}))
	return lines
}
