// Package replica is the seam between the reconciler and the trees it keeps the same.
//
// Paths are relative to the root of the tree, '/'-separated raw bytes; "" is the root itself.
package replica

import (
	"context"
	"errors"
	"io"

	"ensync/store/object"
)

// Entry is one name in a directory of either side.
type Entry = object.Entry

// The results that the reconciler must be able to tell apart; replicas wrap them with path and cause.
var (
	// ErrNotExist says that the directory or entry asked for is not there (any more).
	ErrNotExist = errors.New("not there")
	// ErrChanged says that an entry is not as the caller expected it: someone else changed it meanwhile. Nothing
	// was done; the next look will see it.
	ErrChanged = errors.New("changed meanwhile")
	// ErrLost says that Commit was overtaken by another client: none of the changes since the last Commit hold.
	ErrLost = errors.New("another machine was faster")
)

// Change asks for one entry of a directory to become another. Exactly one of these holds:
// Old nil (create), New nil (remove), both set (update, possibly to another kind).
type Change struct {
	Old *Entry // what is there now, as listed; if it is not, the change is refused with ErrChanged
	New *Entry // what shall be there; New.Content may be unknown when Source is set
	// Rename, if not empty, moves Old to this name in the same directory; it must be free. New is then nil.
	Rename string
	// Source opens the content of New on the other side. nil when New is no file, or when content stays as it is.
	Source Source
	// Copy, if not nil, makes what the change leaves a conflict copy in a tree that can hold that, as a Server's can; a
	// zero one makes it none. With nil, it is one if it was.
	Copy *object.Copy
}

// Source opens content for a transfer. It may be called more than once.
type Source func(ctx context.Context) (io.ReadCloser, error)

// Result is what became of a Change.
type Result struct {
	Entry *Entry // what is there now, as the replica reports it back; nil after a removal
	Err   error  // nil: done
}

// Client is the tree on this machine. Methods may be called concurrently for different directories.
//
// Removing a directory removes only an empty one. Updating a non-directory to a directory, and back, is allowed where the
// directory is empty. Names that a store must not plant (object.ValidName) are refused.
type Client interface {
	// List returns the entries of a directory, sorted by name. An entry that can't be read is still listed, as far
	// as it is known. Content is Known where no reading is needed to know it.
	List(ctx context.Context, dir string) ([]Entry, error)

	// Dirty reports whether anything in dir or below may have changed since the last Settle of its entries. A replica
	// that can't know says true.
	Dirty(ctx context.Context, dir string) (bool, error)

	// Hash makes e's content known, as it was listed. ErrChanged if that is gone.
	Hash(ctx context.Context, dir string, e Entry) (Entry, error)

	// Open reads e's content as of one instant. Reading fails with ErrChanged, at the latest at the end of the file,
	// if what was read is not content that the file had while it was listed as e. A replica that still has that when the
	// file has changed goes on reading it, so that all that is read of a directory is of one instant.
	Open(ctx context.Context, dir string, e Entry) (io.ReadCloser, error)

	// Apply carries out changes to entries of one directory, each alone and atomically: whoever looks sees the old or
	// the new entry. A change by someone else between List and Apply is never overwritten.
	Apply(ctx context.Context, dir string, changes []Change) []Result

	// Sync returns when everything applied, and everything that was read by Open or Hash, is on stable storage.
	Sync(ctx context.Context) error

	// Settle tells, after a Sync, that the ancestor now holds these entries for dir: client and server agree on them.
	// An entry of kind Absent is agreed to be gone.
	Settle(ctx context.Context, dir string, entries []Entry) error
}

// Learner is a Client that can be told what content it was that Open read, and so need not hash it itself.
type Learner interface {
	// Learn says that what was last read by Open of an entry of that directory, to its end, is e.Content.
	Learn(dir string, e Entry)
	// Save keeps what was learned, here and by Hash, for later runs. It costs nothing where nothing new was.
	Save(ctx context.Context) error
}

// Peeker is a Client or Server that can be listed beside its work, at little cost and without effect: to see how much there is.
type Peeker interface {
	// Peek returns the entries of a directory, sorted by name, as far as they are known without reading content: a file's
	// size always is. e is the directory's entry, as Peek returned it; for the root it is not looked at. Of a Server it
	// shows what was committed when it was opened. It may be called concurrently with all other methods.
	Peek(ctx context.Context, dir string, e Entry) ([]Entry, error)
}

// Relocator is a Client or a Server that can move things from one directory to another.
type Relocator interface {
	// Relocate moves what is at from, a directory with all in it, to a path where nothing is; the directory there must exist,
	// and not lie in from. It is one step. Nothing was done on ErrNotExist, or on ErrChanged, which is returned if something
	// is at to, or if a file at from is not what e says; and on errors.ErrUnsupported, by who can't.
	Relocate(ctx context.Context, from, to string, e Entry) error
}

// Tracker is a Client that knows its directories again when a user moved them.
type Tracker interface {
	// Was returns where the directory at a path was when it was last agreed on, if that was somewhere else; "" if it was
	// not, or nobody knows.
	Was(ctx context.Context, dir string) (string, error)
}

// Historian is a Server that knows who made its entries what they are.
type Historian interface {
	// Author returns who committed an entry of the committed state as it is now, and when. It looks back only so far: the
	// author may be nobody.
	Author(ctx context.Context, dir string, e Entry) (object.Author, error)
}

// A Part of a commit is what becomes visible in one step.
type Part struct {
	Top string // of the domain
	Tag string
}

// Server is the tree in the store: one state that was committed, and the changes made on top of it since.
type Server interface {
	// List returns the entries of a directory, sorted by name, content always known.
	List(ctx context.Context, dir string) ([]Entry, error)

	// Mark returns what identifies the committed state of a directory and everything below: equal marks, equal trees.
	// It is empty if the directory is not in the committed state, or was changed since.
	Mark(ctx context.Context, dir string) (string, error)

	// Committed reports whether an entry, as listed, is part of the committed state rather than a change on top.
	Committed(ctx context.Context, dir string, name string) (bool, error)

	// Source returns what opens the content of a file that List showed.
	Source(e Entry) Source

	// Apply changes the tree on top of the committed state. Nothing of it holds before Commit.
	Apply(ctx context.Context, dir string, changes []Change) []Result

	// Leave says that dir and everything below it will not be asked for again before the next Commit. It returns the
	// mark that dir has from that Commit on; "" if dir was not touched since the last one.
	Leave(ctx context.Context, dir string) (mark string, err error)

	// Pending tells how much waits for Commit.
	Pending() (changes int, bytes int64)

	// Commit makes all changes durable and visible to others, those of one domain (see Divided) in one step. Before the
	// first step, when everything they need is durable, it calls prepare with the parts, each with a tag by which Happened
	// can be asked later. A part is made visible after those below it. ErrLost if another client was faster with one of
	// them: the replica has then dropped what is not visible and shows the others' state. Not concurrent with other calls.
	Commit(ctx context.Context, prepare func([]Part) error) error

	// Happened reports whether the commit of that tag is part of the server's history. Only then was it ever seen.
	Happened(ctx context.Context, tag string) (bool, error)
}
