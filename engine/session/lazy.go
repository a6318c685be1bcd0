package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"ensync/engine"
	"ensync/engine/config"
	"ensync/engine/replica"
	"ensync/engine/worktree"
	"ensync/store"
	"ensync/store/backend"
	"ensync/store/cache"
)

// pinnedName is where pinned content lies, in the directory of a mount's state.
const pinnedName = "pinned"

// fetchFiles is how many files are fetched side by side.
const fetchFiles = 8

// Pinned is how much is pinned, as of the last look at it.
type Pinned struct {
	Files int
	Bytes uint64 // of content
	Full  bool   // not all of it is here, because [mount] cache has no room
}

// Fetch brings the content of files, and of all files below directories, to this machine. A file that fails is reported and
// counted, and the others go on. It fetches nothing if that would be more than the cache can hold.
func (m *Mounted) Fetch(ctx context.Context, paths []string, report func(engine.Event)) (engine.Summary, error) {
	all := newFileSet(nil)
	for _, path := range paths {
		if err := m.Tree.Files(ctx, path, all.add); err != nil {
			return engine.Summary{}, err
		}
	}
	files := all.list
	pinned, _ := m.store.cache.Pinned()
	if need, room := total(files), m.store.Config.Mount.Cache-pinned; need > room {
		return engine.Summary{}, fmt.Errorf("fetch: %d bytes are more than the cache keeps of what is not pinned, which is %d; "+
			"raise cache in the table [mount] of %s, or fetch less at a time", need, max(0, room), m.configFile())
	}
	return m.fetch(ctx, files, nil, report)
}

