package engine

import (
	"context"
	"errors"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/object"
)

// look is a visit's own part: compare, decide, apply, and push the directories below.
func (p *pass) look(v *visit) error {
	v.all = p.focus[v.dir] || v.up != nil && v.up.all
	same, err := p.serverSame(v)
	if err != nil {
		return err
	}
	v.same = same
	if v.same && !v.noClient && p.focus == nil {
		// The server is as the ancestor says, here and below. If the client says so too, nothing is to do.
		dirty, err := p.Client.Dirty(p.ctx, v.dir)
		if err != nil || !dirty {
			return err
		}
	}
	p.mu.Lock()
	p.sum.Examined++
	p.mu.Unlock()
	known, err := p.known(v)
	v.past = nil // it may be large
	if err != nil {
		p.cancel(err)
		return err
	}
	client, err := p.listClient(v)
	if err != nil {
		return err
	}
	if v.same && !p.focus.has(v.dir) && !p.copied[v.dir] && !p.Rules.NeedsListings() && p.unchanged(v, client, known.Entries) {
		v.knownMark = known.Mark
		v.state = v.state.Enter(nil, nil)
		return p.enterSame(v, client)
	}
	server, err := p.listServer(v)
	if err != nil {
		return err
	}
	d := &directory{pass: p, visit: v, limits: p.limits(v.dir), names: listings{lists: [3][]replica.Entry{client, known.Entries, server}},
		reserved: map[string]bool{}}
	v.knownMark = known.Mark
	v.state = v.state.Enter(facts(client), facts(server))
	v.looked, v.copies = true, hasCopies(server)
	return d.reconcile()
}

// known returns what the ancestor has of a directory. Leftovers of another directory that went from here, of which a
// failure kept the ancestor from hearing in time, are dropped: they would make what is here now look deleted.
func (p *pass) known(v *visit) (ancestor.Dir, error) {
	if v.past != nil {
		return *v.past, nil
	}
	dir, err := p.Ancestor.Dir(p.ctx, v.dir)
	if err != nil {
		return dir, err
	}
	if !v.agreed && (len(dir.Entries) > 0 || dir.Mark != "") {
		if !p.looking && p.begin() {
			p.mu.Lock()
			for _, e := range dir.Entries {
				gone := replica.Entry{Name: e.Name}
				p.pending.in.Entries = append(p.pending.in.Entries, ancestor.Agreed{Dir: v.dir, Entry: gone})
			}
			p.mu.Unlock()
			p.world.RUnlock()
		}
		dir = ancestor.Dir{}
	}
	v.past = &dir
	return dir, nil
}

// serverSame reports whether the server's tree is what it was when all here and below was last in sync.
func (p *pass) serverSame(v *visit) (bool, error) {
	if p.All || v.noServer || v.free {
		return false, nil
	}
	if v.up != nil && v.up.same {
		return true, nil
	}
	known, err := p.known(v)
	if err != nil || known.Mark == "" {
		return false, err
	}
	if !p.begin() {
		return false, context.Cause(p.ctx)
	}
	defer p.world.RUnlock()
	now, err := p.Server.Mark(p.ctx, v.dir)
	return now == known.Mark, err
}

// limits is what the client's file system can't keep of the entries of a directory.
func (s *syncer) limits(dir string) replica.Limits {
	if limited, ok := s.Client.(replica.Limited); ok {
		return limited.Limits(dir)
	}
	return replica.Limits{}
}

// enterSame goes on below a directory whose own entries are all in sync.
func (p *pass) enterSame(v *visit, entries []replica.Entry) error {
	var below []*visit
	for _, e := range entries {
		path := replica.Join(v.dir, e.Name)
		if e.Kind != object.Directory || !p.inFocus(v, path) {
			continue
		}
		access, ok := p.mayEnter(v, e.Name)
		if !ok {
			continue
		}
		_, _, inside := v.state.Entry(rules.FactsOf(e))
		below = append(below, &visit{dir: path, up: v, name: e.Name, entry: e, state: inside, access: access, agreed: true,
			free: v.free, below: v.below})
	}
	p.push(below...)
	return nil
}

