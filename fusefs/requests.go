//go:build linux || darwin || freebsd

package fusefs

import (
	"context"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ensync/engine/worktree"
)

const (
	// cacheTime is how long the kernel may believe what it was told. Notices end it earlier.
	cacheTime = time.Hour
	// maxName is the longest name in bytes. The kernel passes on up to 1024.
	maxName = 255
	// blockSize is the unit that stat advises for reading and writing; C's stdio buffers that much, so a program that
	// writes by the line sends a WRITE for each 64 KiB instead of each 4.
	blockSize = 64 << 10
)

// requests answers the kernel's requests. It has no state but the open directories.
type requests struct {
	fuse.RawFileSystem // ENOSYS to all that has no method here: file locks stay in the kernel

	tree  Tree
	opt   Options
	cache time.Duration
	// zeroMessage says that OPEN and CREATE are answered with ENOSYS: the kernel then opens without asking, and makes
	// files with MKNOD, so no open file has a RELEASE.
	zeroMessage atomic.Bool
	counts      counters
	dirs        openDirs
	stage       stage
	unmounted   chan struct{}
}

func newRequests(tree Tree, opt Options) *requests {
	r := &requests{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		tree:          tree,
		opt:           opt,
		cache:         cacheTime,
		unmounted:     make(chan struct{}),
	}
	if opt.NoCache {
		r.cache = 0
	}
	r.dirs.init()
	return r
}

func (r *requests) String() string { return "ensync" }

func (r *requests) Init(s *fuse.Server) {
	kernel := s.KernelSettings().Flags64()
	r.zeroMessage.Store(zeroMessageSystem && !r.opt.NoCache && r.opt.MayWrite == nil && kernel&fuse.CAP_NO_OPEN_SUPPORT != 0)
}

func (r *requests) OnUnmount() { close(r.unmounted) }

// status turns a tree's error into the answer.
func (r *requests) status(o op, ino uint64, err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	errno := toErrno(err)
	if errno == syscall.EIO && r.opt.OnError != nil {
		r.opt.OnError(o.String(), worktree.Ino(ino), err)
	}
	return fuse.Status(errno)
}

// begin counts a request. Its context never ends: it does not wait for the network, and nothing interrupts it.
func (r *requests) begin(o op) context.Context {
	r.counts[o].Add(1)
	return context.Background()
}

// beginChange is begin for a request that changes the tree at the given names.
func (r *requests) beginChange(o op, names ...string) (context.Context, fuse.Status) {
	ctx := r.begin(o)
	if r.opt.ReadOnly {
		return ctx, fuse.EROFS
	}
	for _, name := range names {
		if len(name) > maxName {
			return ctx, fuse.Status(syscall.ENAMETOOLONG)
		}
		if name == "" || name == "." || name == ".." {
			return ctx, fuse.EINVAL
		}
	}
	return ctx, fuse.OK
}

func (r *requests) entry(a worktree.Attr, out *fuse.EntryOut) {
	out.NodeId = uint64(a.Ino)
	out.SetEntryTimeout(r.cache)
	out.SetAttrTimeout(r.cache)
	fillAttr(a, &out.Attr)
}

func fillAttr(a worktree.Attr, out *fuse.Attr) {
	out.Ino = uint64(a.Ino)
	out.Size = a.Size
	out.Blocks = a.Blocks
	out.Atime, out.Atimensec = split(a.Atime)
	out.Mtime, out.Mtimensec = split(a.Mtime)
	out.Ctime, out.Ctimensec = split(a.Ctime)
	out.Mode = a.Mode
	out.Nlink = a.Nlink
	out.Uid = a.UID
	out.Gid = a.GID
	out.Rdev = a.Rdev
	out.Blksize = 4096
	if a.Mode&syscall.S_IFMT == syscall.S_IFREG {
		out.Blksize = blockSize
	}
}

// split gives seconds since 1970, as two's complement for what was before, and nanoseconds.
func split(t time.Time) (uint64, uint32) { return uint64(t.Unix()), uint32(t.Nanosecond()) }

