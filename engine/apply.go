package engine

import (
	"context"
	"io"
	"strings"

	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/object"
)

// Changes are applied in chunks, so that a barrier can come in between.
const (
	chunkSteps = 256
	chunkBytes = 64 << 20
)

// A rename moves one side's entry aside.
type rename struct {
	side     Side
	old      replica.Entry
	to       string
	withPast bool        // the ancestor's entry moves with it; otherwise the ancestor forgets the name
	copy     object.Copy // what it becomes a copy of
}

// split plans what makes room for the other side's version. The old name is decided on again at once; the fresh one by
// another pass, when the server has committed.
func (d *directory) split(s step) {
	r := rename{side: Remote, old: s.n.server, withPast: s.out.Action != plan.SplitServer}
	left := name{client: s.n.client}
	if s.out.Action == plan.SplitClientMove {
		r.side, r.old, left = Local, s.n.client, name{server: s.n.server}
	}
	left.known.Name = s.n.text()
	r.to = d.FreshName(s.n.text(), d.taken)
	d.reserved[r.to] = true
	r.copy = d.copyOf(s, r.side)
	d.resolved(s.n.text(), r.to)
	d.renames = append(d.renames, r)
	d.more = append(d.more, left)
	d.later()
}

// apply carries out what was decided. What moves aside and what takes its place become visible together.
func (d *directory) apply() {
	if !d.begin() {
		return
	}
	for _, r := range d.renames {
		if err := d.rename(r); err != nil {
			d.failed(d.visit, replica.Join(d.dir, r.old.Name), err)
		}
	}
	if len(d.renames) > 0 {
		d.applyServer(d.server)
		d.server = nil
	}
	d.world.RUnlock()
	d.inChunks(func() []step { return d.server }, d.applyServer)
	d.inChunks(func() []step { return d.client }, d.applyClient) // a merge comes here from the server's list
}

func (d *directory) inChunks(list func() []step, fn func([]step)) {
	for done := 0; done < len(list()) && d.ctx.Err() == nil; {
		steps := list()[done:]
		n, size := 0, int64(0)
		for n < len(steps) && (n < chunkSteps && size < chunkBytes || n > 0 && goTogether(steps[n-1].n.text(), steps[n].n.text())) {
			size += steps[n].out.Result.Content.Size
			n++
		}
		if !d.begin() {
			return
		}
		fn(steps[:n])
		d.world.RUnlock()
		done += n
		if err := d.barrierIfDue(d.ctx); err != nil {
			d.cancel(err)
			return
		}
	}
}

// goTogether reports whether two names, one right after the other, are of one database: SQLite's files, each worth nothing
// without the others as they were at the same instant.
func goTogether(one, next string) bool {
	base := func(name string) string {
		for _, end := range []string{"-journal", "-shm", "-wal"} {
			name = strings.TrimSuffix(name, end)
		}
		return name
	}
	return base(one) == base(next)
}

func (d *directory) applyServer(steps []step) {
	if len(steps) == 0 {
		return
	}
	if err := d.ensure(d.visit, Remote); err != nil {
		d.failed(d.visit, d.dir, err)
		return
	}
	changes := make([]replica.Change, len(steps))
	for i, s := range steps {
		changes[i] = d.serverChange(s)
		d.markAside(d.visit, &changes[i])
	}
	learner, learns := d.Client.(replica.Learner)
	for i, r := range d.Server.Apply(d.ctx, d.dir, changes) {
		if learns && r.Err == nil && changes[i].Source != nil {
			learner.Learn(d.dir, *r.Entry)
		}
		switch s := steps[i]; {
		case r.Err != nil:
			d.failedStep(s, r.Err)
		case s.out.Action == plan.Merge:
			d.note(Remote, s, changes[i], r, nil)
			d.client = append(d.client, s)
		default:
			d.note(Remote, s, changes[i], r, &d.pending.out)
		}
	}
}

// failedStep notes that a name could not be changed. If it is a directory, nobody looked below it.
func (d *directory) failedStep(s step, err error) {
	isDir := s.n.client.Kind == object.Directory && s.n.server.Kind == object.Directory
	d.failedBelow(d.visit, replica.Join(d.dir, s.n.text()), isDir, err)
}

func (d *directory) serverChange(s step) replica.Change {
	c := replica.Change{Old: present(s.n.server), New: present(s.out.Result)}
	if c.New != nil && c.New.Kind == object.File {
		if c.Old != nil && c.Old.SameContent(*c.New) {
			c.New.Content = c.Old.Content
			if c.New.ModTime == d.limits.Shown(*c.Old, s.n.client).ModTime {
				c.New.ModTime = c.Old.ModTime // the client can't show all of it, and nobody changed it
			}
		} else {
			open := func(ctx context.Context) (io.ReadCloser, error) { return d.Client.Open(ctx, d.dir, s.n.client) }
			c.Source = d.watched(Remote, replica.Join(d.dir, s.n.text()), open)
		}
	}
	return c
}

