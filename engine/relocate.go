package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/object"
)

// A user who renames a directory of a hundred thousand files has changed one thing. So before anything else, what went
// from one place on one side and turned up in another place there is moved on the other side, in one step, and the
// ancestor's record of it with it. Nothing is read, stored or fetched for that, and what the other side changed in it
// meanwhile is then found where it is now.
//
// It is a guess that may be wrong and does no harm: what follows reconciles the new place by the same rules, against what
// was agreed on at the old one. It is made only under rules that are the same everywhere.

// movedMin is the size in bytes from which a single file is moved. A smaller one costs less to be made anew.
var movedMin int64 = object.InlineMax + 1 // tests make it smaller

// A relocation moves what is at from on a side, as it was moved on the other.
type relocation struct {
	side     Side // that is to follow
	from, to string
	entry    replica.Entry // at from, on that side
}

// candidates are what a looking pass found gone and new, by the side where that was seen.
type candidates struct {
	gone  [2][]relocation        // from and entry, on the other side
	keys  [2]map[string][]string // their paths by what identifies them: those of one key are alike
	fresh [2][]arrival
}

// An arrival is a path where one side has something and nothing was agreed on.
type arrival struct {
	path  string
	entry replica.Entry
}

func newCandidates() *candidates {
	c := &candidates{}
	for side := range c.keys {
		c.keys[side] = map[string][]string{}
	}
	return c
}

// maxRemembered bounds what is remembered of either kind: memory, about 300 bytes each.
const maxRemembered = 100_000

// canRelocate reports whether moves are looked for.
func (s *syncer) canRelocate() bool {
	_, tracks := s.Client.(replica.Tracker)
	_, client := s.Client.(replica.Relocator)
	_, server := s.Server.(replica.Relocator)
	_, uniform := s.Rules.Uniform()
	return tracks && client && server && uniform && !s.resettle && !s.DryRun
}

// noteMove notes a name of which a side has nothing.
func (d *directory) noteMove(n name, path string) {
	c := d.moves
	if c == nil || n.client.Kind != object.Absent && n.server.Kind != object.Absent {
		return
	}
	mark := ""
	if n.server.Kind == object.Absent && n.known.Kind == object.Directory {
		if known, err := d.Ancestor.Dir(d.ctx, path); err == nil {
			mark = known.Mark
		}
	}
	d.locked(func() { c.note(n, path, mark) })
}

func (c *candidates) note(n name, path, mark string) {
	switch here, there, known := n.client.Kind, n.server.Kind, n.known.Kind; {
	case here == object.Absent && there == known && movable(n.known):
		c.went(Local, path, n.server, contentKey(n.known))
	case there == object.Absent && here == known && movable(n.known) && (known == object.Directory || n.client.Content.Same(n.known.Content)):
		key := contentKey(n.known)
		if known == object.Directory {
			key = mark
		}
		c.went(Remote, path, n.client, key)
	case here != object.Absent && there == object.Absent && known == object.Absent && movable(n.client):
		c.came(Local, path, n.client)
	case there != object.Absent && here == object.Absent && known == object.Absent && movable(n.server):
		c.came(Remote, path, n.server)
	}
}

func (c *candidates) came(side Side, path string, e replica.Entry) {
	if len(c.fresh[side]) < maxRemembered {
		e.Content.Data = nil
		c.fresh[side] = append(c.fresh[side], arrival{path, e})
	}
}

func movable(e replica.Entry) bool {
	return e.Kind == object.Directory || e.Kind == object.File && e.Content.Known && e.Content.Size >= movedMin
}

// contentKey identifies a file; a directory of the client's is identified by where it was, one of the server's by its mark.
func contentKey(e replica.Entry) string {
	if e.Kind != object.File {
		return ""
	}
	return fmt.Sprintf("%d %x", e.Content.Depth, e.Content.Key)
}

func (c *candidates) went(side Side, path string, other replica.Entry, key string) {
	if len(c.gone[side]) >= maxRemembered {
		return
	}
	c.gone[side] = append(c.gone[side], relocation{side: 1 - side, from: path, entry: other})
	if key != "" {
		c.keys[side][key] = append(c.keys[side][key], path)
	}
}

