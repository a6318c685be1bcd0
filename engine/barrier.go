package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
)

// A batch is what waits for the next barrier.
type batch struct {
	// in holds whatever the server's committed state: changes of the client, and what was found in sync.
	in ancestor.Update
	// out holds only once the server has committed.
	out ancestor.Update
	// same is what the ancestor holds already; the client is told all the same, since it took it for changed.
	same    []ancestor.Agreed
	changes int
	found   int // names found in sync
	bytes   int64
	since   time.Time
}

func newBatch() *batch {
	fresh := func() ancestor.Update {
		return ancestor.Update{Marks: map[string]string{}, Issues: map[string][]ancestor.Issue{}}
	}
	return &batch{in: fresh(), out: fresh(), since: time.Now()}
}

func (b *batch) isEmpty() bool { return b.in.IsEmpty() && b.out.IsEmpty() && len(b.same) == 0 }

// maxFound bounds how many names found in sync wait for a barrier: memory, about 300 bytes each.
const maxFound = 50_000

// barrierDue reports whether enough waits that a crash should not cost it.
func (p *pass) barrierDue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.pending
	return b.changes >= p.BarrierChanges || b.found >= maxFound || b.bytes >= p.BarrierBytes ||
		b.changes > 0 && time.Since(b.since) >= p.BarrierTime
}

// barrierIfDue is barrier if it is due. Of several workers who find that at once, the first one makes it, and the others
// have nothing left to do.
func (p *pass) barrierIfDue(ctx context.Context) error {
	if !p.barrierDue() {
		return nil
	}
	p.world.Lock()
	defer p.world.Unlock()
	if !p.barrierDue() {
		return nil
	}
	return p.recordOrEnd(ctx)
}

// barrier makes everything done so far durable and records it; see the package's comment for the order. No worker is
// between a change and its note while it runs. On replica.ErrLost, the client's part is recorded and the rest dropped.
func (p *pass) barrier(ctx context.Context) error {
	p.world.Lock()
	defer p.world.Unlock()
	return p.recordOrEnd(ctx)
}

// recordOrEnd is record, and the end of the pass if that fails. The world is held.
func (p *pass) recordOrEnd(ctx context.Context) error {
	err := p.record(ctx)
	if err != nil {
		p.cancel(err) // before anyone applies to another machine's state what was decided on the old one
	}
	return err
}

// record is barrier with the world held.
func (p *pass) record(ctx context.Context) error {
	p.mu.Lock()
	b, counted := p.pending, p.sum
	p.pending = newBatch()
	p.mu.Unlock()
	if b.isEmpty() {
		return nil
	}
	// DURABLE: what was applied to the client, and what was only read from it: a file that a power cut takes back must
	// not be in the ancestor, or its absence would look like somebody's will.
	if len(b.in.Entries)+len(b.out.Entries)+len(b.in.Moves) > 0 {
		if err := p.begins(ctx); err != nil {
			return err
		}
		if err := p.Client.Sync(ctx); err != nil {
			return fmt.Errorf("make the local tree durable: %w", err)
		}
	}
	var prepared []ancestor.Prepared
	err := p.Server.Commit(ctx, func(parts []replica.Part) error {
		prepared = p.inParts(b.out, parts)
		return p.Ancestor.Prepare(ctx, prepared...)
	})
	if errors.Is(err, replica.ErrLost) {
		p.uncount()
	}
	if err != nil {
		return errors.Join(err, p.keep(ctx, b, prepared, errors.Is(err, replica.ErrLost)))
	}
	var tags []string
	for _, part := range prepared {
		tags = append(tags, part.Tag)
	}
	p.mu.Lock()
	p.recorded = counted
	p.mu.Unlock()
	if err := p.Ancestor.CommitPrepared(ctx, tags, b.out, b.in); err != nil {
		return err
	}
	return p.settle(ctx, b.in.Entries, b.out.Entries, b.same)
}

