package service

import (
	"context"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNetworkChanges brings an interface up in a network of its own.
func TestNetworkChanges(t *testing.T) {
	before := networkSettle
	t.Cleanup(func() { networkSettle = before })
	networkSettle = time.Millisecond
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // which ends with the goroutine: it is in another network
		failed <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			changed := networkChanges(ctx)
			select {
			case <-changed:
				t.Error("a change where nothing has changed")
			case <-time.After(50 * time.Millisecond):
			}
			if err := bringUp("lo"); err != nil {
				return err
			}
			select {
			case <-changed:
			case <-time.After(10 * time.Second):
				t.Error("an interface went up, and nothing was told")
			}
			return nil
		}()
	}()
	if err := <-failed; err == unix.EPERM {
		t.Skip("needs root")
	} else {
		must(t, err)
	}
}

// bringUp gives an interface of this thread's network its addresses.
func bringUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
