package worktree

import (
	"slices"
	"time"

	"ensync/engine/worktree/journal"
	"ensync/store/object"
)

// pending is what no record holds yet of an inode's content and attributes.
type pending struct {
	waits  bool // since, and is in Tree.pending
	since  time.Time
	latest time.Time
	mask   fields
	spans  []span        // ranges whose extents changed
	drop   []journal.Pos // references that go when the record holds
	old    *inode        // the file was emptied, and new content may be about to follow: as it was before, see empty
}

// span is the range [off, end) of a file.
type span struct{ off, end uint64 }

// waiter is an inode's place in the queue. It is void if the inode was flushed since.
type waiter struct {
	*inode
	since time.Time
}

func (w waiter) void() bool { return !w.pend.waits || w.pend.since != w.since }

const (
	maxSpans     = 8192 // that wait; keeps records far below journal.MaxRecord
	rewriteDelay = 5    // times Options.Delay: how long an emptied file may wait for the end of its new content
)

// touch notes that fields of an inode changed in memory. t.mu is held.
func (t *Tree) touch(n *inode, mask fields) {
	p := &n.pend
	p.latest = t.opt.Now()
	p.mask |= mask
	if !p.waits {
		p.waits, p.since = true, p.latest
		t.pending = append(t.pending, waiter{n, p.since})
	}
}

// touchContent notes a change of content: size, extents within [off, end), times.
func (t *Tree) touchContent(n *inode, off, end uint64) {
	n.gen++
	n.mtime = nanos(t.opt.Now())
	n.ctime = n.mtime
	mask := fSize | fTimes | fMark
	if n.heir.dir != 0 && !n.heir.edited {
		n.heir.edited = true
		t.heirs[n.ino] = true
		mask |= fHeir
	}
	t.touch(n, mask)
	t.mark(n)
	if off >= end {
		return
	}
	p := &n.pend
	if last := len(p.spans) - 1; last >= 0 && off <= p.spans[last].end && off >= p.spans[last].off {
		p.spans[last].end = max(p.spans[last].end, end)
		return
	}
	p.spans = append(p.spans, span{off, end})
}

// discard forgets what is pending for an inode that goes. The references that it would have dropped go now.
func (t *Tree) discard(n *inode) {
	t.release(n.pend.drop)
	n.pend = pending{}
}

// editPending changes extents ahead of the record.
func (t *Tree) editPending(n *inode, f func(*refs)) {
	var r refs
	before := n.ext.dirty
	f(&r)
	t.ram += n.ext.dirty - before
	t.reference(r.add)
	n.pend.drop = append(n.pend.drop, r.drop...)
}

// place puts a frame that was just appended at off.
func (t *Tree) place(n *inode, off uint64, pos journal.Pos) {
	t.editPending(n, func(r *refs) {
		n.ext.set(extent{off: off, len: uint64(pos.Length), kind: logged, pos: pos}, r)
	})
}

// flush appends what is pending of an inode as one record.
func (t *Tree) flush(n *inode) error {
	if !n.pend.waits {
		return nil
	}
	if t.broken != nil {
		return t.broken
	}
	p := &n.pend
	o := op{code: opInode, ino: n.ino, mask: p.mask, state: &n.state}
	spans := normalize(p.spans)
	p.spans = slices.Clone(spans) // to which merge adds
	inline := n.size <= object.InlineMax
	if !inline {
		for _, s := range spans {
			if err := t.sealRange(n, s); err != nil {
				return err
			}
			if err := t.merge(n, s); err != nil {
				return err
			}
		}
		spans = normalize(p.spans)
	}
	for _, s := range spans {
		n.ext.pieces(s.off, s.end, func(e extent) bool {
			o.ext = append(o.ext, e)
			return true
		})
	}
	if len(o.ext) > 0 {
		o.mask |= fExtents
	}
	b := encode([]op{o})
	_, err := t.append(b, n.ext.dirty == 0)
	if err != nil {
		return err
	}
	t.change(n)
	t.logged += int64(len(b))
	before := n.ext.dirty
	for _, s := range spans {
		n.ext.settle(s.off, s.end)
	}
	t.ram += n.ext.dirty - before
	drop := p.drop
	n.pend = pending{}
	t.release(drop)
	return nil
}