func (d *directory) applyClient(steps []step) {
	if err := d.ensure(d.visit, Local); err != nil {
		d.failed(d.visit, d.dir, err)
		return
	}
	var changes []replica.Change
	var made []step
	for _, s := range steps {
		c, now := d.clientChange(s)
		if !now {
			continue
		}
		changes, made = append(changes, c), append(made, s)
	}
	if len(changes) == 0 {
		return
	}
	if err := d.announce(d.dir, announced(made, changes)...); err != nil {
		d.cancel(err)
		return
	}
	for i, r := range d.Client.Apply(d.ctx, d.dir, changes) {
		s := made[i]
		if r.Err != nil {
			d.failedStep(s, r.Err)
			continue
		}
		if !s.trust && r.Entry != nil {
			r.Entry.Mode = s.out.Result.Mode
		}
		d.note(Local, s, changes[i], r, s.holds(d.pending))
	}
}

// holds is where an agreement about a change of the client waits for the barrier: that of a merge needs the server's.
func (s step) holds(b *batch) *ancestor.Update {
	if s.out.Action == plan.Merge {
		return &b.out
	}
	return &b.in
}

// agreed returns what the ancestor shall hold of a change, given what the changed side reports.
func (s step) agreed(side Side, reported replica.Entry) replica.Entry {
	reported = s.opt.mask(reported)
	if side == Local {
		reported = inWordsOf(reported, s.out.Result, replica.Entry{})
	}
	agreed := s.out.Agreed(reported)
	agreed.Name = s.n.text()
	return agreed
}

// announced returns what both sides have in common when changes of the client are made: not the halves of merges, and
// not what the two sides then still have otherwise.
func announced(steps []step, changes []replica.Change) []replica.Entry {
	var all []replica.Entry
	for i, s := range steps {
		if s.out.Action != plan.UseServer {
			continue
		}
		if changes[i].New == nil {
			all = append(all, replica.Entry{Name: s.n.text()})
		} else if e := *changes[i].New; s.out.Agreed(e).Agrees(e) {
			all = append(all, e)
		}
	}
	return all
}

// clientChange returns the change for the client. A directory without all rights for its owner gets its mode when it is
// filled (now is false if that is all there is to do).
func (d *directory) clientChange(s step) (c replica.Change, now bool) {
	c = replica.Change{Old: present(s.n.client)}
	c.New = present(s.opt.leave(s.out.Result, c.Old))
	switch {
	case c.New == nil:
	case c.New.Kind == object.File:
		// Content comes from the server exactly if the result has the server's. A result whose content nobody has
		// read is the client's own.
		if s.n.server.SameContent(*c.New) && (c.Old == nil || !c.Old.SameContent(*c.New)) {
			c.Source = d.watched(Local, replica.Join(d.dir, s.n.text()), d.Server.Source(s.n.server))
		} else if c.Old != nil {
			c.New.Content = c.Old.Content
		}
	case s.access.read != nil: // there is nothing to fill it with
	case c.New.Kind == object.Directory && c.New.Mode&0o700 != 0o700:
		c.New.Mode |= 0o700
		if c.Old != nil && c.Old.Kind == object.Directory {
			d.enter(s, *c.Old, func(v *visit) { v.final = &s })
			return c, false
		}
	}
	return c, true
}

// present returns a copy of an entry that is there.
func present(e replica.Entry) *replica.Entry {
	if e.Kind == object.Absent {
		return nil
	}
	return &e
}

// note records a change that was made, reports it, and goes on below a directory. holds is where the agreement waits for
// the barrier; nil: the other side is still to be changed.
func (d *directory) note(side Side, s step, c replica.Change, r replica.Result, holds *ancestor.Update) {
	path := replica.Join(d.dir, s.n.text())
	e := Event{Kind: Updated, Side: side, Path: path, Old: c.Old, New: r.Entry, Below: d.visit.below}
	switch {
	case c.Old == nil:
		e.Kind = Created
	case c.New == nil:
		e.Kind = Deleted
	}
	d.tell(e)
	if c.Source != nil && r.Entry != nil {
		d.tell(Event{Kind: Transfer, Side: side, Path: path, Bytes: r.Entry.Content.Size})
	}
	agreed := replica.Entry{Name: s.n.text()}
	if r.Entry != nil {
		now := s.n.client
		if side == Local {
			now = *r.Entry
		}
		agreed = d.limits.Shown(s.agreed(side, *r.Entry), now)
	}
	d.locked(func() {
		if holds != nil {
			holds.Entries = append(holds.Entries, ancestor.Agreed{Dir: d.dir, Entry: agreed})
		}
		d.pending.changes++
		if c.Source != nil && r.Entry != nil {
			d.pending.bytes += r.Entry.Content.Size
		}
	})
	if holds != nil && r.Entry != nil && r.Entry.Kind == object.Directory {
		d.enterMade(s, c, *r.Entry)
	}
}

