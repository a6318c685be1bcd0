package remote

import (
	"context"
	"fmt"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Whoever may write in a directory can make a name there for a root that is something elsewhere already. To change what is below
// one of the two, or to remove it, would be to do so below the other, where its owner has asked for nothing. So neither is
// entered as long as there are two, and to remove one is to remove the name only.

// twin is the error for a directory that is something else, too.
type twin struct{ of string }

func (w *twin) Error() string {
	return fmt.Sprintf("%v: it is the same root of the store as %q; whoever may change the directory above can remove it", replica.ErrNotAllowed, w.of)
}

func (w *twin) Unwrap() error { return replica.ErrNotAllowed }

// isOnce refuses a realm that the committed tree names elsewhere, too. What was moved since, and is not committed there yet,
// has been entered before.
func (t *Tree) isOnce(ctx context.Context, n *node, r *realm) error {
	if n.moved {
		return nil
	}
	for _, path := range t.placesOf(ctx, r.root.ID) {
		if path != n.path {
			return &twin{of: path}
		}
	}
	return ctx.Err()
}

// placesOf returns the paths of the directories that are a root, as committed.
func (t *Tree) placesOf(ctx context.Context, id object.RootID) []string {
	t.mu.Lock()
	places, top := t.places, t.top
	t.mu.Unlock()
	if places == nil {
		places = map[object.RootID][]string{}
		t.findPlaces(ctx, top, places, 0)
		if ctx.Err() != nil {
			return nil
		}
		t.mu.Lock()
		if t.top == top {
			t.places = places
		}
		t.mu.Unlock()
	}
	return places[id]
}

// findPlaces notes where the roots in a realm are, and those in them. What can't be read is left out: it is not entered, either.
func (t *Tree) findPlaces(ctx context.Context, r *realm, places map[object.RootID][]string, deep int) {
	if deep > maxRootDepth {
		return
	}
	refs, err := t.refsBelow(ctx, r, r.head.Tree, 0)
	if err != nil {
		return
	}
	for i, below := range t.getRealms(ctx, rootsAt(r, refs)) {
		id := refs[i].id
		places[id] = append(places[id], replica.Join(under(r.root.Path, refs[i].dir), refs[i].name))
		if len(places[id]) == 1 && below.err == nil && !below.head.Ended && ctx.Err() == nil {
			t.findPlaces(ctx, below, places, deep+1)
		}
	}
}
