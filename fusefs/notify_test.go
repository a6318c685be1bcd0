//go:build linux

package fusefs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ensync/engine/worktree"
	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

// eventually waits for a notice to arrive, which nobody acknowledges.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never", what)
		}
	}
}

func content(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func inode(t testing.TB, path string) worktree.Ino {
	t.Helper()
	fi, err := os.Lstat(path)
	must(t, err)
	return worktree.Ino(fi.Sys().(*syscall.Stat_t).Ino)
}

func TestNotices(t *testing.T) {
	tree := fusetest.New()
	dir := mount(t, tree, fusefs.Options{}).MountPoint()
	d, f := filepath.Join(dir, "d"), filepath.Join(dir, "d", "f")
	must(t, os.Mkdir(d, 0755))
	must(t, os.Mkdir(filepath.Join(dir, "e"), 0755))
	mustFile(t, f, "old")
	dIno, eIno := inode(t, d), inode(t, filepath.Join(dir, "e"))
	lists := func(path string, want ...string) func() bool {
		return func() bool { return slices.Equal(names(t, path), want) }
	}
	warm := func() {
		for range 3 {
			content(f)
			content(f + "2")
			names(t, d)
		}
	}

	warm()
	held, err := os.Open(f)
	must(t, err)
	defer held.Close()
	replaced := tree.Replace(dIno, "f", []byte("new content"))
	if got := content(f); got != "old" {
		t.Errorf("the kernel does not cache: %q without a notice", got)
	}
	tree.Notify(replaced)
	eventually(t, "replaced", func() bool { return content(f) == "new content" })
	buf := make([]byte, 10)
	if n, _ := held.ReadAt(buf, 0); string(buf[:n]) != "old" {
		t.Errorf("the open file became %q", buf[:n])
	}
	if fi, err := held.Stat(); err != nil || fi.Sys().(*syscall.Stat_t).Nlink != 0 {
		t.Errorf("the open file's links: %v, %v", fi, err)
	}

	warm()
	tree.Notify(tree.Replace(dIno, "f2", []byte("second")))
	eventually(t, "created", func() bool { return content(f+"2") == "second" })
	eventually(t, "created, listed", lists(d, "f", "f2"))

	warm()
	tree.Notify(tree.Rewrite(inode(t, f), []byte("in place, longer")))
	eventually(t, "rewritten", func() bool { return content(f) == "in place, longer" })

	warm()
	must(t, os.Link(f, f+"3"))
	tree.Notify(tree.Remove(dIno, "f"))
	eventually(t, "removed", func() bool { _, err := os.Lstat(f); return errors.Is(err, fs.ErrNotExist) })
	eventually(t, "removed, listed", lists(d, "f2", "f3"))
	eventually(t, "one link left", func() bool {
		fi, err := os.Lstat(f + "3")
		return err == nil && fi.Sys().(*syscall.Stat_t).Nlink == 1
	})
	must(t, os.Link(f+"3", f))

	// A directory that moves lives on, with what is below it, also for who is inside.
	sub := filepath.Join(d, "sub")
	must(t, os.MkdirAll(filepath.Join(sub, "subsub"), 0755))
	inside, err := os.Open(sub)
	must(t, err)
	defer inside.Close()
	tree.Notify(tree.Move(dIno, "sub", eIno, "moved")...)
	moved := filepath.Join(dir, "e", "moved")
	eventually(t, "moved", func() bool { _, err := os.Lstat(moved); return err == nil })
	mustFile(t, filepath.Join(moved, "in it"), "x")
	eventually(t, "moved away", lists(d, "f", "f2", "f3"))
	eventually(t, "moved, listed", lists(moved, "in it", "subsub"))
	if list, err := inside.Readdirnames(-1); err != nil || len(list) != 2 {
		t.Errorf("from inside: %v, %v", list, err)
	}
}

// TestTold: when a notice was acknowledged, the kernel knows of all before it.
func TestTold(t *testing.T) {
	tree := fusetest.New()
	dir := mount(t, tree, fusefs.Options{}).MountPoint()
	for i := range 500 {
		name := fmt.Sprint(i)
		if got := content(filepath.Join(dir, name)); !strings.Contains(got, "no such file") {
			t.Fatal(got)
		}
		names(t, dir)
		told := make(chan struct{})
		tree.Notify(tree.Replace(worktree.RootIno, name, []byte(name)), worktree.Notice{Told: told})
		<-told
		if got := content(filepath.Join(dir, name)); got != name {
			t.Fatalf("%s: %s", name, got)
		}
		if list := names(t, dir); len(list) != i+1 {
			t.Fatalf("%d names after %d files", len(list), i+1)
		}
	}
}

// TestStaleNegative makes a name under the kernel, which believes that there is none: open and mkdir find out.
func TestStaleNegative(t *testing.T) {
	tree := fusetest.New()
	dir := mount(t, tree, fusefs.Options{}).MountPoint()
	for i, c := range []struct {
		what string
		do   func(path string) error
		want error
	}{
		{"open to write", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE, 0600)
			if err == nil {
				err = f.Close()
			}
			return err
		}, nil},
		{"open to make", func(p string) error {
			_, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0600)
			return err
		}, fs.ErrExist},
		{"mknod", func(p string) error { return syscall.Mknod(p, syscall.S_IFREG, 0) }, fs.ErrExist},
		{"mkdir", func(p string) error { return os.Mkdir(p, 0777) }, fs.ErrExist},
		{"symlink", func(p string) error { return os.Symlink("x", p) }, fs.ErrExist},
	} {
		name := fmt.Sprint("f", i)
		path := filepath.Join(dir, name)
		os.Lstat(path)
		tree.Replace(worktree.RootIno, name, []byte("theirs"))
		if err := c.do(path); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	if got := content(filepath.Join(dir, "f0")); got != "theirs" {
		t.Errorf("the file that was there is now %q", got)
	}
}
