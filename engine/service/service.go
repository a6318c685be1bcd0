// Package service is what runs behind a mount, or watches a directory: a tree that is synced when something changed, on
// request and at the end, and a socket on which other processes ask it.
package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/remote"
	"ensync/engine/session"
	"ensync/engine/worktree"
)

// Options are what a command line adds.
type Options struct {
	// OnError is told when the tree has failed, and what a sync in the background failed with. Texts may hold names of files.
	OnError func(error)
	// Settle is for how long a watched directory must be quiet before it is synced.
	Settle time.Duration
}

// Service is a tree with its background.
type Service struct {
	store   *session.Store
	replica *session.Replica
	tree    *worktree.Tree // of a mount; nil if the replica is a directory
	opt     Options
	socket  listener
	began   time.Time
	strict  bool // an error ends it; else it goes on

	syncing    chan struct{}      // holds one value while a sync runs
	kick       chan struct{}      // follow should look at what is due
	mounted    *session.Mounted   // nil if the replica is a directory
	countAsked chan chan struct{} // see count
	pinKick    chan struct{}      // see keepPinned
	unnoticed  bool               // the store can't tell of changes; only follow uses it

	mu         sync.Mutex // guards what follows
	pace       pace
	root       *remote.Encrypted // as it was after the last sync
	storeTells bool              // the store tells of changes
	shown      Mount             // what shows the tree; nil before Run
	last       time.Time         // of the last sync that went through
	lastErr    error             // of the last sync; nil: it went through
	paused     bool
	content    Content        // as last counted
	pinned     session.Pinned // as of the last round
	pinErr     error          // of that
	release    func()         // ends the last sync; nil before the tree is unmounted
	waiting    []net.Conn     // of who asked for the end, and waits until it has come

	hurried atomic.Int32 // of those who ask for a sync and wait for it
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
	opt.Settle = DefaultSettle
	s, err := open(st, m.Replica, opt)
	if err != nil {
		return nil, err
	}
	s.tree, s.mounted, s.pace.longest = m.Tree, m, st.Config.Mount.Interval
	return s, nil
}

// fullLook is how often a watched directory is looked at from top to bottom, for edits of which the kernel tells nothing.
const fullLook = time.Hour

// Watch is Open for a replica that is no mount, which it owns from now on. Requests wait until Follow answers them.
func Watch(st *session.Store, r *session.Replica, opt Options) (*Service, error) {
	s, err := open(st, r, opt)
	if err != nil {
		return nil, err
	}
	s.strict, s.pace.longest, s.pace.all = true, fullLook, true
	return s, nil
}

func open(st *session.Store, r *session.Replica, opt Options) (*Service, error) {
	st.ForgetEarly() // who asks for a sync wants to see what was in the store when they asked
	past, err := r.Standing(context.Background())
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	s := &Service{last: past.LastSync, store: st, replica: r, opt: opt, began: time.Now(), syncing: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		countAsked: make(chan chan struct{}), pinKick: make(chan struct{}, 1),
		pace: pace{random: fullJitter, settle: opt.Settle, poll: firstPoll, slowest: slowestPoll[st.Config.General.Server.Kind]}}
	if s.socket, err = listen(st.Config.Dir); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return s, nil
}

// Tree is what a mount shows.
func (s *Service) Tree() *worktree.Tree { return s.tree }

// Close makes everything durable and gives the state back. Who asked for the end hears of it then.
func (s *Service) Close(context.Context) error {
	err := ignoreMissing(os.Remove(s.socket.path)) // while no other process can have taken it
	err = errors.Join(err, s.replica.Close(), s.socket.Close())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.waiting {
		c.Close()
	}
	s.waiting = nil
	return err
}

// Run syncs in the background and answers on the socket, until the tree is unmounted: by a request, because ctx
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
	background.Go(func() { s.count(run) })
	background.Go(func() { s.keepPinned(run) })
	if s.pace.longest > 0 { // else only on request
		background.Go(func() { s.follow(run, s.inBackground) })
	}
	err := s.wait(ctx, m, asked)
	stop()
	background.Wait()
	return err
}

// Follow syncs by sync whenever something changed, and answers on the socket, until ctx ends or something fails.
func (s *Service) Follow(ctx context.Context, sync Runner) error {
	run, stop := context.WithCancel(ctx)
	defer stop()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		s.accept(run, nil)
	}()
	err := s.follow(ctx, sync)
	stop()
	<-accepted
	return err
}

// inBackground is a sync of a mount that nobody waits for. What it failed with is tried again.
func (s *Service) inBackground(ctx context.Context, req session.Request) error {
	_, err := s.Sync(ctx, req)
	if err != nil && ctx.Err() == nil {
		s.opt.OnError(err)
	}
	return context.Cause(ctx)
}

