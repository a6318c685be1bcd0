package engine

import (
	"cmp"
	"slices"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/object"
)

// Whoever finds a conflict copy wants to know whose it is. So the copy's entry in the store says so (object.Copy), to all
// machines, and each notes what copies there are in the directories that it looks at.

// A Decision is what a user decided about a path.
type Decision struct {
	Mode plan.Mode // holds instead of what the rules say
	Seen string    // the version that the store had then; empty: any
}

// modeOf is what the rules say, unless a user has decided about this very path, and has seen what it is about.
func (d *directory) modeOf(path string, server replica.Entry, ruled plan.Mode) plan.Mode {
	if by, ok := d.Resolve[path]; ok && (by.Seen == "" || by.Seen == server.Version()) {
		return by.Mode
	}
	return ruled
}

// resolved makes a decision about a path hold for what moves aside from it, too.
func (d *directory) resolved(from, to string) {
	if by, ok := d.Resolve[replica.Join(d.dir, from)]; ok {
		d.locked(func() { d.Resolve[replica.Join(d.dir, to)] = Decision{Mode: by.Mode} })
	}
}

// copyOf describes what is about to move aside. A directory that only makes room is gone before anyone sees it listed,
// unless something in it was new.
func (d *directory) copyOf(s step, side Side) object.Copy {
	c := object.Copy{Of: s.n.text(), Author: d.authorOf(s.n.server), Other: d.here(s.n.client)}
	if side == Local {
		c.Author, c.Other = c.Other, c.Author
	}
	return c
}

// markAside makes a creation in v of what moved aside on this machine a conflict copy.
func (p *pass) markAside(v *visit, c *replica.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if what, ok := p.aside[replica.Join(v.dir, c.Name())]; ok && c.Old == nil {
		c.Copy, v.copies = &what, true
	}
}

// here is who made a local entry: this machine, when the file was modified, or else now.
func (p *pass) here(e replica.Entry) object.Author {
	return object.Author{Machine: p.Machine, Time: timeOf(e, time.Now().UnixNano())}
}

// timeOf is when a file was modified. Others have no time of their own.
func timeOf(e replica.Entry, otherwise int64) int64 {
	if e.Kind == object.File {
		return e.ModTime
	}
	return otherwise
}

// authorOf finds who made an entry of the store's. That nobody knows is no failure.
func (d *directory) authorOf(e replica.Entry) object.Author {
	var by object.Author
	if h, ok := d.Server.(replica.Historian); ok && !d.looking && e.Kind != object.Absent && d.begin() {
		by, _ = h.Author(d.ctx, d.dir, e)
		d.world.RUnlock()
	}
	return object.Author{Machine: by.Machine, Time: timeOf(e, by.Time)}
}

// conflicted completes an issue about versions that stay where they are.
func (d *directory) conflicted(i *ancestor.Issue, s step) {
	known, ok := d.authors[i.Path]
	if !ok || known.Time != timeOf(s.n.server, known.Time) {
		known = d.authorOf(s.n.server)
	}
	i.Author = known
	if s.n.client.Kind != object.Absent {
		i.Other = d.here(s.n.client)
	}
}

// noteCopies adds the conflict copies of a directory that is done to its issues. They are in sync; who looks at them should
// find them.
func (p *pass) noteCopies(v *visit) error {
	if !v.copies {
		return nil
	}
	list, err := p.Server.List(p.ctx, v.dir)
	if err != nil {
		return err
	}
	find := func(name string) (int, bool) {
		return slices.BinarySearchFunc(list, name, func(e replica.Entry, name string) int { return cmp.Compare(e.Name, name) })
	}
	has := func(name string) bool { _, ok := find(name); return ok }
	for _, e := range object.CopiesOf(list, has) {
		c, _ := e.Copy()
		of, _ := find(c.Of)
		i := ancestor.Issue{Path: replica.Join(v.dir, e.Name), Kind: ancestor.Copied, Since: time.Now(),
			Reason: "both versions were kept", Of: c.Of, Author: c.Author, Other: c.Other,
			Seen: e.Version(), SeenOf: list[of].Version()}
		p.mu.Lock()
		v.issues = append(v.issues, i)
		p.mu.Unlock()
	}
	return nil
}

// hasCopies reports whether there may be conflict copies among entries.
func hasCopies(list []replica.Entry) bool {
	return slices.ContainsFunc(list, func(e replica.Entry) bool { _, ok := e.Copy(); return ok })
}
