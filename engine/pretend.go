package engine

import (
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/object"
)

// pretend reports and counts what apply would do.
func (d *directory) pretend() {
	for _, r := range d.renames {
		d.tell(Event{Kind: Renamed, Side: r.side, Path: replica.Join(d.dir, r.old.Name), Old: &r.old, NewName: r.to})
		if r.withPast { // what becomes of it depends on what the ancestor has there by then
			continue
		}
		d.locked(func() { d.sum.Copies++ })
		moved := r.old
		moved.Name = r.to
		_, _, inside := d.state.Entry(rules.FactsOf(moved))
		s := step{n: name{server: moved}, out: plan.Outcome{Action: plan.UseServer, Result: moved}, inside: inside, access: d.visit.access}
		d.pretendStep(Local, s, replica.Entry{Name: r.to})
	}
	for _, s := range d.server {
		d.pretendStep(Remote, s, s.n.server)
		if s.out.Action == plan.Merge {
			d.pretendStep(Local, s, s.n.client)
		}
	}
	for _, s := range d.client {
		d.pretendStep(Local, s, s.n.client)
	}
}

func (d *directory) pretendStep(side Side, s step, old replica.Entry) {
	now := s.out.Result
	if now.Kind != object.Absent {
		d.pretendKept(d.visit, side)
	}
	e := Event{Kind: Updated, Side: side, Path: replica.Join(d.dir, s.n.text()), Old: present(old), New: present(now),
		Below: d.visit.below}
	switch {
	case e.Old == nil:
		e.Kind = Created
	case e.New == nil:
		e.Kind = Deleted
	}
	d.tell(e)
	if now.Kind == object.File && !old.SameContent(now) {
		d.tell(Event{Kind: Transfer, Side: side, Path: e.Path, Bytes: now.Content.Size})
	}
	if now.Kind != object.Directory {
		return
	}
	made := old.Kind != object.Directory
	if made && d.quiet { // the loss guard only minds what goes away
		t := newTree{dir: e.Path, state: s.inside}
		if side == Remote {
			t.client = &now
		} else {
			t.server = &now
		}
		d.locked(func() { d.newly = append(d.newly, t) })
		return
	}
	d.enter(s, now, func(v *visit) {
		v.free = v.free || made
		v.below = v.below || made
		v.noClient = side == Local && made
		v.noServer = side == Remote && made
	})
}

// pretendKept reports that directories which were to vanish are made on the other side for what stays in them.
func (d *directory) pretendKept(v *visit, side Side) {
	if v == nil || !v.vanish {
		return
	}
	d.pretendKept(v.up, side)
	v.mu.Lock()
	was := v.made
	v.made = true
	v.mu.Unlock()
	if !was {
		d.tell(Event{Kind: Created, Side: side, Path: v.dir, New: &v.entry, Below: v.below})
	}
}
