package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
)

const (
	chunkSize = 1 << 20 // frames are written in pieces of about this size
	maxQueued = 8 << 20 // appenders wait while more than this waits to be written
)

// Log is an open journal. All methods are safe for concurrent use.
//
// Locks are taken in the order commits, io, mu.
type Log struct {
	dir directory
	key [32]byte
	opt Options

	commits sync.Mutex // held through write, mark and fdatasync of a commit, and through a change of segment
	io      sync.Mutex // held while chunks are written, in order

	mu      sync.Mutex
	room    sync.Cond // on mu: queued has shrunk, or err is set
	err     error     // the log has failed
	closing bool      // Close was called
	told    bool      // OnError was called
	cur     *segment  // takes appends; nil if there was no space for one yet
	before  tip       // what the next segment follows, while cur is nil
	next    uint64    // number of the next segment
	reserve bool      // the reserve file is in place
	active  *chunk    // takes frames
	queue   []*chunk  // full chunks, oldest first
	queued  int       // bytes in queue
	spare   []*memory // of chunks that were written

	last       LSN
	durable    LSN
	appended   uint64 // frames (without marks) since Open
	appendedOK uint64 // of them durable
	checkpoint LSN
	ready      bool
	segments   map[uint64]*segment
	released   []release
	flight     *flight
	stats      Stats
	files      fileCache
	kick       chan struct{} // somebody waits in flight
	dirtied    chan struct{} // the first append after a commit, while the flusher's timer is not set
	stop       context.CancelFunc
	full       chan struct{}  // a chunk is queued
	background sync.WaitGroup // flusher and writer
}

// segment is one file of the log. Fields below the line are guarded by Log.mu unless said otherwise.
type segment struct {
	number   uint64
	seal     *sealer
	header   segmentHeader
	firstLSN LSN
	file     file // of the current segment; older ones are opened through the file cache

	size        int64 // of the file
	tail        int64 // where the next frame goes; the end of a finished segment
	counter     uint32
	lastLSN     LSN
	closed      bool   // takes no more frames
	reserved    bool   // made from the reserve: takes only reserved records
	chain       digest // guarded by Log.io while the segment is current
	headerChain digest // where chain begins
	written     int64  // the end of the last chunk that was written; guarded by Log.io
	initialized int64  // blocks below were written before; guarded by Log.io
	durable     int64  // everything below is known to be on disk
	unmarked    int    // frames since the last commit mark
	unacked     bool   // the last commit has no later mark that vouches for it

	refs    map[uint32]ref // by frame offset
	live    int64          // bytes of data with references
	dead    []Pos          // whole frames to punch at the next checkpoint
	punched int64
}

// ref counts the references to a frame. A new frame has none, and is kept all the same until Live or Release is called.
type ref struct{ count, length uint32 }

