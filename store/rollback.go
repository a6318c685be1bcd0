package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ensync/store/block"
	"ensync/store/object"
)

// Rollback compares what the store shows of a root with the newest state that this client has seen.
type Rollback struct {
	Name  string
	Older bool  // the store was rolled back or forked: without AcceptRollback nothing of the root is used
	Cause error // why it is refused; nil if it is not

	Gone      bool // the list of roots does not have the root any more; what follows is then zero
	ShownSeq  uint64
	ShownID   object.ID // of the commit; zero before the first one
	ShownTime time.Time
	ShownBy   string // name of the client that made it

	SeenSeq uint64
	SeenID  []byte // of the commit; empty if this client remembers none

	root *[16]byte // whose head is refused for being older; nil: none
	fork []string  // what another client told that is not so here

	listed map[string]bool // the roots of the list, as the memory calls them; others are those that directories name
}

// Rollback looks whether the root shows an older or another state than this client has seen. It changes nothing, not even
// what is remembered, if that is so. What it tells was authenticated, except that it may be old.
func (s *Store) Rollback(ctx context.Context, name string) (Rollback, error) {
	rb := Rollback{Name: name}
	_, err := s.loadRoots(ctx, s.b.Load)
	if err = rb.refused(err); err != nil {
		return rb, err
	}
	raw, _, err := s.b.Load(ctx, rootsObject)
	if err != nil {
		return rb, got(rootsObject, err)
	}
	list, _, err := s.openList(raw)
	if err != nil {
		return rb, err
	}
	rb.listed = map[string]bool{}
	for _, info := range list.roots {
		rb.listed[fmt.Sprintf("%x", info.ID)] = true
	}
	rb.nested(s.opt.Memory)
	i := list.find(name)
	if i < 0 {
		if !rb.Older {
			return rb, fmt.Errorf("root %q: %w", name, ErrNoRoot)
		}
		rb.Gone = true
		return rb, nil
	}
	r := &Root{s: s, info: list.roots[i]}
	if mem := s.opt.Memory; mem != nil {
		seen := mem.root(r.info.ID)
		rb.SeenSeq, rb.SeenID = seen.Seq, seen.Commit
	}
	_, err = r.Head(ctx)
	var c *contradiction
	switch {
	case errors.As(err, &c):
		rb.fork = c.about
	case errors.Is(err, ErrRollback):
		rb.root = &r.info.ID
	}
	if err = rb.refused(err); err != nil {
		return rb, err
	}
	raw, _, err = s.b.Load(ctx, headObject(r.info.ID))
	if err != nil {
		return rb, got(headObject(r.info.ID), err)
	}
	h, err := r.parseNow(ctx, raw)
	if err != nil {
		return rb, err
	}
	rb.ShownSeq, rb.ShownTime, rb.ShownBy = h.Seq, h.Time, h.Client
	if h.Seq > 0 {
		rb.ShownID = block.ID(h.Commit)
	}
	return rb, nil
}

// nested notes that what a directory names was refused when it was last looked at.
func (rb *Rollback) nested(mem *Memory) {
	if mem == nil {
		return
	}
	mem.mu.Lock()
	defer mem.mu.Unlock()
	for id, seen := range mem.data.Roots {
		if !seen.Refused.IsZero() && !rb.listed[id] {
			_ = rb.refused(fmt.Errorf("%w: root %s, of a directory for groups, is older than commit %d", ErrRollback, id, seen.Seq))
		}
	}
}

// refused notes an ErrRollback or ErrFork, and passes on every other error.
func (rb *Rollback) refused(err error) error {
	if !isRefusal(err) {
		return err
	}
	rb.Older = true
	if rb.Cause == nil {
		rb.Cause = err
	}
	return nil
}

// AcceptRollback forgets the newer state, so that the next one is taken as it comes: the explicit way out after a store
// was restored from a backup. It is durable when it returns.
//
// Whoever accepts must drop the last agreed state of every replica of the root before: against a newer ancestor, all that
// the store lost would look deleted.
func (s *Store) AcceptRollback(rb Rollback) error {
	if s.opt.Memory == nil || !rb.Older {
		return nil
	}
	if len(rb.fork) > 0 {
		if err := s.opt.Memory.waive(rb.fork); err != nil {
			return err
		}
	}
	return s.opt.Memory.forget(rb.root, rb.listed)
}
