package worktree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"ensync/engine/worktree/journal"
	"ensync/store/object"
)

// A record is one atomic change of the tree: a version byte, then operations. Each operation says what holds after it,
// not how to get there, so applying a record twice does no harm. Numbers are varints; strings carry their length.
const recordVersion = 1

type opCode uint8

// The operations.
const (
	opName    opCode = 1 + iota // in directory ino, name means child; 0: nothing
	opInode                     // the named fields of ino are these; it comes into being if it is not there
	opGone                      // ino is no more
	opListed                    // the reconciler has seen every name in directory ino
	opSettled                   // the reconciler has settled name in directory ino
	opStale                     // directory ino came to another path: nothing in it or below is settled there
	opEnd
)

// fields says which parts of an inode an operation carries.
type fields uint32

const (
	fMode    fields = 1 << iota // mode, uid, gid, rdev
	fTimes                      // mtime, ctime
	fAtime                      //
	fNlink                      // nlink, ctime
	fSize                       // size, gen
	fTarget                     //
	fXattrs                     // all of them
	fBase                       // and no extents on top of it
	fHash                       // hash, hashGen
	fHeir                       //
	fExtents                    // lie over those before
	fMark                       // its names are dirty
	fLinks                      // catalogue only: names, and the counts of a directory
	fEnd
)

type op struct {
	code  opCode
	ino   Ino
	child Ino
	name  string
	mask  fields
	state *state
	ext   []extent
	// fLinks
	links                 []place
	dirtyNames, dirtyDirs uint32
	flags                 uint64 // 1: stale, 2: extents are in rows of their own
}

var errRecord = errors.New("not a record that this version understands")

// encode returns the record with the given operations.
func encode(ops []op) []byte {
	b := make([]byte, 1, 64+96*len(ops))
	b[0] = recordVersion
	for i := range ops {
		b = ops[i].append(b)
	}
	return b
}

func (o *op) append(b []byte) []byte {
	b = append(b, byte(o.code))
	b = binary.AppendUvarint(b, uint64(o.ino))
	switch o.code {
	case opName:
		b = binary.AppendUvarint(b, uint64(o.child))
		b = appendString(b, o.name)
	case opSettled:
		b = appendString(b, o.name)
	case opInode:
		b = o.appendInode(b)
	}
	return b
}

