package fusefs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// maxErrno bounds what the kernel takes as an answer: from 512 on numbers are its own, and a reply with one is refused,
// which would leave the caller waiting for ever.
const maxErrno = 512

// toErrno says what the caller of a system call gets to see for a tree's error.
//
//	nil                                   0
//	a syscall.Errno, wrapped or not       itself
//	... of an operation on a lower file   EIO, unless it says that the disk is full
//	... ENOSYS                            EOPNOTSUPP: the kernel would never send such a request again
//	a done context                        EINTR
//	anything else                         EIO
func toErrno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return syscall.EINTR
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno == 0 || errno >= maxErrno {
		return syscall.EIO
	}
	switch {
	case errno == syscall.ENOSPC || errno == syscall.EDQUOT:
		return errno
	case lowerFile(err):
		// "No such file" about a file of ours says nothing about the file that was asked for, and the kernel would
		// remember it as the absence of that one.
		return syscall.EIO
	case errno == syscall.ENOSYS:
		return syscall.EOPNOTSUPP
	}
	return errno
}

// lowerFile tells whether an error comes from an operating system call that the tree made.
func lowerFile(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	var call *os.SyscallError
	return errors.As(err, &path) || errors.As(err, &link) || errors.As(err, &call)
}
