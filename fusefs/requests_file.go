//go:build linux || darwin || freebsd

package fusefs

import (
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ensync/engine/worktree"
)

// openFlags are the flags of an open file. Those of a file that was opened without a message are the same.
func (r *requests) openFlags() uint32 {
	if r.opt.NoCache {
		return 0
	}
	return fuse.FOPEN_KEEP_CACHE
}

func (r *requests) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	r.begin(opOpen)
	if r.zeroMessage.Load() {
		return fuse.ENOSYS
	}
	if in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY && r.opt.MayWrite != nil && r.stage.on(&in.InHeader) == nil {
		if err := r.opt.MayWrite(worktree.Ino(in.NodeId)); err != nil {
			return r.status(opOpen, in.NodeId, err)
		}
	}
	out.OpenFlags = r.openFlags()
	return fuse.OK
}

// Release has nothing to end: the life of an inode ends with Forget.
func (r *requests) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) { r.begin(opRelease) }

// Flush is refused once and never comes again: close makes nothing durable.
func (r *requests) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	r.begin(opFlush)
	return fuse.ENOSYS
}

func (r *requests) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	r.begin(opRead)
	ctx := newWaiting(cancel, in.Pid)
	defer ctx.end()
	buf = buf[:min(len(buf), int(in.Size))]
	n, err := r.tree.Read(ctx, worktree.Ino(in.NodeId), buf, in.Offset)
	if err != nil {
		return nil, r.status(opRead, in.NodeId, err)
	}
	return fuse.ReadResultData(buf[:max(0, min(n, len(buf)))]), fuse.OK
}

func (r *requests) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	ctx, refused := r.beginChange(opWrite)
	if refused != fuse.OK {
		return 0, refused
	}
	data = data[:min(len(data), int(in.Size))]
	killPriv := in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0
	n, err := r.tree.Write(ctx, worktree.Ino(in.NodeId), data, in.Offset, killPriv)
	if cached := in.WriteFlags&fuse.WRITE_CACHE != 0; err != nil && (n <= 0 || cached) { // of a mapping's pages all count
		return 0, r.status(opWrite, in.NodeId, err)
	}
	return uint32(max(0, min(n, len(data)))), fuse.OK
}

func (r *requests) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	ctx := r.begin(opFsync)
	return r.status(opFsync, in.NodeId, r.tree.Fsync(ctx, worktree.Ino(in.NodeId)))
}

func (r *requests) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	ctx := r.begin(opFsyncdir)
	return r.status(opFsyncdir, in.NodeId, r.tree.Fsync(ctx, worktree.Ino(in.NodeId)))
}

func (r *requests) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	ctx, refused := r.beginChange(opFallocate)
	if refused != fuse.OK {
		return refused
	}
	err := r.tree.Allocate(ctx, worktree.Ino(in.NodeId), in.Offset, in.Length, in.Mode)
	return r.status(opFallocate, in.NodeId, err)
}

func (r *requests) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	ctx := r.begin(opLseek)
	off, err := r.tree.Seek(ctx, worktree.Ino(in.NodeId), in.Offset, in.Whence)
	out.Offset = off
	return r.status(opLseek, in.NodeId, err)
}

func (r *requests) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	_, refused := r.beginChange(opCopyFileRange)
	if refused != fuse.OK {
		return 0, refused
	}
	ctx := newWaiting(cancel, in.Pid)
	defer ctx.end()
	if in.Flags != 0 {
		return 0, fuse.EINVAL
	}
	n, err := r.tree.CopyRange(ctx, worktree.Ino(in.NodeId), in.OffIn, worktree.Ino(in.NodeIdOut), in.OffOut, clampLength(in.Len))
	if n == 0 && err != nil {
		return 0, r.status(opCopyFileRange, in.NodeId, err)
	}
	return uint32(n), fuse.OK
}

// Ioctl knows none. ENOSYS would be the same to the caller.
func (r *requests) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, out *fuse.IoctlOut, outbuf []byte) fuse.Status {
	r.begin(opIoctl)
	return fuse.Status(syscall.ENOTTY)
}

// The longest name and value of an extended attribute, as in Linux (limits.h).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

// checkXattr tells whether a tree may hold an attribute of this name. ACLs are not supported: the kernel would not check
// them.
func checkXattr(name string) fuse.Status {
	if len(name) > maxXattrName {
		return fuse.ERANGE
	}
	for _, space := range []string{"user.", "trusted.", "security."} {
		if rest, ok := strings.CutPrefix(name, space); ok {
			if rest == "" {
				return fuse.EINVAL
			}
			return fuse.OK
		}
	}
	return fuse.Status(syscall.EOPNOTSUPP)
}

func (r *requests) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	ctx := r.begin(opGetxattr)
	if s := checkXattr(name); s != fuse.OK {
		return 0, s
	}
	value, err := r.tree.GetXattr(ctx, worktree.Ino(h.NodeId), name)
	if err != nil {
		return 0, r.status(opGetxattr, h.NodeId, err)
	}
	return answerXattr(value, dest)
}

// answerXattr copies a value if it fits; else it tells the size that is needed.
func answerXattr(value, dest []byte) (uint32, fuse.Status) {
	if len(value) > maxXattrValue {
		return 0, fuse.Status(syscall.E2BIG)
	}
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

func (r *requests) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	ctx := r.begin(opListxattr)
	names, err := r.tree.ListXattr(ctx, worktree.Ino(h.NodeId))
	if err != nil {
		return 0, r.status(opListxattr, h.NodeId, err)
	}
	var list []byte
	for _, name := range names {
		if strings.HasPrefix(name, "trusted.") && h.Uid != 0 {
			continue
		}
		list = append(append(list, name...), 0)
	}
	return answerXattr(list, dest)
}

func (r *requests) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	ctx, refused := r.beginChange(opSetxattr)
	if refused != fuse.OK {
		return refused
	}
	if s := checkXattr(name); s != fuse.OK {
		return s
	}
	if len(data) > maxXattrValue {
		return fuse.Status(syscall.E2BIG)
	}
	value := append([]byte{}, data[:min(len(data), int(in.Size))]...)
	return r.status(opSetxattr, in.NodeId, r.tree.SetXattr(ctx, worktree.Ino(in.NodeId), name, value, in.Flags))
}

func (r *requests) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	ctx, refused := r.beginChange(opRemovexattr)
	if refused != fuse.OK {
		return refused
	}
	if s := checkXattr(name); s != fuse.OK {
		return s
	}
	return r.status(opRemovexattr, h.NodeId, r.tree.RemoveXattr(ctx, worktree.Ino(h.NodeId), name))
}
