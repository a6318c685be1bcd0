// Package dir is the backend that keeps a store in a plain directory: `path:`, and what `ensync server` serves.
//
// An immutable object is a file of its own name. A mutable object is a series of numbered files in the directory
// NAME@; creating the next number is the compare-and-swap, so there are no locks, and any file system that can create
// a name only once will do (ext4, xfs, btrfs, NFS, exFAT). '@' is in no object's name, so nothing here can be taken
// for something else:
//
//	@layout                              says that this is a store, and of which layout
//	@tmp/RANDOM                          being written; never read; removed when older than a week
//	format, packs/ab/RANDOM              immutable objects
//	roots/ID@/00000000000000000017       state 17 of the mutable object roots/ID; the last eight are kept
//	roots/ID@/00000000000000000018@claim used only where neither links nor exclusive renames exist
//
// Everything is reached through an os.Root that is opened for each call: no name leads out of the store, absence is
// certain because it was seen inside the store, and between calls nothing keeps a drive from being unmounted.
//
// A directory that a program such as Syncthing or Dropbox copies between machines is not one directory: two machines
// can create the same number. Their conflict copies are ignored here.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ensync/store/backend"
)

const (
	layoutName = "@layout"
	layoutText = "ensync store in a directory, layout 1\n"
	tmpName    = "@tmp"
	tmpMaxAge  = 7 * 24 * time.Hour

	// inFlight bounds the calls in the kernel, so that a dead network file system costs that many threads and no more.
	inFlight = 128
	// closeWait bounds how long Close waits for calls that were given up but are still in the kernel.
	closeWait = 2 * time.Second
)

// Dir is a store in a directory. It implements backend.Backend. It holds no file open between calls.
type Dir struct {
	path   string
	slots  chan struct{}
	calls  sync.WaitGroup
	looked atomic.Bool // that it is a store
	known  sync.Map    // directories whose own entry is known to be durable; keys are paths in the store

	mu     sync.Mutex
	how    publisher // how a name is made only once here; nil until the first write
	forced publisher // set by tests before the first call: instead of what the probe finds
}

// Create makes an empty store at path, with the parents that are missing, all of mode 0700. It is durable when Create
// returns nil. A store that is there already is success, so that several may create it at once; a directory with
// other files in it is an error that wraps fs.ErrExist.
func Create(path string) error {
	if err := create(path); err != nil {
		return fmt.Errorf("create store %s: %w", path, classify(err))
	}
	return nil
}

func create(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := makeAll(path); err != nil {
		return err
	}
	r, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.Lstat(layoutName); err == nil {
		return nil
	}
	if err := onlyOurs(r); err != nil {
		return err
	}
	if err := r.Mkdir(tmpName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	tmp, err := writeTemp(&lease{}, r, []byte(layoutText))
	if err != nil {
		return err
	}
	// Whoever else creates the store at this moment writes the same bytes: replacing is harmless.
	if err := renameTo(r, tmp, layoutName, (*os.Root).Rename); err != nil {
		r.Remove(tmp)
		return err
	}
	return syncDir(r, ".") // DURABLE: the mark and the directory of temporaries
}

// onlyOurs refuses a directory that somebody uses for something else. Hidden files are no use: file managers leave
// them on every new drive.
func onlyOurs(r *os.Root) error {
	entries, err := readDir(r, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && name != tmpName && name != layoutName && name != "lost+found" {
			return fmt.Errorf("%w: the directory is not empty (%q is in it); choose an empty or a new one", fs.ErrExist, name)
		}
	}
	return nil
}

// makeAll is os.MkdirAll with mode 0700 that makes what it makes durable.
func makeAll(path string) error {
	err := os.Mkdir(path, 0o700)
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path:
		if err := makeAll(filepath.Dir(path)); err != nil {
			return err
		}
		if err = os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		if st, statErr := os.Stat(path); statErr == nil && st.IsDir() {
			return nil // on a read-only file system, for one, mkdir does not say "exists"
		}
		return err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil // a directory that may be entered but not read cannot be synced either
	}
	defer parent.Close()
	return ignoreUnsupported(fsync(parent)) // DURABLE: the new directory's entry
}

// Open opens the store at path, which Create made. It removes temporary files that are older than a week. It writes
// nothing else, so a store on a read-only medium opens.
func Open(path string) (*Dir, error) {
	d, err := At(path)
	if err != nil {
		return nil, err
	}
	r, err := d.root()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return d, r.Close()
}

