package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

const maxOpenFiles = 64

// scratch is memory for the sealed pieces of a frame, and for one opened piece.
var scratch = sync.Pool{New: func() any { b := make([]byte, dataSize(MaxData)+pieceSize); return &b }}

// ReadData opens and authenticates the pieces of the data frame at pos that hold its bytes from off on, as many as dst
// takes, and returns how many there were: less than len(dst) only at the frame's end. One that does not open is a
// *DamagedError.
func (l *Log) ReadData(pos Pos, dst []byte, off uint32) (int, error) {
	if pos.Length == 0 || pos.Length > MaxData || off > pos.Length {
		return 0, fmt.Errorf("journal: read from byte %d of a frame of %d", off, pos.Length)
	}
	dst = dst[:min(len(dst), int(pos.Length-off))]
	if len(dst) == 0 {
		return 0, nil
	}
	from := frameHead + sealedEnd(int(off/pieceSize*pieceSize))
	last := min(int(pos.Length), (int(off)+len(dst)+pieceSize-1)/pieceSize*pieceSize)
	sp := scratch.Get().(*[]byte)
	defer scratch.Put(sp)
	b := (*sp)[:frameHead+sealedEnd(last)-from]
	seal, inMemory, err := l.fetch(pos, from, b)
	if err != nil {
		return 0, err
	}
	if inMemory != nil {
		b = inMemory.b
		defer l.doneReading(inMemory.memory)
	}
	spare := (*sp)[len(*sp)-pieceSize:]
	if err := seal.openData(int64(pos.Offset), int(pos.Length), int(off), dst, b, spare); err != nil {
		return 0, &DamagedError{Segment: pos.Segment, Offset: int64(pos.Offset), Cause: err.Error()}
	}
	return len(dst), nil
}

// ReadAhead says that n bytes of the log from the frame at pos on will probably be read soon, a hint.
func (l *Log) ReadAhead(pos Pos, n int64) {
	l.mu.Lock()
	seg := l.segments[pos.Segment]
	if seg == nil {
		l.mu.Unlock()
		return
	}
	n = min(n, seg.tail-int64(pos.Offset))
	l.mu.Unlock()
	_ = l.withFile(seg, func(f file) error { // who reads will see what is wrong
		f.WillNeed(int64(pos.Offset), n)
		return nil
	})
}

// waiting is a part of a frame that waits to be written; its memory has one more user until doneReading.
type waiting struct {
	b      []byte
	memory *memory
}

func (l *Log) doneReading(m *memory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letGo(m)
}

// fetch reads a part of a frame, skip bytes from its beginning, from the disk into b, or returns where it lies in memory.
func (l *Log) fetch(pos Pos, skip int64, b []byte) (*sealer, *waiting, error) {
	off := int64(pos.Offset) + skip
	l.mu.Lock()
	seg := l.segments[pos.Segment]
	if seg == nil || pos.Offset < blockSize || int64(pos.Offset)+dataSize(int(pos.Length)) > seg.tail {
		l.mu.Unlock()
		return nil, nil, &DamagedError{Segment: pos.Segment, Offset: int64(pos.Offset), Cause: "the log has no data there"}
	}
	inMemory := l.findInMemory(seg, off, off+int64(len(b)))
	l.mu.Unlock()
	if inMemory != nil {
		return seg.seal, inMemory, nil
	}
	err := l.withFile(seg, func(f file) error {
		_, err := f.ReadAt(b, off)
		return err
	})
	if err == io.EOF {
		return nil, nil, &DamagedError{Segment: pos.Segment, Offset: int64(pos.Offset), Cause: "the segment is cut short"}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("journal: read segment %016x: %w", pos.Segment, err)
	}
	return seg.seal, nil, nil
}

// findInMemory returns a range of a segment that waits to be written. l.mu is held.
func (l *Log) findInMemory(seg *segment, off, end int64) *waiting {
	in := func(c *chunk) *waiting {
		if c == nil || c.seg != seg || off < c.off || end > c.off+int64(len(c.buf)) {
			return nil
		}
		c.memory.users++
		return &waiting{c.buf[off-c.off : end-c.off], c.memory}
	}
	for _, c := range l.queue {
		if w := in(c); w != nil {
			return w
		}
	}
	return in(l.active)
}

// withFile calls do with the segment's file: the current one's own, or one from the cache.
func (l *Log) withFile(seg *segment, do func(file) error) error {
	l.mu.Lock()
	f := seg.file
	l.mu.Unlock()
	if f != nil {
		if err := do(f); !errors.Is(err, fs.ErrClosed) { // it may have moved to the cache, and out of it, meanwhile
			return err
		}
	}
	return l.files.with(seg.number, func() (file, error) { return l.dir.Open(segmentName(seg.number)) }, do)
}

// fileCache keeps the files of finished segments open, the least recently used are closed.
type fileCache struct {
	mu     sync.Mutex
	open   map[uint64]*cachedFile
	clock  uint64
	closed bool
}

type cachedFile struct {
	f    file
	refs int
	used uint64
	drop bool // close when refs is 0
}

func (c *fileCache) with(number uint64, open func() (file, error), do func(file) error) error {
	e, err := c.acquire(number, open)
	if err != nil {
		return err
	}
	defer c.release(e)
	return do(e.f)
}

func (c *fileCache) acquire(number uint64, open func() (file, error)) (*cachedFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	e := c.open[number]
	if e == nil {
		f, err := open()
		if err != nil {
			return nil, err
		}
		e = c.add(number, f)
	}
	c.clock++
	e.refs++
	e.used = c.clock
	return e, nil
}

// add puts a file in and closes the least recently used idle one if there are too many. c.mu is held.
func (c *fileCache) add(number uint64, f file) *cachedFile {
	if c.open == nil {
		c.open = map[uint64]*cachedFile{}
	}
	if len(c.open) >= maxOpenFiles {
		var oldest uint64
		var victim *cachedFile
		for n, e := range c.open {
			if e.refs == 0 && (victim == nil || e.used < victim.used) {
				oldest, victim = n, e
			}
		}
		if victim != nil {
			victim.f.Close()
			delete(c.open, oldest)
		}
	}
	e := &cachedFile{f: f, used: c.clock}
	c.open[number] = e
	return e
}

func (c *fileCache) release(e *cachedFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.refs--
	if e.refs == 0 && e.drop {
		e.f.Close()
	}
}

func (c *fileCache) put(number uint64, f file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(number, f)
}

func (c *fileCache) forget(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.open[number]; e != nil {
		c.discard(number, e)
	}
}

func (c *fileCache) discard(number uint64, e *cachedFile) {
	delete(c.open, number)
	if e.refs == 0 {
		e.f.Close()
	} else {
		e.drop = true
	}
}

func (c *fileCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for n, e := range c.open {
		c.discard(n, e)
	}
}
