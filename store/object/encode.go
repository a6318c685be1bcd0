package object

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is what every failure to read or write an encoding wraps.
var ErrMalformed = errors.New("malformed directory entry")

// The bounds of what an entry may hold.
const (
	MaxDepth  = 8         // levels of lists above data
	MaxEntry  = 96 << 10  // bytes of one encoded entry
	MaxTarget = 4095      // bytes of a symlink's target (PATH_MAX less the NUL)
	MaxExtra  = 16 << 10  // bytes of fields that this version does not know
	MaxSize   = 1<<62 - 1 // bytes of a file
	modeMask  = 0o7777
)

// An encoded entry is its length and then fields, each of them tag, length, value, with tags strictly ascending. All
// integers are shortest unsigned LEB128. Tags from firstExtra on may be passed over by whoever does not know them and
// are kept; a lower unknown tag means that the entry can't be understood.
const (
	tagName    = 1 // bytes
	tagKind    = 2 // one byte
	tagMode    = 3 // integer; files and directories
	tagTime    = 4 // 8 bytes, big-endian two's complement, nanoseconds since 1970; files
	tagInline  = 5 // the content; files up to InlineMax
	tagContent = 6 // size (integer), depth (byte), key (32 bytes); larger files
	tagTarget  = 7 // bytes; symlinks
	tagTree    = 8 // depth (byte), key (32 bytes); directories
	tagRoot    = 9 // 16 bytes; directories that are roots of their own
	firstExtra = 32

	tagUser   = 32 // Owner
	tagGroup  = 33 // Owner
	tagXattrs = 34 // Xattrs; files and directories
	tagRoots  = 35 // one byte, 1; directories above roots of their own
	lastKnown = tagRoots
)

// kindRoot is stored as the kind of a directory that is a root of its own. Versions that don't know it keep it.
const kindRoot = Special + 1

// Check says why e can't be stored, or nil.
func (e Entry) Check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("entry %q: %w: %s", e.Name, ErrMalformed, fmt.Sprintf(format, a...))
	}
	if !ValidName(e.Name) {
		return bad("its name can't stand in a directory")
	}
	if e.Mode&^modeMask != 0 {
		return bad("mode %o has more than the low 12 bits", e.Mode)
	}
	if len(e.Extra) > MaxExtra {
		return bad("%d bytes of unknown fields", len(e.Extra))
	}
	if err := e.checkAttributes(); err != nil {
		return fmt.Errorf("entry %q: %w", e.Name, err)
	}
	switch e.Kind {
	case File:
		return e.Content.check(bad)
	case Directory:
		if e.Tree.IsZero() == (e.Root == RootID{}) || e.Tree.Depth > MaxDepth {
			return bad("its tree is not stored")
		}
	case Symlink:
		if len(e.Target) == 0 || len(e.Target) > MaxTarget {
			return bad("target of %d bytes", len(e.Target))
		}
	case Special:
		if len(e.Extra) == 0 {
			return bad("special files are not stored")
		}
	default:
		return bad("kind %d", e.Kind)
	}
	return nil
}

func (c Content) check(bad func(string, ...any) error) error {
	switch {
	case !c.Known:
		return bad("its content is not known")
	case c.Size < 0 || c.Size > MaxSize:
		return bad("size %d", c.Size)
	case c.Size <= InlineMax && int64(len(c.Data)) != c.Size:
		return bad("%d bytes of content at hand instead of %d", len(c.Data), c.Size)
	case c.Size <= InlineMax && c.Depth != 0, c.Depth > MaxDepth:
		return bad("list of depth %d", c.Depth)
	}
	return nil
}

// AppendEntry appends the encoding of e to dst. Equal entries have equal encodings.
func AppendEntry(dst []byte, e Entry) ([]byte, error) {
	if err := e.Check(); err != nil {
		return dst, err
	}
	b := appendField(nil, tagName, []byte(e.Name))
	switch e.Kind {
	case File:
		b = appendField(b, tagKind, []byte{byte(File)})
		b = appendField(b, tagMode, binary.AppendUvarint(nil, uint64(e.Mode)))
		b = appendField(b, tagTime, binary.BigEndian.AppendUint64(nil, uint64(e.ModTime)))
		if e.Content.Size <= InlineMax {
			b = appendField(b, tagInline, e.Content.Data)
		} else {
			v := binary.AppendUvarint(nil, uint64(e.Content.Size))
			v = append(v, e.Content.Depth)
			b = appendField(b, tagContent, append(v, e.Content.Key[:]...))
		}
	case Directory:
		b = e.appendDirectory(b)
	case Symlink:
		b = appendField(b, tagKind, []byte{byte(Symlink)})
		b = appendField(b, tagTarget, []byte(e.Target))
	}
	first := uint64(lastKnown + 1)
	if e.Kind == Special {
		first = tagKind
	}
	b = e.appendAttributes(b)
	if e.Kind == Directory && e.Roots {
		b = appendField(b, tagRoots, []byte{1})
	}
	if err := checkExtra(e.Extra, first); err != nil {
		return dst, fmt.Errorf("entry %q: %w", e.Name, err)
	}
	b = append(b, e.Extra...)
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...), nil
}

