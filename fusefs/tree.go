package fusefs

import (
	"context"

	"ensync/engine/worktree"
)

// Tree is the file system that a mount shows. worktree.Tree is one.
//
// Errors are syscall.Errno where POSIX has a word for it; any other error becomes EIO. Permissions are checked by the
// kernel (default_permissions). All methods may be called concurrently. Every inode number that Lookup, Make,
// MakeUnnamed or Link hands out counts one reference, which Forget takes back: an inode without name lives until then.
// When the file system is unmounted the kernel says no more, so the references that are left end with the Tree.
//
// The contexts of Read and CopyRange are done when the caller is being killed; a call that gives up then returns the
// context's error, which becomes EINTR. All other calls must not wait for the network, and their contexts never end.
type Tree interface {
	Lookup(ctx context.Context, parent worktree.Ino, name string) (worktree.Attr, error)
	Forget(ino worktree.Ino, lookups uint64)
	GetAttr(ctx context.Context, ino worktree.Ino) (worktree.Attr, error)
	SetAttr(ctx context.Context, ino worktree.Ino, s worktree.SetAttr) (worktree.Attr, error)
	Readlink(ctx context.Context, ino worktree.Ino) (string, error)
	// ReadDir returns all entries, in any order. It takes no references.
	ReadDir(ctx context.Context, ino worktree.Ino) ([]worktree.DirEntry, error)
	// Ref adds one reference to a loaded or named inode: one that a file handle means.
	Ref(ctx context.Context, ino worktree.Ino) error
	// Parent returns the directory that holds a directory; the root's is itself.
	Parent(ctx context.Context, ino worktree.Ino) (worktree.Ino, error)
	// PathOf returns where a directory is, from the root, which is "".
	PathOf(ctx context.Context, ino worktree.Ino) (string, error)

	Make(ctx context.Context, parent worktree.Ino, name string, m worktree.Make) (worktree.Attr, error)
	// MakeUnnamed makes a file without a name (O_TMPFILE); Link gives it one.
	MakeUnnamed(ctx context.Context, parent worktree.Ino, m worktree.Make) (worktree.Attr, error)
	Link(ctx context.Context, ino, parent worktree.Ino, name string) (worktree.Attr, error)
	Unlink(ctx context.Context, parent worktree.Ino, name string) error
	Rmdir(ctx context.Context, parent worktree.Ino, name string) error
	Rename(ctx context.Context, oldParent worktree.Ino, oldName string, newParent worktree.Ino, newName string, flags uint32) error

	// Read fills buf from off; fewer bytes than len(buf) only at the end of the file.
	Read(ctx context.Context, ino worktree.Ino, buf []byte, off uint64) (int, error)
	// Write returns when the data is in the tree (not durable). It keeps no part of data. The kernel has resolved
	// O_APPEND. killPriv: clear setuid, and setgid if the group may execute.
	Write(ctx context.Context, ino worktree.Ino, data []byte, off uint64, killPriv bool) (int, error)
	// Allocate is fallocate(2) with its mode bits: default, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE; else EOPNOTSUPP.
	Allocate(ctx context.Context, ino worktree.Ino, off, length uint64, mode uint32) error
	// Seek is lseek(2) with SEEK_DATA (3) or SEEK_HOLE (4).
	Seek(ctx context.Context, ino worktree.Ino, off uint64, whence uint32) (uint64, error)
	// CopyRange is copy_file_range(2).
	CopyRange(ctx context.Context, src worktree.Ino, srcOff uint64, dst worktree.Ino, dstOff, length uint64) (uint64, error)
	// Fsync returns when the inode, its names, and everything that happened before it are durable.
	Fsync(ctx context.Context, ino worktree.Ino) error

	GetXattr(ctx context.Context, ino worktree.Ino, name string) ([]byte, error) // ENODATA
	SetXattr(ctx context.Context, ino worktree.Ino, name string, value []byte, flags uint32) error
	RemoveXattr(ctx context.Context, ino worktree.Ino, name string) error
	ListXattr(ctx context.Context, ino worktree.Ino) ([]string, error)

	StatFS(ctx context.Context) (StatFS, error)

	// Notices returns where changes by the reconciler are told; see worktree.Notice. Passed is called for each that the
	// kernel knows of. Until then, Rename refuses to move a name that means another inode now, with ESTALE.
	Notices() <-chan worktree.Notice
	Passed(worktree.Notice)
}

// StatFS is what statfs(2) tells.
type StatFS = worktree.StatFS
