package fusefs

import "sync/atomic"

// op is a kind of request, named as in the kernel.
type op int

const (
	opLookup op = iota
	opForget
	opGetattr
	opSetattr
	opReadlink
	opSymlink
	opMknod
	opMkdir
	opUnlink
	opRmdir
	opRename
	opLink
	opOpen
	opRead
	opWrite
	opStatfs
	opRelease
	opFsync
	opSetxattr
	opGetxattr
	opListxattr
	opRemovexattr
	opFlush
	opOpendir
	opReaddir
	opReaddirplus
	opReleasedir
	opFsyncdir
	opAccess
	opCreate
	opTmpfile
	opIoctl
	opFallocate
	opLseek
	opCopyFileRange
	opCount
)

var opNames = [opCount]string{
	"LOOKUP", "FORGET", "GETATTR", "SETATTR", "READLINK", "SYMLINK", "MKNOD", "MKDIR", "UNLINK", "RMDIR", "RENAME", "LINK",
	"OPEN", "READ", "WRITE", "STATFS", "RELEASE", "FSYNC", "SETXATTR", "GETXATTR", "LISTXATTR", "REMOVEXATTR", "FLUSH",
	"OPENDIR", "READDIR", "READDIRPLUS", "RELEASEDIR", "FSYNCDIR", "ACCESS", "CREATE", "TMPFILE", "IOCTL", "FALLOCATE",
	"LSEEK", "COPY_FILE_RANGE",
}

func (o op) String() string { return opNames[o] }

// counters count requests by kind.
type counters [opCount]atomic.Uint64

func (c *counters) snapshot() map[string]uint64 {
	m := make(map[string]uint64)
	for i := range c {
		if n := c[i].Load(); n > 0 {
			m[op(i).String()] = n
		}
	}
	return m
}