func (e Entry) appendDirectory(b []byte) []byte {
	mode := binary.AppendUvarint(nil, uint64(e.Mode))
	if (e.Root != RootID{}) {
		b = appendField(b, tagKind, []byte{byte(kindRoot)})
		b = appendField(b, tagMode, mode)
		return appendField(b, tagRoot, e.Root[:])
	}
	b = appendField(b, tagKind, []byte{byte(Directory)})
	b = appendField(b, tagMode, mode)
	return appendField(b, tagTree, append([]byte{e.Tree.Depth}, e.Tree.Key[:]...))
}

func (e Entry) checkAttributes() error {
	if e.Kind == Special && !e.SameAttributes(Entry{}) || e.Kind == Symlink && e.Xattrs != "" {
		return fmt.Errorf("%w: attributes that a %v does not have", ErrMalformed, e.Kind)
	}
	for _, o := range [...]Owner{e.User, e.Group} {
		if o == "" {
			continue
		}
		if err := o.Check(); err != nil {
			return err
		}
	}
	if e.Xattrs == "" {
		return nil
	}
	_, err := e.Xattrs.Parse()
	return err
}

func (e Entry) appendAttributes(b []byte) []byte {
	for _, f := range []struct {
		tag   uint64
		value string
	}{{tagUser, string(e.User)}, {tagGroup, string(e.Group)}, {tagXattrs, string(e.Xattrs)}} {
		if f.value != "" {
			b = appendField(b, f.tag, []byte(f.value))
		}
	}
	return b
}

// ParseEntry takes one entry off the front of b. The entry's strings and bytes are copies. Inline content has no Key
// yet: it takes the store's MAC to compute it.
func ParseEntry(b []byte) (Entry, []byte, error) {
	n, b, err := cutUvarint(b, MaxEntry)
	if err != nil {
		return Entry{}, nil, err
	}
	if n > uint64(len(b)) {
		return Entry{}, nil, fmt.Errorf("%w: cut off", ErrMalformed)
	}
	e, err := parseFields(b[:n])
	if err != nil {
		return Entry{}, nil, err
	}
	return e, b[n:], nil
}

// CountEntries returns how many entries b begins with, as far as their lengths tell: ParseEntry finds no more.
func CountEntries(b []byte) (n int) {
	for len(b) > 0 {
		length, rest, err := cutUvarint(b, MaxEntry)
		if err != nil || length > uint64(len(rest)) {
			break
		}
		b = rest[length:]
		n++
	}
	return n
}

func parseFields(b []byte) (Entry, error) {
	var e Entry
	f := fields{rest: b}
	if !f.next() || f.tag != tagName || !ValidName(string(f.value)) {
		return e, f.fail("the name is missing or can't stand in a directory")
	}
	e.Name = string(f.value)
	afterName := f.rest
	if !f.next() || f.tag != tagKind || len(f.value) != 1 {
		return e, f.fail("%q has no kind", e.Name)
	}
	e.Kind = Kind(f.value[0])
	switch {
	case e.Kind == Absent || e.Kind == Special:
		return e, f.fail("%q has kind %d", e.Name, e.Kind)
	case e.Kind == kindRoot:
		e.Kind = Directory
		seen, err := e.parseKnown(&f)
		if err == nil && (seen != 1<<tagMode|1<<tagRoot || e.Roots) {
			err = fmt.Errorf("%w: %q has not the fields of a root", ErrMalformed, e.Name)
		}
		if err != nil {
			return e, err
		}
		return e, e.checkAttributes()
	case e.Kind > Special:
		// Of a later format: kept whole, synchronised by nobody who does not know it.
		e.Kind, e.Extra = Special, append([]byte(nil), afterName...)
		return e, checkExtra(e.Extra, tagKind)
	}
	seen, err := e.parseKnown(&f)
	if err != nil {
		return e, err
	}
	return e, e.checkSeen(seen)
}

