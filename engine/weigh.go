package engine

import (
	"context"
	"errors"
	"fmt"

	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/object"
)

// What the loss guard minds is content that a side would no longer have: files and links that are deleted, that become
// something else, or that are emptied. What comes back under another name is not lost, so that renaming a directory with
// all that there is asks no question. Other content in a file's place is an edit: nobody can tell a good one from a bad
// one, and the store's history has the old one.

// weights are what would go from each side, and what would come.
type weights struct {
	gone  [2]map[thing]int
	count [2]int
	came  [2][]place
}

// A thing is what a name holds, wherever it is.
type thing struct {
	kind   object.Kind
	size   int64
	key    object.Key
	target string
}

// A place is where something new would come from.
type place struct {
	dir   string
	entry replica.Entry
}

func thingOf(e replica.Entry) thing {
	if e.Kind == object.Symlink {
		return thing{kind: e.Kind, target: e.Target}
	}
	return thing{kind: e.Kind, size: e.Content.Size, key: e.Content.Key}
}

// add takes an event of a pass that only looks; the pass's lock is held.
func (w *weights) add(e Event) {
	switch e.Kind {
	case Created, Updated, Deleted:
	default:
		return
	}
	if e.New != nil && e.New.Kind != object.Directory && (e.Old == nil || e.Old.Kind != e.New.Kind) {
		dir, _ := replica.Split(e.Path)
		w.came[e.Side] = append(w.came[e.Side], place{dir, *e.New})
	}
	if e.Old == nil || !takesAway(*e.Old, e.New) {
		return
	}
	if w.gone[e.Side] == nil {
		w.gone[e.Side] = map[thing]int{}
	}
	w.gone[e.Side][thingOf(*e.Old)]++
	w.count[e.Side]++
}

// takesAway reports whether what was there is gone, rather than changed.
func takesAway(old replica.Entry, now *replica.Entry) bool {
	if old.Kind == object.Directory {
		return false // it has nothing of its own
	}
	return now == nil || now.Kind != old.Kind || old.Content.Size > 0 && now.Content.Size == 0
}

// weigh compares what would go from each side with what is there.
func (p *pass) weigh(ctx context.Context) error {
	for _, side := range []Side{Local, Remote} {
		if p.weights.count[side] < guardMin {
			continue
		}
		total, err := p.Ancestor.Count(ctx)
		if err != nil {
			return err
		}
		w := weighing{pass: p, side: side, limit: max(guardMin-1, total/2)}
		if w.tooMuch() {
			if err := w.find(ctx); err != nil {
				return err
			}
		}
		if w.tooMuch() {
			return fmt.Errorf("%w: this sync would delete or empty %d of %d files on the %s side; nothing was changed. If that "+
				"is meant, sync with --confirm-loss", ErrLoss, p.weights.count[side], total, side)
		}
	}
	return nil
}

// weighing looks for what would go from a side in what would come to it.
type weighing struct {
	*pass
	side  Side
	limit int // how many may go
}

func (w *weighing) tooMuch() bool { return w.weights.count[w.side] > w.limit }

// find looks through all that is new, as long as too much seems to go.
func (w *weighing) find(ctx context.Context) error {
	sizes := map[int64]bool{}
	for t := range w.weights.gone[w.side] {
		sizes[t.size] = true
	}
	for _, n := range w.weights.came[w.side] {
		if !w.tooMuch() {
			return nil
		}
		if err := w.comes(ctx, n, sizes); err != nil {
			return err
		}
	}
	for _, t := range w.newly {
		if err := w.findIn(ctx, t, sizes); err != nil {
			return err
		}
	}
	return nil
}

// findIn is find for a directory that is new, with all below.
func (w *weighing) findIn(ctx context.Context, t newTree, sizes map[int64]bool) error {
	made, entry := func(m plan.Mode) plan.Right { return m.Out.Create }, t.client
	if w.side == Local {
		made, entry = func(m plan.Mode) plan.Right { return m.In.Create }, t.server
	}
	if entry == nil || !w.tooMuch() {
		return nil
	}
	entries, err := w.listNew(ctx, t.dir, entry)
	if errors.Is(err, replica.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	state := t.state.Enter(facts(entries), nil)
	for _, e := range entries {
		mode, _, inside := state.Entry(rules.FactsOf(e))
		switch {
		case made(mode) == plan.Off:
		case e.Kind == object.Directory:
			err = w.findIn(ctx, newTree{replica.Join(t.dir, e.Name), inside, directoryOf(e), directoryOf(e)}, sizes)
		default:
			err = w.comes(ctx, place{t.dir, e}, sizes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listNew lists a directory that is new to a side. The server's is not kept: it may be one of very many.
func (w *weighing) listNew(ctx context.Context, dir string, e *replica.Entry) ([]replica.Entry, error) {
	if w.side == Remote {
		return w.Client.List(ctx, dir)
	}
	return peek(ctx, w.Server, dir, e)
}

// comes takes what comes from what goes. Only a file of a size that goes is read for it, if it has to be.
func (w *weighing) comes(ctx context.Context, n place, sizes map[int64]bool) error {
	e := n.entry
	if e.Kind == object.File && !e.Content.Known {
		if w.side == Local || !sizes[e.Content.Size] {
			return nil
		}
		var err error
		if e, err = w.Client.Hash(ctx, n.dir, e); err != nil {
			return ctx.Err() // a file that can't be read is none that comes
		}
	}
	if t := thingOf(e); w.weights.gone[w.side][t] > 0 {
		w.weights.gone[w.side][t]--
		w.weights.count[w.side]--
	}
	return nil
}
