package fusetest

import (
	"context"
	"slices"
	"syscall"

	"ensync/engine/worktree"
)

const (
	pageSize = 4096
	// maxSize is the largest file, as in the working tree.
	maxSize = 1 << 62
)

// The mode bits of fallocate(2), with Linux' values.
const (
	keepSize  = 0x01
	punchHole = 0x02
	zeroRange = 0x10
)

const (
	seekData = 3
	seekHole = 4
)

func (n *node) page(i uint64) *[pageSize]byte {
	p := n.pages[i]
	if p == nil {
		p = new([pageSize]byte)
		n.pages[i] = p
	}
	return p
}

func (n *node) write(data []byte, off uint64) {
	for done := 0; done < len(data); {
		at := off + uint64(done)
		done += copy(n.page(at / pageSize)[at%pageSize:], data[done:])
	}
	n.attr.Size = max(n.attr.Size, off+uint64(len(data)))
}

// read fills buf with what is there, and zeros.
func (n *node) read(buf []byte, off uint64) {
	for done := 0; done < len(buf); {
		at := off + uint64(done)
		here := min(len(buf)-done, int(pageSize-at%pageSize))
		if p := n.pages[at/pageSize]; p != nil {
			copy(buf[done:done+here], p[at%pageSize:])
		} else {
			clear(buf[done : done+here])
		}
		done += here
	}
}

func (n *node) truncate(size uint64) {
	if size < n.attr.Size {
		n.zero(size, n.attr.Size-size, true)
	}
	n.attr.Size = size
}

// zero makes a range zero; whole pages become holes if asked.
func (n *node) zero(off, length uint64, punch bool) {
	for i, p := range n.pages {
		from, to := max(off, i*pageSize), min(off+length, (i+1)*pageSize)
		if from >= to {
			continue
		}
		if punch && (to-from == pageSize || to == off+length && to >= n.attr.Size && from == i*pageSize) {
			delete(n.pages, i)
			continue
		}
		clear(p[from-i*pageSize : to-i*pageSize])
	}
}

func (t *Tree) file(ino worktree.Ino) (*node, error) {
	n, err := t.node(ino)
	if err == nil && n.pages == nil {
		return nil, syscall.EINVAL
	}
	return n, err
}

// Read implements fusefs.Tree, as do the methods below.
func (t *Tree) Read(ctx context.Context, ino worktree.Ino, buf []byte, off uint64) (int, error) {
	err := t.begin(ctx, "Read")
	defer t.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := t.file(ino)
	if err != nil || off >= n.attr.Size {
		return 0, err
	}
	buf = buf[:min(uint64(len(buf)), n.attr.Size-off)]
	n.read(buf, off)
	return len(buf), nil
}

func (t *Tree) Write(ctx context.Context, ino worktree.Ino, data []byte, off uint64, killPriv bool) (int, error) {
	err := t.begin(ctx, "Write")
	defer t.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := t.file(ino)
	if err != nil {
		return 0, err
	}
	if off > maxSize-uint64(len(data)) {
		return 0, syscall.EFBIG
	}
	n.write(data, off)
	if killPriv {
		n.killPriv(false)
	}
	t.touch(n)
	return len(data), nil
}

func (t *Tree) Allocate(ctx context.Context, ino worktree.Ino, off, length uint64, mode uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.file(ino)
	if err != nil {
		return err
	}
	if length == 0 || off > maxSize-length {
		return syscall.EFBIG
	}
	switch mode {
	case 0, keepSize, zeroRange, zeroRange | keepSize:
		if mode&zeroRange != 0 {
			n.zero(off, length, false)
		}
		for i := off / pageSize; i <= (off+length-1)/pageSize; i++ {
			n.page(i)
		}
		if mode&keepSize == 0 {
			n.attr.Size = max(n.attr.Size, off+length)
		}
	case punchHole | keepSize:
		n.zero(off, length, true)
	default:
		return syscall.EOPNOTSUPP
	}
	t.touch(n)
	return nil
}

func (t *Tree) Seek(ctx context.Context, ino worktree.Ino, off uint64, whence uint32) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.file(ino)
	if err != nil {
		return 0, err
	}
	if off >= n.attr.Size {
		return 0, syscall.ENXIO
	}
	for at := off; at < n.attr.Size; at = (at/pageSize + 1) * pageSize {
		if (n.pages[at/pageSize] != nil) == (whence == seekData) {
			return at, nil
		}
	}
	if whence == seekHole {
		return n.attr.Size, nil
	}
	return 0, syscall.ENXIO
}

func (t *Tree) CopyRange(ctx context.Context, src worktree.Ino, srcOff uint64, dst worktree.Ino, dstOff, length uint64) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, err := t.file(src)
	if err != nil {
		return 0, err
	}
	to, err := t.file(dst)
	if err != nil || srcOff >= from.attr.Size {
		return 0, err
	}
	buf := make([]byte, min(length, from.attr.Size-srcOff, 1<<20))
	from.read(buf, srcOff)
	to.write(buf, dstOff)
	t.touch(to)
	return uint64(len(buf)), nil
}

func (t *Tree) Fsync(ctx context.Context, ino worktree.Ino) error {
	err := t.begin(ctx, "Fsync")
	defer t.mu.Unlock()
	return err
}

func (t *Tree) GetXattr(ctx context.Context, ino worktree.Ino, name string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.node(ino)
	if err != nil {
		return nil, err
	}
	value, ok := n.xattrs[name]
	if !ok {
		return nil, errNoXattr
	}
	return value, nil
}

// The flags of setxattr(2).
const (
	xattrCreate  = 1
	xattrReplace = 2
)

func (t *Tree) SetXattr(ctx context.Context, ino worktree.Ino, name string, value []byte, flags uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.node(ino)
	if err != nil {
		return err
	}
	_, exists := n.xattrs[name]
	if exists && flags&xattrCreate != 0 {
		return syscall.EEXIST
	}
	if !exists && flags&xattrReplace != 0 {
		return errNoXattr
	}
	n.xattrs[name] = slices.Clone(value)
	n.attr.Ctime = t.now()
	return nil
}

func (t *Tree) RemoveXattr(ctx context.Context, ino worktree.Ino, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.node(ino)
	if err != nil {
		return err
	}
	if _, exists := n.xattrs[name]; !exists {
		return errNoXattr
	}
	delete(n.xattrs, name)
	n.attr.Ctime = t.now()
	return nil
}

func (t *Tree) ListXattr(ctx context.Context, ino worktree.Ino) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.node(ino)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range n.xattrs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
