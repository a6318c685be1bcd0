// Package backend is the seam between a store and where it lies: a flat space of named objects.
//
// Everything clever is in the client. A directory, a program behind a pipe and an S3 bucket differ in nothing but
// how they keep these promises, and all pass the one conformance suite in backendtest.
//
// Names are lower-case ASCII letters, digits, '.', '-' and '/'; no part is empty or starts or ends with '.'; CheckName
// says it exactly, and every backend refuses other names with ErrInvalid. No immutable object's name is the directory
// of another's (never both "a" and "a/b"). Two kinds of object exist, and a name is only ever of one kind:
//
//   - immutable objects, created by Put, read by Get, never changed;
//   - small mutable objects, read by Load, replaced by Swap.
package backend

import (
	"context"
	"errors"
	"time"
)

// The results that a caller must be able to tell apart. Backends wrap them with the object's name and the cause.
var (
	// ErrNotExist says that the object is certainly not there. A time-out, a refusal or an answer that does not
	// parse is never this error: absence is only what the backend is sure of.
	ErrNotExist = errors.New("no such object")
	// ErrExist says that Put found an object of that name.
	ErrExist = errors.New("object exists already")
	// ErrChanged says that Swap found another version than the one it was to replace.
	ErrChanged = errors.New("object was changed by someone else")
	// ErrDenied says that the backend refused: permissions, a read-only medium, an append-only server.
	ErrDenied = errors.New("permission denied")
	// ErrUnavailable says that nothing is known: the backend is out of reach, answers nonsense or is broken.
	ErrUnavailable = errors.New("store is out of reach")
	// ErrFull says that there is no room: a full disk or a quota. Nothing of the object was kept.
	ErrFull = errors.New("no space left in the store")
	// ErrNoPlace says that nothing marks the place as that of a store: there may never have been one, or a drive is not
	// mounted. It comes together with ErrUnavailable, because nobody can tell which.
	ErrNoPlace = errors.New("no store at this place")
	// ErrInvalid says that the call itself is wrong (a name, a range); no backend will ever accept it.
	ErrInvalid = errors.New("invalid request")
)

// Version identifies one state of a mutable object. It is opaque, and never repeats for other content.
// The zero Version means "not there".
type Version string

// Info describes one object in a List.
type Info struct {
	Name    string
	Size    int64     // bytes
	ModTime time.Time // as the backend tells it; never trusted for safety
}

// Backend is a flat space of named objects. All methods may be called concurrently, from any number of processes
// and machines. Every method returns within 200 ms of its context's end.
type Backend interface {
	// Get returns length bytes of an immutable object from offset, or all of the rest if length is negative.
	// Fewer bytes than asked for is an error (io.ErrUnexpectedEOF). ErrNotExist only when that is certain.
	Get(ctx context.Context, name string, offset, length int64) ([]byte, error)

	// Put creates an immutable object. It is durable when Put returns nil, and it appears whole or not at all.
	// ErrExist if there is one of that name; nothing is ever overwritten.
	Put(ctx context.Context, name string, data []byte) error

	// Load returns a mutable object and its version. ErrNotExist only when that is certain.
	Load(ctx context.Context, name string) ([]byte, Version, error)

	// Swap replaces a mutable object if it still has version old; the zero Version creates it. The new content is
	// durable when Swap returns nil. ErrChanged if someone was faster. A lost answer is resolved by reading back.
	Swap(ctx context.Context, name string, old Version, data []byte) (Version, error)

	// List calls fn for every object whose name starts with prefix, in ascending order of names. An error of fn
	// ends it. Mutable objects appear once, under their own name.
	List(ctx context.Context, prefix string, fn func(Info) error) error

	// Delete removes an object of either kind; one that is not there is success.
	Delete(ctx context.Context, name string) error

	// Location says where this is, for messages, without secrets.
	Location() string

	// Close gives back what the backend holds. No call may follow.
	Close() error
}

// Renewer is a Backend that can make an immutable object as young as if it had been put just now, for the sake of rules
// that delete by age.
type Renewer interface {
	// Renew does that if the object is there and holds data, and changes nothing otherwise. An error that wraps ErrChanged
	// says that it holds something else; errors.ErrUnsupported, that there is no way here.
	Renew(ctx context.Context, name string, data []byte) error
}

// Prober is a Backend that knows whether anything still moves between here and where it lies. An object that takes long
// over a slow line is no sign of silence.
type Prober interface {
	// Probe returns nil as soon as anything comes from there or is taken there, and makes a small request for that, which
	// waits for no other. It never retries.
	Probe(ctx context.Context) error
}

// Notifier is a Backend that may be able to tell of others' changes by itself. Nobody relies on it: a notice that is
// missing costs time, and nothing else.
type Notifier interface {
	// Notify returns what gets a value soon after a mutable object was changed, and is closed when that can't be told any
	// more, at the latest when ctx ends. errors.ErrUnsupported where it can't be told at all.
	Notify(ctx context.Context, name string) (<-chan struct{}, error)
}
