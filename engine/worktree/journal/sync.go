package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// flight is one commit that any number of callers wait for.
type flight struct {
	done chan struct{}
	err  error // valid when done is closed
}

// Sync returns when everything up to the record lsn is durable, with all that lies before it; 0 means everything
// appended so far, data too. All who wait share one fdatasync: the first of them makes it, after the one that is under way.
// When ctx ends first, Sync returns its error and the commit goes on without the caller.
func (l *Log) Sync(ctx context.Context, lsn LSN) error {
	l.mu.Lock()
	if lsn > l.last {
		defer l.mu.Unlock()
		return fmt.Errorf("journal: sync up to record %d: the last one is %d", lsn, l.last)
	}
	if l.isDurable(lsn) {
		l.mu.Unlock()
		return nil
	}
	if err := l.usable(); err != nil {
		l.mu.Unlock()
		return err
	}
	f := l.flight
	first := f == nil
	if first {
		f = &flight{done: make(chan struct{})}
		l.flight = f
	}
	l.mu.Unlock()
	switch {
	case first && ctx.Done() == nil: // nothing calls it away, and handing over to the flusher would cost more than it
		_ = l.flush(false)
	case first:
		signal(l.kick)
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Commit starts to make everything durable that was appended so far. It does not wait.
func (l *Log) Commit() { signal(l.kick) }

// isDurable is Sync's question. l.mu is held.
func (l *Log) isDurable(lsn LSN) bool {
	if lsn == 0 {
		return l.appendedOK == l.appended
	}
	return l.durable >= lsn
}

// flusher makes the commits: at once when somebody waits or wants one, else Options.Flush after the first append that no
// commit has taken along, and once more after the log has become idle, for the mark that vouches for the last commit. It
// ends with ctx.
func (l *Log) flusher(ctx context.Context) {
	timer := time.NewTimer(l.opt.Flush)
	defer timer.Stop()
	armed := true // the header of a new segment needs nothing, but a spare tick costs nothing either
	arm := func(after time.Duration) {
		timer.Reset(max(after, 0))
		armed = true
	}
	for {
		var begin time.Time
		select {
		case <-ctx.Done():
			return
		case <-l.dirtied:
			if !armed {
				arm(l.opt.Flush)
			}
			continue
		case <-timer.C:
			armed = false
			begin = time.Now()
			_ = l.flush(true) // a failure is the log's state
		case <-l.kick:
			begin = time.Now()
			_ = l.flush(false)
		}
		l.tellFailure()
		l.mu.Lock()
		more := l.err == nil && l.cur != nil && (l.cur.unmarked > 0 || l.cur.unacked)
		l.mu.Unlock()
		if more { // what came since the commit began is no older than it
			arm(l.opt.Flush - time.Since(begin))
		}
	}
}

// flush commits for those who wait now.
func (l *Log) flush(idle bool) error {
	l.commits.Lock()
	defer l.commits.Unlock()
	l.mu.Lock()
	f := l.flight
	l.flight = nil
	l.mu.Unlock()
	err := l.commit(idle)
	if f != nil {
		f.err = err
		close(f.done)
	}
	return err
}

// commit makes everything appended before it durable. With vouch, and nothing to do, it writes the mark that says that
// the commit before it was durable: from then on damage to it can't be taken for a torn tail. l.commits is held.
func (l *Log) commit(vouch bool) error {
	l.io.Lock()
	l.mu.Lock()
	seg := l.cur
	work := seg != nil && seg.unmarked > 0
	if l.err != nil || !work && !(vouch && seg != nil && seg.unacked) {
		defer l.io.Unlock()
		defer l.mu.Unlock()
		return l.err
	}
	lsn, appended := l.last, l.appended
	l.makeRoom(blockSize + markSize)
	l.active.put(&frame{kind: kindMark, length: markPayload}, lsn)
	seg.unmarked = 0
	end := seg.tail
	l.detach()
	l.mu.Unlock()
	err := l.drain(false)
	if err == nil {
		err = l.initialize(seg, end)
	}
	l.io.Unlock()
	if err != nil {
		return err
	}
	// DURABLE: the one flush that Sync and the background flusher pay for; the segment's name and size were made durable
	// when it was created.
	if err := seg.file.Sync(); err != nil {
		return l.fail(fmt.Errorf("journal: fdatasync segment %016x: %w", seg.number, err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seg.durable, seg.unacked = end, work
	l.durable, l.appendedOK = max(l.durable, lsn), max(l.appendedOK, appended)
	l.stats.Syncs++
	return nil
}

// How much is initialized ahead of small commits, and what counts as small, in bytes.
const (
	initializeAhead = 512 << 10
	smallCommit     = initializeAhead / 8
)

var zeros [initializeAhead]byte

// initialize writes zeros where the next commits go, if this one, which ends at end, was small. Preallocated blocks only
// count as written when the file system has noted so in its own journal, which every fdatasync of them then waits for;
// for blocks that were written before, it need not. A large commit has that only once. Where others have appended so much
// since the mark was placed that it was written along with the commit, nothing is to be done, and nothing may be. Nor where
// writing twice needs space twice: the log would fail on a full disk. l.io is held.
func (l *Log) initialize(seg *segment, end int64) error {
	n := min(initializeAhead, seg.size-end)
	if l.opt.copies || n <= 0 || end <= seg.initialized || end < seg.written || end-seg.durable > smallCommit {
		return nil
	}
	if _, err := seg.file.WriteAt(zeros[:n], end); err != nil {
		return l.fail(fmt.Errorf("journal: write segment %016x: %w", seg.number, err))
	}
	seg.initialized = end + n
	return nil
}

func (l *Log) tellFailure() {
	l.mu.Lock()
	err, tell := l.err, l.err != nil && !l.told && l.opt.OnError != nil
	if tell {
		l.told = true
	}
	l.mu.Unlock()
	if tell {
		l.opt.OnError(err)
	}
}

// roll opens the next segment unless a frame of n bytes fits by now.
func (l *Log) roll(n int64, reserved bool) error {
	l.commits.Lock()
	defer l.commits.Unlock()
	l.mu.Lock()
	err := l.usable()
	if err != nil || l.cur.fits(n, reserved) {
		l.mu.Unlock()
		return err
	}
	l.mu.Unlock()
	return l.newSegment(n, reserved)
}

// newSegment preallocates the next segment, finishes the current one and goes over to the new. Until the new one is there
// nothing has changed: on a full disk the old one stays in use. l.commits is held.
func (l *Log) newSegment(n int64, reserved bool) error {
	f, size, err := l.createSegment(blockSize + alignBlock(n+markSize) + blockSize)
	name := newName
	if err != nil && isNoSpace(err) && reserved {
		f, size, err = l.takeReserve(err)
		name = reserveName
	}
	if err != nil {
		if isNoSpace(err) {
			return noSpace(err)
		}
		return fmt.Errorf("journal: create segment: %w", err)
	}
	if err := l.install(f, name, size); err != nil {
		f.Close()
		return err
	}
	l.makeReserve()
	return nil
}

// leastSegment is how small a segment gets where the disk is nearly full, in bytes.
const leastSegment = 1 << 20

// createSegment preallocates a segment of the usual size, or of half of it as often as there is no room, but not less than
// need.
func (l *Log) createSegment(need int64) (f file, size int64, err error) {
	for size = alignBlock(l.opt.SegmentSize); ; size /= 2 {
		size = max(alignBlock(size), need)
		if f, err = l.dir.Create(newName, size); err == nil || !isNoSpace(err) || size == need || size < 2*leastSegment {
			return f, size, err
		}
	}
}

// takeReserve opens the reserve file to become a segment; cause is why no other could be made.
func (l *Log) takeReserve(cause error) (file, int64, error) {
	l.mu.Lock()
	there := l.reserve
	l.mu.Unlock()
	if !there {
		return nil, 0, cause
	}
	f, err := l.dir.Open(reserveName)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// install makes the preallocated file the current segment.
func (l *Log) install(f file, name string, size int64) error {
	header := segmentHeader{size: size}
	if _, err := io.ReadFull(l.opt.Rand, header.id[:]); err != nil {
		return fmt.Errorf("journal: segment id: %w", err)
	}
	seal, err := newSealer(&l.key, header.id)
	if err != nil {
		return err
	}
	old, err := l.finishSegment()
	if err != nil {
		return err
	}
	l.mu.Lock()
	header.number, header.prev, header.firstLSN = l.next, l.before, l.last+1
	if old != nil {
		header.prev = tip{id: old.seal.id, end: old.tail, frames: old.counter, chain: old.chain}
	}
	l.mu.Unlock()
	block := header.encode(seal)
	if _, err = f.WriteAt(block, 0); err == nil {
		// DURABLE: header, size and allocation, before the name says that there is a segment.
		err = f.SyncAll()
	}
	if err != nil {
		l.reopen(old)
		return fmt.Errorf("journal: create segment: %w", err)
	}
	if err = l.dir.Rename(name, segmentName(header.number)); err == nil {
		// DURABLE: the name, before anything in the segment is promised.
		err = l.dir.Sync()
	}
	if err != nil { // whether the old segment has a successor is unknown
		return l.fail(fmt.Errorf("journal: create segment: %w", err))
	}
	seg := &segment{number: header.number, seal: seal, header: header, firstLSN: header.firstLSN, lastLSN: header.firstLSN - 1,
		file: f, size: size, tail: blockSize, durable: blockSize, chain: headerDigest(block), headerChain: headerDigest(block),
		reserved: name == reserveName, refs: map[uint32]ref{}}
	l.mu.Lock()
	l.cur, l.next = seg, header.number+1
	l.segments[seg.number] = seg
	if seg.reserved {
		l.reserve = false
	}
	l.mu.Unlock()
	if old != nil {
		l.retire(old)
	}
	return nil
}

// finishSegment closes the current segment to appends and makes it durable.
func (l *Log) finishSegment() (*segment, error) {
	l.mu.Lock()
	old := l.cur
	if old != nil {
		old.closed = true
	}
	l.mu.Unlock()
	return old, l.commit(false)
}

func (l *Log) reopen(s *segment) {
	if s != nil {
		l.mu.Lock()
		s.closed = false
		l.mu.Unlock()
	}
}

// retire gives back what a finished segment has preallocated beyond its end.
func (l *Log) retire(s *segment) {
	if s.file.Truncate(s.tail) == nil { // else the space comes back with the segment
		l.mu.Lock()
		s.size = s.tail
		l.mu.Unlock()
	}
	l.files.put(s.number, s.file)
	l.mu.Lock()
	s.file = nil
	l.mu.Unlock()
}

// reserveSize is for a 64 MiB segment 4 MiB: about 25 000 removals, or a thousand that are each synced.
func (l *Log) reserveSize() int64 {
	return min(max(alignBlock(l.opt.SegmentSize/16), 128<<10), 4<<20)
}

// makeReserve creates the reserve if it is missing and there is space. l.commits is held.
func (l *Log) makeReserve() {
	l.mu.Lock()
	there := l.reserve
	l.mu.Unlock()
	if there {
		return
	}
	f, err := l.dir.Create(newName, l.reserveSize())
	if err != nil {
		return // no space yet; tried again with the next segment and checkpoint
	}
	err = errors.Join(f.SyncAll(), f.Close())
	if err == nil {
		err = l.dir.Rename(newName, reserveName)
	}
	l.mu.Lock()
	l.reserve = err == nil
	l.mu.Unlock()
}

// Close commits everything, ends the background flusher and closes the files. When ctx ends first it returns ctx's error;
// the commit then ends in the background and the log is closed all the same.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closing = true
	l.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- l.shutDown() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) shutDown() error {
	l.stop()
	l.background.Wait()
	err := l.flush(false)
	if err == nil {
		err = l.flush(true)
	}
	l.tellFailure()
	l.commits.Lock()
	defer l.commits.Unlock()
	l.mu.Lock()
	cur := l.cur
	l.cur = nil
	l.mu.Unlock()
	if cur != nil {
		l.files.put(cur.number, cur.file)
	}
	l.files.close()
	return err
}