// inParts splits what holds once the server has committed: each entry belongs to the part that commits its directory.
// What is of a domain that has nothing to commit, because its changes cancelled each other out or because it is gone, is of
// the part above. Marks stand for all parts together, and so are left out.
func (p *pass) inParts(u ancestor.Update, parts []replica.Part) []ancestor.Prepared {
	all := make([]ancestor.Prepared, len(parts))
	at := map[string]int{}
	for i, part := range parts {
		all[i].Tag = part.Tag
		at[part.Top] = i
	}
	of := func(dir string) *ancestor.Prepared {
		for {
			if i, ok := at[dir]; ok {
				return &all[i]
			}
			if dir == "" {
				return nil
			}
			dir = replica.Parent(dir)
		}
	}
	for _, m := range u.Moves {
		if part := of(replica.Parent(m.From)); part != nil {
			part.Moves = append(part.Moves, m)
		}
	}
	for _, a := range u.Entries {
		if part := of(a.Dir); part != nil {
			part.Entries = append(part.Entries, a)
		}
	}
	return all
}

// uncount takes back what was counted of changes of the server that another machine's commit undid: they come again.
func (p *pass) uncount() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum.Out, p.sum.Conflicts, p.sum.Copies = p.recorded.Out, p.recorded.Conflicts, p.recorded.Copies
}

// begins calls Begin the first time that there is something to record.
func (p *pass) begins(ctx context.Context) error {
	if p.begun || p.Begin == nil {
		return nil
	}
	p.begun = true
	return p.Begin(ctx)
}

// keep records what holds although the server's commit did not come about, or not all of it. What was prepared for it
// stays unless it is certain what became of it: the next sync asks.
func (p *pass) keep(ctx context.Context, b *batch, prepared []ancestor.Prepared, lost bool) error {
	if ctx.Err() != nil {
		return nil
	}
	if err := p.Ancestor.Commit(ctx, b.in); err != nil {
		return err
	}
	agreed := [][]ancestor.Agreed{b.in.Entries}
	if !lost {
		prepared = nil
	}
	for _, part := range prepared {
		happened := false
		if len(prepared) > 1 { // of one part it is certain
			var err error
			if happened, err = p.Server.Happened(ctx, part.Tag); err != nil {
				return err
			}
		}
		if !happened {
			if err := p.Ancestor.Drop(ctx, part.Tag); err != nil {
				return err
			}
			continue
		}
		if err := p.Ancestor.CommitPrepared(ctx, []string{part.Tag}, part.Update, ancestor.Update{}); err != nil {
			return err
		}
		agreed = append(agreed, part.Entries)
	}
	return p.settle(ctx, agreed...)
}

// settle tells the client what is agreed on now.
func (p *pass) settle(ctx context.Context, lists ...[]ancestor.Agreed) error {
	byDir := map[string][]replica.Entry{}
	for _, list := range lists {
		for _, a := range list {
			byDir[a.Dir] = append(byDir[a.Dir], a.Entry)
		}
	}
	for dir, entries := range byDir {
		if err := p.Client.Settle(ctx, dir, entries); err != nil {
			return fmt.Errorf("settle %q: %w", dir, err)
		}
	}
	if p.resettle { // what an earlier sync did not settle is known to be only when this one is through
		return nil
	}
	return p.settled(ctx)
}

// settled notes that the client knows of everything agreed on.
func (s *syncer) settled(ctx context.Context) error {
	// DURABLE: a client that forgets what it was told takes a name that is deleted next for one that nobody knew.
	if err := s.Client.Sync(ctx); err != nil {
		return fmt.Errorf("make the local tree's state durable: %w", err)
	}
	return s.Ancestor.Settled(ctx)
}

// A move of the client's is prepared under a tag that tells it, since the client knows no commits.
const moveTag = "client move\x00"

func makeMoveTag(m ancestor.Move) string { return moveTag + m.From + "\x00" + m.To }

func parseMoveTag(tag string) (ancestor.Move, bool) {
	rest, ok := strings.CutPrefix(tag, moveTag)
	parts := strings.Split(rest, "\x00")
	switch {
	case ok && len(parts) == 2:
		return ancestor.Move{From: parts[0], To: parts[1]}, true
	case ok && len(parts) == 3: // of an earlier version: within one directory
		return ancestor.Move{From: replica.Join(parts[0], parts[1]), To: replica.Join(parts[0], parts[2])}, true
	}
	return ancestor.Move{}, false
}
