package cache

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock that path stands for, unless another process has it: then busy. The kernel gives it back when
// this process dies. Where there are no locks, it does as if it had it.
func tryLock(path string) (unlock func(), busy bool) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return func() {}, false
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, true
	}
	return func() { f.Close() }, false
}
