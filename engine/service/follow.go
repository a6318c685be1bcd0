package service

import (
	"cmp"
	"context"
	"errors"
	"time"

	"ensync/engine"
	"ensync/engine/config"
	"ensync/engine/remote"
	"ensync/engine/session"
)

// A Runner does one sync, by Service.Sync. It is called when one is due; what it returns ends the following.
type Runner func(ctx context.Context, req session.Request) error

// slowestPoll is how long a change in the store may go unnoticed, if the store does not tell. Who pays for each request
// waits longer.
var slowestPoll = map[config.ServerKind]time.Duration{
	config.ServerPath: 5 * time.Second, config.ServerShell: 10 * time.Second, config.ServerS3: 30 * time.Second,
}

// longestSleep is how long a machine may be awake again before that is noticed.
const longestSleep = 5 * time.Second

// follow syncs whenever something changed, here or in the store, until ctx ends or run fails.
func (s *Service) follow(ctx context.Context, run Runner) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also for what tells of the store
	notices, network := s.storeNotices(ctx), networkChanges(ctx)
	s.tellPace(func(p *pace) { p.now = true })
	for before := time.Now(); ; {
		now := time.Now()
		s.mu.Lock()
		if slept(now.Round(0).Sub(before.Round(0)), now.Sub(before)) {
			s.pace.woke()
		}
		before = now
		what, at := s.pace.next(now)
		if s.paused {
			what, at = nothing, now.Add(longestSleep)
		}
		s.mu.Unlock()
		if what != nothing && !at.After(now) {
			if err := s.step(ctx, what, run); err != nil {
				return err
			}
			if notices == nil { // the store may be back
				notices = s.storeNotices(ctx)
			}
			continue
		}
		if s.await(ctx, min(at.Sub(now), longestSleep), notices, network) {
			notices = nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// await waits until anything happens, or for some time. It reports whether notices were closed.
func (s *Service) await(ctx context.Context, atMost time.Duration, notices, network <-chan struct{}) (closed bool) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.localChanges():
		s.tellPace(func(p *pace) { p.changed(time.Now()) })
	case _, open := <-notices:
		s.noticed(open)
		return !open
	case <-network:
		s.tellPace((*pace).moved)
	case <-s.store.Back(): // who reads content was the first to notice
		s.tellPace((*pace).moved)
	case <-s.kick:
	case <-timer.C:
	}
	return false
}

func (s *Service) tellPace(tell func(*pace)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tell(&s.pace)
}

// step does what is due.
func (s *Service) step(ctx context.Context, what step, run Runner) error {
	if what == lookOnce {
		return s.look(ctx)
	}
	var req session.Request
	if what == syncAll && s.replica.Watch != nil {
		s.replica.Watch.Doubt()
		req.Workers = 1 // nobody waits for it
	}
	s.mu.Lock()
	local := !s.pace.first.IsZero() && !s.pace.now && s.pace.again.IsZero() && what == syncNow
	s.pace.seen()
	s.mu.Unlock()
	if local && !s.dirty(ctx) {
		return nil // the change was our own, or a sync that was asked for has seen it
	}
	return run(ctx, req)
}

// dirty reports whether anything here may have changed since the last sync.
func (s *Service) dirty(ctx context.Context) bool {
	dirty, err := s.replica.Client.Dirty(ctx, "")
	return dirty || err != nil
}

// localChanges gets a value after something changed here; nil if that can't be.
func (s *Service) localChanges() <-chan struct{} {
	switch {
	case s.replica.Watch != nil:
		return s.replica.Watch.Changed()
	case s.tree != nil:
		return s.tree.Changed()
	}
	return nil
}

// look asks the store whether there is something new. A sync that is under way is waited for: its commit is nothing new.
func (s *Service) look(ctx context.Context) error {
	select {
	case s.syncing <- struct{}{}:
		<-s.syncing
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	root := s.lastRoot()
	if root == nil { // no sync went through yet
		s.tellPace(func(p *pace) { p.polled(time.Now(), false, errors.New("not known")) })
		return nil
	}
	moved := false
	err := s.inReach(ctx, func() bool { return true }, func(ctx context.Context) (err error) {
		moved, err = root.Moved(ctx)
		return err
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var local error
	if s.replica.Identity != nil { // another tree in its place is told at once, not with the next edit
		_, local = s.replica.Identity()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if moved && (s.root != root || len(s.syncing) > 0) { // by a sync that began meanwhile, perhaps
		s.pace.lookSoon()
		return nil
	}
	s.pace.polled(time.Now(), moved, err)
	s.store.Reached(err)
	if err = cmp.Or(err, local); err == nil {
		return nil
	}
	s.missed(err)
	if s.strict {
		return err
	}
	return nil
}

// lastRoot is the root as it was after the last sync; nil before the first one.
func (s *Service) lastRoot() *remote.Encrypted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.root
}

// storeNotices returns what tells of changes in the store; nil if it can't be told, or no sync went through yet.
func (s *Service) storeNotices(ctx context.Context) <-chan struct{} {
	root := s.lastRoot()
	if root == nil || s.unnoticed {
		return nil
	}
	notices, err := root.Notify(ctx)
	if err != nil {
		s.unnoticed = errors.Is(err, errors.ErrUnsupported)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeTells = true
	s.pace.slowest = noticedPoll
	return notices
}

// noticed is told of a notice by the store, or that there will be no more.
func (s *Service) noticed(open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !open {
		s.storeTells = false
		s.pace.slowest = slowestPoll[s.store.Config.General.Server.Kind]
	}
	s.pace.lookSoon()
}

// kickNow lets follow look at what is due.
func (s *Service) kickNow() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// missed notes an error that kept a sync from going through. The lock is held.
func (s *Service) missed(err error) {
	s.lastErr = err
	s.store.Reached(err)
}

// synced notes how a sync ended.
func (s *Service) synced(req session.Request, root *remote.Encrypted, sum engine.Summary, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case err != nil:
		s.missed(err)
	case req.DryRun: // it leaves what it found to the next one
		return nil
	default:
		s.lastErr, s.last, s.root = nil, now, root
		s.store.Reached(nil)
	}
	s.pace.done(now, sum, err)
	return err
}
