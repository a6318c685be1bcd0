package journal

import (
	"errors"
	"fmt"
	"io"
)

// badFrame is the end of what can be read as a log; whether that is a torn tail or damage, the caller knows.
type badFrame struct{ cause string }

func (e *badFrame) Error() string { return e.cause }

// position is how far a walk has come.
type position struct {
	off     int64
	counter uint32
	lsn     LSN
	chain   digest
}

// cursor walks the frames of a segment in order. Data is skipped without being read.
type cursor struct {
	position
	seg    *segment
	w      window
	before digest // chain before the current frame
	plain  []byte // of the frame that open opened; valid until the next call
	mark   mark   // likewise, of a commit mark
}

func newCursor(s *segment, f file) *cursor {
	c := &cursor{seg: s, w: window{f: f, size: s.size}}
	c.position = position{off: blockSize, lsn: s.firstLSN - 1}
	c.chain = s.headerChain
	return c
}

func (c *cursor) state() position { return c.position }

// next reads the frame header at the current offset, which must continue the log and end by limit, and goes on to the next.
func (c *cursor) next(limit int64) (frame, error) {
	if c.off+frameExtra > min(limit, c.w.size) {
		return frame{}, &badFrame{"the segment ends here"}
	}
	head, err := c.w.at(c.off, frameHead)
	if err != nil {
		return frame{}, err
	}
	f, err := parseFrame(head, c.off)
	if err != nil {
		return frame{}, &badFrame{err.Error()}
	}
	lsn := c.lsn
	if f.kind == kindRecord {
		lsn++
	}
	if f.counter != c.counter+1 || f.lsn != lsn {
		return frame{}, &badFrame{fmt.Sprintf("frame %d with LSN %d where frame %d with LSN %d must be", f.counter, f.lsn, c.counter+1, lsn)}
	}
	if f.end() > limit || f.off+f.size() > c.w.size {
		return frame{}, &badFrame{"the frame is longer than the segment"}
	}
	var h [frameHead]byte
	copy(h[:], head)
	c.w.skip = f.kind == kindData && f.length > 8<<10
	tag, err := c.w.at(f.off+f.size()-tagSize, tagSize)
	if err != nil {
		return frame{}, err
	}
	c.before = c.chain
	c.position = position{off: f.end(), counter: f.counter, lsn: lsn, chain: c.chain.extend(h[:], tag)}
	return f, nil
}

// open authenticates the frame that next returned, and compares a mark's digest.
func (c *cursor) open(f *frame) error {
	b, err := c.w.at(f.off, int(f.size()))
	if err != nil {
		return err
	}
	if c.plain, err = c.seg.seal.open(f, c.plain[:0], b); err != nil {
		return &badFrame{err.Error()}
	}
	if f.kind == kindMark {
		if c.mark = decodeMark(c.plain); c.mark.chain != c.before {
			return &badFrame{"frames before this commit mark have changed"}
		}
	}
	return nil
}

// verify is next and open.
func (c *cursor) verify(limit int64) error {
	f, err := c.next(limit)
	if err != nil {
		return err
	}
	return c.open(&f)
}

// window reads a file forward through a buffer.
type window struct {
	f    file
	size int64
	base int64
	buf  []byte
	skip bool // the caller is skipping: read little ahead
}

// at returns n bytes at off, valid until the next call. The caller has compared with size; a file that is shorter
// all the same is a bad frame.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off >= w.base && off+int64(n) <= w.base+int64(len(w.buf)) {
		return w.buf[off-w.base:][:n], nil
	}
	want := 128 << 10
	if w.skip {
		want = 256
	}
	want = int(min(int64(max(want, n)), w.size-off))
	if want < n {
		return nil, &badFrame{"the segment ends here"}
	}
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.base, w.buf = off, w.buf[:want]
	got, err := w.f.ReadAt(w.buf, off)
	if got < want && (err == nil || errors.Is(err, io.EOF)) {
		err = &badFrame{"the file ends here"}
	}
	if got < want {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:n], nil
}
