package engine

import (
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/object"
)

// pretend reports and counts what apply would do.
func (d *directory) pretend() {
	for _, r := range d.renames {
		d.tell(Event{Kind: Renamed, Side: r.side, Path: join(d.dir, r.old.Name), Old: &r.old, NewName: r.to})
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
	for v := d.visit; v != nil && v.vanish && now.Kind != object.Absent; v = v.up {
		v.mu.Lock()
		v.made = true // it must be kept for what is in it
		v.mu.Unlock()
	}
	e := Event{Kind: Updated, Side: side, Path: join(d.dir, s.n.text()), Old: present(old), New: present(now),
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
		return
	}
	d.enter(s, now, func(v *visit) {
		v.free = v.free || made
		v.below = v.below || made
		v.noClient = side == Local && made
		v.noServer = side == Remote && made
	})
}
