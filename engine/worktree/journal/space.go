package journal

import (
	"cmp"
	"fmt"
	"slices"
)

// release is a reference that the owner gave up at a moment when lsn was the last record: before a checkpoint has
// reached lsn, a crash can bring back a catalogue that still refers to the frame.
type release struct {
	pos Pos
	lsn LSN
}

// Segment tells an owner that moves data what a segment holds.
type Segment struct {
	Number uint64
	Disk   int64 // bytes that it takes
	Live   int64 // bytes of data that are referenced
}

// Live adds a reference to a data frame: one call for every reference that the owner holds. A new frame is kept until its
// first Live or Release, so that nothing can take it away before its record is appended; after Open the owner calls Live for
// every reference in its catalogue and the replayed records. The error is a *DamagedError when the log has no such frame
// (its bytes are not read).
func (l *Log) Live(pos Pos) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	seg := l.segments[pos.Segment]
	if seg == nil || pos.Offset < blockSize || int64(pos.Offset)+dataSize(int(pos.Length)) > seg.tail {
		return &DamagedError{Segment: pos.Segment, Offset: int64(pos.Offset), Cause: "data that is still in use is missing"}
	}
	r := seg.refs[uint32(pos.Offset)]
	if r.length == 0 {
		r.length = pos.Length
		seg.live += int64(pos.Length)
	} else if r.length != pos.Length {
		return &DamagedError{Segment: pos.Segment, Offset: int64(pos.Offset),
			Cause: fmt.Sprintf("a frame is referred to with two lengths, %d and %d", r.length, pos.Length)}
	}
	r.count++
	seg.refs[pos.Offset] = r
	return nil
}

// Release takes one reference away. Call it after the record that makes the reference go was appended: the space
// is given back by the first Checkpoint that covers every record there was then.
func (l *Log) Release(pos Pos) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = append(l.released, release{pos, l.last})
}

// Ready says that the owner has called Live for everything. Before it, Checkpoint gives nothing back.
func (l *Log) Ready() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = true
}

// Checkpoint says that the owner's catalogue durably holds everything up to lsn, which must be durable here too: Sync,
// then make the catalogue durable, then Checkpoint. Older segments without live data are deleted; dead frames in the
// others become holes where the file system can do that.
func (l *Log) Checkpoint(lsn LSN) error {
	l.commits.Lock()
	defer l.commits.Unlock()
	l.mu.Lock()
	if l.closing {
		defer l.mu.Unlock()
		return ErrClosed
	}
	if lsn > l.durable {
		defer l.mu.Unlock()
		return fmt.Errorf("journal: checkpoint at %d: the log is durable up to %d; call Sync before the catalogue is written", lsn, l.durable)
	}
	if !l.ready || lsn < l.checkpoint {
		defer l.mu.Unlock()
		return l.err
	}
	l.checkpoint = lsn
	l.applyReleases(lsn)
	var empty, holed []*segment
	for _, s := range l.segments {
		if s == l.cur || s.number+1 >= l.next || s.lastLSN > lsn { // the newest says what comes next
			continue
		}
		if s.live == 0 {
			empty = append(empty, s)
		} else if len(s.dead) > 0 {
			holed = append(holed, s)
		}
	}
	l.mu.Unlock()
	err := l.remove(empty)
	for _, s := range holed {
		l.punch(s)
	}
	l.makeReserve()
	return err
}

// applyReleases lets go of the references that no catalogue can hold any more. l.mu is held.
func (l *Log) applyReleases(lsn LSN) {
	n := 0
	for n < len(l.released) && l.released[n].lsn <= lsn {
		l.drop(l.released[n].pos)
		n++
	}
	l.released = slices.Clone(l.released[n:])
}

func (l *Log) drop(pos Pos) {
	seg := l.segments[pos.Segment]
	if seg == nil {
		return
	}
	r := seg.refs[pos.Offset]
	switch r.count {
	case 0, 1:
		if r.length == 0 {
			return
		}
		delete(seg.refs, pos.Offset)
		seg.live -= int64(r.length)
		seg.dead = append(seg.dead, Pos{pos.Segment, pos.Offset, r.length})
	default:
		seg.refs[pos.Offset] = ref{r.count - 1, r.length}
	}
}

// remove deletes segments, oldest first. Their absence needs no flush: a segment that comes back is only space.
func (l *Log) remove(segs []*segment) error {
	slices.SortFunc(segs, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	for _, s := range segs {
		if err := l.dir.Remove(segmentName(s.number)); err != nil {
			return fmt.Errorf("journal: delete segment %016x: %w", s.number, err)
		}
		l.files.forget(s.number)
		l.mu.Lock()
		delete(l.segments, s.number)
		l.mu.Unlock()
	}
	return nil
}

// punch gives back the whole blocks inside dead frames' ciphertext; headers and last tags stay, for the walk of recovery.
func (l *Log) punch(s *segment) {
	l.mu.Lock()
	dead := s.dead
	s.dead = nil
	l.mu.Unlock()
	var n int64
	err := l.withFile(s, func(f file) error {
		for _, pos := range dead {
			from := alignBlock(int64(pos.Offset) + frameHead)
			to := (int64(pos.Offset) + dataSize(int(pos.Length)) - tagSize) &^ (blockSize - 1)
			if to <= from {
				continue
			}
			if err := f.Punch(from, to-from); err != nil {
				return err
			}
			n += to - from
		}
		return nil
	})
	_ = err // where holes are not possible, the space comes back when the segment is moved
	l.mu.Lock()
	s.punched += n
	l.stats.PunchedByte += n
	l.mu.Unlock()
}

// Sparse lists finished segments less than half of whose space is live data, emptiest first. To give the space back, the
// owner reads what Frames names, appends it again, appends a record that refers to the new places, releases the old
// ones, and makes a checkpoint.
func (l *Log) Sparse() []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Segment
	for _, s := range l.segments {
		disk := s.size - s.punched
		if l.ready && s != l.cur && s.live > 0 && s.live < disk/2 {
			out = append(out, Segment{s.number, disk, s.live})
		}
	}
	slices.SortFunc(out, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.Live, b.Live), cmp.Compare(a.Number, b.Number))
	})
	return out
}

// Cold lists up to max of the oldest finished segments that hold live data, for an owner that must make room.
func (l *Log) Cold(max int) []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Segment
	for _, s := range l.segments {
		if l.ready && s != l.cur && s.live > 0 {
			out = append(out, Segment{s.number, s.size - s.punched, s.live})
		}
	}
	slices.SortFunc(out, func(a, b Segment) int { return cmp.Compare(a.Number, b.Number) })
	return out[:min(len(out), max)]
}

// Frames lists the referenced data frames of a segment in order.
func (l *Log) Frames(segment uint64) []Pos {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segments[segment]
	if s == nil {
		return nil
	}
	out := make([]Pos, 0, len(s.refs))
	for off, r := range s.refs {
		out = append(out, Pos{segment, off, r.length})
	}
	slices.SortFunc(out, func(a, b Pos) int { return cmp.Compare(a.Offset, b.Offset) })
	return out
}

// Last returns the LSN of the newest record.
func (l *Log) Last() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Durable returns the LSN up to which all records are durable.
func (l *Log) Durable() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Stats returns what the log takes and has done.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.stats
	st.Segments, st.Last, st.Durable, st.Checkpoint, st.HasReserve = len(l.segments), l.last, l.durable, l.checkpoint, l.reserve
	for _, s := range l.segments {
		st.DiskBytes += s.size - s.punched
		st.LiveBytes += s.live
	}
	if l.reserve {
		st.DiskBytes += l.reserveSize()
	}
	return st
}
