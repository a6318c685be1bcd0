// Package chunk cuts a stream of bytes into blocks, by content or at fixed sizes.
//
// Cutting by content is FastCDC (Xia et al., USENIX ATC 2016): a gear hash rolls over the last 64 bytes, a cut is
// made where it falls below a threshold, and the threshold is low before the wanted size and high after it. The gear
// table is keyed, so that sizes do not tell known files. It is a property of the store: all clients cut alike.
package chunk

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/cloudflare/circl/xof/k12"
)

// The bounds of Params.Size, in bytes.
const (
	MinSize     = 4096
	MaxSize     = 4 << 20
	DefaultSize = 1048064
)

// Params say how to cut.
type Params struct {
	Size  int  // wanted average, or exact size if Fixed; bytes
	Fixed bool // cut every Size bytes
}

// Validate checks the bounds.
func (p Params) Validate() error {
	if p.Size < MinSize || p.Size > MaxSize {
		return fmt.Errorf("block size %d: out of bounds; choose %d to %d bytes", p.Size, MinSize, MaxSize)
	}
	return nil
}

// Min returns the length in bytes below which only the last block of a stream can be.
func (p Params) Min() int {
	if p.Fixed {
		return p.Size
	}
	return p.Size / 4
}

// Max returns the length in bytes that no block exceeds.
func (p Params) Max() int {
	if p.Fixed {
		return p.Size
	}
	return p.Size * 4
}

// Cutter finds where blocks end. It holds no state of a stream and may be used concurrently.
type Cutter struct {
	p            Params
	gear         [256]uint64
	strict, easy uint64
	normal       int
}

// New returns a cutter for p, which must be valid, with a gear table expanded from key by KT128.
func New(p Params, key [32]byte) *Cutter {
	c := &Cutter{p: p, normal: p.Size / 32 * 27}
	// A cut has the probability 1/(4 Size) per byte up to 27/32 of the size and 4/Size after it, which with the
	// minimum of Size/4 makes the mean come out at Size within a few percent.
	c.strict = math.MaxUint64 / uint64(4*p.Size)
	c.easy = math.MaxUint64 / uint64(p.Size) * 4
	h := k12.NewDraft10([]byte("ensync gear 1"))
	h.Write(key[:])
	var table [256 * 8]byte
	h.Read(table[:])
	for i := range c.gear {
		c.gear[i] = binary.LittleEndian.Uint64(table[8*i:])
	}
	return c
}

// Params returns what the cutter was made with.
func (c *Cutter) Params() Params { return c.p }

// Cut returns the length of the first block of b. b is all that is left of a stream, or at least Max bytes of it.
func (c *Cutter) Cut(b []byte) int {
	b = b[:min(len(b), c.p.Max())]
	if c.p.Fixed || len(b) <= c.p.Min() {
		return len(b)
	}
	// Bits leave the hash after 64 steps, so starting 64 bytes before the first possible cut loses nothing.
	var h uint64
	i := max(0, c.p.Min()-64)
	for ; i < c.p.Min(); i++ {
		h = h<<1 + c.gear[b[i]]
	}
	if n, ok := c.scan(b, i, min(c.normal, len(b)), &h, c.strict); ok {
		return n
	}
	n, _ := c.scan(b, max(i, min(c.normal, len(b))), len(b), &h, c.easy)
	return n
}

func (c *Cutter) scan(b []byte, from, to int, hash *uint64, threshold uint64) (int, bool) {
	h := *hash
	for i := from; i < to; i++ {
		h = h<<1 + c.gear[b[i]]
		if h < threshold {
			return i + 1, true
		}
	}
	*hash = h
	return max(from, to), false
}

// Reader cuts one stream.
type Reader struct {
	c     *Cutter
	src   io.Reader
	buf   []byte
	start int // buf[start:] is read but not returned
	eof   bool
}

// NewReader cuts what src yields. buf is working space that may be nil or come from Buffer of a finished Reader.
func (c *Cutter) NewReader(src io.Reader, buf []byte) *Reader {
	return &Reader{c: c, src: src, buf: buf[:0]}
}

// Buffer returns the working space, for the next stream. No call may follow.
func (r *Reader) Buffer() []byte { return r.buf }

// Next returns the next block, which is valid until the next call, and io.EOF after the last. An empty stream has no
// block.
func (r *Reader) Next() ([]byte, error) {
	if err := r.fill(); err != nil {
		return nil, err
	}
	rest := r.buf[r.start:]
	if len(rest) == 0 {
		return nil, io.EOF
	}
	n := r.c.Cut(rest)
	r.start += n
	return rest[:n:n], nil
}

// fill makes at least Max bytes available, or all that is left. The buffer grows with the stream, from 64 KiB to
// twice Max: twice, so that the rest is moved to the front once in several blocks.
func (r *Reader) fill() error {
	limit, idle := r.c.p.Max(), 0
	for !r.eof && len(r.buf)-r.start < limit {
		if r.start > 0 && cap(r.buf)-r.start < limit {
			n := copy(r.buf, r.buf[r.start:])
			r.buf, r.start = r.buf[:n], 0
		}
		if len(r.buf) == cap(r.buf) {
			grown := make([]byte, len(r.buf), min(max(64<<10, 4*cap(r.buf)), 2*limit))
			copy(grown, r.buf)
			r.buf = grown
		}
		n, err := r.src.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if idle++; n > 0 {
			idle = 0
		}
		switch {
		case err == io.EOF: // one that is wrapped tells of something that broke off
			r.eof = true
		case err != nil:
			return err
		case idle == 100:
			return io.ErrNoProgress
		}
	}
	return nil
}
