package engine

import (
	"context"
	"errors"
	"fmt"

	"ensync/engine/replica"
)

// guardMin is how many files may go from one side without a question, whatever the size of the tree.
const guardMin = 20

// guard looks before anything is changed, lets each side follow what was moved on the other, and returns the directories
// that need work; nil means all. ErrLoss if what would be done looks like an accident rather than somebody's will.
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
	p, err := s.lookAhead(ctx)
	if err != nil {
		return nil, err
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

// lookAhead returns a pass that looked at everything when there was nothing left to be moved.
func (s *syncer) lookAhead(ctx context.Context) (*pass, error) {
	for round, moving := 0, s.canRelocate(); ; round++ {
		p := s.newPass(true, nil)
		p.quiet, p.weights = true, &weights{}
		if moving && round < maxRounds {
			p.moves = newCandidates()
		}
		if err := p.walk(ctx); err != nil {
			return nil, err
		}
		moves, err := s.relocations(ctx, p.moves)
		if err != nil {
			return nil, err
		}
		if !s.ConfirmLoss {
			if err := p.weigh(ctx); err != nil {
				return nil, err
			}
		}
		if len(moves) == 0 {
			return p, nil
		}
		made, err := s.relocate(ctx, moves)
		switch {
		case errors.Is(err, replica.ErrLost):
			s.report(Event{Kind: Overtaken})
			err = pause(ctx, round)
		case made == 0:
			moving = false
		}
		if err != nil {
			return nil, err
		}
	}
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
