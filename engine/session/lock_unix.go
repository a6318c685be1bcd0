//go:build unix

package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrInUse says that another process works with the state of this machine.
var ErrInUse = errors.New("another ensync is using this configuration")

// lockWait is how long a process that is just ending is waited for.
const lockWait = time.Second

// lockState makes this process the only one that changes the state in a private directory, until release is called or
// the process ends. Two syncs of one tree at once would each take the other's changes for a user's.
func lockState(private string) (release func() error, err error) {
	f, err := os.OpenFile(filepath.Join(private, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f.Close, nil
		case err != syscall.EWOULDBLOCK && err != syscall.EINTR:
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		case time.Now().After(end):
			return nil, errors.Join(fmt.Errorf("%w (%s); wait until it is done, or stop it", ErrInUse, filepath.Dir(private)), f.Close())
		}
	}
}
