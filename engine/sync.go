package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/object"
)

// Config says what to reconcile and how.
type Config struct {
	Client   replica.Client
	Server   replica.Server
	Ancestor *ancestor.DB
	Rules    *rules.Set

	Workers int  // directories worked on at once; 0: 8
	All     bool // look at every directory, also where nothing seems to have changed (strategy clean)
	DryRun  bool // change nothing, report what would be done
	// ConfirmLoss lets a sync go on that the loss guard would stop.
	ConfirmLoss bool
	// Resolve are what a user has decided about single paths.
	Resolve map[string]Decision
	// Estimate lets events tell how much is to be done. It costs another listing of what is new.
	Estimate bool
	// Begin, if not nil, is called once, before the ancestor hears of anything new.
	Begin   func(context.Context) error
	Machine string // how this machine calls itself, for whoever finds a conflict copy
	// Report is told what happens; never concurrently. nil: nobody listens.
	Report func(Event)
	// Barrier limits; zero values: 20 000 changes, 1 GiB, 2 minutes.
	BarrierChanges int
	BarrierBytes   int64
	BarrierTime    time.Duration
	// FreshName names what moves aside; nil: plan.FreshName.
	FreshName func(name string, taken func(string) bool) string
}

// ErrLoss is what the loss guard returns: nothing was changed.
var ErrLoss = errors.New("stopped by the loss guard")

// maxRounds bounds how often one sync starts over because of what others do meanwhile.
const maxRounds = 64

func (c *Config) fill() {
	if c.Workers <= 0 {
		c.Workers = 8
	}
	if c.BarrierChanges <= 0 {
		c.BarrierChanges = 20_000
	}
	if c.BarrierBytes <= 0 {
		c.BarrierBytes = 1 << 30
	}
	if c.BarrierTime <= 0 {
		c.BarrierTime = 2 * time.Minute
	}
	if c.FreshName == nil {
		c.FreshName = plan.FreshName
	}
}

// Sync reconciles the two trees once. When it returns nil, everything that it did is durable on both sides and
// recorded; what it could not do is in the summary, and in the ancestor's issues. On an error, what was done up to the
// last barrier holds, and the next sync goes on from there.
func Sync(ctx context.Context, cfg Config) (Summary, error) {
	cfg.fill()
	s := &syncer{Config: cfg, tries: map[string]int{}, dirt: map[string]bool{}, aside: map[string]object.Copy{},
		stopPlan: func() {}}
	if !cfg.DryRun {
		if err := s.recover(ctx); err != nil {
			return s.sum, err
		}
	}
	err := s.run(ctx)
	if err == nil && s.resettle {
		err = s.settled(ctx)
	}
	if err == nil && !cfg.DryRun {
		err = s.countIssues(ctx)
	}
	if learner, ok := s.Client.(replica.Learner); ok && err == nil && !cfg.DryRun {
		err = learner.Save(ctx) // also after a sync that had nothing to do
	}
	return s.sum, err
}

// recallIssues makes this sync look at all that earlier ones could not bring in sync, whether it changed or not.
func (s *syncer) recallIssues(ctx context.Context) error {
	list, err := s.Ancestor.Issues(ctx)
	s.stale, s.authors, s.copied = map[string]bool{}, map[string]object.Author{}, map[string]bool{}
	for _, i := range list { // an issue is of a name, or of the directory itself
		if i.Kind == ancestor.Copied {
			s.copied[replica.Parent(i.Path)] = true
		}
		if i.InSync() {
			continue
		}
		s.stale[i.Path], s.stale[replica.Parent(i.Path)] = true, true
		if i.Kind == ancestor.Conflicted {
			s.authors[i.Path] = i.Author
		}
	}
	for path := range s.Resolve {
		s.stale[path], s.stale[replica.Parent(path)] = true, true
	}
	return err
}

// forgetIssues drops the issues of directories that nobody came across: they are gone.
func (s *syncer) forgetIssues(ctx context.Context) error {
	gone := ancestor.Update{Issues: map[string][]ancestor.Issue{}}
	for dir := range s.stale {
		above := dir
		for above != "" && !s.dirt[above] {
			above = replica.Parent(above)
		}
		if !s.dirt[above] {
			gone.Issues[dir] = nil
		}
	}
	return s.Ancestor.Commit(ctx, gone)
}

// countIssues counts everything that is not in sync, also what this sync did not look at.
func (s *syncer) countIssues(ctx context.Context) error {
	if err := s.forgetIssues(ctx); err != nil {
		return err
	}
	list, err := s.Ancestor.Issues(ctx)
	s.sum.Failed, s.sum.Unsynced = 0, 0
	for _, i := range list {
		switch {
		case i.Kind == ancestor.Failed:
			s.sum.Failed++
		case !i.InSync():
			s.sum.Unsynced++
		}
	}
	return err
}

