package service

import (
	"context"
	"time"

	"ensync/engine"
	"ensync/engine/session"
	"ensync/engine/worktree"
)

// Content is how much content a mounted tree has, and where it is.
type Content struct {
	worktree.Amount
	session.Space
	AsOf  time.Time
	took  time.Duration
	stale bool // a sync has changed something since
}

const (
	countPatience = time.Second // how long a status waits for a new count
	countShare    = 20          // counting takes at most one part in so many of the time, unless it is quick
	countAge      = 2 * time.Second

	pinShare  = 20               // as countShare, of looking after what is pinned
	spaceLook = 10 * time.Second // how often the cache is made to look whether its disk is full
)

// count counts content whenever somebody asks, until ctx ends.
func (s *Service) count(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case done := <-s.countAsked:
			began := time.Now()
			c := Content{AsOf: began}
			var err error
			if c.Amount, err = s.tree.Amount(ctx); err == nil {
				c.Space, err = s.mounted.Space(ctx)
			}
			c.took = time.Since(began)
			s.mu.Lock()
			if err == nil {
				s.content = c
			}
			s.mu.Unlock()
			close(done)
		}
	}
}

// counted returns the last count, which is a new one if that takes no time to speak of.
func (s *Service) counted(ctx context.Context) Content {
	s.mu.Lock()
	last := s.content
	s.mu.Unlock()
	if !last.stale && time.Since(last.AsOf) < max(countAge, countShare*last.took) {
		return last
	}
	done := make(chan struct{})
	select {
	case s.countAsked <- done:
		select {
		case <-done:
		case <-ctx.Done():
		case <-time.After(countPatience):
		}
	default: // somebody is counting
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content
}

// keepPinned brings what is pinned, after each sync that may have changed it, until ctx ends. It also lets the cache give way
// when others fill the disk.
func (s *Service) keepPinned(ctx context.Context) {
	look := time.NewTicker(spaceLook)
	defer look.Stop()
	rest := time.NewTimer(0) // the first time at once
	defer rest.Stop()
	due, rested := true, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			_ = s.mounted.GiveWay(ctx) // then it is tried again
		case <-rest.C:
			rested = true
		case <-s.pinKick:
			due = true
		}
		if !due || !rested {
			continue
		}
		began := time.Now()
		_, _ = s.pinRound(ctx, func(engine.Event) {}) // status tells
		rest.Reset(pinShare * time.Since(began))
		due, rested = false, false
	}
}

// pinRound brings what is pinned, now.
func (s *Service) pinRound(ctx context.Context, report func(engine.Event)) (engine.Summary, error) {
	p, sum, err := s.mounted.KeepPinned(ctx, report)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() == nil {
		s.pinned, s.pinErr = p, err
	}
	return sum, err
}

// lacksPinned reports whether something that is pinned could not be brought.
func (s *Service) lacksPinned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pinErr != nil
}

// kickPins says that what is pinned may have to be fetched.
func (s *Service) kickPins() {
	select {
	case s.pinKick <- struct{}{}:
	default:
	}
}

// lazy answers requests about content.
func (s *Service) lazy(ctx context.Context, req request, report func(engine.Event)) (a answer, err error) {
	if s.mounted == nil {
		return a, ErrNotRunning
	}
	paths := make([]string, 0, len(req.Paths))
	for _, p := range req.Paths {
		paths = append(paths, string(p))
	}
	switch req.Op {
	case "fetch":
		a.Summary, err = s.mounted.Fetch(ctx, paths, report)
	case "pin":
		if err = s.mounted.Pin(ctx, paths); err == nil {
			a.Summary, err = s.pinRound(ctx, report)
			s.kickPins() // for what came meanwhile, and if this was called off
		}
	case "unpin":
		err = s.mounted.Unpin(ctx, paths)
		s.kickPins()
	case "pins":
		paths, err = s.mounted.Pins(ctx)
		for _, p := range paths {
			a.Paths = append(a.Paths, []byte(p))
		}
	}
	return a, err
}

// Fetch lets the mount bring content to this machine, and reports what it tells.
func (c *Client) Fetch(ctx context.Context, paths []string, report func(engine.Event)) (engine.Summary, error) {
	return c.lazy(ctx, "fetch", paths, report)
}

// Pin lets the mount keep content on this machine, and bring it.
func (c *Client) Pin(ctx context.Context, paths []string, report func(engine.Event)) (engine.Summary, error) {
	return c.lazy(ctx, "pin", paths, report)
}

// Unpin lets the mount drop what was pinned, when its room is needed.
func (c *Client) Unpin(ctx context.Context, paths []string) error {
	_, err := c.lazy(ctx, "unpin", paths, nil)
	return err
}

// Pins lists what is pinned.
func (c *Client) Pins(ctx context.Context) (paths []string, err error) {
	a, err := c.ask(ctx, request{Op: "pins"}, nil)
	for _, p := range a.Paths {
		paths = append(paths, string(p))
	}
	return paths, err
}

func (c *Client) lazy(ctx context.Context, op string, paths []string, report func(engine.Event)) (engine.Summary, error) {
	req := request{Op: op}
	for _, p := range paths {
		req.Paths = append(req.Paths, []byte(p))
	}
	a, err := c.ask(ctx, req, report)
	return a.Summary, err
}
