package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Open recovers the log in dir, which it creates if need be, under key. It calls replay for every record with an LSN
// above after, the owner's last durable checkpoint, in order; an error of replay ends Open. What was not yet durable when the
// log stopped is kept as far as it is whole and gapless, and is durable when Open returns; the rest is cut off.
// Damage to what was durable is a *DamagedError, and nothing is changed on disk then; what replay was told before must be
// dropped. A full disk does not keep a log from opening.
func Open(dir string, key [32]byte, after LSN, opt Options, replay func(LSN, []byte) error) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	opt.copies = copiesOnWrite(dir)
	return open(osDirectory{dir}, key, after, opt, replay)
}

func open(dir directory, key [32]byte, after LSN, opt Options, replay func(LSN, []byte) error) (*Log, error) {
	if err := opt.setDefaults(); err != nil {
		return nil, err
	}
	l := &Log{dir: dir, key: key, opt: opt, next: 1, segments: map[uint64]*segment{}, checkpoint: after,
		kick: make(chan struct{}, 1), dirtied: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	l.room.L = &l.mu
	if err := l.recover(after, replay); err != nil {
		l.files.close()
		return nil, err
	}
	l.makeReserve()
	l.commits.Lock()
	err := l.newSegment(0, false)
	l.commits.Unlock()
	if err != nil && !isNoSpace(err) {
		l.files.close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.background.Go(func() { l.flusher(ctx) })
	l.background.Go(func() { l.writer(ctx) })
	return l, nil
}

// recover reads the directory: first the structure of all segments, then the cut, then the records.
func (l *Log) recover(after LSN, replay func(LSN, []byte) error) error {
	numbers, err := l.scanDir()
	if err != nil {
		return err
	}
	segs := make([]*segment, 0, len(numbers))
	for _, n := range numbers {
		s, err := l.loadHeader(n)
		if err != nil {
			return err
		}
		segs = append(segs, s)
		l.segments[n] = s
	}
	if err := checkOrder(segs, after); err != nil {
		return err
	}
	for i, s := range segs {
		err := l.recoverStructure(segs, i, after)
		if errors.As(err, new(*DamagedError)) {
			return err
		}
		if err != nil {
			return fmt.Errorf("journal: recover segment %016x: %w", s.number, err)
		}
	}
	if len(segs) > 0 {
		if err := l.adoptLast(segs[len(segs)-1], after); err != nil {
			return err
		}
	}
	for _, s := range segs {
		if s.lastLSN > after && replay != nil {
			if err := l.replaySegment(s, after, replay); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanDir lists the segments, in order, and removes what a crash left half made.
func (l *Log) scanDir() ([]uint64, error) {
	names, err := l.dir.List()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		digits, isSegment := strings.CutSuffix(name, ".seg")
		n, err := strconv.ParseUint(digits, 16, 64)
		switch {
		case isSegment && err == nil && n > 0 && n < 1<<62 && segmentName(n) == name:
			numbers = append(numbers, n)
		case name == newName:
			if err := l.dir.Remove(name); err != nil {
				return nil, fmt.Errorf("journal: %w", err)
			}
		case name == reserveName:
			l.adoptReserve()
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// adoptReserve keeps the reserve of an earlier run if it has its size; else makeReserve replaces it.
func (l *Log) adoptReserve() {
	f, err := l.dir.Open(reserveName)
	if err != nil {
		return
	}
	defer f.Close()
	size, err := f.Size()
	l.reserve = err == nil && size == l.reserveSize()
}

func (l *Log) loadHeader(n uint64) (*segment, error) {
	s := &segment{number: n, refs: map[uint32]ref{}, closed: true}
	block := make([]byte, headerFields+tagSize)
	err := l.withFile(s, func(f file) (err error) {
		if s.size, err = f.Size(); err != nil {
			return err
		}
		_, err = f.ReadAt(block, 0)
		return err
	})
	if err == io.EOF {
		return nil, &DamagedError{Segment: n, Cause: "the segment is cut short"}
	}
	if err != nil {
		return nil, fmt.Errorf("journal: read segment %016x: %w", n, err)
	}
	if s.header, s.seal, err = decodeHeader(block, n, &l.key); err != nil {
		return nil, &DamagedError{Segment: n, Cause: err.Error()}
	}
	s.headerChain = headerDigest(block)
	s.firstLSN = s.header.firstLSN
	if s.size > 2<<30 {
		return nil, &DamagedError{Segment: n, Cause: "the file is larger than any segment"}
	}
	return s, nil
}

// checkOrder finds missing segments: of those with records after the checkpoint none may be gone.
func checkOrder(segs []*segment, after LSN) error {
	if len(segs) == 0 {
		if after > 0 {
			return &DamagedError{Cause: fmt.Sprintf("the log is empty, but the catalogue holds its records up to %d", after)}
		}
		return nil
	}
	for i, s := range segs {
		var before *segment
		if i > 0 {
			before = segs[i-1]
		}
		next := before != nil && before.number+1 == s.number
		switch {
		case next && (before.seal.id != s.header.prev.id || before.firstLSN > s.firstLSN):
			return &DamagedError{Segment: s.number, Cause: "it does not follow the segment before it"}
		case before != nil && before.firstLSN > s.firstLSN:
			return &DamagedError{Segment: s.number, Cause: "its records are older than those of the segment before it"}
		case !next && s.firstLSN > after+1:
			return &DamagedError{Segment: s.number - 1, Cause: fmt.Sprintf(
				"the segment is missing, and with it records before %d; the catalogue holds those up to %d", s.firstLSN, after)}
		}
	}
	return nil
}

// recoverStructure finds the end and the last record of segment i.
func (l *Log) recoverStructure(segs []*segment, i int, after LSN) error {
	s := segs[i]
	return l.withFile(s, func(f file) error {
		if i+1 == len(segs) {
			return l.recoverLast(s, f)
		}
		next := segs[i+1]
		if next.number != s.number+1 {
			// Its successors were deleted, so it holds nothing after the checkpoint, and nobody can say where it ended.
			// Its frames may have become holes. ReadData looks for itself.
			s.tail, s.lastLSN = s.size, next.firstLSN-1
			return nil
		}
		s.tail, s.counter, s.lastLSN = next.header.prev.end, next.header.prev.frames, next.firstLSN-1
		if s.tail > s.size {
			return &DamagedError{Segment: s.number, Offset: s.size, Cause: "the segment is cut short"}
		}
		if s.lastLSN <= after {
			s.chain = next.header.prev.chain
			return nil // nothing in it is replayed; its data is authenticated when it is read
		}
		return checkFinished(s, f, next.header.prev)
	})
}

// checkFinished compares a finished segment with what its successor says of it.
func checkFinished(s *segment, f file, want tip) error {
	c := newCursor(s, f)
	for c.off < want.end {
		if _, err := c.next(want.end); err != nil {
			return damaged(s, f, want.end, err)
		}
	}
	if c.off != want.end || c.counter != want.frames || c.chain != want.chain || c.lsn != s.lastLSN {
		return damaged(s, f, want.end, nil)
	}
	s.chain = c.chain
	return nil
}

// damaged finds the first bad frame below end for the error; an I/O error stays what it is.
func damaged(s *segment, f file, end int64, cause error) error {
	if cause != nil && !errors.As(cause, new(*badFrame)) {
		return cause
	}
	c := newCursor(s, f)
	for c.off < end {
		at := c.off
		if err := c.verify(end); err != nil {
			if bad := new(badFrame); errors.As(err, &bad) {
				return &DamagedError{Segment: s.number, Offset: at, Cause: bad.cause}
			}
			return err
		}
	}
	return &DamagedError{Segment: s.number, Offset: end, Cause: "the segment does not end as it did"}
}

// recoverLast finds the end of the newest segment and makes what lies before it durable.
func (l *Log) recoverLast(s *segment, f file) error {
	// DURABLE: what the last process wrote and did not sync is about to be replayed, and so to be promised. The cache is
	// dropped because pages whose write has failed look clean in it.
	if err := f.SyncAll(); err != nil {
		return err
	}
	f.DropCache()
	torn, err := recoverTail(s, f)
	if err != nil {
		return err
	}
	l.stats.TornBytes = torn
	return nil
}

// recoverTail sets the end of the newest segment, and returns how many bytes beyond are torn.
//
// The marks are the only evidence. One that opens proves that everything below its durable offset was on disk; its own batch
// may have arrived in part and in any order. So all marks are looked for, also beyond a gap; below the highest
// durable offset everything must be right, and from there on the log ends at the first frame that is not.
func recoverTail(s *segment, f file) (torn int64, err error) {
	durable, used, err := findMarks(s, f)
	if err != nil {
		return 0, err
	}
	c := newCursor(s, f)
	for c.off < durable {
		fr, err := c.next(durable)
		if err == nil && fr.kind == kindMark {
			err = c.open(&fr)
		}
		if err != nil {
			return 0, damaged(s, f, durable, err)
		}
	}
	if c.off != durable {
		return 0, damaged(s, f, durable, nil)
	}
	good := c.state()
	for err == nil {
		good = c.state()
		err = c.verify(s.size)
	}
	if !errors.As(err, new(*badFrame)) {
		return 0, err
	}
	s.tail, s.counter, s.lastLSN, s.chain = good.off, good.counter, good.lsn, good.chain
	return max(0, used-s.tail), nil
}

// adoptLast cuts the newest segment and says what the next one follows.
func (l *Log) adoptLast(s *segment, after LSN) error {
	l.last, l.durable, l.next = s.lastLSN, s.lastLSN, s.number+1
	if l.last < after {
		return &DamagedError{Segment: s.number, Offset: s.tail, Cause: fmt.Sprintf(
			"the log ends at record %d, but the catalogue holds its records up to %d: the log was put back to an earlier state", l.last, after)}
	}
	l.before = tip{id: s.seal.id, end: s.tail, frames: s.counter, chain: s.chain}
	if s.tail == blockSize { // nothing in it: the next segment takes its place and its name
		l.next, l.before = s.number, s.header.prev
	}
	err := l.withFile(s, func(f file) error {
		if err := f.Truncate(s.tail); err != nil {
			return err
		}
		return f.SyncAll() // DURABLE: the cut, before anything follows it
	})
	if err != nil {
		return fmt.Errorf("journal: cut segment %016x: %w", s.number, err)
	}
	s.size = s.tail
	if s.tail == blockSize {
		l.files.forget(s.number)
	}
	return nil
}

func (l *Log) replaySegment(s *segment, after LSN, replay func(LSN, []byte) error) error {
	return l.withFile(s, func(f file) error {
		c := newCursor(s, f)
		for c.off < s.tail {
			fr, err := c.next(s.tail)
			if err == nil && fr.kind == kindRecord && fr.lsn > after {
				if err = c.open(&fr); err == nil {
					if err := replay(fr.lsn, c.plain); err != nil {
						return fmt.Errorf("journal: replay record %d: %w", fr.lsn, err)
					}
				}
			}
			if err != nil {
				return damaged(s, f, s.tail, err)
			}
		}
		return nil
	})
}

// findMarks returns the highest durable offset that a commit mark vouches for, and the end of what is not zero.
func findMarks(s *segment, f file) (durable, used int64, err error) {
	durable = blockSize
	c := newCursor(s, f)
	sure := c.off // frames before it are authentic; beyond, a false length may have led the walk past a mark
	for {
		fr, err := c.next(s.size)
		if err == nil && fr.kind == kindMark {
			if err = c.open(&fr); err == nil {
				durable = max(durable, c.mark.durable)
				sure = c.off
			}
		}
		if err != nil {
			if !errors.As(err, new(*badFrame)) {
				return 0, 0, err
			}
			break
		}
	}
	used = sure
	w := window{f: f, size: s.size}
	for off := sure; off < s.size; {
		b, err := w.at(off, int(min(chunkSize, s.size-off)))
		if err != nil {
			return 0, 0, err
		}
		if rest := bytes.TrimRight(b, "\x00"); len(rest) > 0 {
			used = max(used, off+int64(len(rest)))
		}
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], markPattern)
			if i < 0 || len(b)-at-i < markSize {
				break
			}
			at += i
			if m, ok := openMark(s, off+int64(at), b[at:at+markSize]); ok {
				durable = max(durable, m.durable)
			}
		}
		if int64(len(b)) == s.size-off {
			break
		}
		off += int64(len(b)) - markSize
	}
	return durable, used, nil
}

func openMark(s *segment, off int64, b []byte) (mark, bool) {
	f, err := parseFrame(b, off)
	if err != nil {
		return mark{}, false
	}
	p, err := s.seal.open(&f, nil, b)
	if err != nil {
		return mark{}, false
	}
	return decodeMark(p), true
}
