// Package service is what runs behind a mount: a working tree that is synced on a timer, on request and at the end, and
// a socket on which other processes ask it.
package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/session"
	"ensync/engine/worktree"
)

// Options are what a command line adds.
type Options struct {
	// OnError is told when the tree has failed, and what a timed sync failed with. Texts may hold names of files.
	OnError func(error)
}

// Service is a mounted tree with its background.
type Service struct {
	store  *session.Store
	mount  *session.Mounted
	opt    Options
	socket string

	syncing sync.Mutex // one sync at a time

	mu      sync.Mutex // guards what follows
	last    time.Time  // of the last sync that went through
	lastErr error      // of the last sync; nil: it went through
	since   time.Time  // when the store went out of reach; zero: it is in reach
	paused  bool
	ending  *ending
}

// An ending is an unmount that was asked for.
type ending struct {
	noSync  bool
	report  func(engine.Event)
	started chan struct{}
	done    chan struct{} // closed when all was given back
	sum     engine.Summary
	err     error
}

// Open opens the mount's state for an open store, which it does not own.
func Open(ctx context.Context, st *session.Store, opt Options) (*Service, error) {
	if opt.OnError == nil {
		opt.OnError = func(error) {}
	}
	m, err := st.OpenMounted(ctx, opt.OnError)
	if err != nil {
		return nil, err
	}
	s := &Service{store: st, mount: m, opt: opt}
	if s.socket, err = socketPath(st.Config.Dir); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return s, nil
}

// Tree is what a mount shows.
func (s *Service) Tree() *worktree.Tree { return s.mount.Tree }

// Close makes everything durable and gives the state back.
func (s *Service) Close(context.Context) error { return s.mount.Close() }

// Run syncs on the configured timer and answers on the socket, until the tree is unmounted: by a request, because ctx
// ended, or because somebody unmounted it (then unmounted closes). It returns after the last sync; unmount is what takes
// the tree away from the kernel, and may fail while somebody uses it.
func (s *Service) Run(ctx context.Context, unmount func(context.Context) error, unmounted <-chan struct{}) error {
	l, err := listen(s.socket)
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	asked := make(chan *ending)
	var conns sync.WaitGroup
	conns.Go(func() { s.accept(run, l, asked) })
	conns.Go(func() { s.timer(run) })
	err = s.wait(ctx, unmount, unmounted, asked)
	stop()
	err = errors.Join(err, l.Close())
	conns.Wait()
	return err
}

// wait returns when the tree is unmounted and the last sync is over.
func (s *Service) wait(ctx context.Context, unmount func(context.Context) error, unmounted <-chan struct{}, asked <-chan *ending) error {
	for {
		e := &ending{done: make(chan struct{})}
		select {
		case <-unmounted:
			return s.finish(e)
		case <-ctx.Done():
			// A signal: the tree goes at once, whoever uses it.
			err := unmount(context.WithoutCancel(ctx))
			if err != nil {
				s.opt.OnError(err)
			}
			return errors.Join(err, s.finish(e))
		case e = <-asked:
		}
		// First most of the work, while the tree can still be used and the request be called off.
		e.sum, e.err = s.endSync(e)
		if err := unmount(context.WithoutCancel(ctx)); err != nil {
			e.err = err
			close(e.done)
			continue
		}
		return s.finish(e)
	}
}

// finish is the last sync, when nobody can change the tree any more.
func (s *Service) finish(e *ending) error {
	sum, err := s.endSync(e)
	add(&e.sum, sum)
	if e.err == nil {
		e.err = err
	}
	close(e.done)
	return nil // what was not synced is in the tree's state, and said by whoever asked
}

func (s *Service) endSync(e *ending) (engine.Summary, error) {
	if e.noSync {
		return engine.Summary{}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSync)
	defer cancel()
	return s.Sync(ctx, session.Request{Report: e.report})
}

// lastSync bounds a sync at the end; what it does not reach is synced after the next mount.
const lastSync = 24 * time.Hour

func add(sum *engine.Summary, more engine.Summary) {
	counts := func(a *engine.Counts, b engine.Counts) {
		a.Created += b.Created
		a.Updated += b.Updated
		a.Deleted += b.Deleted
		a.Bytes += b.Bytes
	}
	counts(&sum.In, more.In)
	counts(&sum.Out, more.Out)
	sum.Conflicts += more.Conflicts
	sum.Copies += more.Copies
	sum.Examined += more.Examined
	sum.Unsynced, sum.Failed = more.Unsynced, more.Failed
}

// Sync syncs now. Calls wait for each other.
func (s *Service) Sync(ctx context.Context, req session.Request) (engine.Summary, error) {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	root, err := s.store.OpenRoot(ctx)
	if err != nil {
		return engine.Summary{}, s.synced(err)
	}
	sum, err := s.store.Sync(ctx, s.mount.Replica, root, req)
	if closing := root.Close(); err == nil {
		err = closing
	}
	return sum, s.synced(err)
}

// synced notes how a sync ended.
func (s *Service) synced(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr = err; err == nil {
		s.last, s.since = time.Now(), time.Time{}
	} else if unreachable(err) && s.since.IsZero() {
		s.since = time.Now()
	}
	return err
}

// timer syncs every interval. After a failure it waits longer, up to the larger of ten minutes and ten intervals.
func (s *Service) timer(ctx context.Context) {
	interval := s.store.Config.Mount.Interval
	if interval <= 0 {
		return
	}
	wait := interval
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = interval
		if s.isPaused() {
			continue
		}
		if _, err := s.Sync(ctx, session.Request{}); err != nil && ctx.Err() == nil {
			s.opt.OnError(err)
			wait = min(wait*2, max(10*time.Minute, 10*interval))
		}
	}
}

func (s *Service) isPaused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused
}

// Status is what a mount tells of itself.
type Status struct {
	Mounted   bool             `json:"mounted"`
	Syncing   bool             `json:"syncing"`
	Paused    bool             `json:"paused"`
	LastSync  time.Time        `json:"last_sync,omitzero"`     // the last that went through
	LastError string           `json:"last_error,omitempty"`   // of the last sync, if it failed
	Offline   time.Time        `json:"offline_since,omitzero"` // since when the store is out of reach
	Pending   Pending          `json:"pending"`                // what is only on this machine
	Failed    string           `json:"failed,omitempty"`       // why the tree takes no more changes; mount again
	Issues    []ancestor.Issue `json:"issues"`                 // what is not in sync, and why
}

// Pending is what was changed here and is not in the store yet.
type Pending struct {
	Names int       `json:"names"`
	Bytes uint64    `json:"bytes"`
	Since time.Time `json:"since,omitzero"`
}

// Status tells how things are now.
func (s *Service) Status(ctx context.Context) (Status, error) {
	issues, err := s.mount.Ancestor.Issues(ctx)
	if err != nil {
		return Status{}, err
	}
	tree, err := s.mount.Tree.Status(ctx)
	if err != nil {
		return Status{}, err
	}
	st := Status{Mounted: true, Issues: issues, Pending: Pending{Names: tree.Names, Bytes: tree.Bytes, Since: tree.Since}}
	if tree.Err != nil {
		st.Failed = tree.Err.Error()
	}
	if s.syncing.TryLock() {
		s.syncing.Unlock()
	} else {
		st.Syncing = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Paused, st.LastSync, st.Offline = s.paused, s.last, s.since
	if s.lastErr != nil {
		st.LastError = s.lastErr.Error()
	}
	return st, nil
}