// normalize sorts spans and joins those that touch.
func normalize(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int {
		if a.off < b.off {
			return -1
		}
		return int(bit(a.off > b.off))
	})
	out := spans[:0]
	for _, s := range spans {
		if last := len(out) - 1; last >= 0 && s.off <= out[last].end {
			out[last].end = max(out[last].end, s.end)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// append hands a record to the log; one that frees space may use the reserve of a full disk.
func (t *Tree) append(b []byte, freeing bool) (journal.LSN, error) {
	lsn, err := t.log.AppendRecord(b)
	if freeing && isNoSpace(err) && len(b) <= journal.MaxReserved {
		t.wantCheckpoint()
		lsn, err = t.log.AppendReserved(b)
	}
	return lsn, err
}

// sealRange moves the dirty bytes of a range into data frames, each as large as what is contiguous in one unit.
func (t *Tree) sealRange(n *inode, s span) error {
	var runs []extent
	n.ext.each(s.off, s.end, func(e extent) bool {
		if !e.dirty {
			return true
		}
		last := len(runs) - 1
		if last >= 0 && runs[last].end() == e.off && e.off%unit != 0 && runs[last].len+e.len <= unit {
			r := &runs[last]
			r.data = append(slices.Clip(r.data), e.data...)
			r.len += e.len
		} else {
			runs = append(runs, e)
		}
		return true
	})
	for _, r := range runs {
		if err := t.seal(n, r.off, r.data); err != nil {
			return err
		}
	}
	return nil
}

// seal puts one piece of at most a unit into the log and makes it the file's content at off.
func (t *Tree) seal(n *inode, off uint64, data []byte) error {
	pos, err := t.log.AppendData(data)
	if err != nil {
		return err
	}
	t.place(n, off, pos)
	return nil
}

// flushDue flushes what must be durable soon: everything, if anything has waited for half of Options.Delay, so that what
// comes together is made durable by one fdatasync. A file that is being rewritten waits until something was written to it,
// and then nothing for the whole of Options.Delay, but not for ever. It reports whether there was anything.
func (t *Tree) flushDue(now time.Time) (flushed bool, err error) {
	any := false
	for _, w := range t.pending {
		if any = !w.void() && w.pend.old == nil && now.Sub(w.since) >= t.opt.Delay/2; any {
			break
		}
	}
	err = t.flushWhere(func(n *inode) bool {
		due, p := any, &n.pend
		if p.old != nil {
			due = n.size > 0 && now.Sub(p.latest) >= t.opt.Delay || now.Sub(p.since) >= rewriteDelay*t.opt.Delay
		}
		flushed = flushed || due
		return due
	}, t.flush)
	return flushed, err
}

// flushAll flushes everything, with files that are being rewritten or without.
func (t *Tree) flushAll(rewritten bool) error {
	return t.flushWhere(func(n *inode) bool { return rewritten || n.pend.old == nil }, t.flush)
}

// flushWhere calls flush for the waiting inodes for which due holds. One that fails goes on waiting, and does not stop
// others.
func (t *Tree) flushWhere(due func(*inode) bool, flush func(*inode) error) (err error) {
	keep := t.pending[:0]
	for _, w := range t.pending {
		if w.void() {
			continue
		}
		if due(w.inode) {
			if e := flush(w.inode); err == nil {
				err = e
			}
			if w.void() {
				continue
			}
		}
		keep = append(keep, w)
	}
	clear(t.pending[len(keep):])
	t.pending = keep
	return err
}

// relieve flushes the oldest of what waits until the buffer is half empty. Files that are being rewritten give their bytes
// to the log, and keep their record back.
func (t *Tree) relieve() error {
	if t.ram <= t.opt.Buffer {
		return nil
	}
	return t.flushWhere(func(*inode) bool { return t.ram > t.opt.Buffer/2 }, func(n *inode) error {
		if n.pend.old == nil {
			return t.flush(n)
		}
		for _, s := range normalize(n.pend.spans) {
			if err := t.sealRange(n, s); err != nil {
				return err
			}
		}
		return nil
	})
}
