package replica

import (
	"errors"
	"strings"

	"ensync/store/object"
)

// ErrNotAllowed says that something is for others: what the name of a directory, or of one above, tells.
var ErrNotAllowed = errors.New("not for this passphrase")

// Domain is the part of a tree that begins with a directory which chooses groups by its name, up to the next such ones
// below. It is committed in one step.
type Domain struct {
	Top         string // path of the directory that it begins with
	Read, Write string // names of the groups
}

// Divided is a Server whose directories may be for different groups.
type Divided interface {
	// Domain returns what a directory belongs to, or would if it were there; an error if a name makes no sense.
	Domain(dir string) (Domain, error)
	// MayRead returns nil, or why this client may not see what is in a domain, an ErrNotAllowed.
	MayRead(d Domain) error
	// MayWrite is MayRead for changes.
	MayWrite(d Domain) error
}

// Below returns the domain of a directory, given the one above it.
func (d Domain) Below(dir, name string) (Domain, error) {
	if !object.HasGroups(name) {
		return d, nil
	}
	read, write, err := object.ParseGroups(name, d.Read, d.Write)
	return Domain{Top: Join(dir, name), Read: read, Write: write}, err
}

// DomainOf returns the domain of a directory in a tree.
func DomainOf(top Domain, dir string) (Domain, error) {
	if !object.HasGroups(dir) {
		return top, nil
	}
	for at := 0; ; {
		n := strings.IndexByte(dir[at:], '/')
		if n < 0 {
			return top.Below(dir[:max(at-1, 0)], dir[at:])
		}
		var err error
		if top, err = top.Below(dir[:max(at-1, 0)], dir[at:at+n]); err != nil {
			return top, err
		}
		at += n + 1
	}
}

// A Seat is what must stay the same for something to be moved rather than made anew: the domain that it is in and, of a
// directory that begins one, the groups of that.
type Seat struct {
	In     Domain
	Begins bool
	Domain // without Top
}

// SeatOf returns the seat of a name.
func SeatOf(d Divided, dir, name string, kind object.Kind) (Seat, error) {
	in, err := d.Domain(dir)
	if err != nil || kind != object.Directory {
		return Seat{In: in, Domain: Domain{Read: in.Read, Write: in.Write}}, err
	}
	own, err := in.Below(dir, name)
	own.Top = ""
	return Seat{In: in, Begins: object.HasGroups(name), Domain: own}, err
}
