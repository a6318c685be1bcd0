package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/remote"
	"ensync/engine/rules"
	"ensync/store"
)

// What the ancestor remembers of the sync before.
const (
	metaRules    = "rules"    // the hash of the configuration
	metaIdentity = "identity" // of the local root
	metaSynced   = "synced"   // when it ended, RFC 3339
	metaStamp    = "stamp"    // of the local root, before and after
)

// Sync reconciles a replica with a root once.
func (s *Store) Sync(ctx context.Context, r *Replica, root *remote.Encrypted, req Request) (engine.Summary, error) {
	if err := r.checkIdentity(ctx, req.ConfirmLoss && !req.DryRun); err != nil {
		return engine.Summary{}, err
	}
	set, err := s.rules(req)
	if err != nil {
		return engine.Summary{}, err
	}
	changed, err := s.rulesChanged(ctx, r)
	if err != nil {
		return engine.Summary{}, err
	}
	if err := s.LookForGroups(ctx); err != nil {
		return engine.Summary{}, err
	}
	server, err := remote.Open(ctx, root)
	if err != nil {
		return engine.Summary{}, err
	}
	done := r.look(req)
	sum, err := engine.Sync(ctx, engine.Config{Client: r.Client, Server: server, Ancestor: r.Ancestor, Rules: set,
		Workers: req.Workers, All: req.Clean || changed || req.Override != "", DryRun: req.DryRun,
		ConfirmLoss: req.ConfirmLoss, Resolve: maps.Clone(req.Resolve), Estimate: req.Estimate, Begin: r.begin,
		Machine: Machine(s.Config), Report: req.Report})
	if err = done(ctx, err); err != nil || req.DryRun {
		return sum, err
	}
	if err := s.remember(ctx, r, req); err != nil {
		return sum, err
	}
	s.lookAfter(ctx)
	return sum, nil
}

// lookAfter lets the store be looked after, if that is due, and tells what was found. It fails no sync.
func (s *Store) lookAfter(ctx context.Context) {
	var loss *store.Loss
	err := s.Upkeep(ctx)
	if errors.As(err, &loss) {
		s.notice(fmt.Sprintf("store %s: %v", s.Location(), loss))
	}
	var older *store.Fault
	if errors.As(err, &older) && errors.Is(older, store.ErrRollback) {
		s.notice(fmt.Sprintf("store %s: %v", s.Location(), older))
	}
}

// look tells the watch that a sync begins, and returns what tells it how that ended. What failed is to be looked at again
// with everything below: nobody went on from there.
func (r *Replica) look(req Request) func(context.Context, error) error {
	if r.Watch == nil {
		return func(_ context.Context, err error) error { return err }
	}
	look := r.Watch.Begin()
	return func(ctx context.Context, err error) error {
		var issues []ancestor.Issue
		if req.DryRun { // nothing was done about what was seen
			look.Fail()
			return err
		}
		if err == nil {
			issues, err = r.Ancestor.Issues(ctx)
		}
		if err != nil {
			look.Fail()
			return err
		}
		var failed []string
		for _, i := range issues {
			if i.Kind == ancestor.Failed {
				failed = append(failed, r.localPath(i.Path))
			}
		}
		look.Done(failed)
		return nil
	}
}

func (s *Store) rules(req Request) (*rules.Set, error) {
	if req.Override == "" {
		return s.Config.Rules, nil
	}
	mode, err := plan.ParseMode(req.Override)
	if err != nil {
		return nil, err
	}
	return rules.Always(mode), nil
}

// rulesChanged reports whether the configuration is another one than at the last sync: what was found in sync may not be.
func (s *Store) rulesChanged(ctx context.Context, r *Replica) (bool, error) {
	was, err := r.Ancestor.Meta(ctx, metaRules)
	return !bytes.Equal(was, s.Config.Hash[:]), err
}

// remember notes what a sync was made with. After an overridden mode, everything is to be looked at again: what the
// mode left out of sync is not forgotten (the original had a trap there, reference 1.8).
func (s *Store) remember(ctx context.Context, r *Replica, req Request) error {
	hash := s.Config.Hash[:]
	if req.Override != "" {
		hash = []byte("override " + req.Override)
	}
	if err := r.Ancestor.SetMeta(ctx, metaRules, hash); err != nil {
		return err
	}
	if err := r.Ancestor.SetMeta(ctx, metaSynced, []byte(time.Now().UTC().Format(time.RFC3339Nano))); err != nil {
		return err
	}
	return errors.Join(r.identify(ctx), r.end(ctx))
}
