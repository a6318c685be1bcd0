package session

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"time"

	"ensync/engine"
	"ensync/engine/plan"
	"ensync/engine/remote"
	"ensync/engine/rules"
)

// What the ancestor remembers of the sync before.
const (
	metaRules    = "rules"    // the hash of the configuration
	metaIdentity = "identity" // of the local root
	metaSynced   = "synced"   // when it ended, RFC 3339
)

// Sync reconciles a replica with a root once.
func (s *Store) Sync(ctx context.Context, r *Replica, root *remote.Root, req Request) (engine.Summary, error) {
	if err := r.checkIdentity(ctx, req.ConfirmLoss); err != nil {
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
	server, err := remote.Open(ctx, root)
	if err != nil {
		return engine.Summary{}, err
	}
	sum, err := engine.Sync(ctx, engine.Config{Client: r.Client, Server: server, Ancestor: r.Ancestor, Rules: set,
		Workers: req.Workers, All: req.Clean || changed || req.Override != "", DryRun: req.DryRun,
		ConfirmLoss: req.ConfirmLoss, Resolve: maps.Clone(req.Resolve), Estimate: req.Estimate, Machine: Machine(s.Config), Report: req.Report})
	if err != nil || req.DryRun {
		return sum, err
	}
	return sum, s.remember(ctx, r, req)
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
	if r.Identity == "" {
		return nil
	}
	return r.Ancestor.SetMeta(ctx, metaIdentity, []byte(r.Identity))
}

// checkIdentity is the half of the loss guard that looks at the root: another directory in its place is never taken for
// what became of the tree.
func (r *Replica) checkIdentity(ctx context.Context, confirmed bool) error {
	was, err := r.Ancestor.Meta(ctx, metaIdentity)
	if err != nil || was == nil || r.Identity == "" || confirmed || string(was) == r.Identity {
		return err
	}
	return fmt.Errorf("%w: the local tree is another directory, or on another file system, than at the last sync; nothing was "+
		"changed. If a disk is not mounted, mount it; if the tree was moved or restored, sync with --confirm-loss", engine.ErrLoss)
}
