package fusefs

import (
	"errors"

	"ensync/engine/worktree"
)

// ErrNotSupported says that this system has no FUSE that this program can speak to.
var ErrNotSupported = errors.New("mounting is not supported on this system; use ensync sync with an ordinary directory")

// ErrBusy says that something still uses the mount; the error that wraps it names what.
var ErrBusy = errors.New("the mount is in use")

// Options say where and how a tree is mounted.
type Options struct {
	// MountPoint is an existing empty directory.
	MountPoint string
	// AllowOther lets other users in, under the kernel's permission checks. Without root it needs user_allow_other in
	// /etc/fuse.conf.
	AllowOther bool
	ReadOnly   bool
	// MountOptions are further ones of mount(8): suid, dev (both for root only), noexec, sync, dirsync, noatime, nodiratime,
	// and what takes each of them back. The last one counts.
	MountOptions []string
	// FsName is what df and mount show as the source; "ensync" if empty.
	FsName string
	// Debug prints every request with its names to standard error.
	Debug bool
	// NoCache makes the kernel ask every time. A mount must behave the same with it, only slower: where it does not, a
	// notice is missing.
	NoCache bool
	// MayWrite, if set, tells whether a file may be opened for writing: nil, or why not. Then the kernel asks at every open;
	// nil: it opens without asking.
	MayWrite func(ino worktree.Ino) error
	// Reenact is the command line, the program's name first, with which the running program shall start itself to call the
	// function Reenact, so that programs that watch a directory are told of changes by the reconciler (Linux only). Without it
	// they see only what is changed through the mount.
	Reenact []string
	// OnError, if set, is told of each request that ends with EIO because the tree failed, or because a handler panicked
	// (then ino is 0). It is called concurrently and must not wait. The text of a tree's error may hold names of files.
	OnError func(op string, ino worktree.Ino, err error)
}

func (o Options) fsName() string {
	if o.FsName == "" {
		return "ensync"
	}
	return o.FsName
}
