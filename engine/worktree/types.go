package worktree

import "time"

// Ino is the number of an inode. It is stable for the life of the inode, across restarts, and never reused.
type Ino uint64

// RootIno is the inode of the root directory.
const RootIno Ino = 1

// Attr is what stat tells of an inode.
type Attr struct {
	Ino    Ino
	Mode   uint32 // st_mode with the type bits
	Nlink  uint32
	UID    uint32
	GID    uint32
	Rdev   uint32
	Size   uint64 // bytes
	Blocks uint64 // of 512 bytes; what the content takes, wherever it is: never 0 for content that is elsewhere
	Atime  time.Time
	Mtime  time.Time
	Ctime  time.Time
}

// SetAttr asks for a change of attributes; nil fields stay.
type SetAttr struct {
	Mode  *uint32 // permission bits only (07777)
	UID   *uint32
	GID   *uint32
	Size  *uint64
	Atime *time.Time
	Mtime *time.Time
	// KillPriv says that the kernel leaves it to us to clear setuid, setgid and capabilities.
	KillPriv bool
	// KillGroup says that setgid is cleared then even if the group may not execute: the caller is not in it.
	KillGroup bool
}

// Make describes a new inode.
type Make struct {
	Mode   uint32 // st_mode with the type bits; the umask has been applied
	UID    uint32
	GID    uint32
	Rdev   uint32
	Target string // of a symlink
}

// DirEntry is one name in a directory with its inode's attributes. "." and ".." are not among them.
type DirEntry struct {
	Name string
	Attr Attr
}

// Flags of Rename, with the values of renameat2(2).
const (
	RenameNoReplace = 1
	RenameExchange  = 2
)

// Notice tells whoever shows the tree that something changed below the kernel: by the reconciler, not by a request.
// Notices are sent after the change holds, in order, with no lock held.
type Notice struct {
	Parent  Ino    // with Name: this name now means another inode, or nothing
	Name    string // "": see Inode
	Removed Ino    // the inode that the name meant before, if it is gone from there; 0 if there was none
	Inode   Ino    // without Name: attributes or content of this inode changed

	// Told, in a notice of its own, is to be closed when everything before it was passed on; see Tree.Told.
	Told chan<- struct{}
}

// StatFS is what statfs(2) tells; sizes in bytes.
type StatFS struct {
	Total, Free, Available uint64
	Files, FilesFree       uint64
}