func (r *requests) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	ctx := r.begin(opLookup)
	if len(name) > maxName {
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	if acted := r.stage.on(h); acted != nil {
		if s, done := r.lookupActed(ctx, acted, h, name, out); done {
			return s
		}
	}
	a, err := r.lookup(ctx, worktree.Ino(h.NodeId), name)
	if toErrno(err) == syscall.ENOENT && r.cache > 0 {
		out.NodeId = 0 // the kernel remembers that there is no such name
		out.SetEntryTimeout(r.cache)
		return fuse.OK
	}
	if err != nil {
		return r.status(opLookup, h.NodeId, err)
	}
	r.entry(a, out)
	return fuse.OK
}

// lookup finds a name. "." and ".." come only for a file handle (open_by_handle_at, an NFS server), whose inode the kernel
// may have forgotten, and a server before us have known.
func (r *requests) lookup(ctx context.Context, ino worktree.Ino, name string) (worktree.Attr, error) {
	switch name {
	default:
		return r.tree.Lookup(ctx, ino, name)
	case "..":
		parent, err := r.tree.Parent(ctx, ino)
		if err != nil {
			return worktree.Attr{}, err
		}
		ino = parent
	case ".":
	}
	if err := r.tree.Ref(ctx, ino); err != nil {
		return worktree.Attr{}, err
	}
	a, err := r.tree.GetAttr(ctx, ino)
	if err != nil {
		r.tree.Forget(ino, 1)
	}
	return a, err
}

func (r *requests) Forget(ino, lookups uint64) {
	r.counts[opForget].Add(1)
	if ino >= ghost {
		return
	}
	r.tree.Forget(worktree.Ino(ino), lookups)
}

func (r *requests) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return r.getAttr(r.begin(opGetattr), opGetattr, in.NodeId, out)
}

func (r *requests) getAttr(ctx context.Context, o op, ino uint64, out *fuse.AttrOut) fuse.Status {
	a, err := r.tree.GetAttr(ctx, worktree.Ino(ino))
	if err != nil {
		return r.status(o, ino, err)
	}
	out.SetTimeout(r.cache)
	fillAttr(a, &out.Attr)
	return fuse.OK
}

// asked are the bits of SETATTR that ask for a change.
const asked = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_SIZE | fuse.FATTR_ATIME | fuse.FATTR_MTIME |
	fuse.FATTR_ATIME_NOW | fuse.FATTR_MTIME_NOW | fuse.FATTR_CTIME

func (r *requests) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	ctx, refused := r.beginChange(opSetattr)
	if refused != fuse.OK {
		return refused
	}
	if r.stage.on(&in.InHeader) != nil {
		return r.getAttr(ctx, opSetattr, in.NodeId, out)
	}
	change := setAttr(in)
	if in.Valid&asked == 0 { // chown(-1, -1), or what is left of it: a chown to the same owner
		a, err := r.tree.GetAttr(ctx, worktree.Ino(in.NodeId))
		if err != nil {
			return r.status(opSetattr, in.NodeId, err)
		}
		change.UID = &a.UID
	}
	if change.KillPriv && in.Caller.Uid != 0 {
		a, err := r.tree.GetAttr(ctx, worktree.Ino(in.NodeId))
		if err != nil {
			return r.status(opSetattr, in.NodeId, err)
		}
		change.KillGroup = strangeGroup(a, in.Caller)
	}
	a, err := r.tree.SetAttr(ctx, worktree.Ino(in.NodeId), change)
	if err != nil {
		return r.status(opSetattr, in.NodeId, err)
	}
	out.SetTimeout(r.cache)
	fillAttr(a, &out.Attr)
	return fuse.OK
}

// strangeGroup tells whether setgid, which marks a file whose group may not execute it for mandatory locking, goes as well
// when this caller changes it: if he is not in the group.
func strangeGroup(a worktree.Attr, caller fuse.Caller) bool {
	const setgid, groupExecute = 02000, 010
	return a.Mode&(setgid|groupExecute) == setgid && a.GID != caller.Gid && !inGroup(caller.Pid, a.GID)
}