// Pin pins files, and directories with all that is or will be in them. Nothing is pinned if it is more than may be.
func (m *Mounted) Pin(ctx context.Context, paths []string) error {
	was, err := m.pinnedFiles(ctx)
	if err != nil {
		return err
	}
	all := newFileSet(was)
	for _, path := range paths {
		if err := m.Tree.Files(ctx, path, all.add); err != nil {
			return err
		}
	}
	if _, most := m.store.cache.Pinned(); len(all.list) > len(was) && total(all.list) > most {
		return fmt.Errorf("pin: all that is pinned would be %d bytes, and %d may be, nine tenths of the cache; "+
			"raise cache in the table [mount] of %s, or pin less", total(all.list), most, m.configFile())
	}
	for _, path := range paths {
		if err := m.Tree.Pin(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// Unpin lets files and directories be dropped again when their room is needed.
func (m *Mounted) Unpin(ctx context.Context, paths []string) error {
	for _, path := range paths {
		was, err := m.Tree.Unpin(ctx, path)
		if err == nil && !was {
			err = fmt.Errorf("unpin %q: it is not pinned", path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Pins lists what is pinned.
func (m *Mounted) Pins(ctx context.Context) (paths []string, err error) {
	err = m.Tree.Pins(ctx, func(path string, _ bool) error {
		paths = append(paths, path)
		return nil
	})
	return paths, err
}

// KeepPinned brings what is pinned and not here, and lets go of what is pinned no longer.
func (m *Mounted) KeepPinned(ctx context.Context, report func(engine.Event)) (Pinned, engine.Summary, error) {
	files, err := m.pinnedFiles(ctx)
	if err != nil {
		return Pinned{}, engine.Summary{}, err
	}
	p := Pinned{Files: len(files), Bytes: uint64(total(files))}
	if size, _ := m.store.cache.Pinned(); len(files) == 0 && size == 0 {
		return p, engine.Summary{}, nil
	}
	round, err := m.store.cache.BeginRound(ctx)
	if err != nil {
		return p, engine.Summary{}, err
	}
	sum, err := m.fetch(ctx, files, round, report)
	p.Full = errors.Is(err, cache.ErrFull) || errors.Is(err, store.ErrNotKept)
	return p, sum, errors.Join(err, round.End(ctx, sum.Failed == 0 && (err == nil || p.Full)))
}

// pinnedFiles lists the files that are pinned. What is pinned and not there is passed over.
func (m *Mounted) pinnedFiles(ctx context.Context) ([]worktree.File, error) {
	all := newFileSet(nil)
	pins, err := m.Pins(ctx)
	for _, path := range pins {
		if err == nil {
			err = m.Tree.Files(ctx, path, all.add)
		}
		if errors.Is(err, replica.ErrNotExist) {
			err = nil
		}
	}
	return all.list, err
}

// fileSet holds each file once.
type fileSet struct {
	list []worktree.File
	has  map[string]bool
}

func newFileSet(files []worktree.File) *fileSet {
	s := &fileSet{has: map[string]bool{}}
	for _, f := range files {
		s.add(f)
	}
	return s
}

func (s *fileSet) add(f worktree.File) error {
	if !s.has[f.Path] {
		s.has[f.Path] = true
		s.list = append(s.list, f)
	}
	return nil
}

func total(files []worktree.File) (sum int64) {
	for _, f := range files {
		sum += int64(f.Size)
	}
	return sum
}

// fetch fetches files side by side, and pins them if there is a round. Only what concerns all of them is an error.
func (m *Mounted) fetch(ctx context.Context, files []worktree.File, round *cache.Round, report func(engine.Event)) (engine.Summary, error) {
	f := &fetch{report: report}
	plan := engine.Plan{In: engine.Counts{Updated: len(files), Bytes: total(files)}, Whole: true}
	f.tell(engine.Event{Kind: engine.Planned, Plan: &plan})
	var keep store.Keeper
	if round != nil {
		keep = round
	}
	all, each := errgroup.WithContext(ctx)
	all.SetLimit(fetchFiles)
	for _, file := range files {
		if each.Err() != nil {
			break
		}
		all.Go(func() error { return f.file(each, m.store, file, keep) })
	}
	return f.sum, cmp.Or(all.Wait(), ctx.Err())
}

// fetch is one fetch of many files.
type fetch struct {
	mu     sync.Mutex
	report func(engine.Event)
	sum    engine.Summary
}

func (f *fetch) tell(e engine.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report(e)
}

func (f *fetch) file(ctx context.Context, s *Store, file worktree.File, keep store.Keeper) error {
	var here int64
	var err error
	if file.Base.Known {
		err = s.Fetch(ctx, file.Base, keep, func(n int64) {
			f.mu.Lock()
			defer f.mu.Unlock()
			here += n
			f.report(engine.Event{Kind: engine.Moving, Side: engine.Local, Path: file.Path, Bytes: here})
		})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.sum.In.Updated++
		f.sum.In.Bytes += int64(file.Size)
		f.report(engine.Event{Kind: engine.Updated, Side: engine.Local, Path: file.Path})
		f.report(engine.Event{Kind: engine.Transfer, Side: engine.Local, Path: file.Path, Bytes: int64(file.Size)})
		return nil
	}
	err = fmt.Errorf("fetch %q: %w", file.Path, err)
	for _, all := range []error{ctx.Err(), backend.ErrUnavailable, cache.ErrFull, store.ErrNotKept} {
		if all != nil && errors.Is(err, all) {
			return err
		}
	}
	f.sum.Failed++
	f.report(engine.Event{Kind: engine.Error, Side: engine.Local, Path: file.Path, Err: err})
	return nil
}

func (m *Mounted) configFile() string { return filepath.Join(m.store.Config.Dir, config.FileName) }

// Space is what the tree of a mount takes on this machine, and may take.
type Space struct {
	Cache, CacheMost   int64 // bytes of the cache, with what is pinned
	Pinned, PinnedMost int64 // of them
}

// Space tells what content takes. It looks at each piece of the cache.
func (m *Mounted) Space(ctx context.Context) (Space, error) {
	c := m.store.cache
	size, _, err := c.Size(ctx)
	s := Space{CacheMost: m.store.Config.Mount.Cache}
	s.Pinned, s.PinnedMost = c.Pinned()
	s.Cache = size + s.Pinned
	return s, err
}

// GiveWay lets the cache give way if others have filled its disk.
func (m *Mounted) GiveWay(ctx context.Context) error { return m.store.cache.GiveWay(ctx) }
