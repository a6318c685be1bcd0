package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

var _ replica.Relocator = (*Tree)(nil)

// Relocate implements replica.Relocator, on top of the committed state like Apply.
func (t *Tree) Relocate(ctx context.Context, from, to string, _ replica.Entry) error {
	if to == from || strings.HasPrefix(to, from+"/") {
		return fmt.Errorf("move %q to %q in the store: into itself", from, to)
	}
	fromDir, fromName := replica.Split(from)
	toDir, toName := replica.Split(to)
	src, err := t.node(ctx, fromDir)
	if err != nil {
		return err
	}
	dst, err := t.node(ctx, toDir)
	if err != nil {
		return err
	}
	for _, n := range inOrder(src, dst) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if err := n.load(ctx, t); err != nil {
			return err
		}
	}
	e := src.entries.get(fromName)
	switch {
	case e.Kind == object.Absent:
		return fmt.Errorf("move %q in the store: %w", from, replica.ErrNotExist)
	case dst.entries.get(toName).Kind != object.Absent || !object.ValidName(toName):
		return fmt.Errorf("move %q to %q in the store: name is taken or not valid: %w", from, to, replica.ErrChanged)
	case t.open(from):
		return fmt.Errorf("move %q in the store: it is being worked on: %w", from, replica.ErrChanged)
	}
	if err := t.mayMove(fromDir, fromName, toDir, toName, e.Kind); err != nil {
		return err
	}
	src.entries.set(fromName, item{fresh: true})
	e.Name, e.fresh = toName, true
	dst.entries.set(toName, e)
	t.count(src, 0)
	t.count(dst, 0)
	return nil
}

// mayMove refuses what would change for whom something is: what lies in a root is sealed for its groups.
func (t *Tree) mayMove(fromDir, fromName, toDir, toName string, kind object.Kind) error {
	seat, err := replica.SeatOf(t, fromDir, fromName, kind)
	if err == nil {
		var to replica.Seat
		if to, err = replica.SeatOf(t, toDir, toName, kind); err == nil && to != seat {
			err = fmt.Errorf("it would be for other groups: %w", errors.ErrUnsupported)
		}
	}
	if err == nil {
		err = t.MayWrite(replica.Domain{Write: seat.Write})
	}
	if err != nil {
		return fmt.Errorf("move %q to %q in the store: %w", replica.Join(fromDir, fromName), replica.Join(toDir, toName), err)
	}
	return nil
}

// inOrder returns one or two nodes as they are to be locked: a parent before its child.
func inOrder(a, b *node) []*node {
	switch {
	case a == b:
		return []*node{a}
	case a.path < b.path:
		return []*node{a, b}
	}
	return []*node{b, a}
}
