package engine

import (
	"context"
	"errors"
	"fmt"

	"ensync/engine/replica"
)

// guardMin is how many files may go from one side without a question, whatever the size of the tree.
const guardMin = 20

// guard looks before anything is changed, and returns the directories that need work; nil means all. ErrLoss if what
// would be done looks like an accident rather than somebody's will.
//
// A first sync has no ancestor, and so deletes nothing unless the mode forces it to: it goes ahead unlooked.
func (s *syncer) guard(ctx context.Context) (focus, error) {
	root, err := s.Client.List(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("read the local tree: %w", err)
	}
	known, err := s.Ancestor.Dir(ctx, "")
	if err != nil || len(known.Entries) == 0 {
		if err == nil {
			s.plan(ctx, Summary{}, []newTree{{state: s.Rules.Root(), client: &replica.Entry{}, server: &replica.Entry{}}})
		}
		return nil, err
	}
	if len(root) == 0 && len(known.Entries) > 1 && !s.ConfirmLoss {
		if err := s.serverAgrees(ctx); err != nil {
			return nil, err
		}
	}
	p := s.newPass(true, nil)
	p.quiet = true
	p.weights = &weights{}
	if err := p.walk(ctx); err != nil {
		return nil, err
	}
	if !s.ConfirmLoss {
		if err := p.weigh(ctx); err != nil {
			return nil, err
		}
	}
	s.plan(ctx, p.sum, p.newly)
	if s.resettle { // also what is in sync is to be told to the client again
		return nil, nil
	}
	for dir := range s.stale {
		p.work.add(dir, false)
	}
	if len(p.work) > 0 {
		return p.work, nil
	}
	s.sum.Examined = p.sum.Examined
	return focus{}, nil
}

// serverAgrees lets an empty local root pass only if the server has nothing either.
func (s *syncer) serverAgrees(ctx context.Context) error {
	list, err := s.Server.List(ctx, "")
	if err != nil && !errors.Is(err, replica.ErrNotExist) {
		return err
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the local tree is empty, and was not at the last sync; nothing was changed. If a disk is not "+
		"mounted, mount it; if all is meant to be deleted everywhere, sync with --confirm-loss", ErrLoss)
}
