// Package service is what runs behind a mount: a working tree that is synced on a timer, on request and at the end, and
// a socket on which other processes ask it.
package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
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
	socket *net.UnixListener

	syncing chan struct{} // holds one value while a sync runs

	mu      sync.Mutex // guards what follows
	shown   Mount      // what shows the tree; nil before Run
	last    time.Time  // of the last sync that went through
	lastErr error      // of the last sync; nil: it went through
	since   time.Time  // when the store went out of reach; zero: it is in reach
	paused  bool
	waiting []net.Conn // of who asked for the end, and waits until it has come
}

// Mount is what shows the tree to the kernel. fusefs.Server is one.
type Mount interface {
	// Unmount takes the tree away, and fails while it is in use.
	Unmount(context.Context) error
	// Detach takes it away from where it is mounted, also from under its users, and does not wait for them.
	Detach(context.Context) error
	// Done is closed when the kernel has let go of the tree, whoever unmounted it.
	Done() <-chan struct{}
}

// An ending is an unmount that was asked for.
type ending struct {
	ctx    context.Context // ends when who asked hangs up
	noSync bool
	report func(engine.Event)
	done   chan struct{} // closed when the tree is unmounted and synced, or goes on
	sum    engine.Summary
	err    error
}

// Open opens the mount's state for an open store, which it does not own, and takes the socket. Requests wait there until
// Run answers them.
func Open(ctx context.Context, st *session.Store, opt Options) (*Service, error) {
	if opt.OnError == nil {
		opt.OnError = func(error) {}
	}
	m, err := st.OpenMounted(ctx, opt.OnError)
	if err != nil {
		return nil, err
	}
	s := &Service{store: st, mount: m, opt: opt, syncing: make(chan struct{}, 1)}
	path, err := socketPath(st.Config.Dir)
	if err == nil {
		s.socket, err = listen(path)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return s, nil
}

// Tree is what a mount shows.
func (s *Service) Tree() *worktree.Tree { return s.mount.Tree }

// Close makes everything durable and gives the state back. Who asked for the end hears of it then.
func (s *Service) Close(context.Context) error {
	err := ignoreMissing(os.Remove(s.socket.Addr().String())) // while no other process can have taken it
	err = errors.Join(err, s.mount.Close(), s.socket.Close())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.waiting {
		c.Close()
	}
	s.waiting = nil
	return err
}

// Run syncs on the configured timer and answers on the socket, until the tree is unmounted: by a request, because ctx
// ended, or because somebody unmounted it. It returns after the last sync, or soon after ctx ended.
func (s *Service) Run(ctx context.Context, m Mount) error {
	s.mu.Lock()
	s.shown = m
	s.mu.Unlock()
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	asked := make(chan *ending)
	var background sync.WaitGroup
	background.Go(func() { s.accept(run, asked) })
	background.Go(func() { s.timer(run) })
	err := s.wait(ctx, m, asked)
	stop()
	background.Wait()
	return err
}

// wait returns when the tree is unmounted and the last sync is over.
func (s *Service) wait(ctx context.Context, m Mount, asked <-chan *ending) error {
	for {
		select {
		case <-m.Done():
			if err := s.lastSync(ctx, &ending{ctx: ctx}); err != nil && ctx.Err() == nil {
				s.opt.OnError(err)
			}
			return nil // what was not synced stays in the tree's state
		case <-ctx.Done():
			return s.stopNow(m)
		case e := <-asked:
			ended := s.end(ctx, m, e)
			close(e.done)
			if ended {
				return nil // what went wrong is said by whoever asked
			}
		}
	}
}

// end does what an unmount asks for and reports whether the tree is unmounted. Until then the request can be called off.
func (s *Service) end(ctx context.Context, m Mount, e *ending) bool {
	both, cancel := context.WithCancel(e.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	e.err = s.lastSync(both, e) // most of the work, while the tree can still be used
	if err := both.Err(); err != nil {
		e.err = fmt.Errorf("%w: %w", ErrMounted, err)
		return false
	}
	if err := m.Unmount(both); err != nil {
		e.err = fmt.Errorf("%w: %w", ErrMounted, err)
		return false
	}
	if e.err == nil {
		e.err = s.lastSync(both, e) // what was changed since; now nobody can
	}
	return true
}

func (s *Service) lastSync(ctx context.Context, e *ending) error {
	if e.noSync {
		return nil
	}
	sum, err := s.Sync(ctx, session.Request{Report: e.report})
	add(&e.sum, sum)
	return err
}

// afterSignal bounds the sync after a signal: a system that is going down kills who takes longer than a minute or two.
const afterSignal = 30 * time.Second

// stopNow ends a mount that was told to end at once, whoever uses it.
func (s *Service) stopNow(m Mount) error {
	ctx, cancel := context.WithTimeout(context.Background(), afterSignal)
	defer cancel()
	if err := m.Unmount(ctx); err != nil {
		s.opt.OnError(fmt.Errorf("%w; it ends all the same", err))
		if err := m.Detach(ctx); err != nil {
			return err
		}
	}
	if err := s.lastSync(ctx, &ending{}); err != nil {
		s.opt.OnError(err)
	}
	return nil
}

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

// Sync syncs now. Calls wait for each other. When it returns, whoever looks at the mount sees what came from the store.
func (s *Service) Sync(ctx context.Context, req session.Request) (engine.Summary, error) {
	select {
	case s.syncing <- struct{}{}:
	case <-ctx.Done():
		return engine.Summary{}, ctx.Err()
	}
	defer func() { <-s.syncing }()
	root, err := s.store.OpenRoot(ctx)
	if err != nil {
		return engine.Summary{}, s.synced(err)
	}
	sum, err := s.store.Sync(ctx, s.mount.Replica, root, req)
	if closing := root.Close(); err == nil {
		err = closing
	}
	s.show(ctx)
	return sum, s.synced(err)
}

// show waits until the kernel has been told of every change so far.
func (s *Service) show(ctx context.Context) {
	s.mu.Lock()
	m := s.shown
	s.mu.Unlock()
	if m == nil {
		return
	}
	select {
	case <-s.mount.Tree.Told():
	case <-m.Done():
	case <-ctx.Done():
	}
}

// Failed is what a mount tells of a request that it answered with EIO; see fusefs.Options.OnError.
func (s *Service) Failed(op string, ino worktree.Ino, err error) {
	s.mu.Lock()
	if unreachable(err) && s.since.IsZero() {
		s.since = time.Now()
	}
	s.mu.Unlock()
	s.opt.OnError(fmt.Errorf("%s of inode %d: %w", strings.ToLower(op), ino, err))
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
		if s.isPaused() {
			continue
		}
		_, err := s.Sync(ctx, session.Request{})
		if err == nil || ctx.Err() != nil {
			wait = interval
			continue
		}
		s.opt.OnError(err)
		wait = min(wait*2, max(10*time.Minute, 10*interval))
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
	st.Syncing = len(s.syncing) > 0
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Paused, st.LastSync, st.Offline = s.paused, s.last, s.since
	if s.lastErr != nil {
		st.LastError = s.lastErr.Error()
	}
	return st, nil
}