func facts(list []replica.Entry) []rules.Facts {
	all := make([]rules.Facts, len(list))
	for i, e := range list {
		all[i] = rules.FactsOf(e)
	}
	return all
}

// A directory is a visit whose names are decided on one by one.
type directory struct {
	*pass
	*visit
	names  listings
	limits replica.Limits // of the client; the ancestor has what is shown within them
	more   []name         // to be decided on once more, after something moved aside
	count  int            // names decided on and not carried out
	client []step         // changes to make, by side
	server []step
	below  []*visit
	agreed []ancestor.Agreed // found in sync: what the ancestor has otherwise
	same   []ancestor.Agreed // found in sync, as the ancestor has it
	isWork bool              // something is to be done here

	renames  []rename        // what moves aside, before anything else is changed
	reserved map[string]bool // the names they get
}

// A step is a change decided on for one name.
type step struct {
	n      name
	out    plan.Outcome
	inside rules.State
	trust  bool
	opt    optional
	access // to what is below, if it is a directory
}

// maxDecided is how many names are decided on before what was decided is carried out: it bounds memory, not safety.
const maxDecided = 2048

func (d *directory) reconcile() error {
	for {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		n, ok := d.next()
		if !ok {
			break
		}
		d.inspect(n)
		if d.count++; d.count >= maxDecided && len(d.more) == 0 {
			d.carryOut()
		}
	}
	d.carryOut()
	d.push(d.below...)
	return nil
}

func (d *directory) next() (name, bool) {
	if len(d.more) > 0 {
		n := d.more[0]
		d.more = d.more[1:]
		return n, true
	}
	return d.names.next()
}

// carryOut does what was decided so far, or pretends to.
func (d *directory) carryOut() {
	if d.isWork {
		d.locked(func() { d.pass.work.add(d.dir, false) })
	}
	d.noteFound()
	if d.looking {
		d.pretend()
	} else {
		d.apply()
	}
	d.count, d.client, d.server, d.agreed, d.same, d.renames = 0, nil, nil, nil, nil, nil
}

// locked runs fn under the pass's lock.
func (d *directory) locked(fn func()) {
	d.pass.mu.Lock()
	defer d.pass.mu.Unlock()
	fn()
}

// inspect decides on one name and puts the outcome where it will be carried out.
func (d *directory) inspect(n name) {
	path := replica.Join(d.dir, n.text())
	ruled, trust, inside := d.state.Entry(rules.FactsOf(bestKnown(n)))
	s := step{n: n, inside: inside, trust: trust && !d.limits.NoModes, opt: optionalOf(inside)}
	if !d.guarded(&s, path, ruled == plan.Mode{}) {
		return
	}
	n, mode := s.n, d.modeOf(path, n.server, ruled)
	if d.lockedBy(s) != nil {
		mode = d.modeOf(path, n.server, readOnly(ruled))
		mode.Out = plan.Rights{}
	}
	if n.client.Kind == object.Special && n.client.Target != "" && mode != (plan.Mode{}) {
		d.failed(d.visit, path, errors.New(n.client.Target)) // whatever it is, it is there
		return
	}
	in := d.input(s)
	if plan.NeedsContent(in) {
		e, err := d.Client.Hash(d.ctx, d.dir, n.client)
		if err != nil {
			d.failed(d.visit, path, err)
			return
		}
		s.n.client.Content, in.Client.Content = e.Content, e.Content
	}
	s.out = plan.Decide(in, mode)
	s.out.Ancestor.Held = stillHeld(s.opt.mask(n.client), n.known, s.out.Ancestor)
	d.tell(Event{Kind: Inspected, Path: path, Old: &in.Client, New: &in.Server, Outcome: s.out, Below: d.visit.below})
	if s.out.LeavesDifference() {
		d.locked(func() { d.differs = true })
		d.unsynced(s, path, d.modeOf(path, n.server, ruled))
	}
	if s.opt.xattrs && n.client.Xattrs == object.XattrsTooLarge && mode != (plan.Mode{}) {
		d.locked(func() {
			d.differs = true
			d.issues = append(d.issues, ancestor.Issue{Path: path, Kind: ancestor.Unsynced, Since: time.Now(), Reason: tooLarge})
		})
	}
	d.noteMove(s.n, path)
	d.route(s)
}