// parseKnown reads the fields after the kind and returns the set of the tags that a kind must have.
func (e *Entry) parseKnown(f *fields) (seen uint, err error) {
	for before := f.rest; f.next(); before = f.rest {
		if f.tag > lastKnown {
			e.Extra = append([]byte(nil), before...)
			return seen, checkExtra(e.Extra, lastKnown+1)
		}
		if f.tag < firstExtra {
			seen |= 1 << f.tag
		}
		if !e.set(f.tag, f.value) {
			return seen, f.fail("%q: field %d makes no sense", e.Name, f.tag)
		}
	}
	return seen, f.err
}

// checkSeen says whether the fields are exactly those of the kind.
func (e *Entry) checkSeen(seen uint) error {
	ok := false
	switch e.Kind {
	case File:
		ok = seen == 1<<tagMode|1<<tagTime|1<<tagInline || seen == 1<<tagMode|1<<tagTime|1<<tagContent
	case Directory:
		ok = seen == 1<<tagMode|1<<tagTree
	case Symlink:
		ok = seen == 1<<tagTarget
	}
	if !ok {
		return fmt.Errorf("%w: %q has not the fields of a %v", ErrMalformed, e.Name, e.Kind)
	}
	return e.checkAttributes()
}

// set stores one field and reports whether its value makes sense.
func (e *Entry) set(tag uint64, v []byte) bool {
	switch tag {
	case tagMode:
		n, rest, err := cutUvarint(v, modeMask)
		e.Mode = uint32(n)
		return err == nil && len(rest) == 0
	case tagTime:
		if len(v) != 8 {
			return false
		}
		e.ModTime = int64(binary.BigEndian.Uint64(v))
		return true
	case tagInline:
		e.Content = Content{Known: true, Size: int64(len(v)), Data: append([]byte{}, v...)}
		return len(v) <= InlineMax
	case tagContent:
		n, rest, err := cutUvarint(v, MaxSize)
		if err != nil || len(rest) != 33 || n <= InlineMax || rest[0] > MaxDepth {
			return false
		}
		e.Content = Content{Known: true, Size: int64(n), Depth: rest[0], Key: Key(rest[1:])}
		return true
	case tagTarget:
		e.Target = string(v)
		return len(v) > 0 && len(v) <= MaxTarget
	case tagTree:
		if len(v) != 33 || v[0] > MaxDepth {
			return false
		}
		e.Tree = Tree{Depth: v[0], Key: Key(v[1:])}
		return !e.Tree.IsZero()
	case tagRoot:
		if len(v) != len(e.Root) {
			return false
		}
		e.Root = RootID(v)
		return e.Root != RootID{}
	case tagRoots:
		e.Roots = true
		return e.Kind == Directory && len(v) == 1 && v[0] == 1
	case tagUser:
		e.User = Owner(v)
		return len(v) > 0
	case tagGroup:
		e.Group = Owner(v)
		return len(v) > 0
	case tagXattrs:
		e.Xattrs = Xattrs(v)
		return len(v) > 0
	}
	return false
}

// checkExtra says whether b is a sequence of fields that start at first or above.
func checkExtra(b []byte, first uint64) error {
	if len(b) > MaxExtra {
		return fmt.Errorf("%w: %d bytes of unknown fields", ErrMalformed, len(b))
	}
	f := fields{rest: b, last: first - 1}
	for i := 0; f.next(); i++ {
		if first == tagKind && i == 0 && (f.tag != tagKind || len(f.value) != 1 || Kind(f.value[0]) <= kindRoot) {
			return f.fail("special file without a kind")
		}
	}
	return f.err
}

func appendField(dst []byte, tag uint64, value []byte) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// fields walks over encoded fields.
type fields struct {
	rest  []byte
	last  uint64
	tag   uint64
	value []byte
	err   error
}

func (f *fields) next() bool {
	if f.err != nil || len(f.rest) == 0 {
		return false
	}
	tag, rest, err := cutUvarint(f.rest, 1<<31)
	if err == nil && tag <= f.last {
		err = fmt.Errorf("%w: field %d after field %d", ErrMalformed, tag, f.last)
	}
	var n uint64
	if err == nil {
		n, rest, err = cutUvarint(rest, MaxEntry)
	}
	if err == nil && n > uint64(len(rest)) {
		err = fmt.Errorf("%w: field %d is cut off", ErrMalformed, tag)
	}
	if err != nil {
		f.err = err
		return false
	}
	f.tag, f.last, f.value, f.rest = tag, tag, rest[:n], rest[n:]
	return true
}

// fail returns the reason why walking stopped, or else the given one.
func (f *fields) fail(format string, a ...any) error {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
	}
	return f.err
}

// cutUvarint takes an integer of at most limit, in its shortest form, off the front of b.
func cutUvarint(b []byte, limit uint64) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 || v > limit {
		return 0, nil, fmt.Errorf("%w: bad integer", ErrMalformed)
	}
	return v, b[n:], nil
}