func setAttr(in *fuse.SetAttrIn) worktree.SetAttr {
	var s worktree.SetAttr
	if mode, ok := in.GetMode(); ok {
		s.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		s.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		s.GID = &gid
	}
	if size, ok := in.GetSize(); ok {
		s.Size = &size
	}
	if t, ok := in.GetATime(); ok {
		s.Atime = &t
	}
	if t, ok := in.GetMTime(); ok {
		s.Mtime = &t
	}
	// With CAP_HANDLE_KILLPRIV_V2 the kernel says when a truncation clears setuid and setgid. chown always does, and a
	// SETATTR that asks for nothing is what is left of chown(-1, -1), or of a clearing alone before a write.
	s.KillPriv = in.Valid&fuse.FATTR_KILL_SUIDGID != 0 || s.UID != nil || s.GID != nil || in.Valid&asked == 0
	return s
}

func (r *requests) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	ctx := r.begin(opReadlink)
	target, err := r.tree.Readlink(ctx, worktree.Ino(h.NodeId))
	return []byte(target), r.status(opReadlink, h.NodeId, err)
}

// make makes an inode for the caller, in the parent's group if the parent is setgid.
func (r *requests) make(ctx context.Context, o op, h *fuse.InHeader, name string, m worktree.Make, out *fuse.EntryOut) fuse.Status {
	m.UID, m.GID = h.Uid, h.Gid
	err := r.inherit(ctx, worktree.Ino(h.NodeId), &m)
	if err != nil {
		return r.status(o, h.NodeId, err)
	}
	a, err := r.tree.Make(ctx, worktree.Ino(h.NodeId), name, m)
	if err != nil {
		return r.status(o, h.NodeId, err)
	}
	r.entry(a, out)
	return fuse.OK
}

func (r *requests) inherit(ctx context.Context, parent worktree.Ino, m *worktree.Make) error {
	p, err := r.tree.GetAttr(ctx, parent)
	if err != nil {
		return err
	}
	if p.Mode&syscall.S_ISGID != 0 {
		m.GID = p.GID
		if m.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			m.Mode |= syscall.S_ISGID
		}
	}
	return nil
}

// staleIfExists answers open(O_CREAT) for a name that came to be, from another machine, after the kernel had looked.
// ESTALE makes the kernel look again and open, or refuse, what is there. It looks again for mknod(2) just the same, and
// then says EEXIST itself.
func staleIfExists(s fuse.Status) fuse.Status {
	if s == fuse.Status(syscall.EEXIST) {
		return fuse.Status(syscall.ESTALE)
	}
	return s
}

func (r *requests) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if acted := r.stage.on(&in.InHeader); acted != nil {
		return r.makeActed(context.Background(), opMknod, acted, &in.InHeader, name, out, syscall.S_IFREG)
	}
	ctx, refused := r.beginChange(opMknod, name)
	if refused != fuse.OK {
		return refused
	}
	mode := in.Mode
	if mode&syscall.S_IFMT == 0 {
		mode |= syscall.S_IFREG
	}
	s := r.make(ctx, opMknod, &in.InHeader, name, worktree.Make{Mode: mode, Rdev: in.Rdev}, out)
	if r.zeroMessage.Load() {
		s = staleIfExists(s)
	}
	return s
}

func (r *requests) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if acted := r.stage.on(&in.InHeader); acted != nil {
		return r.makeActed(context.Background(), opMkdir, acted, &in.InHeader, name, out, syscall.S_IFDIR)
	}
	ctx, refused := r.beginChange(opMkdir, name)
	if refused != fuse.OK {
		return refused
	}
	return r.make(ctx, opMkdir, &in.InHeader, name, worktree.Make{Mode: in.Mode&07777 | syscall.S_IFDIR}, out)
}

func (r *requests) Symlink(cancel <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	if acted := r.stage.on(h); acted != nil {
		return r.makeActed(context.Background(), opSymlink, acted, h, name, out, syscall.S_IFLNK)
	}
	ctx, refused := r.beginChange(opSymlink, name)
	if refused != fuse.OK {
		return refused
	}
	return r.make(ctx, opSymlink, h, name, worktree.Make{Mode: 0777 | syscall.S_IFLNK, Target: target}, out)
}