// relocations matches what went with what came.
func (s *syncer) relocations(ctx context.Context, c *candidates) ([]relocation, error) {
	if c == nil {
		return nil, nil
	}
	var all []relocation
	for _, side := range []Side{Local, Remote} {
		mode, _ := s.Rules.Uniform()
		if follows := rightsOf(mode, 1-side); follows.Create == plan.Off || follows.Delete == plan.Off {
			continue
		}
		m := matcher{syncer: s, side: side, open: map[string]relocation{}, keys: c.keys[side]}
		for _, r := range c.gone[side] {
			m.open[r.from] = r
		}
		arrivals := c.fresh[side]
		slices.SortFunc(arrivals, func(a, b arrival) int { return strings.Compare(a.path, b.path) })
		for _, a := range arrivals {
			if err := m.arrived(ctx, a); err != nil {
				return nil, err
			}
		}
		all = append(all, m.found...)
	}
	return all, nil
}

func rightsOf(m plan.Mode, side Side) plan.Rights {
	if side == Local {
		return m.In
	}
	return m.Out
}

// A matcher finds where things went from on one side.
type matcher struct {
	*syncer
	side  Side
	open  map[string]relocation // what is gone, by path
	keys  map[string][]string
	found []relocation
}

// arrived looks where something new came from, and if from nowhere, where what is in it did.
func (m *matcher) arrived(ctx context.Context, a arrival) error {
	if len(m.open) == 0 {
		return nil
	}
	from, err := m.origin(ctx, a)
	if err != nil {
		return unlessLocal(err) // the pass that meets it says so
	}
	if r, ok := m.open[from]; ok && r.entry.Kind == a.entry.Kind && !within(a.path, from) && m.sameSeat(1-m.side, from, a.path, r.entry.Kind) {
		r.to = a.path
		m.found = append(m.found, r)
		maps.DeleteFunc(m.open, func(path string, _ relocation) bool { return within(path, from) })
		return nil
	}
	if a.entry.Kind != object.Directory {
		return nil
	}
	below, err := m.below(ctx, a)
	if err != nil {
		return unlessLocal(err)
	}
	for _, e := range below {
		if err == nil && movable(e) {
			err = m.arrived(ctx, arrival{replica.Join(a.path, e.Name), e})
		}
	}
	return err
}

// unlessLocal drops the error of a single entry: it is then made and deleted, and whatever is wrong with it is met, told and
// remembered there.
func unlessLocal(err error) error {
	if failsAll(err) {
		return err
	}
	return nil
}

// within reports whether a path is dir or lies in it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// origin is where something was at the last agreement; "" if nobody knows.
func (m *matcher) origin(ctx context.Context, a arrival) (string, error) {
	switch {
	case a.entry.Kind == object.File:
		return m.alike(contentKey(a.entry), a.path), nil
	case m.side == Local:
		return m.Client.(replica.Tracker).Was(ctx, a.path)
	}
	mark, err := m.Server.Mark(ctx, a.path)
	if err == nil {
		_, err = m.Server.Leave(ctx, a.path) // who looks at it again opens it again
	}
	return m.alike(mark, a.path), err
}

// alike returns one of the paths with a key that nothing came from yet: the first with the same name, or else the first.
func (m *matcher) alike(key, path string) string {
	_, name := replica.Split(path)
	var first string
	for _, from := range slices.Sorted(slices.Values(m.keys[key])) {
		if _, open := m.open[from]; !open {
			continue
		}
		if _, was := replica.Split(from); was == name {
			return from
		}
		first = cmp.Or(first, from)
	}
	return first
}

func (m *matcher) below(ctx context.Context, a arrival) ([]replica.Entry, error) {
	if m.side == Remote {
		return peek(ctx, m.Server, a.path, &a.entry)
	}
	list, err := m.Client.List(ctx, a.path)
	if errors.Is(err, replica.ErrNotExist) {
		err = nil // it went since
	}
	return list, err
}

// relocate makes the other side follow, and records it. What can't be moved, because somebody was faster, its new
// directory is not there or its owner forbids it, is left to be made and deleted.
func (s *syncer) relocate(ctx context.Context, moves []relocation) (made int, err error) {
	slices.SortFunc(moves, func(a, b relocation) int { return cmp.Or(cmp.Compare(a.side, b.side), strings.Compare(a.to, b.to)) })
	p := s.newPass(false, nil)
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	r := relocator{p, map[string]bool{}, 0}
	for _, m := range moves {
		if err := r.follow(m); err != nil {
			return 0, fmt.Errorf("move %q to %q: %w", m.from, m.to, err)
		}
	}
	err = p.barrier(ctx)
	s.take(p)
	return r.moved, err
}

