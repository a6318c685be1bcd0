package remote

import (
	"context"
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
	src.entries.set(fromName, item{fresh: true})
	e.Name, e.fresh = toName, true
	dst.entries.set(toName, e)
	t.count(src, 0)
	t.count(dst, 0)
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
