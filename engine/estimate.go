package engine

import (
	"context"
	"sync"
	"time"

	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/object"
)

// How much a sync has to do is known when it has looked at everything; whoever waits wants to know sooner. What was found
// changed is told when the loss guard has looked. What is new, with all below, is counted beside the work, by listing
// without reading.

// A Plan is what a sync will do, as far as that is known.
type Plan struct {
	In, Out Counts // of the client, of the server; Bytes of content
	Whole   bool   // all is counted
}

// newTree is a directory of which nobody has counted what is to be made on the other side.
type newTree struct {
	dir            string
	state          rules.State   // with which it is entered
	client, server *object.Entry // nil where it is not
}

// plan tells how much is to be done: what was done, what the guard saw, and what is in new trees, which are counted in
// the background until stopPlan or the next plan.
func (s *syncer) plan(ctx context.Context, seen Summary, trees []newTree) {
	s.stopPlan()
	if !s.Estimate {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &estimate{syncer: s, Plan: Plan{In: s.sum.In, Out: s.sum.Out}}
	e.In.add(seen.In)
	e.Out.add(seen.Out)
	var counting sync.WaitGroup
	counting.Go(func() {
		for _, t := range trees {
			if e.count(ctx, t) != nil {
				return // it is only for show
			}
		}
		e.Whole = true
		e.tell()
	})
	s.stopPlan = func() { cancel(); counting.Wait() }
}

// tellEvery is how often a growing plan is told.
const tellEvery = 250 * time.Millisecond

type estimate struct {
	*syncer
	Plan
	told time.Time
}

func (e *estimate) tell() {
	now := e.Plan
	e.report(Event{Kind: Planned, Plan: &now})
	e.told = time.Now()
}

// count counts what is to be made of one directory and all below.
func (e *estimate) count(ctx context.Context, t newTree) error {
	client, err := peek(ctx, e.Client, t.dir, t.client)
	if err != nil {
		return err
	}
	server, err := peek(ctx, e.Server, t.dir, t.server)
	if err != nil {
		return err
	}
	state := t.state.Enter(facts(client), facts(server))
	names := listings{lists: [3][]replica.Entry{client, nil, server}}
	var below []newTree
	for n, ok := names.next(); ok; n, ok = names.next() {
		mode, _, inside := state.Entry(rules.FactsOf(bestKnown(n)))
		if e.one(n, mode) {
			below = append(below, newTree{replica.Join(t.dir, n.text()), inside, directoryOf(n.client), directoryOf(n.server)})
		}
	}
	if time.Since(e.told) >= tellEvery {
		e.tell()
	}
	for _, t := range below {
		if err := e.count(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// one counts one name, and reports whether to go on below it.
func (e *estimate) one(n name, mode plan.Mode) bool {
	side, what, allowed := &e.Out, n.client, mode.Out.Create
	switch {
	case n.client.Kind == object.Absent:
		side, what, allowed = &e.In, n.server, mode.In.Create
	case n.server.Kind != object.Absent: // on both sides: mostly the same, and if not nobody knows yet which way it goes
		return n.client.Kind == object.Directory && n.server.Kind == object.Directory
	}
	if allowed == plan.Off || what.Kind == object.Special {
		return false
	}
	side.Created++
	if what.Kind == object.File {
		side.Bytes += what.Content.Size
	}
	return what.Kind == object.Directory
}

func directoryOf(e replica.Entry) *object.Entry {
	if e.Kind != object.Directory {
		return nil
	}
	return &e
}

// peek lists a directory, if it is there and can be listed cheaply.
func peek(ctx context.Context, tree any, dir string, e *object.Entry) ([]replica.Entry, error) {
	p, ok := tree.(replica.Peeker)
	if e == nil || !ok {
		return nil, ctx.Err()
	}
	return p.Peek(ctx, dir, *e)
}
