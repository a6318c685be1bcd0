// Package pipe is the backend behind a command: `shell:`. A client starts the command, which connects it with an
// `ensync server` (on another machine, if the command is ssh), and speaks HTTP/2 with it over the command's standard
// input and output. So requests run side by side on one connection.
//
// The server speaks first, one line, so that neither side takes a shell or a greeting for the other:
//
//	ensync-server 1 1 v0.3.0      lowest and highest version of the protocol, version of the program
//
// What the server writes before that line is somebody else's, and is skipped. From then on both speak HTTP/2. In
// version 1 of the protocol these are the requests:
//
//	GET    /1/object/NAME?offset=O&length=L   Get
//	PUT    /1/object/NAME                     Put; the body is the content
//	DELETE /1/object/NAME                     Delete
//	GET    /1/state/NAME                      Load; header Ensync-Version
//	PUT    /1/state/NAME                      Swap; header Ensync-Version: the old version, and in the answer the new one
//	GET    /1/list/PREFIX?after=NAME          List; lines "NAME SIZE NANOSECONDS", the last one "."
//	POST   /1/place                           makes an empty store at the server's place
//	GET    /1/place                           nothing: a probe of the connection
//
// An answer that is no success carries the header Ensync-Error, one of the words in kinds, with the status that
// belongs to it, and a sentence for people. Anything else means that nothing is known.
//
// Neither side trusts the other: names, versions, sizes and the memory that an answer or a request may take are
// bounded on both.
package pipe

import (
	"errors"
	"io"
	"net/http"

	"ensync/store/backend"
	safe "ensync/store/internal/printable"
)

// The versions of the protocol that this program speaks.
const (
	lowest  = 1
	highest = 1
)

const (
	prefix        = "/1/"
	objectPath    = prefix + "object/"
	statePath     = prefix + "state/"
	listPath      = prefix + "list/"
	placePath     = prefix + "place"
	errorHeader   = "Ensync-Error"
	versionHeader = "Ensync-Version"
)

// The bounds of what goes over the wire.
const (
	// MaxObject bounds an object, in bytes: more than the largest pack or index record.
	MaxObject = 64 << 20
	// maxState bounds a mutable object, as package dir does.
	maxState   = 16 << 20
	maxVersion = 256 // bytes
	maxText    = 1000
	maxHeaders = 16 << 10

	// inFlight bounds the requests of one client at a time.
	inFlight = 128
	// uploading bounds the bytes that a client has in flight; a server's memory bounds the bodies it takes in at a
	// time. A client that keeps to its bound never waits for a server that keeps to it, so they can't block each other.
	uploading    = 128 << 20
	serverMemory = 256 << 20

	// The windows of HTTP/2: what may be under way unread, for one request and for all. At 100 ms per round trip the
	// second one allows 640 MiB/s.
	streamWindow = 16 << 20
	connWindow   = 64 << 20
	frameSize    = 256 << 10
)

// kinds are the errors that cross the wire as what they are.
var kinds = []struct {
	word   string
	status int
	err    error
}{
	{"not-exist", http.StatusNotFound, backend.ErrNotExist},
	{"exist", http.StatusConflict, backend.ErrExist},
	{"changed", http.StatusPreconditionFailed, backend.ErrChanged},
	{"denied", http.StatusForbidden, backend.ErrDenied},
	{"full", http.StatusInsufficientStorage, backend.ErrFull},
	{"invalid", http.StatusBadRequest, backend.ErrInvalid},
	{"short", http.StatusRequestedRangeNotSatisfiable, io.ErrUnexpectedEOF},
	{"no-place", http.StatusServiceUnavailable, backend.ErrNoPlace}, // before unavailable, which it comes with
	{"unavailable", http.StatusServiceUnavailable, backend.ErrUnavailable},
}

// kindOf returns the word and the status for an error. What has no word of its own is unavailable: nothing is known.
func kindOf(err error) (word string, status int) {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.word, k.status
		}
	}
	return "unavailable", http.StatusServiceUnavailable
}

// A refusal is an error that the server told. It is what its kind is.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string {
	switch {
	case r.kind == backend.ErrNotExist || r.kind == backend.ErrExist || r.kind == backend.ErrChanged || r.text == "":
		return r.kind.Error()
	}
	return r.kind.Error() + " (the server says: " + r.text + ")"
}

func (r *refusal) Unwrap() []error {
	if r.kind == backend.ErrNoPlace {
		return []error{r.kind, backend.ErrUnavailable}
	}
	return []error{r.kind}
}

// parseRefusal reads an error of the server. nil says that it makes no sense.
func parseRefusal(word string, status int, text []byte) *refusal {
	for _, k := range kinds {
		if k.word == word && k.status == status {
			return &refusal{k.err, printable(string(text))}
		}
	}
	return nil
}

// printable makes text of the other side harmless.
func printable(text string) string { return safe.Text(text, maxText) }

// validVersion reports whether a version may stand in a header. The zero Version is not among them.
func validVersion(v string) bool {
	for i := range len(v) {
		if v[i] <= ' ' || v[i] > '~' {
			return false
		}
	}
	return v != "" && len(v) <= maxVersion
}