// chunk is a run of frames in memory. buf grows under Log.mu, its frames are sealed outside of it.
type chunk struct {
	seg    *segment
	off    int64
	buf    []byte
	memory *memory // that buf is part of
	frames []frame
	seals  sync.WaitGroup // frames that are still being sealed; Add only under Log.mu while the chunk is active
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x.seg", number) }

const (
	newName     = "next.tmp"
	reserveName = "reserve"
)

// AppendData seals p (1 to MaxData bytes) into a data frame and returns its position, which ReadData can read at once.
// It is durable when a Sync that began later has returned. The frame is kept until it is released; see Live.
func (l *Log) AppendData(p []byte) (Pos, error) {
	if len(p) == 0 || len(p) > MaxData {
		return Pos{}, fmt.Errorf("journal: data of %d bytes: not between 1 and %d", len(p), MaxData)
	}
	f, number, err := l.append(kindData, p, false)
	if err != nil {
		return Pos{}, err
	}
	return Pos{Segment: number, Offset: uint32(f.off), Length: uint32(f.length)}, nil
}

// AppendRecord seals p (1 to MaxRecord bytes) into the next record frame. Every AppendData that returned before it was
// called lies before it in the log. The record is durable when Sync says so.
func (l *Log) AppendRecord(p []byte) (LSN, error) {
	if len(p) == 0 || len(p) > MaxRecord {
		return 0, fmt.Errorf("journal: record of %d bytes: not between 1 and %d", len(p), MaxRecord)
	}
	f, _, err := l.append(kindRecord, p, false)
	return f.lsn, err
}

// AppendReserved is AppendRecord for records that free space (at most MaxReserved bytes): on a full disk it may use the
// reserve, which is large enough for thousands of small records. After them the owner writes its catalogue and calls
// Checkpoint, which gives the freed segments back and makes the reserve anew.
func (l *Log) AppendReserved(p []byte) (LSN, error) {
	if len(p) == 0 || len(p) > MaxReserved {
		return 0, fmt.Errorf("journal: reserved record of %d bytes: not between 1 and %d", len(p), MaxReserved)
	}
	f, _, err := l.append(kindRecord, p, true)
	return f.lsn, err
}

func (l *Log) append(kind byte, p []byte, reserved bool) (frame, uint64, error) {
	f := frame{kind: kind, length: len(p)}
	n := f.size()
	l.mu.Lock()
	for {
		if err := l.usable(); err != nil {
			l.mu.Unlock()
			return frame{}, 0, err
		}
		if l.queued >= maxQueued {
			l.room.Wait()
			continue
		}
		if l.cur.fits(n, reserved) {
			break
		}
		l.mu.Unlock()
		if err := l.roll(n, reserved); err != nil {
			return frame{}, 0, err
		}
		l.mu.Lock()
	}
	full := l.makeRoom(n)
	seg := l.cur
	if kind == kindRecord {
		l.last++
		seg.lastLSN = l.last
		l.stats.Records++
	} else {
		seg.refs[uint32(seg.tail)] = ref{0, uint32(len(p))}
		seg.live += int64(len(p))
		l.stats.DataFrames++
	}
	c := l.active
	b := c.put(&f, l.last)
	l.appended++
	seg.unmarked++
	first := seg.unmarked == 1
	l.mu.Unlock()

	seg.seal.seal(&f, b, p)
	c.seals.Done()
	if first {
		signal(l.dirtied)
	}
	if full {
		signal(l.full)
	}
	return f, seg.number, nil
}

// fits reports whether a frame of n bytes, and the mark after it, have room.
func (s *segment) fits(n int64, reserved bool) bool {
	return s != nil && !s.closed && (reserved || !s.reserved) &&
		s.tail+n+markSize <= s.size && s.counter < math.MaxUint32-2
}

// makeRoom sees to it that the active chunk has n bytes left, and reports whether that queued a full one. l.mu is held.
func (l *Log) makeRoom(n int64) (queued bool) {
	c := l.active
	if c != nil && c.seg == l.cur && int64(cap(c.buf)-len(c.buf)) >= n {
		return false
	}
	queued = l.detach()
	if l.active != nil {
		l.letGo(l.active.memory)
	}
	m := l.takeMemory(n)
	l.active = &chunk{seg: l.cur, off: l.cur.tail, buf: m.b[:0], memory: m}
	return queued
}

// detach moves the active chunk to the queue; what is left of its memory is for the next one. l.mu is held.
func (l *Log) detach() bool {
	c := l.active
	if c == nil || len(c.buf) == 0 {
		return false
	}
	l.active = nil
	l.queue = append(l.queue, c)
	l.queued += len(c.buf)
	if rest := cap(c.buf) - len(c.buf); rest >= chunkSize/16 {
		c.memory.users++
		l.active = &chunk{seg: c.seg, off: c.off + int64(len(c.buf)), buf: c.buf[len(c.buf):len(c.buf):cap(c.buf)], memory: c.memory}
	}
	return true
}

// put assigns the next place to a frame, which has kind and length; the caller seals it into what is returned, and then
// calls c.seals.Done. Log.mu is held.
func (c *chunk) put(f *frame, lsn LSN) []byte {
	seg := c.seg
	seg.counter++
	f.off, f.counter, f.lsn = seg.tail, seg.counter, lsn
	at := len(c.buf)
	c.buf = c.buf[:at+int(f.end()-f.off)]
	c.frames = append(c.frames, *f)
	seg.tail = f.end()
	c.seals.Add(1)
	return c.buf[at : at+int(f.size()) : at+int(f.size())]
}

// writer writes chunks as they become full, while the next ones are being sealed. It ends with ctx.
func (l *Log) writer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.full:
		}
		l.io.Lock()
		_ = l.drain(true) // a failure is the log's state: what was accepted stays readable, its Sync fails
		l.io.Unlock()
	}
}

// drain writes the queued chunks in order. l.io is held.
func (l *Log) drain(hint bool) error {
	for {
		l.mu.Lock()
		if l.err != nil || len(l.queue) == 0 {
			defer l.mu.Unlock()
			return l.err
		}
		c := l.queue[0]
		durable := c.seg.durable
		l.mu.Unlock()

		c.finish(durable)
		if _, err := c.seg.file.WriteAt(c.buf, c.off); err != nil {
			return l.fail(fmt.Errorf("journal: write segment %016x: %w", c.seg.number, err))
		}
		c.seg.written = c.off + int64(len(c.buf))
		if hint {
			c.seg.file.WriteBack(c.off, int64(len(c.buf)))
		}
		l.mu.Lock()
		l.queue = l.queue[1:]
		l.queued -= len(c.buf)
		l.letGo(c.memory)
		l.room.Broadcast()
		l.mu.Unlock()
	}
}

// finish waits for the seals, carries the segment's digest over the chunk and seals its commit mark, if it ends with one.
func (c *chunk) finish(durable int64) {
	last := &c.frames[len(c.frames)-1]
	if last.kind == kindMark {
		c.seals.Done()
	}
	c.seals.Wait()
	for i := range c.frames {
		f := &c.frames[i]
		b := c.buf[f.off-c.off:][:f.size()]
		if f.kind == kindMark {
			m := mark{durable: durable, chain: c.seg.chain}
			c.seg.seal.seal(f, b, m.encode())
		}
		c.seg.chain = c.seg.chain.extend(b, b[f.size()-tagSize:])
	}
}

// fail puts the log into the failed state and returns its error. No lock is held but commits and io.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("%w; the journal takes no more changes: open it again to go on from what reached the disk", err)
	}
	l.room.Broadcast()
	signal(l.kick)
	return l.err
}

// usable returns why the log takes no appends, if so. l.mu is held.
func (l *Log) usable() error {
	if l.err == nil && l.closing {
		return ErrClosed
	}
	return l.err
}

// signal wakes the flusher; a wake-up that is already on its way is enough.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// noSpace makes an error that wraps syscall.ENOSPC also of a full quota.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("journal: next segment: %w; free space on the disk of the state directory", err)
	}
	return fmt.Errorf("journal: next segment: %w (%w); raise the quota or free space", syscall.ENOSPC, err)
}
