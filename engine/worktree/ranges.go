package worktree

import (
	"context"
	"syscall"

	"ensync/store/object"
)

// Mode bits of fallocate(2).
const (
	allocKeepSize  = 0x01
	allocPunchHole = 0x02
	allocZeroRange = 0x10
)

// Allocate is fallocate(2). Space is not set aside: it is only checked that there is enough at this moment.
func (t *Tree) Allocate(ctx context.Context, ino Ino, off, length uint64, mode uint32) error {
	switch mode {
	case 0, allocKeepSize, allocPunchHole | allocKeepSize, allocZeroRange, allocZeroRange | allocKeepSize:
	default:
		return syscall.EOPNOTSUPP
	}
	if length == 0 {
		return syscall.EINVAL
	}
	if off > maxSize || length > maxSize-off {
		return syscall.EFBIG
	}
	if mode&allocPunchHole == 0 {
		if err := t.room(length); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	n, err := t.getWritable(ino)
	if err != nil {
		return err
	}
	end := off + length
	if mode&(allocPunchHole|allocZeroRange) != 0 {
		t.blank(n, off, end)
		t.touchContent(n, off, end)
	}
	if mode&allocKeepSize == 0 && end > n.size {
		n.size = end
		t.touchContent(n, 0, 0)
	}
	return nil
}

// How much one CopyRange does at most, in bytes; what has to be fetched from the store counts more.
const (
	copyMax  = 64 << 20
	fetchMax = 4 << 20
)

// CopyRange is copy_file_range(2): what is in the log is shared, not copied, and so is content of the store where a
// whole file is copied to an empty one.
func (t *Tree) CopyRange(ctx context.Context, src Ino, srcOff uint64, dst Ino, dstOff, length uint64) (uint64, error) {
	t.mu.Lock()
	v, length, err := t.planCopy(src, srcOff, dst, dstOff, length)
	t.mu.Unlock()
	if err != nil || length == 0 || v == nil {
		return length, err
	}
	defer t.releaseView(v)
	copied := uint64(0)
	for i := range v.pieces {
		e := &v.pieces[i]
		copied += e.len
		if e.kind != nowhere || e.off >= uint64(v.base.Size) {
			continue
		}
		e.data = make([]byte, e.len)
		if err := t.fill(ctx, &view{pieces: []extent{*e}, base: v.base}, e.data, e.off); err != nil {
			return 0, err
		}
		e.kind = held
	}
	if err := t.room(copied); err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	return t.paste(dst, dstOff-srcOff, v)
}

// planCopy returns what is to be copied. v is nil if nothing is left to do. t.mu is held.
func (t *Tree) planCopy(src Ino, srcOff uint64, dst Ino, dstOff, length uint64) (*view, uint64, error) {
	s, err := t.getFile(src)
	if err != nil {
		return nil, 0, err
	}
	d, err := t.getWritable(dst)
	if err != nil || srcOff >= s.size {
		return nil, 0, err
	}
	if dstOff > maxSize-min(length, copyMax) {
		return nil, 0, syscall.EFBIG
	}
	whole := length >= s.size
	length = min(length, s.size-srcOff, copyMax)
	if s == d && srcOff < dstOff+length && dstOff < srcOff+length {
		return nil, 0, syscall.EINVAL
	}
	if whole && srcOff == 0 && dstOff == 0 && d.size == 0 && d.ext.count == 0 && d.heir.dir == 0 &&
		s.base.Known && s.ext.count == 0 && int64(s.size) == s.base.Size {
		d.base, d.size = s.base, s.size
		t.touchContent(d, 0, 0)
		t.touch(d, fBase)
		return nil, s.size, nil
	}
	fetched := uint64(0)
	s.ext.pieces(srcOff, srcOff+length, func(e extent) bool {
		if e.kind == nowhere && s.base.Known && e.off < uint64(s.base.Size) {
			e.len = min(e.len, uint64(s.base.Size)-e.off)
			if fetched+e.len > fetchMax {
				length = e.off + fetchMax - fetched - srcOff
				return false
			}
			fetched += e.len
		}
		return true
	})
	v := t.view(s, srcOff, srcOff+length)
	if !v.base.Known {
		v.base = object.Content{}
	}
	v.split()
	return v, length, nil
}

// split cuts pieces at the end of the base content, so that each is either content or zeros.
func (v *view) split() {
	size := uint64(v.base.Size)
	for i, e := range v.pieces {
		if e.kind == nowhere && e.off < size && e.end() > size {
			rest := append([]extent{e.clip(e.off, size), e.clip(size, e.end())}, v.pieces[i+1:]...)
			v.pieces = append(v.pieces[:i], rest...)
			return
		}
	}
}

// paste puts what v holds into a file, shift further on. t.mu is held.
func (t *Tree) paste(dst Ino, shift uint64, v *view) (uint64, error) {
	n, err := t.getWritable(dst)
	if err == nil {
		err = t.takeMore(n)
	}
	if err != nil {
		return 0, err
	}
	var copied uint64
	start := v.pieces[0].off + shift
pieces:
	for _, e := range v.pieces {
		e.off += shift
		switch e.kind {
		case logged:
			t.editPending(n, func(r *refs) { n.ext.set(e, r) })
		case held:
			var part uint64
			if part, err = t.buffer(n, e.off, e.data); err != nil {
				copied += part
				break pieces
			}
		default:
			t.blank(n, e.off, e.end())
		}
		copied += e.len
	}
	if copied == 0 {
		return 0, err
	}
	n.size = max(n.size, start+copied)
	t.touchContent(n, start, start+copied)
	if err := t.relieve(); err != nil && !isNoSpace(err) {
		return 0, err
	}
	return copied, nil // where it is less than was asked for, the next call tells why
}
