package ancestor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"ensync/engine/replica"
	"ensync/store/object"
)

// The encoding of rows: a version byte, then varints and length-prefixed strings. It never leaves this machine.
const version = 1

var errEncoding = errors.New("bytes that this program did not write")

type writer struct{ b []byte }

func (w *writer) uint(n uint64)   { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) int(n int64)     { w.b = binary.AppendVarint(w.b, n) }
func (w *writer) string(s string) { w.uint(uint64(len(s))); w.b = append(w.b, s...) }

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) string() string { return string(r.take(r.uint())) }

// count reads the length of a list whose elements take at least one byte each, so that no length can ask for more
// memory than the row has bytes.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}

// optional is set in the kind of an entry of which more is known: owner, group, extended attributes, and what the client
// has of them instead.
const optional = 0x80

func (w *writer) entry(e replica.Entry) {
	w.string(e.Name)
	more := e.Held != nil || !e.SameAttributes(replica.Entry{})
	if more {
		w.b = append(w.b, byte(e.Kind)|optional)
	} else {
		w.b = append(w.b, byte(e.Kind))
	}
	w.uint(uint64(e.Mode))
	w.int(e.ModTime)
	w.string(e.Target)
	if e.Kind == object.File {
		w.int(e.Content.Size)
		w.b = append(w.b, e.Content.Depth)
		if e.Content.Known {
			w.b = append(w.b, 1)
			w.b = append(w.b, e.Content.Key[:]...)
		} else {
			w.b = append(w.b, 0)
		}
	}
	if !more {
		return
	}
	held := object.Held{}
	if e.Held != nil {
		held = *e.Held
	}
	for _, s := range []string{string(e.User), string(e.Group), string(e.Xattrs), string(held.User), string(held.Group),
		string(held.Xattrs)} {
		w.string(s)
	}
}

func (r *reader) entry() replica.Entry {
	e := replica.Entry{Name: r.string()}
	more := false
	if k := r.take(1); len(k) == 1 {
		e.Kind, more = object.Kind(k[0]&^optional), k[0]&optional != 0
	}
	e.Mode = uint32(r.uint())
	e.ModTime = r.int()
	e.Target = r.string()
	if e.Kind == object.File {
		e.Content.Size = r.int()
		if p := r.take(2); len(p) == 2 {
			e.Content.Depth, e.Content.Known = p[0], p[1] == 1
		}
		if e.Content.Known {
			copy(e.Content.Key[:], r.take(uint64(len(e.Content.Key))))
		}
	}
	if !more {
		return e
	}
	e.User, e.Group, e.Xattrs = object.Owner(r.string()), object.Owner(r.string()), object.Xattrs(r.string())
	held := object.Held{User: object.Owner(r.string()), Group: object.Owner(r.string()), Xattrs: object.Xattrs(r.string())}
	if held != (object.Held{}) {
		e.Held = &held
	}
	return e
}

func encodeDir(d Dir) []byte {
	w := writer{b: []byte{version}}
	w.string(d.Mark)
	w.uint(uint64(len(d.Entries)))
	for _, e := range d.Entries {
		w.entry(e)
	}
	return w.b
}

func decodeDir(b []byte) (Dir, error) {
	r := reader{b: b}
	if v := r.take(1); len(v) != 1 || v[0] != version {
		return Dir{}, errEncoding
	}
	d := Dir{Mark: r.string()}
	n := r.count()
	d.Entries = make([]replica.Entry, 0, min(n, 4096))
	for i := 0; i < n && !r.bad; i++ {
		e := r.entry()
		if len(d.Entries) > 0 && e.Name <= d.Entries[len(d.Entries)-1].Name {
			return Dir{}, fmt.Errorf("%w: names out of order", errEncoding)
		}
		d.Entries = append(d.Entries, e)
	}
	if r.bad || len(r.b) != 0 {
		return Dir{}, errEncoding
	}
	return d, nil
}

// issueVersion 2 tells whose the versions of a conflict are, and 3 which they are.
const issueVersion = 3

func encodeIssues(list []Issue) []byte {
	w := writer{b: []byte{issueVersion}}
	w.uint(uint64(len(list)))
	for _, i := range list {
		w.string(i.Path)
		w.string(string(i.Kind))
		w.string(i.Reason)
		w.int(i.Since.UnixNano())
		w.string(i.Of)
		for _, a := range []object.Author{i.Author, i.Other} {
			w.string(a.Machine)
			w.int(a.Time)
		}
		w.string(i.Seen)
		w.string(i.SeenOf)
	}
	return w.b
}

func decodeIssues(b []byte) ([]Issue, error) {
	r := reader{b: b}
	v := r.take(1)
	if len(v) != 1 || v[0] < version || v[0] > issueVersion {
		return nil, errEncoding
	}
	n := r.count()
	var list []Issue
	for k := 0; k < n && !r.bad; k++ {
		i := Issue{Path: r.string(), Kind: IssueKind(r.string()), Reason: r.string(), Since: time.Unix(0, r.int()).UTC()}
		if v[0] >= 2 {
			i.Of = r.string()
			i.Author = object.Author{Machine: r.string(), Time: r.int()}
			i.Other = object.Author{Machine: r.string(), Time: r.int()}
		}
		if v[0] >= 3 {
			i.Seen, i.SeenOf = r.string(), r.string()
		}
		list = append(list, i)
	}
	if r.bad || len(r.b) != 0 {
		return nil, errEncoding
	}
	return list, nil
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