func (r *requests) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	ctx, refused := r.beginChange(opCreate, name)
	if r.zeroMessage.Load() {
		return fuse.ENOSYS
	}
	if refused != fuse.OK {
		return refused
	}
	m := worktree.Make{Mode: in.Mode&07777 | syscall.S_IFREG}
	s := r.make(ctx, opCreate, &in.InHeader, name, m, &out.EntryOut)
	if in.Flags&syscall.O_EXCL == 0 {
		s = staleIfExists(s)
	}
	out.OpenFlags = r.openFlags()
	return s
}

func (r *requests) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	ctx, refused := r.beginChange(opTmpfile)
	if refused != fuse.OK {
		return refused
	}
	m := worktree.Make{Mode: in.Mode&07777 | syscall.S_IFREG, UID: in.Uid, GID: in.Gid}
	err := r.inherit(ctx, worktree.Ino(in.NodeId), &m)
	if err != nil {
		return r.status(opTmpfile, in.NodeId, err)
	}
	a, err := r.tree.MakeUnnamed(ctx, worktree.Ino(in.NodeId), m)
	if err != nil {
		return r.status(opTmpfile, in.NodeId, err)
	}
	r.entry(a, &out.EntryOut)
	out.OpenFlags = r.openFlags()
	return fuse.OK
}

func (r *requests) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx, refused := r.beginChange(opLink, name)
	if refused != fuse.OK {
		return refused
	}
	a, err := r.tree.Link(ctx, worktree.Ino(in.Oldnodeid), worktree.Ino(in.NodeId), name)
	if err != nil {
		return r.status(opLink, in.NodeId, err)
	}
	r.entry(a, out)
	return fuse.OK
}

func (r *requests) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if acted := r.stage.on(h); acted != nil {
		return r.removeActed(context.Background(), opUnlink, acted, h, name)
	}
	ctx, refused := r.beginChange(opUnlink, name)
	if refused != fuse.OK {
		return refused
	}
	return r.status(opUnlink, h.NodeId, r.tree.Unlink(ctx, worktree.Ino(h.NodeId), name))
}

func (r *requests) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if acted := r.stage.on(h); acted != nil {
		return r.removeActed(context.Background(), opRmdir, acted, h, name)
	}
	ctx, refused := r.beginChange(opRmdir, name)
	if refused != fuse.OK {
		return refused
	}
	return r.status(opRmdir, h.NodeId, r.tree.Rmdir(ctx, worktree.Ino(h.NodeId), name))
}

func (r *requests) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	ctx, refused := r.beginChange(opRename, oldName, newName)
	if refused != fuse.OK {
		return refused
	}
	const both = worktree.RenameNoReplace | worktree.RenameExchange
	if in.Flags&^both != 0 || in.Flags == both {
		return fuse.EINVAL
	}
	err := r.tree.Rename(ctx, worktree.Ino(in.NodeId), oldName, worktree.Ino(in.Newdir), newName, in.Flags)
	return r.status(opRename, in.NodeId, err)
}

// Access is never needed: the kernel checks permissions.
func (r *requests) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	r.begin(opAccess)
	return fuse.ENOSYS
}

func (r *requests) StatFs(cancel <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	ctx := r.begin(opStatfs)
	s, err := r.tree.StatFS(ctx)
	if err != nil {
		return r.status(opStatfs, h.NodeId, err)
	}
	const unit = 4096
	out.Bsize, out.Frsize, out.NameLen = unit, unit, maxName
	out.Blocks, out.Bfree, out.Bavail = s.Total/unit, s.Free/unit, s.Available/unit
	out.Files, out.Ffree = s.Files, s.FilesFree
	return fuse.OK
}

// clampLength bounds a length that the answer has 32 bits for, to a multiple of the page.
func clampLength(n uint64) uint64 { return min(n, math.MaxInt32&^(blockSize-1)) }