// At is Open for a store that may be out of reach: the first call that finds something there looks whether that is one.
func At(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, classify(err))
	}
	return &Dir{path: abs, slots: make(chan struct{}, inFlight)}, nil
}

// look makes sure that r is a store. Once is enough: absent tells when it is none any more.
func (d *Dir) look(r *os.Root) error {
	layout, err := readFile(r, layoutName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.vanished(err)
	case err != nil:
		return fmt.Errorf("%s: %w", d.path, classify(err))
	case string(layout) != layoutText:
		return fmt.Errorf("%s: %w: its %s is %.80q, not %q; a newer version of ensync may have made it",
			d.path, backend.ErrUnavailable, layoutName, layout, layoutText)
	}
	if d.looked.CompareAndSwap(false, true) {
		removeOldTemps(r)
	}
	return nil
}

// Probe implements backend.Prober. Nothing tells how far a file system has got with a long call.
func (d *Dir) Probe(ctx context.Context) error {
	_, err := call(ctx, d, "reach", d.path, func(_ *lease, r *os.Root) (struct{}, error) { return struct{}{}, d.look(r) })
	return err
}

// removeOldTemps removes what killed writers left. Who cannot remove them has lost nothing but room.
func removeOldTemps(r *os.Root) {
	entries, err := readDir(r, tmpName)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := tmpName + "/" + e.Name()
		if st, err := r.Lstat(name); err == nil && time.Since(st.ModTime()) > tmpMaxAge {
			r.RemoveAll(name)
		}
	}
}

// Location implements backend.Backend: the directory's absolute path.
func (d *Dir) Location() string { return d.path }

// Close waits until no call is in the kernel any more, at most two seconds: a call that its caller gave up may hang
// there, on a network file system that does not answer. Nothing that such a call does later changes an object.
func (d *Dir) Close() error {
	done := make(chan struct{})
	go func() { d.calls.Wait(); close(done) }()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("close store %s: %w: the file system does not answer", d.path, backend.ErrUnavailable)
	}
}

// root opens the directory for one call.
func (d *Dir) root() (*os.Root, error) {
	r, err := os.OpenRoot(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, d.vanished(err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, classify(err))
	}
	if !d.looked.Load() {
		if err := d.look(r); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// absent turns "not there" below r into the certain ErrNotExist, if r still is the store and not what is left of its
// place after the drive went away.
func (d *Dir) absent(r *os.Root) error {
	_, err := r.Lstat(layoutName)
	switch {
	case err == nil:
		return backend.ErrNotExist
	case errors.Is(err, fs.ErrNotExist):
		return d.vanished(err)
	}
	return classify(err)
}

func (d *Dir) vanished(err error) error {
	return fmt.Errorf("%w: %w %s: is the drive mounted, and is the path right? (%v)", backend.ErrUnavailable, backend.ErrNoPlace, d.path, err)
}

// A lease connects a caller with the goroutine that works for it. When the caller's context ends, the caller leaves at
// once, even if the kernel does not: from then on its bytes are not read, and nothing is published in its name.
type lease struct {
	mu        sync.Mutex
	abandoned bool
}

// hold runs fn, which must not block, unless the caller has left.
func (l *lease) hold(fn func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.abandoned {
		return context.Canceled // seen by nobody
	}
	fn()
	return nil
}

func (l *lease) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abandoned = true
}

// call runs op with the store's directory open, and returns when op or the context has ended, whichever is first.
// Errors are given a class and the object's name.
func call[T any](ctx context.Context, d *Dir, what, name string, op func(*lease, *os.Root) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	fail := func(err error) (T, error) { return none, fmt.Errorf("%s %s: %w", what, name, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	l := &lease{}
	done := make(chan result, 1)
	d.calls.Go(func() {
		defer func() { <-d.slots }()
		r, err := d.root()
		if err != nil {
			done <- result{err: err}
			return
		}
		defer r.Close()
		value, err := op(l, r)
		done <- result{value, err}
	})
	select {
	case res := <-done:
		if res.err != nil {
			return fail(classify(res.err))
		}
		return res.value, nil
	case <-ctx.Done():
		l.abandon()
		return fail(ctx.Err())
	}
}
