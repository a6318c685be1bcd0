// Package localdir is an ordinary directory as a replica: it finds out what its user changed, and changes it without
// ever overwriting a change that it has not seen.
package localdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Hasher computes what a store would call some content. It reads r to its end and keeps nothing of it but the Data of
// inline content. It may be called concurrently.
type Hasher interface {
	Hash(ctx context.Context, r io.Reader) (object.Content, error)
}

// Options are the choices that have good defaults.
type Options struct {
	// Report, if set, is told of what a user should know although nothing failed: a cache that was lost, a version of a
	// file that was kept under another name. It may be called concurrently.
	Report func(message string)
	// Owner and Xattrs make it list and set owners and groups, and extended attributes.
	Owner, Xattrs bool
	// Changes, if set, knows where something may have changed. nil: anywhere.
	Changes Changes
	// Writers bounds how many files are written at once. 0 means twice the number of processors.
	Writers int
}

// Changes knows which directories of a tree changed. When in doubt, it says true. A watch.Watch is one.
type Changes interface {
	// Dirty reports whether anything in dir or below may have changed since the reconciler last looked there.
	Dirty(dir string) bool
}

// Dir is a directory tree on this machine. It implements replica.Client; methods may be called concurrently.
//
// Nothing that a Dir does leads out of its root: every path is resolved below a handle of the root, and no symbolic
// link is followed.
type Dir struct {
	root   *os.File
	path   string // for messages
	hasher Hasher
	report func(string)
	change Changes
	slots  chan struct{} // one per file being written
	owner  owner
	cache  *cache
	owners bool // are listed and set
	xattrs bool

	saidOwners sync.Once // that they can't be set here

	mu      sync.Mutex
	systems map[uint64]*fileSystem // by device
	states  states
	touched map[*fileSystem]bool // listed, read or written since the last Sync
	reads   map[string]row       // by path, files that were read to their end, whose content Learn is to tell
}

var (
	_ replica.Client  = (*Dir)(nil)
	_ replica.Learner = (*Dir)(nil)
)

// Open opens the directory root, which must exist. statePath is a SQLite file that remembers hashes; it is made if
// it is missing, made anew if it is damaged, and done without if another process has it. "" means none.
func Open(root string, statePath string, hasher Hasher, opt Options) (*Dir, error) {
	if opt.Report == nil {
		opt.Report = func(string) {}
	}
	if opt.Writers <= 0 {
		opt.Writers = 2 * runtime.NumCPU()
	}
	fd, err := openRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w; the directory to synchronise must exist and be readable", root, err)
	}
	d := &Dir{root: os.NewFile(uintptr(fd), root), path: root, hasher: hasher, report: opt.Report, change: opt.Changes,
		slots: make(chan struct{}, opt.Writers), owner: thisProcess(), owners: opt.Owner, xattrs: opt.Xattrs,
		systems: map[uint64]*fileSystem{}, states: newStates(), touched: map[*fileSystem]bool{}, reads: map[string]row{}}
	h, err := d.open("")
	if err != nil {
		return nil, errors.Join(err, d.root.Close())
	}
	h.close()
	d.cache = openCache(statePath, opt.Report)
	return d, nil
}

// Close gives back what Open took. What was learned since the last Sync is forgotten.
func (d *Dir) Close() error {
	err := d.cache.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fs := range d.systems {
		err = errors.Join(err, fs.close())
	}
	return errors.Join(err, d.root.Close())
}

// Dirty implements replica.Client. Without Changes, anything may have changed.
func (d *Dir) Dirty(ctx context.Context, dir string) (bool, error) {
	return d.change == nil || d.change.Dirty(dir), ctx.Err()
}

// handle is an open directory.
type handle struct {
	d    *Dir
	dir  string // path from the root
	file *os.File
	st   stat
	fs   *fileSystem

	wasRead bool // its names were
}

func (h *handle) fd() int { return int(h.file.Fd()) }
func (h *handle) close()  { h.file.Close() }

// path names an entry in messages.
func (h *handle) path(name string) string { return replica.Join(h.dir, name) }

// open opens a directory; replica.ErrNotExist if there is none, or if the way leads through a symbolic link.
func (d *Dir) open(dir string) (*handle, error) {
	for part := range strings.SplitSeq(dir, "/") {
		if dir != "" && !object.ValidName(part) {
			return nil, fmt.Errorf("open directory %q: %q is not a name", dir, part)
		}
	}
	fd, err := openBelow(int(d.root.Fd()), dir)
	if err != nil {
		if isNotDirectory(err) {
			err = fmt.Errorf("%w: %w", replica.ErrNotExist, err)
		}
		return nil, fmt.Errorf("open directory %q: %w", dir, err)
	}
	h := &handle{d: d, dir: dir, file: os.NewFile(uintptr(fd), dir)}
	if h.st, err = statFile(fd); err == nil {
		h.fs, err = d.system(fd, h.st.dev)
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("open directory %q: %w", dir, err)
	}
	return h, nil
}

// system returns the file system of an open directory.
func (d *Dir) system(fd int, dev uint64) (*fileSystem, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if fs := d.systems[dev]; fs != nil {
		return fs, nil
	}
	fs, err := newFileSystem(fd, dev)
	if err == nil {
		d.systems[dev] = fs
	}
	return fs, err
}

// touch remembers that the next Sync must cover a file system.
func (d *Dir) touch(fs *fileSystem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.touched[fs] = true
}

// Sync implements replica.Client. What was only listed or read is covered, too: the ancestor must not say "in sync" of a
// user's file that a power cut takes back. The hashes learned before are then written to the cache.
func (d *Dir) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	learned := d.states.snapshot()
	systems := d.touched
	d.touched = map[*fileSystem]bool{}
	d.mu.Unlock()

	var failed error
	for fs := range systems {
		if err := fs.sync(ctx); err != nil { // DURABLE: everything listed, read or applied
			failed = errors.Join(failed, fmt.Errorf("sync %q: %w", d.path, err))
			d.touch(fs)
		}
	}
	if failed != nil {
		return failed
	}
	if d.cache.save(learned) {
		d.mu.Lock()
		d.states.saved(learned)
		d.mu.Unlock()
	}
	return nil
}

// Save implements replica.Learner. A hash may be kept only of bytes that no power cut takes back.
func (d *Dir) Save(ctx context.Context) error {
	d.mu.Lock()
	unsaved := d.states.unsaved()
	d.mu.Unlock()
	if !unsaved {
		return ctx.Err()
	}
	return d.Sync(ctx)
}

// Settle implements replica.Client. What was remembered of directories that are agreed to be gone is dropped; until
// then it serves to recognise them at another place.
func (d *Dir) Settle(ctx context.Context, dir string, entries []object.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var gone []string
	for _, e := range entries {
		if e.Kind == object.Absent {
			gone = append(gone, replica.Join(dir, e.Name))
		}
	}
	if len(gone) > 0 {
		d.mu.Lock()
		d.states.forget(gone)
		d.mu.Unlock()
		d.cache.forget(gone)
	}
	return nil
}
