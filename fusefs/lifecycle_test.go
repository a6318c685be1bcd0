//go:build linux

package fusefs_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ensync/engine/worktree"
	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

// TestMain lets the test program be a process that mounts and dies, or that maps a file.
func TestMain(m *testing.M) {
	if os.Args[0] == actorName {
		playActor()
		os.Exit(0)
	}
	if dir := os.Getenv("FUSEFS_TEST_MOUNT"); dir != "" {
		_, err := fusefs.Mount(context.Background(), fusetest.New(), fusefs.Options{MountPoint: dir})
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.WriteString("mounted\n")
		select {}
	}
	if path := os.Getenv("FUSEFS_TEST_MAP"); path != "" {
		if err := useMapping(path); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestStale(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	if cleared, err := fusefs.ClearStale(ctx, dir); cleared || err != nil {
		t.Errorf("an ordinary directory: %v, %v", cleared, err)
	}
	if cleared, err := fusefs.ClearStale(ctx, filepath.Join(dir, "missing")); cleared || err != nil {
		t.Errorf("a missing directory: %v, %v", cleared, err)
	}
	t.Cleanup(func() { fusefs.ClearStale(context.Background(), dir) })
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FUSEFS_TEST_MOUNT="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if n, err := out.Read(make([]byte, 10)); n == 0 {
		t.Fatal(err)
	}
	_, err = fusefs.Mount(ctx, fusetest.New(), fusefs.Options{MountPoint: dir})
	if err == nil || !strings.Contains(err.Error(), "mounted there already") {
		t.Errorf("mounting over a live mount: %v", err)
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	if _, err := os.ReadDir(dir); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("the mount of a dead process: %v", err)
	}
	s, err := fusefs.Mount(ctx, fusetest.New(), fusefs.Options{MountPoint: dir})
	must(t, err)
	mustFile(t, filepath.Join(dir, "f"), "works")
	must(t, s.Unmount(ctx))
	if cleared, err := fusefs.ClearStale(ctx, dir); cleared || err != nil {
		t.Errorf("afterwards: %v, %v", cleared, err)
	}
	if list := names(t, dir); len(list) != 0 {
		t.Errorf("the bare mount point holds %v", list)
	}
}

func TestMountPointRefused(t *testing.T) {
	full := t.TempDir()
	mustFile(t, filepath.Join(full, "precious"), "")
	for path, want := range map[string]string{
		"":                                 "no mount point",
		full:                               `not empty (it holds "precious")`,
		filepath.Join(full, "precious"):    "name a directory",
		filepath.Join(full, "missing"):     "create the directory",
		filepath.Join(full, "missing/too"): "create the directory",
	} {
		_, err := fusefs.Mount(t.Context(), fusetest.New(), fusefs.Options{MountPoint: path})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
	}
}

func TestUnmountBusy(t *testing.T) {
	s := mount(t, fusetest.New(), fusefs.Options{})
	for _, c := range []struct {
		use  string
		hold func() func()
	}{
		{"open file", func() func() {
			f, err := os.Create(filepath.Join(s.MountPoint(), "f"))
			must(t, err)
			return func() { f.Close() }
		}},
		{"working directory", func() func() {
			cmd := exec.Command("sleep", "100")
			cmd.Dir = s.MountPoint()
			must(t, cmd.Start())
			return func() { cmd.Process.Kill(); cmd.Wait() }
		}},
		{"mapped file", func() func() {
			fd, err := unix.Open(filepath.Join(s.MountPoint(), "f"), unix.O_RDWR, 0)
			must(t, err)
			must(t, unix.Ftruncate(fd, 4096))
			m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
			must(t, err)
			must(t, unix.Close(fd))
			return func() { unix.Munmap(m) }
		}},
		{"the tmpfs file system mounted at", func() func() {
			sub := filepath.Join(s.MountPoint(), "sub dir")
			must(t, os.Mkdir(sub, 0755))
			must(t, unix.Mount("none", sub, "tmpfs", 0, ""))
			return func() { unix.Unmount(sub, 0) }
		}},
	} {
		release := c.hold()
		err := s.Unmount(t.Context())
		if !errors.Is(err, fusefs.ErrBusy) || !strings.Contains(err.Error(), c.use) {
			t.Errorf("%s: %v", c.use, err)
		}
		release()
	}
	must(t, s.Unmount(t.Context()))
	must(t, s.Unmount(t.Context()))
	s.Wait()
}

func TestDetach(t *testing.T) {
	s := mount(t, fusetest.New(), fusefs.Options{})
	f, err := os.Create(filepath.Join(s.MountPoint(), "f"))
	must(t, err)
	must(t, s.Detach(t.Context()))
	if list := names(t, s.MountPoint()); len(list) != 0 {
		t.Errorf("still there: %v", list)
	}
	_, err = f.WriteString("the open file lives on")
	must(t, err)
	must(t, f.Close())
	s.Wait()
}

// TestUnmountCopied: a mount namespace that got a copy of the mount, as sandboxes do, does not make an unmount wait for it.
func TestUnmountCopied(t *testing.T) {
	s := mount(t, fusetest.New(), fusefs.Options{})
	cmd := exec.Command("sh", "-c", "echo ready; exec sleep 100")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.StdoutPipe()
	must(t, err)
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("only root makes mount namespaces")
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, s.Unmount(ctx))
	select {
	case <-s.Done():
		t.Error("the copy was not there")
	default:
	}
}

func TestReadOnly(t *testing.T) {
	tree := fusetest.New()
	tree.Replace(worktree.RootIno, "f", []byte("content"))
	dir := mount(t, tree, fusefs.Options{ReadOnly: true}).MountPoint()
	if got := content(filepath.Join(dir, "f")); got != "content" {
		t.Errorf("read %q", got)
	}
	if err := os.Remove(filepath.Join(dir, "f")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("remove: %v", err)
	}
}

// TestFailingTree has a tree that fails in all ways: the caller gets an errno, and the mount goes on.
func TestFailingTree(t *testing.T) {
	tree := fusetest.New()
	var told atomic.Int32
	var fail atomic.Pointer[func() error]
	tree.Before = func(_ context.Context, call string) error {
		if f := fail.Load(); f != nil && call == "Read" {
			return (*f)()
		}
		return nil
	}
	dir := mount(t, tree, fusefs.Options{NoCache: true, OnError: func(string, worktree.Ino, error) { told.Add(1) }}).MountPoint()
	mustFile(t, filepath.Join(dir, "f"), "x")
	_, notThere := os.Open("/nonexistent")
	for _, c := range []struct {
		fail func() error
		want error
		told int32
	}{
		{func() error { return errors.New("some failure") }, syscall.EIO, 1},
		{func() error { return notThere }, syscall.EIO, 1},
		{func() error { return syscall.ENOSPC }, syscall.ENOSPC, 0},
		{func() error { return syscall.ENOSYS }, syscall.EOPNOTSUPP, 0},
		{func() error { return syscall.Errno(512) }, syscall.EIO, 1},
		{func() error { panic("secret name") }, syscall.EIO, 1},
		{func() error { var p *int; return syscall.Errno(*p) }, syscall.EIO, 1},
	} {
		told.Store(0)
		fail.Store(&c.fail)
		if _, err := os.ReadFile(filepath.Join(dir, "f")); !errors.Is(err, c.want) || told.Load() < c.told {
			t.Errorf("%v, want %v; %d told", err, c.want, told.Load())
		}
	}
	fail.Store(nil)
	if got := content(filepath.Join(dir, "f")); got != "x" {
		t.Errorf("afterwards %q", got)
	}
}

// TestInterrupt kills a process that waits for content: its request ends at once.
func TestInterrupt(t *testing.T) {
	tree := fusetest.New()
	reading := make(chan struct{}, 1)
	tree.Before = func(ctx context.Context, call string) error {
		if call != "Read" {
			return nil
		}
		reading <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	tree.Replace(worktree.RootIno, "f", []byte("remote"))
	dir := mount(t, tree, fusefs.Options{}).MountPoint()
	cmd := exec.Command("cat", filepath.Join(dir, "f"))
	must(t, cmd.Start())
	<-reading
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the reader is still there")
	}
}

// TestForgotten sees that the kernel's references come back.
func TestForgotten(t *testing.T) {
	tree := fusetest.New()
	dir := mount(t, tree, fusefs.Options{}).MountPoint()
	for range 2 {
		must(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0755))
		for _, name := range []string{"a/f", "a/b/g", "a/h"} {
			mustFile(t, filepath.Join(dir, name), "x")
		}
		must(t, os.Link(filepath.Join(dir, "a/f"), filepath.Join(dir, "a/b/l")))
		names(t, filepath.Join(dir, "a"))
		must(t, os.RemoveAll(filepath.Join(dir, "a")))
	}
	eventually(t, "nothing but the root is left", func() bool { return tree.Inodes() == 1 && tree.References() == 0 })
}