const tooLarge = "its extended attributes take more than 64 KiB together and stay on this machine; all else is synchronised"

// input is what is decided on: the client's entry as far as it is to be believed, and of all three what is synchronised,
// as the client's file system shows it.
func (d *directory) input(s step) plan.Input {
	n := s.n
	n.known, n.server = d.limits.Shown(n.known, n.client), d.limits.Shown(n.server, n.client)
	if !s.trust {
		n.client.Mode = trusted(n)
	}
	in := plan.Input{Client: s.opt.mask(n.client), Ancestor: s.opt.mask(n.known), Server: s.opt.mask(n.server)}
	in.Client = inWordsOf(in.Client, in.Ancestor, in.Server)
	return in
}

// bestKnown is the version that the rules judge: the client's, else the ancestor's, else the server's.
func bestKnown(n name) replica.Entry {
	for _, e := range []replica.Entry{n.client, n.known, n.server} {
		if e.Kind != object.Absent {
			return e
		}
	}
	return n.client
}

// trusted is the mode of a client's entry whose own mode says nothing (trust_client_unix_mode = false).
func trusted(n name) uint32 {
	hasMode := func(e replica.Entry) bool { return e.Kind == object.File || e.Kind == object.Directory }
	switch {
	case hasMode(n.client) && hasMode(n.server):
		return n.server.Mode
	case hasMode(n.client) && n.server.Kind == object.Absent && hasMode(n.known):
		return n.known.Mode
	}
	return n.client.Mode
}

// unsynced remembers an entry that stays out of sync. What the rules leave alone altogether is no issue.
func (d *directory) unsynced(s step, path string, mode plan.Mode) {
	if mode == (plan.Mode{}) {
		return
	}
	i := ancestor.Issue{Path: path, Kind: ancestor.Unsynced, Since: time.Now(), Seen: s.n.server.Version()}
	switch {
	case s.n.client.Kind == object.Special && s.n.server.Kind == object.Absent:
		return // it is not synchronised, and in nobody's way
	case s.n.client.Kind == object.Special:
		i.Reason = "a socket, pipe or device has this name on this machine; move it away to get the store's " + s.n.server.Kind.String()
	case s.n.server.Kind == object.Special:
		i.Reason = "the store has something of this name that this version of ensync doesn't know"
	case s.out.Conflict != plan.NoConflict:
		i.Kind = ancestor.Conflicted
		i.Reason = s.out.Conflict.String() + "; mode " + mode.String() + " lets neither version win"
		d.conflicted(&i, s)
		if why := d.lockedBy(s); why != nil {
			i.Reason = s.out.Conflict.String() + "; " + why.Error()
		}
	case d.lockedBy(s) != nil:
		i.Reason = d.lockedBy(s).Error() + "; what was changed here stays on this machine"
	default:
		i.Reason = "local and remote differ; mode " + mode.String() + " lets nothing be done"
	}
	d.isWork = true // to remember it, if nothing else
	d.locked(func() { d.issues = append(d.issues, i) })
}

// route puts a decided name where it is carried out.
func (d *directory) route(s step) {
	n, out := s.n, s.out
	switch out.Action {
	case plan.InSync, plan.Unsync, plan.Irreconcilable:
		d.found(s)
	case plan.UseServer:
		d.isWork = true
		switch {
		case n.server.Kind == object.Absent && n.client.Kind == object.Directory:
			d.deleteTree(s, Local, n.client)
		case n.server.Kind != object.Absent && !d.committed(n.text()):
			d.later()
		default:
			d.client = append(d.client, s)
		}
	case plan.UseClient:
		d.isWork = true
		if n.client.Kind == object.Absent && n.server.Kind == object.Directory {
			d.deleteTree(s, Remote, n.server)
		} else {
			d.server = append(d.server, s)
		}
	case plan.Merge: // the server first: its part can still be taken back
		d.isWork = true
		d.server = append(d.server, s)
	default:
		d.isWork = true
		d.split(s)
	}
}