type relocator struct {
	*pass
	made  map[string]bool // directories made on the side that follows
	moved int
}

// follow carries out one move.
func (r *relocator) follow(m relocation) error {
	if there, err := r.ensureParent(m.side, replica.Parent(m.to)); err != nil || !there {
		return err
	}
	move := ancestor.Move{From: m.from, To: m.to, Marks: true}
	tree, holds := any(r.Server), &r.pending.out
	tag := ""
	if m.side == Local {
		tree, holds = r.Client, &r.pending.in
		// A crash between the move and the barrier must not make what was moved look new, nor what it left look deleted.
		tag = makeMoveTag(move)
		u := ancestor.Update{Moves: []ancestor.Move{move}, Entries: slices.Clone(r.pending.in.Entries)}
		if err := r.Ancestor.Prepare(r.ctx, ancestor.Prepared{Tag: tag, Update: u}); err != nil {
			return err
		}
	}
	err := tree.(replica.Relocator).Relocate(r.ctx, m.from, m.to, m.entry)
	if err != nil {
		if failsAll(err) || tag == "" {
			return unlessLocal(err) // what was prepared is settled by the next sync
		}
		return r.Ancestor.Drop(r.ctx, tag)
	}
	holds.Moves = append(holds.Moves, move)
	if tag != "" {
		holds.Prepared = append(holds.Prepared, tag)
	}
	// The client hears of the new name when it is looked at. Of the old one nobody has anything left to look at.
	dir, name := replica.Split(m.from)
	r.pending.same = append(r.pending.same, ancestor.Agreed{Dir: dir, Entry: replica.Entry{Name: name}})
	r.pending.changes++
	r.moved++
	r.tell(Event{Kind: Moved, Side: m.side, Path: m.from, Old: &m.entry, NewName: m.to})
	return nil
}

// ensureParent makes the directories above a path that are new on one side on the other. It reports false where one was
// there and is gone: then things are not as simple as a move.
func (r *relocator) ensureParent(side Side, dir string) (bool, error) {
	if dir == "" || r.made[dir] {
		return true, nil
	}
	up, name := replica.Split(dir)
	if there, err := r.ensureParent(side, up); err != nil || !there {
		return false, err
	}
	known, err := r.Ancestor.Dir(r.ctx, up)
	if err != nil {
		return false, err
	}
	own, err := r.entryOn(side, up, name)
	if err != nil {
		return false, unlessLocal(err)
	}
	if was := known.Find(name); was.Kind != object.Absent || own.Kind != object.Absent {
		return was.Kind == object.Directory && own.Kind == object.Directory, nil
	}
	other, err := r.entryOn(1-side, up, name)
	if err != nil || other.Kind != object.Directory {
		return false, unlessLocal(err)
	}
	other.Tree, other.Root, other.Roots, other.Extra = object.Tree{}, object.RootID{}, false, nil
	apply, holds := r.Server.Apply, &r.pending.out
	if side == Local {
		apply, holds = r.Client.Apply, &r.pending.in
		other.Mode |= 0o700
		if err := r.announce(up, other); err != nil {
			return false, err
		}
	}
	res := apply(r.ctx, up, []replica.Change{{New: &other}})
	if res[0].Err != nil {
		return false, unlessLocal(res[0].Err)
	}
	r.made[dir] = true
	holds.Entries = append(holds.Entries, ancestor.Agreed{Dir: up, Entry: *res[0].Entry})
	r.pending.changes++
	r.tell(Event{Kind: Created, Side: side, Path: dir, New: res[0].Entry})
	return true, nil
}

func (r *relocator) entryOn(side Side, dir, name string) (replica.Entry, error) {
	list := r.Server.List
	if side == Local {
		list = r.Client.List
	}
	entries, err := list(r.ctx, dir)
	if errors.Is(err, replica.ErrNotExist) {
		err = nil
	}
	for _, e := range entries {
		if e.Name == name {
			return e, err
		}
	}
	return replica.Entry{Name: name}, err
}
