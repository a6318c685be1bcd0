package worktree

import (
	"context"
	"io"
	"time"

	"ensync/engine/plan"
	"ensync/engine/worktree/journal"
	"ensync/store/object"
)

// Blocks is content in the store. What it returns has been verified; it caches as it likes. Methods may be called
// concurrently, and end soon after their context.
type Blocks interface {
	// Open returns the bytes of c. It stays usable until Close, whatever becomes of ctx.
	Open(ctx context.Context, c object.Content) (Content, error)
	// Local tells how many bytes of c can be read without the network. It does not wait for that either.
	Local(ctx context.Context, c object.Content) (int64, error)
	// Hash computes the content that the store would know these bytes as.
	Hash(ctx context.Context, r io.Reader) (object.Content, error)
}

// Content is open content of the store.
type Content interface {
	// ReadAtContext is io.ReaderAt's, and ends with ctx; what is being fetched for nobody else then is called off.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	io.Closer
}

// Options tunes a tree. The zero value is right for use, apart from the owner.
type Options struct {
	UID, GID uint32 // own the root and what the reconciler creates
	// Owner and Xattrs show the reconciler owners and groups, and extended attributes.
	Owner, Xattrs bool
	Chown         bool // what the reconciler brings belongs to whom it says; a mount of root

	// Access tells what the user may do in a directory: nil, or why not. nil: everything, everywhere. It is called with
	// the tree's lock held, and must not wait for anything.
	Access func(dir string) (read, write error)

	Journal    journal.Options
	Inodes     int           // inodes kept in memory beyond those that must be; default 30 000
	Buffer     int64         // bytes of written data that may wait in memory; default 64 MiB
	Delay      time.Duration // how long what was written may be gone after a crash if nobody calls Fsync; default 1 s
	Checkpoint time.Duration // at most between two checkpoints; default 5 s
	Reserve    uint64        // bytes of the disk left free; default a 32nd of it, 16 to 256 MiB
	Space      func() (total, free uint64, err error)
	Unsynced   uint64                                            // bytes of content that may be here and not in the store yet; 0: what the disk has room for
	MakeRoom   func()                                            // removes what can be had again from the disk, before a write is refused; nil: there is nothing
	FreshName  func(name string, taken func(string) bool) string // names conflict copies; default plan.FreshName
	Now        func() time.Time
	OnError    func(error) // called in its own goroutine when the tree has failed; requests fail with the same error
	Eager      bool        // the reconciler's content is taken and verified at once, through Change.Source, not when it is read
	NoTimer    bool        // nothing happens by itself: for tests, which call Tick
}

func (o *Options) setDefaults(stateDir string) {
	if o.Inodes == 0 {
		o.Inodes = 30_000
	}
	if o.Buffer == 0 {
		o.Buffer = 64 << 20
	}
	if o.Delay == 0 {
		o.Delay = time.Second
	}
	if o.Journal.Flush == 0 {
		o.Journal.Flush = o.Delay * 3 / 4
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = 5 * time.Second
	}
	if o.Space == nil {
		o.Space = func() (uint64, uint64, error) { return diskSpace(stateDir) }
	}
	if o.Reserve == 0 {
		total, _, _ := o.Space() // if it fails, the first write tells
		o.Reserve = min(max(total/32, 16<<20), 256<<20)
	}
	if o.FreshName == nil {
		o.FreshName = plan.FreshName
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}