// A syncer is one sync: as many passes over the trees as it takes.
type syncer struct {
	Config
	reporting sync.Mutex // one event at a time
	sum       Summary
	resettle  bool // the client missed what an earlier sync agreed on, so this one looks at all and tells it again
	// Guarded by the lock of the pass under way:
	tries    map[string]int         // per directory, how often a pass came back to it
	dirt     map[string]bool        // directories that the last visit left unclean
	copied   map[string]bool        // directories with conflict copies that are directories themselves, perhaps
	stale    map[string]bool        // directories of which old issues are known, and that nobody looked at yet
	stopPlan func()                 // ends the counting in the background
	begun    bool                   // Begin was called; the world's lock guards it
	aside    map[string]object.Copy // what moved aside on this machine in a conflict, by its new path

	authors map[string]object.Author // of the store's versions of old conflicts, by path
}

// run plans, guards and applies, until nothing is left that a further pass could do.
func (s *syncer) run(ctx context.Context) error {
	if s.DryRun {
		p := s.newPass(true, nil)
		err := p.walk(ctx)
		s.take(p)
		return err
	}
	if err := s.recallIssues(ctx); err != nil {
		return err
	}
	work, err := s.guard(ctx)
	defer func() { s.stopPlan() }()
	if err != nil {
		return err
	}
	if work != nil && len(work) == 0 {
		return nil
	}
	for round := 0; ; round++ {
		p := s.newPass(false, work)
		err := p.walk(ctx)
		if err == nil {
			err = p.barrier(ctx)
		}
		s.take(p)
		switch {
		case errors.Is(err, replica.ErrLost) && round < maxRounds:
			s.report(Event{Kind: Overtaken})
			if err := pause(ctx, round); err != nil {
				return err
			}
			if work, err = s.guard(ctx); err != nil {
				return err
			}
			if work != nil && len(work) == 0 {
				return nil
			}
		case err != nil:
			return err
		case len(p.again) == 0 || round >= maxRounds:
			return nil
		default:
			work = p.again
		}
	}
}

// pause waits longer the more often others were faster, with full jitter.
func pause(ctx context.Context, round int) error {
	limit := min(10*time.Millisecond<<min(round, 8), 2*time.Second)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(limit)):
		return nil
	}
}

// take adds a pass's counts. What the pass left for another one is not counted as failed.
func (s *syncer) take(p *pass) {
	s.sum.In.add(p.sum.In)
	s.sum.Out.add(p.sum.Out)
	s.sum.Conflicts += p.sum.Conflicts
	s.sum.Copies += p.sum.Copies
	s.sum.Examined += p.sum.Examined
	s.sum.Unsynced += p.sum.Unsynced
	s.sum.Failed += p.sum.Failed
}

func (s *syncer) report(e Event) {
	if s.Report != nil {
		s.reporting.Lock()
		defer s.reporting.Unlock()
		s.Report(e)
	}
}

// recover settles what an unclean stop left half recorded.
func (s *syncer) recover(ctx context.Context) error {
	err := s.Ancestor.Recover(ctx, func(ctx context.Context, tag string) (bool, error) {
		if m, ok := parseMoveTag(tag); ok {
			return s.moved(ctx, m)
		}
		return s.Server.Happened(ctx, tag)
	})
	if err != nil {
		return fmt.Errorf("settle what the last sync left: %w", err)
	}
	if err := s.recoverAnnounced(ctx); err != nil {
		return err
	}
	unsettled, err := s.Ancestor.Unsettled(ctx)
	if unsettled {
		s.All, s.resettle = true, true
	}
	return err
}

// moved reports whether the client's entry was moved before the unclean stop. If something has its old name again, or one
// of the two can't be looked at, nobody can tell, and it was not: then both names are looked at for themselves.
func (s *syncer) moved(ctx context.Context, m ancestor.Move) (bool, error) {
	from, err := s.kindAt(ctx, m.From)
	if err != nil {
		return false, unlessLocal(err)
	}
	to, err := s.kindAt(ctx, m.To)
	return err == nil && to != object.Absent && from != to, unlessLocal(err)
}

// kindAt returns what the client has at a path.
func (s *syncer) kindAt(ctx context.Context, path string) (object.Kind, error) {
	dir, name := replica.Split(path)
	list, err := s.Client.List(ctx, dir)
	if errors.Is(err, replica.ErrNotExist) {
		return object.Absent, nil
	}
	for _, e := range list {
		if e.Name == name {
			return e.Kind, err
		}
	}
	return object.Absent, err
}
