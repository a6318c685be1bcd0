package object

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
)

// Copy says of an entry that it is a conflict copy, and whose: the version of Of that made room for another one. It
// travels among the extra fields of an entry, which whoever changes or moves the entry in the store keeps.
type Copy struct {
	Of     string // the name, in the same directory, that the other version kept
	Author Author // of the version that the entry holds
	Other  Author // of the version that kept the name
}

// Author is who made something what it is.
type Author struct {
	Machine string // as machines call themselves; empty if nobody knows any more
	Time    int64  // nanoseconds since 1970, by that machine's clock: when it was synced; 0 if nobody knows
}

const (
	tagCopy    = 48 // of Extra: of, author, other
	maxMachine = 255
)

// Copy returns what says that the entry is a conflict copy; false if nothing does.
func (e Entry) Copy() (Copy, bool) {
	f := fields{rest: e.Extra}
	for f.next() {
		if f.tag == tagCopy {
			return parseCopy(f.value)
		}
	}
	return Copy{}, false
}

// WithCopy returns the entry as a conflict copy, or, with a zero Copy, as none.
func (e Entry) WithCopy(c Copy) Entry {
	was := e.Extra
	e.Extra = nil
	add := func() {
		if c.Of != "" {
			e.Extra = appendField(e.Extra, tagCopy, c.encode())
		}
	}
	added := false
	for f := (fields{rest: was}); f.next(); {
		if f.tag >= tagCopy && !added {
			add()
			added = true
		}
		if f.tag != tagCopy {
			e.Extra = appendField(e.Extra, f.tag, f.value)
		}
	}
	if !added {
		add()
	}
	return e
}

func (c Copy) encode() []byte {
	var b []byte
	text := func(s string, limit int) {
		s = s[:min(len(s), limit)]
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	text(c.Of, 255)
	for _, a := range []Author{c.Author, c.Other} {
		text(a.Machine, maxMachine)
		b = binary.BigEndian.AppendUint64(b, uint64(a.Time))
	}
	return b
}

// parseCopy reads what any client of the store may have written. What makes no sense marks nothing.
func parseCopy(b []byte) (c Copy, ok bool) {
	text := func() string {
		n, rest, err := cutUvarint(b, 255)
		if err != nil || n > uint64(len(rest)) {
			b, ok = nil, false
			return ""
		}
		b = rest[n:]
		return string(rest[:n])
	}
	ok = true
	c.Of = text()
	for _, a := range []*Author{&c.Author, &c.Other} {
		a.Machine = text()
		if len(b) < 8 {
			return Copy{}, false
		}
		a.Time, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	}
	if !ok || len(b) > 0 || !ValidName(c.Of) {
		return Copy{}, false
	}
	return c, true
}

// Version tells the version of an entry of a store from others: two of equal version are of one kind and hold the same.
func (e Entry) Version() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %d %x %d %x %s", e.Kind, e.Content.Size, e.Content.Depth, e.Content.Key, e.Tree.Depth, e.Tree.Key, e.Target)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// CopiesOf returns the conflict copies among the entries of a directory, for names that are still there.
func CopiesOf(list []Entry, has func(name string) bool) []Entry {
	return slices.DeleteFunc(slices.Clone(list), func(e Entry) bool {
		c, ok := e.Copy()
		return !ok || !has(c.Of)
	})
}