// wait returns when the tree is unmounted and the last sync is over.
func (s *Service) wait(ctx context.Context, m Mount, asked <-chan *ending) error {
	for {
		select {
		case <-m.Done():
			if err := s.syncAfter(ctx, &ending{}); err != nil && ctx.Err() == nil {
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
		e.err = s.syncAfter(both, e) // what was changed since; now nobody can
	}
	return true
}

// syncAfter is the last sync of a tree that is unmounted. A mount that is to take its place calls it off.
func (s *Service) syncAfter(ctx context.Context, e *ending) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.release = cancel
	s.mu.Unlock()
	return s.lastSync(ctx, e)
}

func (s *Service) lastSync(ctx context.Context, e *ending) error {
	if e.noSync {
		return nil
	}
	s.hurried.Add(1)
	defer s.hurried.Add(-1)
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
	if err := s.syncAfter(ctx, &ending{}); err != nil {
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
	root, sum, err := s.syncOnce(ctx, req)
	if s.tree != nil {
		s.show(ctx)
	}
	err = s.synced(req, root, sum, err)
	s.kickNow()
	if s.mounted != nil && err == nil && (sum.In != engine.Counts{} || sum.Out != engine.Counts{} || s.lacksPinned()) {
		s.kickPins()
		s.mu.Lock()
		s.content.stale = true
		s.mu.Unlock()
	}
	return sum, err
}

func (s *Service) syncOnce(ctx context.Context, req session.Request) (root *remote.Encrypted, sum engine.Summary, err error) {
	err = s.inReach(ctx, func() bool { return s.hurried.Load() > 0 }, func(watched context.Context) error {
		if root, err = s.store.OpenRoot(watched); err != nil {
			return err
		}
		sum, err = s.store.Sync(watched, s.replica, root, req)
		if err != nil && s.tree != nil {
			_ = s.tree.Save(ctx) // what it set aside would take room until the next one; it has no error
		}
		if closing := root.Close(); err == nil {
			err = closing
		}
		return err
	})
	return root, sum, err
}

// inReach calls fn, and ends it when the store has been silent for too long.
func (s *Service) inReach(ctx context.Context, hurry func() bool, fn func(context.Context) error) error {
	watched, stop := s.store.Watch(ctx, hurry)
	defer stop()
	err := fn(watched)
	if silent := context.Cause(watched); err != nil && unreachable(silent) {
		return silent
	}
	return err
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
	case <-s.tree.Told():
	case <-m.Done():
	case <-ctx.Done():
	}
}

// LastError is why the last sync failed; nil if it went through. Unlike Status, it looks at nothing in the tree.
func (s *Service) LastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// Failed is what a mount tells of a request that it answered with EIO; see fusefs.Options.OnError.
func (s *Service) Failed(op string, ino worktree.Ino, err error) {
	s.store.Reached(err)
	s.opt.OnError(fmt.Errorf("%s of inode %d: %w", strings.ToLower(op), ino, err))
}

// Status is what a mount tells of itself.
type Status struct {
	Mounted   bool             `json:"mounted"`
	Watch     *Watching        `json:"watch,omitempty"` // nil: nobody notices changes
	Syncing   bool             `json:"syncing"`
	Paused    bool             `json:"paused"`
	LastSync  time.Time        `json:"last_sync,omitzero"`     // the last that went through
	LastError string           `json:"last_error,omitempty"`   // of the last sync, if it failed
	Ending    bool             `json:"ending,omitempty"`       // it is unmounted, and syncs once more
	Offline   time.Time        `json:"offline_since,omitzero"` // since when the store is out of reach
	Silence   string           `json:"offline_reason,omitempty"`
	Pending   Pending          `json:"pending"`             // what is only on this machine
	Failed    string           `json:"failed,omitempty"`    // why the tree takes no more changes; mount again
	Issues    []ancestor.Issue `json:"issues"`              // what is not in sync, and why
	Content   *Content         `json:"content,omitempty"`   // of a mounted tree; nil: not counted yet
	Pinned    session.Pinned   `json:"pinned"`              // of a mounted tree
	PinError  string           `json:"pin_error,omitempty"` // why not all that is pinned is here
}

// Watching tells how changes are noticed.
type Watching struct {
	Since  time.Time `json:"since"`
	Method string    `json:"method"`           // here: "mount", which knows what is changed through it; a watch.Method; or "none"
	Reason string    `json:"reason,omitempty"` // why no better one is used
	Told   bool      `json:"told"`             // the store tells of changes; else it is asked again and again
}

// Pending is what was changed here and is not in the store yet.
type Pending struct {
	Names int       `json:"names"`
	Bytes uint64    `json:"bytes"`
	Since time.Time `json:"since,omitzero"`
}

// Status tells how things are now.
func (s *Service) Status(ctx context.Context) (Status, error) {
	st, err := s.brief(ctx)
	if err != nil || s.tree == nil {
		return st, err
	}
	tree, err := s.tree.Status(ctx)
	if err != nil {
		return Status{}, err
	}
	st.Pending = Pending{Names: tree.Names, Bytes: tree.Bytes, Since: tree.Since}
	if tree.Err != nil {
		st.Failed = tree.Err.Error()
	}
	if c := s.counted(ctx); !c.AsOf.IsZero() {
		st.Content = &c
	}
	return st, nil
}

// brief is the part of Status that looks at nothing in the tree: without Pending, Failed and Content.
func (s *Service) brief(ctx context.Context) (Status, error) {
	issues, err := s.replica.Ancestor.Issues(ctx)
	if err != nil {
		return Status{}, err
	}
	st := Status{Mounted: s.tree != nil, Issues: issues, Syncing: len(s.syncing) > 0, Watch: s.watching()}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Paused, st.LastSync, st.Ending = s.paused, s.last, s.release != nil
	st.Pinned = s.pinned
	if s.pinErr != nil {
		st.PinError = s.pinErr.Error()
	}
	st.Mounted = st.Mounted && !st.Ending
	var why error
	if st.Offline, why = s.store.Offline(); why != nil {
		st.Silence = why.Error()
	}
	if s.lastErr != nil {
		st.LastError = s.lastErr.Error()
	}
	return st, nil
}

func (s *Service) watching() *Watching {
	s.mu.Lock()
	w := &Watching{Since: s.began, Told: s.storeTells, Method: "none"}
	paused := s.paused || s.pace.longest == 0
	s.mu.Unlock()
	switch {
	case paused:
		return nil
	case s.tree != nil:
		w.Method = "mount"
	case s.replica.Watch != nil:
		state := s.replica.Watch.State()
		w.Method, w.Reason = string(state.Method), state.Reason
	}
	return w
}
