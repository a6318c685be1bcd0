// Package pack is the layout of packs: sealed blocks back to back, then a sealed table of what is where.
//
//	"ENSYNCP1"                     8 bytes
//	sealed blocks                  in the order of the table
//	sealed table                   see Table; padded inside the seal
//	length of the sealed table     4 bytes, big-endian
//	"ENSYNCT1"                     8 bytes
//
// The padding makes the whole a Padmé length (Nikitin et al., PETS 2019): sizes tell at most 12 % and, at the size
// of a full pack, 3 %. Since it lies inside the seal no byte of a pack is unauthenticated.
package pack

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"ensync/store/block"
	"ensync/store/internal/wire"
	"ensync/store/object"
)

const (
	head = "ENSYNCP1"
	tail = "ENSYNCT1"
	// HeadSize and TailSize are what surrounds blocks and sealed table, in bytes.
	HeadSize = len(head)
	TailSize = 4 + len(tail)
	// MaxBlock bounds a sealed block, in bytes; MaxPack a pack; MaxTable its sealed table.
	MaxBlock   = 17 << 20
	MaxPack    = 40 << 20
	MaxTable   = 16 << 20
	maxEntries = 1 << 18
)

// Name is the random name of a pack.
type Name [16]byte

// Object returns the name under which the pack lies in the backend.
func (n Name) Object() string { return fmt.Sprintf("packs/%02x/%x", n[0], n[:]) }

// Entry says where a block lies.
type Entry struct {
	ID     object.ID
	Type   block.Type
	Offset int64 // from the start of the pack; bytes
	Length int64 // sealed; bytes
}

// Builder puts a pack together in memory. The zero Builder is empty.
//
// What directories and commits are made of comes behind the data of files, however it is added: a reader walks the one
// first and then wants the other, and finds each in one piece.
type Builder struct {
	data part // its body begins with the head of the pack
	meta part
}

// part is blocks back to back.
type part struct {
	body  []byte
	table []Entry // offsets are from the start of body
}

// NewBuilder returns an empty builder with room for size bytes.
func NewBuilder(size int) *Builder { return &Builder{data: part{body: make([]byte, 0, size)}} }

// Size returns the length in bytes so far, without the table.
func (b *Builder) Size() int {
	return len(b.data.body) + len(b.meta.body)
}

func (b *Builder) blocks() int { return len(b.data.table) + len(b.meta.table) }

// Empty reports whether nothing was added.
func (b *Builder) Empty() bool { return b.blocks() == 0 }

// Full reports whether a pack should end before a block of next bytes is added.
func (b *Builder) Full(next int) bool {
	return !b.Empty() && (b.Size()+next > 16<<20 || b.blocks() >= maxEntries/4)
}

// Add appends a sealed block.
func (b *Builder) Add(id object.ID, t block.Type, sealed []byte) {
	if len(b.data.body) == 0 {
		b.data.body = append(b.data.body, head...)
	}
	p := &b.meta
	if t.Kind == block.Data || t.Kind == block.DataList {
		p = &b.data
	}
	p.table = append(p.table, Entry{ID: id, Type: t, Offset: int64(len(p.body)), Length: int64(len(sealed))})
	p.body = append(p.body, sealed...)
}

// join returns head and all blocks, and where they are.
func (b *Builder) join() ([]byte, []Entry) {
	for i := range b.meta.table {
		b.meta.table[i].Offset += int64(len(b.data.body))
	}
	return append(b.data.body, b.meta.body...), append(b.data.table, b.meta.table...)
}

// Finish returns the bytes of the pack, where seal makes overhead bytes more of the table, and the table. The builder is
// of no use then.
func (b *Builder) Finish(overhead int, seal func([]byte) ([]byte, error)) ([]byte, []Entry, error) {
	body, entries := b.join()
	table := AppendTable(nil, entries)
	size := len(body) + len(table) + overhead + TailSize
	table = append(table, make([]byte, padded(size)-size)...)
	sealed, err := seal(table)
	if err != nil {
		return nil, nil, err
	}
	out := append(body, sealed...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(sealed)))
	return append(out, tail...), entries, nil
}

// ParseTail returns the length of the sealed table, from the last TailSize bytes of a pack of size bytes.
func ParseTail(b []byte, size int64) (int64, error) {
	r := wire.NewReader(b)
	n := int64(r.Uint32())
	r.Magic(tail)
	if r.Err() == nil && (n > MaxTable || n > size-int64(HeadSize+TailSize)) {
		r.Fail("a table of %d bytes does not fit into a pack of %d", n, size)
	}
	return n, r.End()
}

// CheckHead says whether b are the first HeadSize bytes of a pack.
func CheckHead(b []byte) error {
	r := wire.NewReader(b)
	r.Magic(head)
	return r.End()
}

// AppendTable appends the encoding of a table whose entries lie back to back from HeadSize on: their number, and of
// each id, kind, depth and length.
func AppendTable(dst []byte, table []Entry) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(table)))
	for _, e := range table {
		dst = append(dst, e.ID[:]...)
		dst = append(dst, byte(e.Type.Kind), e.Type.Depth)
		dst = binary.AppendUvarint(dst, uint64(e.Length))
	}
	return dst
}

// ReadTable reads a table. Offsets follow from the lengths, so entries can't overlap.
func ReadTable(r *wire.Reader) []Entry {
	n := int(r.Uvarint(maxEntries))
	if n > r.Left()/35 {
		r.Fail("%d entries in %d bytes", n, r.Left())
		return nil
	}
	table := make([]Entry, 0, n)
	offset := int64(HeadSize)
	for range n {
		var e Entry
		r.Copy(e.ID[:])
		e.Type = block.Type{Kind: block.Kind(r.Byte()), Depth: r.Byte()}
		e.Length = int64(r.Uvarint(MaxBlock))
		e.Offset = offset
		if offset += e.Length; e.Length < block.Overhead || offset > MaxPack {
			r.Fail("block of %d bytes at %d", e.Length, e.Offset)
		}
		if r.Err() != nil {
			return nil
		}
		table = append(table, e)
	}
	return table
}

// ParseTable reads the opened table of a pack: a table and then zeros.
func ParseTable(b []byte) ([]Entry, error) {
	r := wire.NewReader(b)
	table := ReadTable(r)
	for _, c := range r.Rest() {
		if c != 0 {
			r.Fail("padding is not zero")
			break
		}
	}
	return table, r.Err()
}

// grain is what the length of every pack is a multiple of. With Padmé alone small packs would tell by their length how
// well a few bytes compressed; a file system gives them as much room anyway.
const grain = 4096

func padded(n int) int { return (padme(n) + grain - 1) &^ (grain - 1) }

// padme rounds a length up so that only the upper half of its bits can be set, roughly.
func padme(n int) int {
	if n < 2 {
		return n
	}
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	if e <= s {
		return n
	}
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}