// committed reports whether a name of the server is part of what is committed: only that may reach the client.
func (d *directory) committed(name string) bool {
	if !d.begin() {
		return false
	}
	yes, err := d.Server.Committed(d.ctx, d.dir, name)
	d.world.RUnlock()
	if err != nil {
		d.failed(d.visit, replica.Join(d.dir, name), err)
	}
	return yes || d.looking
}

// later leaves the directory to another pass of this sync.
func (d *directory) later() {
	d.locked(func() { d.again.add(d.dir, false); d.unclean = true })
}

// found notes a name on which nothing is to be changed, and enters it if both sides have a directory.
func (d *directory) found(s step) {
	want := s.out.Ancestor
	want.Name = s.n.text()
	want.Content.Data = nil // it is in both trees
	note := ancestor.Agreed{Dir: d.dir, Entry: want}
	switch {
	case s.out.Action != plan.InSync && !s.out.Descend:
	case recorded(s.n.known, want):
		d.same = append(d.same, note)
	default:
		d.isWork = true
		d.agreed = append(d.agreed, note)
	}
	if path := replica.Join(d.dir, want.Name); s.out.Descend && (d.inFocus(d.visit, path) || d.behind(path)) {
		d.enter(s, s.n.client, func(*visit) {})
	}
}

// behind reports whether a directory outside of the focus is not what it was when it was last in sync: then the one
// above it must not be marked before it was looked at.
func (d *directory) behind(path string) bool {
	known, err := d.Ancestor.Dir(d.ctx, path)
	if err != nil || !d.begin() {
		return true
	}
	defer d.world.RUnlock()
	now, err := d.Server.Mark(d.ctx, path)
	if err == nil {
		_, err = d.Server.Leave(d.ctx, path) // nobody looks further
	}
	return err != nil || now != known.Mark
}

// recorded reports whether the ancestor holds an entry already.
func recorded(known, e replica.Entry) bool {
	return known.Kind == e.Kind && (e.Kind == object.Absent || known.Equal(e) && sameHeld(known.Held, e.Held))
}

// enter adds the directory of that name to those to be looked at, if this client may read it.
func (d *directory) enter(s step, e replica.Entry, set func(*visit)) {
	v := &visit{dir: replica.Join(d.dir, s.n.text()), up: d.visit, name: s.n.text(), entry: e, state: s.inside,
		opt: s.opt, access: s.access, agreed: s.n.known.Kind == object.Directory, free: d.free, below: d.visit.below}
	set(v)
	if s.access.read != nil && !v.vanish {
		return
	}
	d.below = append(d.below, v)
}

// deleteTree deletes a directory from the bottom up, as far as nothing in it must stay (reference 3.4).
func (d *directory) deleteTree(s step, side Side, e replica.Entry) {
	d.tell(Event{Kind: DeleteTree, Side: side, Path: replica.Join(d.dir, e.Name), Old: &e, Below: d.visit.below})
	d.enter(s, e, func(v *visit) {
		v.vanish, v.free, v.below = true, true, true
		v.noServer, v.noClient = side == Local, side == Remote
	})
}

// noteFound hands what was found in sync to the next barrier.
func (d *directory) noteFound() {
	if d.looking || len(d.agreed)+len(d.same) == 0 || !d.begin() {
		return
	}
	defer d.world.RUnlock()
	d.locked(func() {
		for _, a := range d.agreed {
			if len(d.renames) > 0 {
				d.pending.out.Entries = append(d.pending.out.Entries, a)
			} else {
				d.pending.in.Entries = append(d.pending.in.Entries, a)
			}
		}
		d.pending.same = append(d.pending.same, d.same...)
		d.pending.found += len(d.agreed) + len(d.same)
	})
}

// taken reports whether any of the three trees has a name, or the client has one that is the same to its file system.
func (d *directory) taken(text string) bool {
	limited, ok := d.Client.(replica.Limited)
	return d.reserved[text] || d.names.has(text) || ok && limited.Taken(d.dir, text)
}
