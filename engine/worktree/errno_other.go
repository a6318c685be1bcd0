//go:build !linux

package worktree

import (
	"runtime"
	"syscall"
)

var errNoXattr = noXattr()

// noXattr is ENOATTR, whose number differs between the systems.
func noXattr() syscall.Errno {
	if runtime.GOOS == "darwin" {
		return 93
	}
	return 87 // the BSDs
}
