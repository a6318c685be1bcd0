//go:build !linux

package fusetest

import "syscall"

// errNoXattr says that there is no such extended attribute.
const errNoXattr = syscall.ENOENT
