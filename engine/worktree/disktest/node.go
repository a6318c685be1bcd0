//go:build linux

package disktest

import (
	"context"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// node is a file of the disk as the kernel knows it.
type node struct {
	fs.Inode
	disk *disk
	file *file
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (f *file) mode() uint32 {
	if f.names != nil {
		return syscall.S_IFDIR | 0o700
	}
	return syscall.S_IFREG | 0o600
}

func (f *file) fill(a *fuse.Attr) {
	a.Ino, a.Mode, a.Size, a.Nlink = f.number, f.mode(), uint64(len(f.data)), 1
	a.Blocks = (a.Size + 511) / 512
}

// child returns the kernel's node of a file. disk.mu is held.
func (n *node) child(ctx context.Context, f *file, out *fuse.EntryOut) *fs.Inode {
	f.fill(&out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, file: f}, fs.StableAttr{Mode: f.mode(), Ino: f.number})
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if f := n.file.names[name]; f != nil {
		return n.child(ctx, f, out), 0
	}
	return nil, syscall.ENOENT
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	var list []fuse.DirEntry
	for name, f := range n.file.names {
		list = append(list, fuse.DirEntry{Name: name, Mode: f.mode(), Ino: f.number})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) make(ctx context.Context, name string, f *file, out *fuse.EntryOut) *fs.Inode {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.last++
	f.number = n.disk.last
	n.disk.note(event{kind: named, file: n.file, name: name, target: f})
	return n.child(ctx, f, out)
}

func (n *node) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return n.make(ctx, name, &file{}, out), nil, 0, 0
}

func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.make(ctx, name, &file{names: map[string]*file{}}, out), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.note(event{kind: named, file: n.file, name: name})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno { return n.Unlink(ctx, name) }

func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if to.EmbeddedInode() != &n.Inode || flags != 0 {
		return syscall.ENOTSUP
	}
	n.disk.note(event{kind: replaced, file: n.file, from: name, name: newName})
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) { return nil, 0, 0 }

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	data := n.file.data
	off = min(off, int64(len(data)))
	return fuse.ReadResultData(slices.Clone(data[off:min(int64(len(data)), off+int64(len(dest)))])), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.note(event{kind: wrote, file: n.file, off: off, data: slices.Clone(data)})
	return uint32(len(data)), 0
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.file.fill(&out.Attr)
	return 0
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		n.resize(int64(size))
	}
	return n.Getattr(ctx, h, out)
}

func (n *node) resize(size int64) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.note(event{kind: sized, file: n.file, off: size})
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.note(event{kind: synced, file: n.file})
	return 0
}

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	switch mode {
	case 0:
		n.disk.mu.Lock()
		grow := int64(off+size) > int64(len(n.file.data))
		n.disk.mu.Unlock()
		if grow {
			n.resize(int64(off + size))
		}
		return 0
	case unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE:
		n.disk.mu.Lock()
		defer n.disk.mu.Unlock()
		if end := min(off+size, uint64(len(n.file.data))); off < end {
			n.disk.note(event{kind: wrote, file: n.file, off: int64(off), data: make([]byte, end-off)})
		}
		return 0
	}
	return syscall.ENOTSUP
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks, out.Bfree, out.Bavail = 1<<24, 1<<24, 1<<24
	return 0
}
