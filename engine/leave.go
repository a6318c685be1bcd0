package engine

import (
	"strings"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
	"ensync/store/object"
)

// leave ends a directory when all below it is done: its final mode, its removal if it was to vanish, its mark.
func (p *pass) leave(v *visit) error {
	if p.looking {
		return p.leaveLooking(v)
	}
	if !p.begin() {
		return nil
	}
	defer p.world.RUnlock()
	if v.final != nil && !p.isUnclean(v) {
		if err := p.makeFinal(v); err != nil {
			return err
		}
	}
	if err := p.noteCopies(v); err != nil {
		return err
	}
	mark, err := p.Server.Leave(p.ctx, v.dir)
	if err != nil {
		return err
	}
	removed := false
	if v.vanish && !v.made && !p.isUnclean(v) {
		if removed, err = p.removeEmpty(v); err != nil {
			return err
		}
	}
	p.keepIssues(v)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.focus != nil && !v.unclean {
		v.unclean = p.dirtBelow(v.dir)
	}
	if v.unclean || v.differs {
		p.dirt[v.dir] = true
		return nil
	}
	delete(p.dirt, v.dir)
	if !removed && mark != "" && mark != v.knownMark {
		p.pending.out.Marks[v.dir] = mark
	}
	return nil
}

// noteIssues remembers what is wrong in a directory that could not be left.
func (p *pass) noteIssues(v *visit) {
	if p.looking || !p.begin() {
		return
	}
	defer p.world.RUnlock()
	p.keepIssues(v)
}

// keepIssues hands the issues of a directory to the next barrier. The world is held.
func (p *pass) keepIssues(v *visit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.looked || len(v.issues) > 0 {
		p.pending.in.Issues[v.dir] = v.issues
	}
	if v.looked {
		delete(p.stale, v.dir)
	}
}

func (p *pass) isUnclean(v *visit) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return v.unclean
}

// dirtBelow reports whether an earlier pass left something below unclean that this one does not look at.
func (p *pass) dirtBelow(dir string) bool {
	for d := range p.dirt {
		if dir == "" && d != "" || strings.HasPrefix(d, dir+"/") {
			return true
		}
	}
	return false
}

func (p *pass) leaveLooking(v *visit) error {
	if !v.same && v.looked {
		now, err := p.Server.Mark(p.ctx, v.dir)
		if err != nil {
			return err
		}
		if now != v.knownMark && !v.noServer {
			p.mu.Lock()
			p.work.add(v.dir, false)
			p.mu.Unlock()
		}
	}
	if _, err := p.Server.Leave(p.ctx, v.dir); err != nil { // the pass that follows opens what it needs
		return err
	}
	if v.vanish && !v.made {
		side := Local
		if v.noClient {
			side = Remote
		}
		p.tell(Event{Kind: Deleted, Side: side, Path: v.dir, Old: &v.entry, Below: v.up.below})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range v.issues {
		if i.Kind == ancestor.Failed {
			p.sum.Failed++
		} else {
			p.sum.Unsynced++
		}
	}
	return nil
}

// makeFinal takes from a directory of the client the rights that were only there to fill it.
func (p *pass) makeFinal(v *visit) error {
	e := v.final.opt.leave(v.final.out.Result, &v.entry)
	res := p.Client.Apply(p.ctx, v.up.dir, []replica.Change{{Old: &v.entry, New: &e}})
	if res[0].Err != nil {
		return res[0].Err
	}
	agreed := v.final.agreed(Local, *res[0].Entry)
	p.mu.Lock()
	defer p.mu.Unlock()
	holds := v.final.holds(p.pending)
	holds.Entries = append(holds.Entries, ancestor.Agreed{Dir: v.up.dir, Entry: agreed})
	return nil
}

// removeEmpty removes a directory that was to vanish, unless something in it stayed.
func (p *pass) removeEmpty(v *visit) (bool, error) {
	side, list := Local, p.Client.List
	if v.noClient {
		side, list = Remote, p.Server.List
	}
	left, err := list(p.ctx, v.dir)
	if err != nil || len(left) > 0 {
		return false, err
	}
	change := []replica.Change{{Old: &v.entry}}
	var res []replica.Result
	if side == Local {
		if err := p.announce(v.up.dir, replica.Entry{Name: v.name}); err != nil {
			return false, err
		}
		res = p.Client.Apply(p.ctx, v.up.dir, change)
	} else {
		if _, err := p.Server.Leave(p.ctx, v.dir); err != nil { // List opened it again
			return false, err
		}
		res = p.Server.Apply(p.ctx, v.up.dir, change)
	}
	if res[0].Err != nil {
		return false, res[0].Err
	}
	p.mu.Lock()
	holds := &p.pending.in
	if side == Remote {
		holds = &p.pending.out
	}
	gone := replica.Entry{Name: v.name, Kind: object.Absent}
	holds.Entries = append(holds.Entries, ancestor.Agreed{Dir: v.up.dir, Entry: gone})
	p.pending.changes++
	p.mu.Unlock()
	p.tell(Event{Kind: Deleted, Side: side, Path: v.dir, Old: &v.entry, Below: v.up.below})
	return true, nil
}
