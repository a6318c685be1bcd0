//go:build linux || darwin || freebsd

package fusefs

import (
	"context"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ensync/engine/worktree"
)

// What the reconciler changes, the kernel is told to forget, but programs that watch a directory (inotify) are not told:
// the kernel tells them only of what passes through it. So such a change is re-enacted, by a process of ours, through the
// mount: it makes the name that is there already, or removes the one that is gone, and the kernel reports that. Its requests
// come on this stage, are answered as if they had been done, and change nothing.

// act is one change to re-enact.
type act struct {
	kind   actKind
	parent worktree.Ino
	name   string
	made   atomic.Bool
}

type actKind string

const (
	actFile      actKind = "file"      // made
	actDirectory actKind = "directory" // made
	actSymlink   actKind = "symlink"   // made
	actChanged   actKind = "changed"   // the content of a file
	actUnlink    actKind = "unlink"
	actRmdir     actKind = "rmdir"
	actProbe     actKind = "probe" // nothing: tells whether the actor is recognised
)

// stage is where requests of the process that re-enacts are recognised. At most one act is on.
type stage struct {
	actor atomic.Uint32 // the thread that makes the requests; 0: none
	now   atomic.Pointer[act]
	dead  atomic.Uint64 // ghosts so far
}

// ghost is the first of the inode numbers that removed names have while they are removed once more, a new one for each. No
// tree has numbers so high.
const ghost = 1 << 63

// on returns the act that a request belongs to, or nil.
func (s *stage) on(h *fuse.InHeader) *act {
	if h.Pid == 0 || h.Pid != s.actor.Load() {
		return nil
	}
	return s.now.Load()
}

func (a *act) means(parent uint64, name string) bool {
	return a != nil && uint64(a.parent) == parent && a.name == name
}

// lookupActed answers a lookup of the name in question: one that is to be made is not there, one that is to be removed is.
// It returns false if the truth will do.
func (r *requests) lookupActed(ctx context.Context, a *act, h *fuse.InHeader, name string, out *fuse.EntryOut) (fuse.Status, bool) {
	if !a.means(h.NodeId, name) || a.made.Load() {
		return 0, false
	}
	switch a.kind {
	case actFile, actDirectory, actSymlink:
		return fuse.ENOENT, true
	case actUnlink, actRmdir, actProbe:
		attr, err := r.tree.Lookup(ctx, a.parent, name)
		if err == nil { // there is another one by now
			r.tree.Forget(attr.Ino, 1)
			return fuse.ENOENT, true
		}
		mode := uint32(syscall.S_IFREG)
		if a.kind == actRmdir {
			mode = syscall.S_IFDIR
		}
		out.NodeId = ghost + r.stage.dead.Add(1)
		out.SetAttrTimeout(cacheTime)
		fillAttr(worktree.Attr{Ino: worktree.Ino(out.NodeId), Mode: mode | 0700, Nlink: 1, UID: h.Uid, GID: h.Gid}, &out.Attr)
		return fuse.OK, true
	}
	return 0, false
}

// makeActed answers the making of a name that is there, of that type.
func (r *requests) makeActed(ctx context.Context, o op, a *act, h *fuse.InHeader, name string, out *fuse.EntryOut, kind uint32) fuse.Status {
	r.counts[o].Add(1)
	if !a.means(h.NodeId, name) {
		return fuse.EPERM
	}
	attr, err := r.tree.Lookup(ctx, a.parent, name)
	if err != nil {
		return r.status(o, h.NodeId, err)
	}
	if attr.Mode&syscall.S_IFMT != kind {
		r.tree.Forget(attr.Ino, 1)
		return fuse.ENOENT
	}
	a.made.Store(true)
	r.entry(attr, out)
	return fuse.OK
}

// removeActed answers the removing of a name that is gone.
func (r *requests) removeActed(ctx context.Context, o op, a *act, h *fuse.InHeader, name string) fuse.Status {
	r.counts[o].Add(1)
	if !a.means(h.NodeId, name) {
		return fuse.EPERM
	}
	attr, err := r.tree.Lookup(ctx, a.parent, name)
	if err == nil {
		r.tree.Forget(attr.Ino, 1)
		return fuse.ENOENT
	}
	a.made.Store(true)
	return fuse.OK
}
