//go:build darwin || freebsd

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	zeroMessageSystem = false
	extraCapabilities = 0
)

func mountKernel(mountPoint string, r *requests, o *fuse.MountOptions) (*fuse.Server, error) {
	s, err := fuse.NewServer(r, mountPoint, o)
	if err != nil {
		return nil, fmt.Errorf("%w; install the system's FUSE package", err)
	}
	return s, nil
}

// afterMount waits until the mount answers.
func afterMount(mountPoint string) error {
	_, err := os.Stat(mountPoint)
	return err
}

func deviceAt(string) uint64 { return 0 } // nobody needs it

func placeOf(_ uint64, path string) (string, error) { return path, nil }

func flush(string) {} // there are no mount namespaces

func unmountPath(path string, mode unmountMode) error {
	flags := 0
	if mode == unmountLazy {
		flags = unix.MNT_FORCE // there is no lazy one
	}
	err := unix.Unmount(path, flags)
	if errors.Is(err, syscall.EBUSY) {
		return ErrBusy
	}
	return err
}

// ClearStale takes off a mount whose process died and tells whether there was one.
func ClearStale(ctx context.Context, path string) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	if err != syscall.ENOTCONN && err != syscall.ENXIO {
		return false, nil
	}
	if err := unix.Unmount(path, unix.MNT_FORCE); err != nil {
		return false, fmt.Errorf("clear the stale mount %s: %w; unmount it by hand", path, err)
	}
	return true, nil
}

// ours cannot be told here.
func ours(string) (bool, error) { return false, nil }

func describeHolders(string, uint64) string { return "" }