func (o *op) appendInode(b []byte) []byte {
	u := binary.AppendUvarint
	s := o.state
	b = u(b, uint64(o.mask))
	if o.mask&fMode != 0 {
		b = u(u(u(u(b, uint64(s.mode)), uint64(s.uid)), uint64(s.gid)), uint64(s.rdev))
	}
	if o.mask&fTimes != 0 {
		b = binary.AppendVarint(binary.AppendVarint(b, s.mtime), s.ctime)
	}
	if o.mask&fAtime != 0 {
		b = binary.AppendVarint(b, s.atime)
	}
	if o.mask&fNlink != 0 {
		b = binary.AppendVarint(u(b, uint64(s.nlink)), s.ctime)
	}
	if o.mask&fSize != 0 {
		b = u(u(b, s.size), s.gen)
	}
	if o.mask&fTarget != 0 {
		b = appendString(b, s.target)
	}
	if o.mask&fXattrs != 0 {
		b = u(b, uint64(len(s.xattrs)))
		for _, k := range slices.Sorted(maps.Keys(s.xattrs)) {
			b = appendString(appendString(b, k), string(s.xattrs[k]))
		}
	}
	if o.mask&fBase != 0 {
		b = appendContent(b, s.base)
	}
	if o.mask&fHash != 0 {
		b = u(appendContent(b, s.hash), s.hashGen)
	}
	if o.mask&fHeir != 0 {
		b = appendString(u(u(b, uint64(s.heir.dir)), bit(s.heir.edited)), s.heir.name)
	}
	if o.mask&fExtents != 0 {
		b = appendExtents(b, o.ext)
	}
	if o.mask&fLinks != 0 {
		b = u(u(u(b, o.flags), uint64(o.dirtyNames)), uint64(o.dirtyDirs))
		b = u(b, uint64(len(o.links)))
		for _, l := range o.links {
			b = appendString(u(b, uint64(l.dir)), l.name)
		}
	}
	return b
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendContent(b []byte, c object.Content) []byte {
	if !c.Known {
		return append(b, 0)
	}
	b = append(b, byte(1+bit(c.Data != nil)), c.Depth)
	b = binary.AppendUvarint(b, uint64(c.Size))
	b = append(b, c.Key[:]...)
	if c.Data != nil {
		b = appendString(b, string(c.Data))
	}
	return b
}

func appendExtents(b []byte, ext []extent) []byte {
	b = binary.AppendUvarint(b, uint64(len(ext)))
	var last uint64
	for _, e := range ext {
		b = append(b, byte(e.kind))
		b = binary.AppendVarint(b, int64(e.off-last))
		b = binary.AppendUvarint(b, e.len)
		last = e.end()
		switch e.kind {
		case logged:
			b = binary.AppendUvarint(b, e.pos.Segment)
			b = binary.AppendUvarint(b, uint64(e.pos.Offset))
			b = binary.AppendUvarint(b, uint64(e.pos.Length))
			b = binary.AppendUvarint(b, uint64(e.skip))
		case held:
			b = append(b, e.data...)
		}
	}
	return b
}

// decode reads a record. It keeps no part of b.
func decode(b []byte) ([]op, error) {
	d := &decoder{b: b}
	if v := d.byte(); v != recordVersion {
		return nil, fmt.Errorf("%w: version %d", errRecord, v)
	}
	var ops []op
	for len(d.b) > 0 && d.err == nil {
		ops = append(ops, d.op())
	}
	return ops, d.err
}

// decoder reads encoded operations; the first error stays, and everything after it reads as zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = errRecord
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > limit {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// count reads a number of elements of at least size bytes each.
func (d *decoder) count(size int) int { return int(d.uint(uint64(len(d.b) / size))) }

const (
	any32 = 1<<32 - 1
	any64 = 1<<64 - 1
)

func (d *decoder) string() string { return string(d.bytes(d.uint(any32))) }
func (d *decoder) u32() uint32    { return uint32(d.uint(any32)) }

func (d *decoder) op() op {
	o := op{code: opCode(d.byte()), ino: Ino(d.uint(any64))}
	switch o.code {
	case opName:
		o.child = Ino(d.uint(any64))
		o.name = d.string()
	case opSettled:
		o.name = d.string()
	case opInode:
		d.inode(&o)
	case opGone, opListed, opStale:
	default:
		d.fail()
	}
	if o.ino == 0 {
		d.fail()
	}
	return o
}

func (d *decoder) inode(o *op) {
	o.mask = fields(d.uint(uint64(fEnd) - 1))
	s := new(state)
	o.state = s
	if o.mask&fMode != 0 {
		s.mode, s.uid, s.gid, s.rdev = d.u32(), d.u32(), d.u32(), d.u32()
	}
	if o.mask&fTimes != 0 {
		s.mtime, s.ctime = d.int(), d.int()
	}
	if o.mask&fAtime != 0 {
		s.atime = d.int()
	}
	if o.mask&fNlink != 0 {
		s.nlink, s.ctime = d.u32(), d.int()
	}
	if o.mask&fSize != 0 {
		s.size, s.gen = d.uint(maxSize), d.uint(any64)
	}
	if o.mask&fTarget != 0 {
		s.target = d.string()
	}
	if o.mask&fXattrs != 0 {
		s.xattrs = map[string][]byte{}
		for range d.count(2) {
			k := d.string()
			s.xattrs[k] = []byte(d.string())
		}
	}
	if o.mask&fBase != 0 {
		s.base = d.content()
	}
	if o.mask&fHash != 0 {
		s.hash, s.hashGen = d.content(), d.uint(any64)
	}
	if o.mask&fHeir != 0 {
		s.heir.dir, s.heir.edited = Ino(d.uint(any64)), d.uint(1) == 1
		s.heir.name = d.string()
	}
	if o.mask&fExtents != 0 {
		o.ext = d.extents()
	}
	if o.mask&fLinks != 0 {
		o.flags, o.dirtyNames, o.dirtyDirs = d.uint(3), d.u32(), d.u32()
		for range d.count(2) {
			o.links = append(o.links, place{Ino(d.uint(any64)), d.string()})
		}
	}
}

func (d *decoder) content() (c object.Content) {
	kind := d.byte()
	if kind == 0 {
		return c
	}
	c.Known, c.Depth = true, d.byte()
	c.Size = int64(d.uint(maxSize))
	copy(c.Key[:], d.bytes(uint64(len(c.Key))))
	switch kind {
	case 1:
	case 2:
		c.Data = append([]byte{}, d.bytes(d.uint(object.InlineMax))...)
		if int64(len(c.Data)) != c.Size {
			d.fail()
		}
	default:
		d.fail()
	}
	return c
}

func (d *decoder) extents() []extent {
	out := make([]extent, 0, min(d.peek(), 4096))
	var last uint64
	for range d.count(3) {
		e := extent{kind: extentKind(d.byte())}
		e.off = last + uint64(d.int())
		e.len = d.uint(maxSize)
		last = e.end()
		if e.off > maxSize || last > maxSize || e.len == 0 {
			d.fail()
		}
		switch e.kind {
		case nowhere, hole:
		case logged:
			e.pos = journal.Pos{Segment: d.uint(any64), Offset: d.u32(), Length: uint32(d.uint(journal.MaxData))}
			e.skip = uint32(d.uint(journal.MaxData))
			if uint64(e.skip)+e.len > uint64(e.pos.Length) {
				d.fail()
			}
		case held:
			e.data = append([]byte{}, d.bytes(e.len)...)
		default:
			d.fail()
		}
		if d.err != nil {
			return nil
		}
		out = append(out, e)
	}
	return out
}

// peek returns the number that comes next, 0 if there is none.
func (d *decoder) peek() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		return 0
	}
	return v
}
