package worktree

import (
	"bytes"
	"slices"
	"sort"

	"ensync/engine/worktree/journal"
)

// unit is the alignment and the largest size of one piece of data in the log, in bytes.
const unit = journal.MaxData

// extentKind says where the bytes of an extent are.
type extentKind uint8

const (
	nowhere extentKind = iota // no extent: the base content, and zeros after its end
	hole                      // zeros that hide base content
	logged                    // in a data frame of the log
	held                      // in memory, and if not dirty, in a record of the log as well
)

// extent says where one range of a file's bytes is.
type extent struct {
	off, len uint64
	kind     extentKind
	dirty    bool        // held only: no record holds these bytes yet, and data may change in place
	pos      journal.Pos // logged
	skip     uint32      // logged: the range starts so many bytes into the frame's data
	data     []byte      // held; len bytes
}

func (e extent) end() uint64 { return e.off + e.len }

// clip returns the part of e within [off, end), which must not be empty.
func (e extent) clip(off, end uint64) extent {
	if off < e.off {
		off = e.off
	}
	if end > e.end() {
		end = e.end()
	}
	cut := off - e.off
	switch e.kind {
	case logged:
		e.skip += uint32(cut)
	case held:
		e.data = e.data[cut : end-e.off]
	}
	e.off, e.len = off, end-off
	return e
}

// leafMax bounds how many extents move when one is inserted.
const leafMax = 256

// regionBits: the catalogue keeps the extents of a large map in rows, one for each region of 64 MiB.
const regionBits = 26

// extents is what lies on top of a file's base content: disjoint ranges in order of offset. Every logged extent holds
// one reference to its frame; the changes of references are collected in refs.
type extents struct {
	leaves  [][]extent
	count   int
	data    uint64          // bytes in logged and held extents
	dirty   int64           // bytes in dirty extents
	regions map[uint64]bool // changed since the catalogue last had them; nil: not counted
}

// refs collects the references to data frames that a change added and dropped.
type refs struct{ add, drop []journal.Pos }

// find returns where the first extent that ends after off is.
func (m *extents) find(off uint64) (leaf, at int) {
	leaf = sort.Search(len(m.leaves), func(i int) bool {
		l := m.leaves[i]
		return l[len(l)-1].end() > off
	})
	if leaf == len(m.leaves) {
		return leaf, 0
	}
	l := m.leaves[leaf]
	return leaf, sort.Search(len(l), func(i int) bool { return l[i].end() > off })
}

// at returns the extent that holds off, or nil. It may be changed in place by those who keep its range, and extended
// with grow.
func (m *extents) at(off uint64) *extent {
	leaf, i := m.find(off)
	if leaf == len(m.leaves) || m.leaves[leaf][i].off > off {
		return nil
	}
	return &m.leaves[leaf][i]
}

// each calls f with the parts of the extents within [off, end), in order, until f returns false.
func (m *extents) each(off, end uint64, f func(extent) bool) {
	leaf, i := m.find(off)
	for ; leaf < len(m.leaves); leaf, i = leaf+1, 0 {
		for ; i < len(m.leaves[leaf]); i++ {
			e := m.leaves[leaf][i]
			if e.off >= end || !f(e.clip(off, end)) {
				return
			}
		}
	}
}

// pieces calls f with ranges that cover [off, end) without gaps; kind nowhere where no extent is.
func (m *extents) pieces(off, end uint64, f func(extent) bool) {
	more := true
	m.each(off, end, func(e extent) bool {
		if e.off > off {
			more = f(extent{off: off, len: e.off - off})
		}
		more = more && f(e)
		off = e.end()
		return more
	})
	if more && off < end {
		f(extent{off: off, len: end - off})
	}
}

func (m *extents) touch(off uint64) {
	if m.regions != nil {
		m.regions[off>>regionBits] = true
	}
}

// added and dropped keep the totals.
func (m *extents) added(e extent, r *refs) {
	m.count++
	m.touch(e.off)
	switch e.kind {
	case logged:
		m.data += e.len
		r.add = append(r.add, e.pos)
	case held:
		m.data += e.len
		if e.dirty {
			m.dirty += int64(e.len)
		}
	}
}

