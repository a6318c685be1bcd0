package journal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha3"
	"encoding/binary"
	"errors"
	"fmt"
)

// A segment's file is a header block and then frames; all integers are big-endian.
//
//	header block  magic[8] number[8] id[16] previous{id[16] end[8] frames[4] digest[32]} firstLSN[8] size[8] tag[16], zeros
//	frame         magic[4] kind[1] zero[3] length[4] counter[4] LSN[8] ciphertext[length] tag[16]
//
// The ciphertext of a data frame is cut into pieces of 8 KiB, each with a tag of its own, so that reading a page of a
// large frame reads and opens little. A piece is bound to segment, offset, length and its number, and needs no frame header
// to be opened; all bytes of that header are checked by the walk of recovery.
//
// A commit mark is followed by zeros up to the next block, so that no write ever touches a disk sector that holds durable
// frames. Blocks are 4096 bytes: the sector of today's disks and the page in which the kernel writes anyway.
const (
	blockSize    = 4096
	frameHead    = 24
	tagSize      = 16
	frameExtra   = frameHead + tagSize
	markPayload  = 8 + 32
	markSize     = markPayload + frameExtra
	pieceSize    = 8 << 10 // of the data in one seal
	headerFields = 8 + 8 + 16 + 16 + 8 + 4 + 32 + 8 + 8
)

const (
	segmentMagic = "ensyncJ2"
	frameMagic   = 0x654a6631 // "eJf1"
)

const (
	kindData   = 1
	kindRecord = 2
	kindMark   = 3
)

type digest [32]byte

// tip is what the next segment's header says of the one before it.
type tip struct {
	id     [16]byte
	end    int64
	frames uint32
	chain  digest
}

type segmentHeader struct {
	number   uint64
	id       [16]byte
	prev     tip
	firstLSN LSN // of the first record that is in this segment or after it
	size     int64
}

// sealer holds the key of one segment.
type sealer struct {
	id   [16]byte
	aead cipher.AEAD
}

func newSealer(key *[32]byte, id [16]byte) (*sealer, error) {
	sub, err := hkdf.Key(sha3.New256, key[:], id[:], "ensync journal segment", 32)
	if err != nil {
		return nil, fmt.Errorf("journal: derive segment key: %w", err)
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &sealer{id: id, aead: aead}, nil
}

func nonceOf(counter uint32) []byte {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint32(nonce[8:], counter)
	return nonce
}

// encode returns the header block. Counter 0 is the header's nonce; frames count from 1.
func (h *segmentHeader) encode(s *sealer) []byte {
	b := make([]byte, 0, blockSize)
	b = append(b, segmentMagic...)
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = append(b, h.id[:]...)
	b = append(b, h.prev.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.prev.end))
	b = binary.BigEndian.AppendUint32(b, h.prev.frames)
	b = append(b, h.prev.chain[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.firstLSN))
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = s.aead.Seal(b, nonceOf(0), nil, b)
	return b[:blockSize]
}

var errHeader = errors.New("the segment's header does not open: another key, another log, or damage")

// decodeHeader parses and authenticates the header block of the segment that its name says is number.
func decodeHeader(b []byte, number uint64, key *[32]byte) (segmentHeader, *sealer, error) {
	var h segmentHeader
	if len(b) < headerFields+tagSize || string(b[:8]) != segmentMagic {
		return h, nil, errHeader
	}
	h.number = binary.BigEndian.Uint64(b[8:])
	copy(h.id[:], b[16:])
	copy(h.prev.id[:], b[32:])
	h.prev.end = int64(binary.BigEndian.Uint64(b[48:]))
	h.prev.frames = binary.BigEndian.Uint32(b[56:])
	copy(h.prev.chain[:], b[60:])
	h.firstLSN = LSN(binary.BigEndian.Uint64(b[92:]))
	h.size = int64(binary.BigEndian.Uint64(b[100:]))
	s, err := newSealer(key, h.id)
	if err != nil {
		return h, nil, err
	}
	if _, err := s.aead.Open(nil, nonceOf(0), b[headerFields:headerFields+tagSize], b[:headerFields]); err != nil {
		return h, nil, errHeader
	}
	if h.number != number {
		return h, nil, fmt.Errorf("the file holds segment %016x", h.number)
	}
	return h, s, nil
}

// headerDigest is where the running digest of a segment's frames begins.
func headerDigest(block []byte) digest {
	return sha3.Sum256(block[:headerFields+tagSize])
}

// frame is a parsed frame header with its place.
type frame struct {
	off     int64
	kind    byte
	length  int
	counter uint32
	lsn     LSN
}

func (f *frame) size() int64 {
	if f.kind == kindData {
		return dataSize(f.length)
	}
	return int64(f.length) + frameExtra
}

// dataSize is what a data frame of so many bytes takes.
func dataSize(length int) int64 { return frameHead + sealedEnd(length) }

// sealedEnd is how many bytes the pieces take that hold the first n bytes of data, whole ones or the last.
func sealedEnd(n int) int64 { return int64(n) + int64((n+pieceSize-1)/pieceSize)*tagSize }

// end is where the next frame begins.
func (f *frame) end() int64 {
	end := f.off + f.size()
	if f.kind == kindMark {
		end = alignBlock(end)
	}
	return end
}

