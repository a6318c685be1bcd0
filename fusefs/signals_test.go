//go:build linux

package fusefs_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ensync/engine/worktree"
	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

// TestSignals calls the kernel from a thread that is signalled all the time: nothing fails with EINTR, which no program
// expects of a file. (Package os would try again.)
func TestSignals(t *testing.T) {
	tree := fusetest.New()
	tree.Before = func(ctx context.Context, call string) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
			return nil
		}
	}
	tree.Replace(worktree.RootIno, "f", []byte("content"))
	dir := mount(t, tree, fusefs.Options{NoCache: true}).MountPoint()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
				unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	path := filepath.Join(dir, "f")
	var fd int
	for range 20 {
		for _, c := range []struct {
			what string
			call func() error
		}{
			{"open", func() (err error) { fd, err = unix.Open(path, unix.O_RDWR, 0); return err }},
			{"write", func() error { _, err := unix.Pwrite(fd, []byte("x"), 0); return err }},
			{"fsync", func() error { return unix.Fsync(fd) }},
			{"read", func() error { _, err := unix.Pread(fd, make([]byte, 10), 0); return err }},
			{"stat", func() error { var st unix.Stat_t; return unix.Stat(path, &st) }},
			{"close", func() error { return unix.Close(fd) }},
		} {
			if err := c.call(); err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
		}
	}
}

// TestKilledLater interrupts a reader that survives it, and then kills it.
func TestKilledLater(t *testing.T) {
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
	cmd := exec.Command("sh", "-c", `trap : USR1; while read line; do :; done < "$0"`, filepath.Join(dir, "f"))
	must(t, cmd.Start())
	<-reading
	must(t, cmd.Process.Signal(syscall.SIGUSR1))
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		t.Fatalf("a signal that it handles ended the read: %v", err)
	case <-time.After(300 * time.Millisecond): // several looks at it
	}
	must(t, cmd.Process.Kill())
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the reader is still there")
	}
}
