//go:build linux

package foldtest

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

type mount struct {
	below string
	opt   Options
	names sync.Mutex // held from the look at the names of a directory to their change

	changes atomic.Int64
	mu      sync.Mutex
	lists   map[string]listing // by path below
	open    map[uint64]int     // how often a file is open, by inode number
}

// listing is a directory as it was shown at a time.
type listing struct {
	at   time.Time
	list []fuse.DirEntry
}

// repeated reports whether the answer to a change is lost, so that it is asked for again.
func (m *mount) repeated() bool {
	return m.opt.Repeats > 0 && m.changes.Add(1)%int64(m.opt.Repeats) == 0
}

// handle is an open file, which counts as long as it is.
func (m *mount) handle(fd int) *file {
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) == nil {
		m.mu.Lock()
		m.open[st.Ino]++
		m.mu.Unlock()
	}
	return &file{loopback: fs.NewLoopbackFile(fd).(loopback), fd: fd, mount: m, ino: st.Ino}
}

// silly gives a file that is open another name instead of removing it.
func (m *mount) silly(path string) bool {
	var st syscall.Stat_t
	if !m.opt.Silly || syscall.Lstat(path, &st) != nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	hidden := filepath.Join(filepath.Dir(path), ".nfs"+strconv.FormatUint(st.Ino, 16))
	return m.open[st.Ino] > 0 && syscall.Rename(path, hidden) == nil
}

// node is a file or directory. It is found anew by its path at each request, which is slow and simple.
type node struct {
	fs.Inode
	mount *mount
}

// find returns under which name a directory has an entry, "" if it has none.
func (m *mount) find(dir, name string) string {
	if _, err := os.Lstat(filepath.Join(dir, name)); err == nil && m.opt.kept(name) == name {
		return name
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	key := m.opt.key(name)
	for _, e := range entries {
		if m.opt.key(e.Name()) == key {
			return e.Name()
		}
	}
	return ""
}

// path is where the node lies below.
func (n *node) path() string {
	path := n.mount.below
	for part := range strings.SplitSeq(n.Path(n.Root()), "/") {
		if found := n.mount.find(path, part); part != "" && found != "" {
			part = found
		}
		path = filepath.Join(path, part)
	}
	return path
}

// at returns where an entry lies below, or will lie, and whether it is there.
func (n *node) at(name string) (string, bool) {
	dir := n.path()
	if found := n.mount.find(dir, name); found != "" {
		return filepath.Join(dir, found), true
	}
	return filepath.Join(dir, n.mount.opt.kept(name)), false
}

// fresh is at for an entry that is to be made.
func (n *node) fresh(name string) (string, syscall.Errno) {
	if errno := n.mount.opt.allows(name); errno != 0 {
		return "", errno
	}
	path, there := n.at(name)
	if there {
		return "", syscall.EEXIST
	}
	return path, 0
}

// show fills in what a file looks like.
func (m *mount) show(st *syscall.Stat_t, out *fuse.Attr) {
	out.FromStat(st)
	if m.opt.NoModes {
		out.Mode = out.Mode&syscall.S_IFMT | 0o755
	}
	for _, t := range []struct {
		sec  *uint64
		nsec *uint32
	}{{&out.Mtime, &out.Mtimensec}, {&out.Ctime, &out.Ctimensec}, {&out.Atime, &out.Atimensec}} {
		seen := m.opt.time(time.Unix(int64(*t.sec), int64(*t.nsec)))
		*t.sec, *t.nsec = uint64(seen.Unix()), uint32(seen.Nanosecond())
	}
}

// child is the node of what lies at a path.
func (n *node) child(ctx context.Context, path string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return nil, fs.ToErrno(err)
	}
	n.mount.show(&st, &out.Attr)
	return n.NewInode(ctx, &node{mount: n.mount}, fs.StableAttr{Mode: st.Mode & syscall.S_IFMT, Ino: st.Ino, Gen: 1}), 0
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.mount.opt.fault(); errno != 0 {
		return nil, errno
	}
	path, there := n.at(name)
	if !there {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, path, out)
}

func (n *node) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if errno := n.mount.opt.fault(); errno != 0 {
		return errno
	}
	var st syscall.Stat_t
	if h, ok := f.(*file); ok {
		if err := syscall.Fstat(h.fd, &st); err != nil {
			return fs.ToErrno(err)
		}
	} else if err := syscall.Lstat(n.path(), &st); err != nil {
		return fs.ToErrno(err)
	}
	n.mount.show(&st, &out.Attr)
	return 0
}

