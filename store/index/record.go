// Package index knows which pack holds which block: the records that lie in the store, and a local database of them.
//
// The database is a copy of what the store says and is disposable at any time. Many processes may share one.
package index

import (
	"encoding/binary"
	"fmt"

	"ensync/store/internal/wire"
	"ensync/store/pack"
)

// The bounds of a record.
const (
	MaxRecord = 32 << 20 // bytes
	maxPacks  = 1 << 16
	maxGroup  = 255
)

// Record is the content of one index object.
type Record struct {
	Author string // the group that signed it
	Packs  []Pack
}

// Pack is the table of one pack.
type Pack struct {
	Name  pack.Name
	Size  int64 // bytes of the whole pack
	Table []pack.Entry
}

// Encode returns the bytes of r: author, number of packs, and of each name, size and table.
func (r Record) Encode() []byte {
	b := wire.AppendBytes(nil, []byte(r.Author))
	b = binary.AppendUvarint(b, uint64(len(r.Packs)))
	for _, p := range r.Packs {
		b = append(b, p.Name[:]...)
		b = binary.AppendUvarint(b, uint64(p.Size))
		b = pack.AppendTable(b, p.Table)
	}
	return b
}

// Parse reads a record.
func Parse(b []byte) (Record, error) {
	r := wire.NewReader(b)
	rec := Record{Author: string(r.Bytes(maxGroup))}
	n := int(r.Uvarint(maxPacks))
	seen := map[pack.Name]bool{}
	for i := 0; i < n && r.Err() == nil; i++ {
		var p Pack
		r.Copy(p.Name[:])
		p.Size = int64(r.Uvarint(pack.MaxPack))
		p.Table = pack.ReadTable(r)
		if k := len(p.Table); k > 0 && p.Table[k-1].Offset+p.Table[k-1].Length > p.Size {
			r.Fail("blocks reach beyond the end of their pack")
		}
		if seen[p.Name] {
			r.Fail("a pack is told of twice")
		}
		seen[p.Name] = true
		rec.Packs = append(rec.Packs, p)
	}
	if err := r.End(); err != nil {
		return Record{}, fmt.Errorf("index record: %w", err)
	}
	return rec, nil
}
