package object

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Owner is the user or the group that something belongs to: its name and its number on the machine that stored it, as
// "alice:1000"; ":1000" where there is no name. "" is not known.
type Owner string

// maxOwner is the length of the longest name of a user or group, in bytes, and what numbers take.
const maxOwner = 255

// MakeOwner returns the owner of that name and number. A name that can't travel is left out.
func MakeOwner(name string, number uint32) Owner {
	o := Owner(name + ":" + strconv.FormatUint(uint64(number), 10))
	if o.Check() != nil {
		o = Owner(":" + strconv.FormatUint(uint64(number), 10))
	}
	return o
}

// Split returns name and number. Of what is no owner, it returns nothing.
func (o Owner) Split() (name string, number uint32) {
	i := strings.LastIndexByte(string(o), ':')
	if i < 0 {
		return "", 0
	}
	n, err := strconv.ParseUint(string(o[i+1:]), 10, 32)
	if err != nil {
		return "", 0
	}
	return string(o[:i]), uint32(n)
}

// Check says why o is no owner that can be stored, or nil. The number that chown(2) takes for "leave it" is none.
func (o Owner) Check() error {
	name, number := o.Split()
	odd := func(r rune) bool { return r <= ' ' || r == ':' || r == 0x7f }
	if o != Owner(name+":"+strconv.FormatUint(uint64(number), 10)) || number == 1<<32-1 || len(o) > maxOwner ||
		strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%w: %q is no owner", ErrMalformed, string(o))
	}
	return nil
}

// String returns the name, or else the number.
func (o Owner) String() string {
	name, number := o.Split()
	if name == "" && o != "" {
		return strconv.FormatUint(uint64(number), 10)
	}
	return name
}

// Xattrs are the extended attributes of a file or directory, as one immutable value: the number of attributes, then name
// and value of each, sorted by name, with their lengths. "" is not known; none at all is NoXattrs.
type Xattrs string

const (
	// NoXattrs says that there are none.
	NoXattrs Xattrs = "\x00"
	// XattrsTooLarge stands for attributes beyond the bounds. It is never stored.
	XattrsTooLarge Xattrs = "too large"
	// MaxXattrs is the most bytes that the attributes of one entry may take, encoded.
	MaxXattrs = 64 << 10
	// XattrPrefix starts the names of all attributes that are synchronised: the others belong to the system.
	XattrPrefix = "user."
)

// MakeXattrs returns the value of a set of attributes; XattrsTooLarge if they can't be synchronised.
func MakeXattrs(set map[string][]byte) Xattrs {
	b := binary.AppendUvarint(nil, uint64(len(set)))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		b = appendBytes(b, []byte(name))
		if b = appendBytes(b, set[name]); len(b) > MaxXattrs {
			return XattrsTooLarge
		}
	}
	return Xattrs(b)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Parse returns the attributes, or why x is no value that can be stored.
func (x Xattrs) Parse() (map[string][]byte, error) {
	if len(x) > MaxXattrs {
		return nil, fmt.Errorf("%w: %d bytes of extended attributes", ErrMalformed, len(x))
	}
	count, b, err := cutUvarint([]byte(x), MaxXattrs)
	set, last := map[string][]byte{}, ""
	for ; count > 0 && err == nil; count-- {
		var name, value []byte
		if name, b, err = cutBytes(b, 255); err == nil {
			value, b, err = cutBytes(b, MaxXattrs)
		}
		if err == nil && (!ValidXattr(string(name)) || string(name) <= last) {
			err = fmt.Errorf("%w: extended attribute %q", ErrMalformed, name)
		}
		last = string(name)
		set[last] = value
	}
	if err == nil && len(b) > 0 {
		err = fmt.Errorf("%w: extended attributes with something behind them", ErrMalformed)
	}
	return set, err
}

func cutBytes(b []byte, limit uint64) (value, rest []byte, err error) {
	n, rest, err := cutUvarint(b, limit)
	if err == nil && n > uint64(len(rest)) {
		err = fmt.Errorf("%w: extended attributes are cut off", ErrMalformed)
	}
	if err != nil {
		return nil, nil, err
	}
	return rest[:n], rest[n:], nil
}

// ValidXattr reports whether an attribute of that name is synchronised: those of users, but for ours.
func ValidXattr(name string) bool {
	return strings.HasPrefix(name, XattrPrefix) && len(name) > len(XattrPrefix) && len(name) <= 255 &&
		!strings.ContainsRune(name, 0) && !strings.HasPrefix(name, XattrPrefix+"ensync.")
}

// Names returns the names of the attributes, sorted.
func (x Xattrs) Names() []string {
	set, err := x.Parse()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(set))
}

// Held is what a machine has of the fields of an entry that it cannot have as they are stored. "" is as stored.
type Held struct {
	User, Group Owner
	Xattrs      Xattrs
}

// OnClient returns an agreed entry as the client has it.
func (e Entry) OnClient() Entry {
	if e.Held == nil {
		return e
	}
	h := *e.Held
	e.Held = nil
	if h.User != "" {
		e.User = h.User
	}
	if h.Group != "" {
		e.Group = h.Group
	}
	if h.Xattrs != "" {
		e.Xattrs = h.Xattrs
	}
	return e
}

// SameAttributes reports whether two entries agree in what not everybody synchronises: owner, group and extended
// attributes. Those of an entry of which they are not known agree with none.
func (e Entry) SameAttributes(f Entry) bool {
	return e.User == f.User && e.Group == f.Group && e.Xattrs == f.Xattrs
}

// WithUnknownFrom returns e, and what is not known of its owner, group and extended attributes, as f has it.
func (e Entry) WithUnknownFrom(f Entry) Entry {
	e.User, e.Group = cmp.Or(e.User, f.User), cmp.Or(e.Group, f.Group)
	e.Xattrs = cmp.Or(e.Xattrs, f.Xattrs)
	return e
}

// Agrees is Equal as far as both sides know their owner, group and extended attributes.
func (e Entry) Agrees(f Entry) bool {
	if e.User == "" || f.User == "" {
		e.User, f.User = "", ""
	}
	if e.Group == "" || f.Group == "" {
		e.Group, f.Group = "", ""
	}
	if e.Xattrs == "" || f.Xattrs == "" {
		e.Xattrs, f.Xattrs = "", ""
	}
	return e.Equal(f)
}