func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if errno := n.mount.opt.fault(); errno != 0 {
		return errno
	}
	path := n.path()
	if h, ok := f.(*file); ok {
		path = "/proc/self/fd/" + itoa(h.fd) // it may have no name any more
	}
	if mode, ok := in.GetMode(); ok {
		if n.mount.opt.NoModes && mode&0o7777 != 0o755 {
			return syscall.EPERM
		}
		if err := syscall.Chmod(path, mode&0o7777); err != nil {
			return fs.ToErrno(err)
		}
	}
	if size, ok := in.GetSize(); ok {
		if err := syscall.Truncate(path, int64(size)); err != nil {
			return fs.ToErrno(err)
		}
	}
	mtime, setM := in.GetMTime()
	atime, setA := in.GetATime()
	if setM || setA {
		times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
		if setA {
			times[0] = unix.NsecToTimespec(atime.UnixNano())
		}
		if setM {
			times[1] = unix.NsecToTimespec(n.mount.opt.time(mtime).UnixNano())
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times[:], 0); err != nil {
			return fs.ToErrno(err)
		}
	}
	return n.Getattr(ctx, f, out)
}

func (n *node) Readdir(ctx context.Context) (fs.DirStream, syscall.Errno) {
	if errno := n.mount.opt.fault(); errno != 0 {
		return nil, errno
	}
	path := n.path()
	n.mount.mu.Lock()
	shown := n.mount.lists[path]
	n.mount.mu.Unlock()
	if time.Since(shown.at) < n.mount.opt.StaleList {
		return fs.NewListDirStream(shown.list), 0
	}
	asked := time.Now()
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	list := make([]fuse.DirEntry, 0, len(entries))
	for _, e := range entries {
		var st syscall.Stat_t
		if syscall.Lstat(filepath.Join(path, e.Name()), &st) == nil {
			list = append(list, fuse.DirEntry{Name: e.Name(), Mode: st.Mode, Ino: st.Ino})
		}
	}
	if n.mount.opt.StaleList > 0 {
		n.mount.mu.Lock()
		n.mount.lists[path] = listing{asked, list}
		n.mount.mu.Unlock()
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.mount.opt.fault(); errno != 0 {
		return nil, nil, 0, errno
	}
	n.mount.names.Lock()
	defer n.mount.names.Unlock()
	path, errno := n.fresh(name)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	fd, err := syscall.Open(path, int(flags)|os.O_CREATE|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return nil, nil, 0, fs.ToErrno(err)
	}
	child, errno := n.child(ctx, path, out)
	return child, n.mount.handle(fd), 0, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.make(ctx, name, out, func(path string) error { return syscall.Mkdir(path, mode) })
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.mount.opt.NoLinks {
		return nil, syscall.EPERM
	}
	return n.make(ctx, name, out, func(path string) error { return syscall.Symlink(target, path) })
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.mount.opt.NoLinks {
		return nil, syscall.EPERM
	}
	return n.make(ctx, name, out, func(path string) error { return syscall.Link(target.(*node).path(), path) })
}

func (n *node) make(ctx context.Context, name string, out *fuse.EntryOut, make func(path string) error) (*fs.Inode, syscall.Errno) {
	if errno := n.mount.opt.fault(); errno != 0 {
		return nil, errno
	}
	n.mount.names.Lock()
	defer n.mount.names.Unlock()
	path, errno := n.fresh(name)
	if errno != 0 {
		return nil, errno
	}
	if err := make(path); err != nil {
		return nil, fs.ToErrno(err)
	}
	if n.mount.repeated() {
		return nil, syscall.EEXIST
	}
	return n.child(ctx, path, out)
}

func (n *node) Readlink(context.Context) ([]byte, syscall.Errno) {
	target, err := os.Readlink(n.path())
	return []byte(target), fs.ToErrno(err)
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	if errno := n.mount.opt.fault(); errno != 0 {
		return errno
	}
	path, _ := n.at(name)
	if n.mount.silly(path) {
		return 0
	}
	err := syscall.Unlink(path)
	if err == nil && n.mount.repeated() {
		return syscall.ENOENT
	}
	return fs.ToErrno(err)
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	if errno := n.mount.opt.fault(); errno != 0 {
		return errno
	}
	path, _ := n.at(name)
	return fs.ToErrno(syscall.Rmdir(path))
}

func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if errno := n.mount.opt.fault(); errno != 0 {
		return errno
	}
	n.mount.names.Lock()
	defer n.mount.names.Unlock()
	if errno := n.mount.opt.allows(newName); errno != 0 {
		return errno
	}
	if n.mount.opt.NoExchange && flags&unix.RENAME_EXCHANGE != 0 || n.mount.opt.NoFlags && flags != 0 {
		return syscall.EINVAL
	}
	from, _ := n.at(name)
	target, there := to.(*node).at(newName)
	if target == from { // only the spelling changes
		target, flags = filepath.Join(filepath.Dir(from), n.mount.opt.kept(newName)), 0
	} else if there && flags&unix.RENAME_NOREPLACE != 0 {
		return syscall.EEXIST
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, target, uint(flags))
	if err == nil && n.mount.repeated() {
		return syscall.ENOENT
	}
	return fs.ToErrno(err)
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.mount.opt.fault(); errno != 0 {
		return nil, 0, errno
	}
	fd, err := syscall.Open(n.path(), int(flags)&^syscall.O_CREAT|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return n.mount.handle(fd), 0, 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	var s syscall.Statfs_t
	if err := syscall.Statfs(n.mount.below, &s); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStatfsT(&s)
	return 0
}