func (f *frame) put(b []byte) {
	binary.BigEndian.PutUint32(b[0:], frameMagic)
	b[4], b[5], b[6], b[7] = f.kind, 0, 0, 0
	binary.BigEndian.PutUint32(b[8:], uint32(f.length))
	binary.BigEndian.PutUint32(b[12:], f.counter)
	binary.BigEndian.PutUint64(b[16:], uint64(f.lsn))
}

// parseFrame reads a frame header; its numbers are bounded but not yet authentic.
func parseFrame(b []byte, off int64) (frame, error) {
	f := frame{off: off}
	if len(b) < frameHead || binary.BigEndian.Uint32(b) != frameMagic || b[5]|b[6]|b[7] != 0 {
		return f, errors.New("no frame begins here")
	}
	f.kind = b[4]
	length := binary.BigEndian.Uint32(b[8:])
	f.counter = binary.BigEndian.Uint32(b[12:])
	f.lsn = LSN(binary.BigEndian.Uint64(b[16:]))
	limit := uint32(0)
	switch f.kind {
	case kindData:
		limit = MaxData
	case kindRecord:
		limit = MaxRecord
	case kindMark:
		limit = markPayload
	}
	if length == 0 || length > limit || f.kind == kindMark && length != markPayload {
		return f, fmt.Errorf("impossible frame: kind %d, length %d", f.kind, length)
	}
	f.length = int(length)
	return f, nil
}

// ad is the associated data of the frame whose header is head.
func (s *sealer) ad(off int64, head []byte) []byte {
	b := make([]byte, 0, 16+8+frameHead)
	b = append(b, s.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	return append(b, head[:frameHead]...)
}

// seal fills b, which is exactly the frame, with header, ciphertext of p and tag.
func (s *sealer) seal(f *frame, b, p []byte) {
	f.put(b)
	out := b[frameHead:frameHead:len(b)]
	if f.kind != kindData {
		s.aead.Seal(out, nonceOf(f.counter), p, s.ad(f.off, b))
		return
	}
	ad := s.pieceAD(f.off, f.length)
	for i := 0; len(p) > 0; i++ {
		part := p[:min(pieceSize, len(p))]
		out = s.aead.Seal(out, pieceNonce(f.off, i), part, ad)
		p = p[len(part):]
	}
}

// pieceNonce is the nonce of a piece of the data frame at off: no other frame of the segment ever has that offset, and
// those of frames, which are counted, begin with zeros.
func pieceNonce(off int64, number int) []byte {
	b := make([]byte, 12)
	b[0], b[1] = kindData, byte(number)
	binary.BigEndian.PutUint64(b[4:], uint64(off))
	return b
}

func (s *sealer) pieceAD(off int64, length int) []byte {
	b := make([]byte, 0, 16+8+1+4)
	b = append(b, s.id[:]...)
	b = append(binary.BigEndian.AppendUint64(b, uint64(off)), kindData)
	return binary.BigEndian.AppendUint32(b, uint32(length))
}

// openData opens the data frame at off, of length bytes, from byte from on into dst. b holds the sealed pieces from the one
// with that byte on; spare is for a piece of which only a part is wanted.
func (s *sealer) openData(off int64, length, from int, dst, b, spare []byte) error {
	ad := s.pieceAD(off, length)
	for i := from / pieceSize; len(dst) > 0; i++ {
		start := i * pieceSize
		n := min(pieceSize, length-start)
		sealed := b[:n+tagSize]
		b = b[n+tagSize:]
		whole := from == start && len(dst) >= n
		to := spare[:0]
		if whole {
			to = dst[:0:n]
		}
		plain, err := s.aead.Open(to, pieceNonce(off, i), sealed, ad)
		if err != nil {
			return errOpen
		}
		if !whole {
			n = copy(dst, plain[from-start:])
		}
		dst, from = dst[n:], start+pieceSize
	}
	return nil
}

var errOpen = errors.New("the frame does not open: changed, moved or half written")

// open authenticates the frame b and appends its payload to dst.
func (s *sealer) open(f *frame, dst, b []byte) ([]byte, error) {
	if f.kind == kindData {
		dst = append(dst, make([]byte, f.length)...)
		return dst, s.openData(f.off, f.length, 0, dst[len(dst)-f.length:], b[frameHead:], nil)
	}
	out, err := s.aead.Open(dst, nonceOf(f.counter), b[frameHead:f.size()], s.ad(f.off, b))
	if err != nil {
		return nil, errOpen
	}
	return out, nil
}

// extend adds a frame to the running digest of a segment.
func (d digest) extend(head, tag []byte) digest {
	var b [32 + frameHead + tagSize]byte
	copy(b[:], d[:])
	copy(b[32:], head[:frameHead])
	copy(b[32+frameHead:], tag[:tagSize])
	return sha3.Sum256(b[:])
}

// mark is the payload of a commit mark. Its own batch may have reached the disk in any order: what it vouches for is
// durable, the part of the segment whose fdatasync had returned when the mark was sealed.
type mark struct {
	durable int64
	chain   digest // of all frames of the segment before the mark
}

func (m *mark) encode() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(m.durable)), m.chain[:]...)
}

func decodeMark(p []byte) mark {
	var m mark
	m.durable = int64(binary.BigEndian.Uint64(p))
	copy(m.chain[:], p[8:])
	return m
}

// markPattern begins every commit mark.
var markPattern = func() []byte {
	b := make([]byte, frameHead)
	f := frame{kind: kindMark, length: markPayload}
	f.put(b)
	return bytes.Clone(b[:12])
}()

func alignBlock(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }
