package worktree

import (
	"context"
	"syscall"

	"ensync/engine/worktree/journal"
)

// Write puts data at off. It returns when the data is in the tree; Fsync makes it durable, the timer hands it to the
// log within Options.Delay. killPriv clears setuid and setgid. With an error, a number above 0 tells how much of it is in
// the tree.
func (t *Tree) Write(ctx context.Context, ino Ino, data []byte, off uint64, killPriv bool) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if off > maxSize || uint64(len(data)) > maxSize-off {
		return 0, syscall.EFBIG
	}
	if err := t.room(uint64(len(data))); err != nil {
		return 0, err
	}
	frames, first, err := t.sealUnits(data, off)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.getWritable(ino)
	if err == nil {
		err = t.takeMore(n)
	}
	if err != nil {
		t.release(frames)
		return 0, err
	}
	written, err := t.put(n, off, data, frames, first)
	if written == 0 {
		return 0, err
	}
	n.size = max(n.size, off+written)
	if killPriv {
		t.killPriv(n, false)
	}
	t.touchContent(n, off, off+written)
	if err == nil {
		if err = t.takeMore(n); isNoSpace(err) {
			err = nil // the next write tells
		}
	}
	return int(written), err
}

// takeMore gives to the log what is too much to wait. Where there is no space, nothing more is taken, and what was taken waits.
func (t *Tree) takeMore(n *inode) error {
	if len(n.pend.spans) >= maxSpans {
		if err := t.flush(n); err != nil {
			return err
		}
	}
	return t.relieve()
}

// put makes data the content at off, with frames that hold its whole units from first on, and tells how many bytes it came to.
func (t *Tree) put(n *inode, off uint64, data []byte, frames []journal.Pos, first uint64) (uint64, error) {
	if len(frames) == 0 {
		return t.buffer(n, off, data)
	}
	written, err := t.buffer(n, off, data[:first-off])
	if err != nil {
		t.release(frames)
		return written, err
	}
	for i, pos := range frames {
		t.place(n, first+uint64(i)*unit, pos)
	}
	written += uint64(len(frames)) * unit
	rest, err := t.buffer(n, off+written, data[written:])
	return written + rest, err
}

// sealUnits appends the whole units in data to the log, without t.mu. first is the offset of the first in the file.
func (t *Tree) sealUnits(data []byte, off uint64) (frames []journal.Pos, first uint64, err error) {
	first = (off + unit - 1) / unit * unit
	end := off + uint64(len(data))
	for at := first; at+unit <= end; at += unit {
		pos, err := t.log.AppendData(data[at-off : at-off+unit])
		if err != nil {
			t.release(frames)
			return nil, 0, err
		}
		frames = append(frames, pos)
	}
	return frames, first, nil
}

// buffer puts bytes into dirty extents, which never cross a unit's border, and seals units that become full. It tells how many
// bytes are in the tree now: with an error too, they are the file's content.
func (t *Tree) buffer(n *inode, off uint64, p []byte) (uint64, error) {
	begin := off
	for len(p) > 0 {
		part := p[:min(uint64(len(p)), unit-off%unit)]
		e := n.ext.at(off)
		switch {
		case e != nil && e.dirty && e.end() > off: // in place
			part = part[:min(uint64(len(part)), e.end()-off)]
			copy(e.data[off-e.off:], part)
		case off%unit != 0 && t.extend(n, off, part):
		default:
			data := make([]byte, len(part), max(len(part), min(4096, 2*len(part))))
			copy(data, part)
			t.editPending(n, func(r *refs) {
				n.ext.set(extent{off: off, len: uint64(len(part)), kind: held, dirty: true, data: data}, r)
			})
		}
		off += uint64(len(part))
		p = p[len(part):]
		if off%unit == 0 {
			if e := n.ext.at(off - 1); e != nil && e.dirty && e.len == unit {
				if err := t.seal(n, e.off, e.data); err != nil {
					return off - begin, err // the bytes stay where they are, and wait
				}
			}
		}
	}
	return off - begin, nil
}

// extend appends bytes to the dirty extent that ends at off, if there is one.
func (t *Tree) extend(n *inode, off uint64, p []byte) bool {
	if e := n.ext.at(off - 1); e == nil || !e.dirty || e.end() != off {
		return false
	}
	t.editPending(n, func(r *refs) {
		n.ext.clear(off, off+uint64(len(p)), r)
		n.ext.grow(n.ext.at(off-1), p)
	})
	return true
}

// truncate sets the size.
func (t *Tree) truncate(n *inode, size uint64) error {
	if size > maxSize {
		return syscall.EFBIG
	}
	if size < n.size {
		if size == 0 {
			t.empty(n)
		} else {
			t.blank(n, size, maxSize)
		}
		n.size = size
		t.touchContent(n, size, maxSize)
		return nil
	}
	if size > n.size {
		n.size = size
	}
	t.touchContent(n, 0, 0)
	return nil
}

// empty takes all content away from a file, and sets it aside: new content is likely to follow, and a crash must show the one
// or the other, whole. What was written before is recorded first: it is whole now, so that a file that is rewritten
// again and again is never far behind.
func (t *Tree) empty(n *inode) {
	if t.flush(n) != nil { // no space; what can't be recorded can't be gone back to
		t.blank(n, 0, maxSize)
		return
	}
	old := &inode{ino: n.ino, state: n.state, ext: n.ext}
	n.ext = extents{}
	t.blank(n, 0, maxSize)
	old.ext.each(0, maxSize, func(e extent) bool {
		if e.kind == logged {
			n.pend.drop = append(n.pend.drop, e.pos)
		}
		return true
	})
	n.pend.old = old
}

// blank makes [off, end) read as zeros: a hole as far as there is base content, nothing after it.
func (t *Tree) blank(n *inode, off, end uint64) {
	t.editPending(n, func(r *refs) {
		n.ext.clear(off, end, r)
		if n.base.Known && off < uint64(n.base.Size) {
			n.ext.insert(extent{off: off, len: min(end, uint64(n.base.Size)) - off, kind: hole}, r)
		}
	})
}

// killPriv clears setuid, and setgid if the group may execute or is a strange one.
func (t *Tree) killPriv(n *inode, strange bool) {
	mode := n.mode &^ setuid
	if strange || mode&groupExec != 0 {
		mode &^= setgid
	}
	if mode != n.mode {
		n.mode = mode
		t.touch(n, fMode)
	}
}

// Fsync returns when the inode and everything that was recorded before are on stable storage; of the root directory, when
// everything is, since syncfs(2) is not passed on to us.
func (t *Tree) Fsync(ctx context.Context, ino Ino) error {
	if ino == RootIno {
		return t.SyncAll(ctx)
	}
	t.mu.Lock()
	n, err := t.get(ino)
	if err == nil {
		err = t.flush(n)
	}
	t.trim()
	lsn := t.log.Last()
	t.mu.Unlock()
	if err != nil {
		return err
	}
	// DURABLE: this inode, and by the order of the log every change of names before.
	return t.log.Sync(ctx, lsn)
}