// enterMade goes on below a directory that was made or got another mode.
func (d *directory) enterMade(s step, c replica.Change, now replica.Entry) {
	made := c.Old == nil || c.Old.Kind != object.Directory
	if !made && !d.inFocus(d.visit, replica.Join(d.dir, now.Name)) {
		return
	}
	d.enter(s, now, func(v *visit) {
		if made {
			v.free, v.below = true, true
		}
		if mode := s.out.Result.Mode; s.out.Action == plan.UseServer && now.Mode != mode && mode&0o700 != 0o700 {
			v.final = &s
		}
	})
}

// rename moves an entry aside. d.world is held.
func (d *directory) rename(r rename) error {
	change := []replica.Change{{Old: &r.old, Rename: r.to, Copy: &r.copy}}
	d.locked(func() { d.copies = true })
	move := ancestor.Move{From: replica.Join(d.dir, r.old.Name), To: replica.Join(d.dir, r.to)}
	if r.side == Local {
		// A crash between the renaming and the barrier must not make the moved directory look new: what was deleted
		// from it on the server would come back.
		tag := makeMoveTag(move)
		if err := d.Ancestor.Prepare(d.ctx, ancestor.Prepared{Tag: tag, Update: ancestor.Update{Moves: []ancestor.Move{move}}}); err != nil {
			return err
		}
		if res := d.Client.Apply(d.ctx, d.dir, change); res[0].Err != nil {
			return res[0].Err // the preparation is settled by the next sync
		}
		d.locked(func() {
			d.pending.in.Moves = append(d.pending.in.Moves, move)
			d.pending.in.Prepared = append(d.pending.in.Prepared, tag)
			d.aside[replica.Join(d.dir, r.to)] = r.copy
		})
	} else {
		if res := d.Server.Apply(d.ctx, d.dir, change); res[0].Err != nil {
			return res[0].Err
		}
		d.locked(func() {
			if r.withPast {
				d.pending.out.Moves = append(d.pending.out.Moves, move)
			} else {
				gone := ancestor.Agreed{Dir: d.dir, Entry: replica.Entry{Name: r.old.Name}}
				d.pending.out.Entries = append(d.pending.out.Entries, gone)
				d.sum.Copies++
			}
		})
	}
	d.locked(func() { d.pending.changes++ })
	d.tell(Event{Kind: Renamed, Side: r.side, Path: replica.Join(d.dir, r.old.Name), Old: &r.old, NewName: r.to})
	return nil
}

// ensure makes the directory of v on a side that lacks it: something below a deleted directory must be kept.
func (p *pass) ensure(v *visit, side Side) error {
	if side == Local && !v.noClient || side == Remote && !v.noServer {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.made {
		return nil
	}
	if err := p.ensure(v.up, side); err != nil {
		return err
	}
	e := v.opt.mask(v.entry)
	s := step{n: name{client: e, server: e}, opt: v.opt, out: plan.Outcome{Action: plan.UseServer, Result: e, Ancestor: e}}
	change := []replica.Change{{New: &e}}
	var res []replica.Result
	if side == Local {
		e.Mode |= 0o700
		if err := p.announce(v.up.dir, e); err != nil {
			return err
		}
		res = p.Client.Apply(p.ctx, v.up.dir, change)
	} else {
		s.out.Action = plan.UseClient
		e.Tree, e.Root, e.Roots = object.Tree{}, object.RootID{}, false
		p.markAside(v.up, &change[0])
		res = p.Server.Apply(p.ctx, v.up.dir, change)
	}
	if res[0].Err != nil {
		return res[0].Err
	}
	v.made = true
	p.mu.Lock()
	holds := &p.pending.in
	if side == Remote {
		holds = &p.pending.out
	}
	holds.Entries = append(holds.Entries, ancestor.Agreed{Dir: v.up.dir, Entry: s.agreed(side, *res[0].Entry)})
	p.pending.changes++
	p.mu.Unlock()
	p.tell(Event{Kind: Created, Side: side, Path: v.dir, New: res[0].Entry, Below: v.below})
	return nil
}