func (m *extents) dropped(e extent, r *refs) {
	m.count--
	m.touch(e.off)
	switch e.kind {
	case logged:
		m.data -= e.len
		r.drop = append(r.drop, e.pos)
	case held:
		m.data -= e.len
		if e.dirty {
			m.dirty -= int64(e.len)
		}
	}
}

// set makes e what its range holds; kind nowhere clears the range. The map takes over e.data.
func (m *extents) set(e extent, r *refs) {
	if e.len == 0 {
		return
	}
	m.clear(e.off, e.end(), r)
	if e.kind != nowhere {
		m.insert(e, r)
	}
}

// clear removes what is in [off, end).
func (m *extents) clear(off, end uint64, r *refs) {
	leaf, i := m.find(off)
	for leaf < len(m.leaves) {
		l := m.leaves[leaf]
		if i == len(l) {
			leaf, i = leaf+1, 0
			continue
		}
		e := l[i]
		if e.off >= end {
			return
		}
		if e.off < off && e.end() > end { // a hole in the middle
			m.dropped(e, r)
			l[i] = e.clip(e.off, off)
			m.added(l[i], r)
			tail := e.clip(end, e.end())
			if e.kind == held {
				tail.data = slices.Clone(tail.data) // both halves may grow
			}
			m.insert(tail, r)
			return
		}
		m.dropped(e, r)
		switch {
		case e.off < off:
			l[i] = e.clip(e.off, off)
			m.added(l[i], r)
			i++
		case e.end() > end:
			l[i] = e.clip(end, e.end())
			m.added(l[i], r)
			return
		default:
			j := i + 1
			for j < len(l) && l[j].end() <= end {
				m.dropped(l[j], r)
				j++
			}
			if l = slices.Delete(l, i, j); len(l) == 0 {
				m.leaves = slices.Delete(m.leaves, leaf, leaf+1)
				i = 0
			} else {
				m.leaves[leaf] = l
			}
		}
	}
}

// insert adds e where nothing is.
func (m *extents) insert(e extent, r *refs) {
	m.added(e, r)
	if len(m.leaves) == 0 {
		m.leaves = [][]extent{{e}}
		return
	}
	leaf, i := m.find(e.off)
	if leaf == len(m.leaves) {
		leaf--
		i = len(m.leaves[leaf])
	}
	l := slices.Insert(m.leaves[leaf], i, e)
	m.leaves[leaf] = l
	if len(l) > leafMax {
		right := slices.Clone(l[leafMax/2:])
		clear(l[leafMax/2:])
		m.leaves[leaf] = l[:leafMax/2]
		m.leaves = slices.Insert(m.leaves, leaf+1, right)
	}
}

// grow appends p to a dirty extent; nothing may be in the range that it grows over.
func (m *extents) grow(e *extent, p []byte) {
	e.data = append(e.data, p...)
	e.len += uint64(len(p))
	m.data += uint64(len(p))
	m.dirty += int64(len(p))
	m.touch(e.off)
}

// settle marks the dirty extents within [off, end) as held by a record. They must lie in it whole.
func (m *extents) settle(off, end uint64) {
	leaf, i := m.find(off)
	for ; leaf < len(m.leaves); leaf, i = leaf+1, 0 {
		for ; i < len(m.leaves[leaf]); i++ {
			e := &m.leaves[leaf][i]
			if e.off >= end {
				return
			}
			if e.dirty {
				e.dirty = false
				e.data = bytes.Clone(e.data) // it will not grow any more
				m.dirty -= int64(e.len)
			}
		}
	}
}

// anyLogged reports whether any bytes are in the log's data frames.
func (m *extents) anyLogged() (found bool) {
	m.each(0, maxSize, func(e extent) bool {
		found = e.kind == logged
		return !found
	})
	return found
}

// all returns every extent in order.
func (m *extents) all() []extent {
	out := make([]extent, 0, m.count)
	for _, l := range m.leaves {
		out = append(out, l...)
	}
	return out
}
