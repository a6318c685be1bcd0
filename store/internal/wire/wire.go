// Package wire reads and writes the few field shapes that every binary record of a store is made of.
//
// Integers are unsigned LEB128 (as encoding/binary's Uvarint) in their shortest form only, so that equal records have
// equal bytes. Byte strings carry their length in front. Every read is bounded before anything is allocated.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is what every failed read wraps.
var ErrMalformed = errors.New("malformed record")

// AppendBytes appends the length of p and p.
func AppendBytes(dst, p []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(p)))
	return append(dst, p...)
}

// Reader takes fields off the front of a record. After the first failure every read returns zero values; Err tells.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, which the caller must not change meanwhile; the byte strings returned are parts of it.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first failure.
func (r *Reader) Err() error { return r.err }

// Left returns how many bytes were not read yet.
func (r *Reader) Left() int { return len(r.b) }

// Rest returns all bytes that were not read yet, and reads them.
func (r *Reader) Rest() []byte {
	rest := r.b
	r.b = nil
	return rest
}

// Fail makes the reader fail, for a value that can be read but makes no sense.
func (r *Reader) Fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, a...)...)
	}
	r.b = nil
}

// Uvarint reads an integer of at most limit.
func (r *Reader) Uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	switch {
	case n <= 0:
		r.Fail("integer is cut off or too long")
		return 0
	case n > 1 && r.b[n-1] == 0:
		r.Fail("integer is not in its shortest form")
		return 0
	case v > limit:
		r.Fail("%d is over the limit of %d", v, limit)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if p := r.Take(1); p != nil {
		return p[0]
	}
	return 0
}

// Take reads exactly n bytes; nil if there are fewer.
func (r *Reader) Take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.Fail("%d bytes wanted, %d left", n, len(r.b))
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// Bytes reads a byte string of at most limit bytes.
func (r *Reader) Bytes(limit int) []byte {
	return r.Take(int(r.Uvarint(uint64(limit))))
}

// Copy fills dst.
func (r *Reader) Copy(dst []byte) { copy(dst, r.Take(len(dst))) }

// Uint32 and Uint64 read big-endian integers of fixed size.
func (r *Reader) Uint32() uint32 {
	if p := r.Take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// Uint64 reads eight bytes, big-endian.
func (r *Reader) Uint64() uint64 {
	if p := r.Take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// Magic reads the bytes of want and fails on any others.
func (r *Reader) Magic(want string) {
	if got := r.Take(len(want)); r.err == nil && string(got) != want {
		r.Fail("it does not start with %q", want)
	}
}

// End fails unless everything was read, and returns the first failure.
func (r *Reader) End() error {
	if r.err == nil && len(r.b) > 0 {
		r.Fail("%d bytes too many", len(r.b))
	}
	return r.err
}
