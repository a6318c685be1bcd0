package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"syscall"

	"ensync/engine/replica"
	"ensync/store/object"
)

// maxGroup bounds the operations in one record of the reconciler.
const maxGroup = 2048

// group is a run of changes to one directory that become one record.
type group struct {
	ops     []op
	touched map[string]bool // names
	inodes  map[Ino]bool    // that these names meant: links of one file count each other
	notices []Notice
	done    []int // indexes of the changes
	times   bool
}

func newGroup() *group { return &group{touched: map[string]bool{}, inodes: map[Ino]bool{}} }

// Apply changes entries of one directory. Each change holds whole or not at all, also across a crash; all that were
// accepted are one record, unless they concern the same name or file twice or are very many. New content is not fetched: the
// file refers to the store. A file whose content changes becomes a new inode, and who has the old one open keeps it.
func (t *Tree) Apply(ctx context.Context, dir string, changes []replica.Change) []replica.Result {
	results := make([]replica.Result, len(changes))
	staged := make([]Ino, len(changes))
	for i, c := range changes {
		if err := ctx.Err(); err != nil {
			results[i].Err = err
		} else if c.New != nil && c.New.Kind == object.File && c.Source != nil && (t.opt.Eager || !c.New.Content.Known) {
			staged[i], results[i].Err = t.stage(ctx, c.Source, c.New.Content)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, _, err := t.resolve(dir)
	g := newGroup()
	for i, c := range changes {
		if results[i].Err == nil {
			results[i].Err = err
		}
		if results[i].Err != nil {
			continue
		}
		from, to := namesOf(c)
		was := d.dir.names[from].ino
		if g.touched[from] || g.touched[to] || g.inodes[was] || len(g.ops) > maxGroup {
			t.finishGroup(d, g, changes, results)
			g = newGroup()
		}
		if results[i].Err = t.plan(d, g, c, staged[i]); results[i].Err == nil {
			g.touched[from], g.touched[to], g.inodes[was] = true, true, was != 0
			g.done = append(g.done, i)
		}
	}
	if d != nil {
		t.finishGroup(d, g, changes, results)
	}
	for i, c := range changes {
		if results[i].Err != nil {
			from, _ := namesOf(c)
			results[i].Err = wrap("change", replica.Join(dir, from), results[i].Err)
		}
		t.unstage(staged[i])
	}
	return results
}

// namesOf returns the names that a change concerns, which are often the same.
func namesOf(c replica.Change) (from, to string) {
	if c.Old != nil {
		from = c.Old.Name
	}
	if c.New != nil {
		to = c.New.Name
	}
	if c.Rename != "" {
		to = c.Rename
	}
	if from == "" {
		from = to
	}
	if to == "" {
		to = from
	}
	return from, to
}

// finishGroup appends the record of a group and reports what became of its changes.
func (t *Tree) finishGroup(d *inode, g *group, changes []replica.Change, results []replica.Result) {
	if len(g.ops) == 0 {
		t.report(d, g, changes, results)
		return
	}
	if g.times {
		g.ops = append(g.ops, t.timesOf(d))
	}
	// The reconciler knows what it made: if somebody removes it before it is settled, that is a change to tell.
	g.ops = append(g.ops, op{code: opListed, ino: d.ino})
	if err := t.commitFreeing(g.ops...); err != nil {
		for _, i := range g.done {
			results[i].Err = err
		}
		return
	}
	t.report(d, g, changes, results)
	for _, n := range g.notices {
		t.tell(n)
	}
}

func (t *Tree) report(d *inode, g *group, changes []replica.Change, results []replica.Result) {
	for _, i := range g.done {
		_, name := namesOf(changes[i])
		if changes[i].New == nil && changes[i].Rename == "" {
			continue
		}
		if n, err := t.child(d, name); err == nil {
			e := t.show(d, n, name)
			results[i].Entry = &e
		}
	}
}

// plan checks one change and adds its operations.
func (t *Tree) plan(d *inode, g *group, c replica.Change, staged Ino) error {
	from, to := namesOf(c)
	for _, name := range []string{from, to} {
		if !object.ValidName(name) {
			return fmt.Errorf("%q can't be a name", name)
		}
		if replica.Reserved(name) {
			return fmt.Errorf("%q is reserved", name)
		}
	}
	var n *inode
	if c.Old != nil {
		var err error
		if n, err = t.asListed(d, c.Old); err != nil {
			if errors.Is(err, replica.ErrNotExist) {
				err = fmt.Errorf("%w: it is gone", replica.ErrChanged)
			}
			return err
		}
	}
	if (n == nil || from != to) && d.dir.names[to].ino != 0 {
		return fmt.Errorf("%w: %q is there", replica.ErrChanged, to)
	}
	switch {
	case n == nil && c.New == nil, c.Rename != "" && (n == nil || c.New != nil), c.Rename == "" && from != to:
		return errors.New("not a change: it must create, update, remove or rename one entry")
	case c.Rename != "":
		return t.planMove(d, g, n, from, to)
	case c.New == nil:
		return t.planRemoval(d, g, n, from)
	case n != nil && inPlace(n, c.New, c.Source != nil):
		return t.planTouch(g, n, c.New)
	}
	return t.planNew(d, g, n, c.New, staged)
}

func (t *Tree) planMove(d *inode, g *group, n *inode, from, to string) error {
	if err := t.flush(n); err != nil {
		return err
	}
	ops := t.renameOps(renaming{from: d, to: d, oldName: from, newName: to, moved: n})
	g.ops = append(g.ops, ops[:len(ops)-1]...) // the directory's times come once
	g.times = true
	g.notices = append(g.notices, Notice{Parent: d.ino, Name: from, Removed: n.ino}, Notice{Parent: d.ino, Name: to})
	return nil
}

func (t *Tree) planRemoval(d *inode, g *group, n *inode, name string) error {
	if n.isDir() {
		if err := t.mustBeEmpty(n); err != nil {
			return err
		}
	}
	g.ops = append(g.ops, op{code: opName, ino: d.ino, name: name})
	t.planEnd(d, g, n, name)
	g.notices = append(g.notices, Notice{Parent: d.ino, Name: name, Removed: n.ino})
	return nil
}

// planEnd takes a name away from an inode. If it may be open, it remembers where it was; see heir.
func (t *Tree) planEnd(d *inode, g *group, n *inode, name string) {
	g.times = true
	o := t.unlinked(n)
	if o.code == opInode && o.state.nlink == 0 && n.isFile() {
		o.mask |= fHeir
		o.state.heir = heir{dir: d.ino, name: name}
	}
	g.ops = append(g.ops, o)
	if n.isDir() {
		t.linkDelta(d, g, -1)
	}
}

// linkDelta changes the directory's own link count within a group.
func (t *Tree) linkDelta(d *inode, g *group, by int) {
	nlink := d.nlink
	for _, o := range g.ops {
		if o.code == opInode && o.ino == d.ino && o.mask&fNlink != 0 {
			nlink = o.state.nlink
		}
	}
	g.ops = append(g.ops, t.nlinkOf(d, nlink+uint32(by)))
}

// inPlace reports whether an update leaves the content alone.
func inPlace(n *inode, e *object.Entry, transfer bool) bool {
	now := n.entry(e.Name)
	if now.Kind != e.Kind {
		return false
	}
	if e.Kind == object.File {
		return e.Content.Same(now.Content) || !e.Content.Known && !transfer
	}
	return now.SameContent(*e)
}

// planTouch changes all but the content of an inode.
func (t *Tree) planTouch(g *group, n *inode, e *object.Entry) error {
	if err := t.roomLocked(uint64(len(e.Xattrs))); err != nil {
		return err
	}
	s := n.state
	mask, err := t.setOptional(&s, e)
	if err != nil || mask == 0 && e.Kind == object.Symlink {
		return err
	}
	s.ctime = nanos(t.opt.Now())
	if e.Kind != object.Symlink {
		s.mode = n.kind() | e.Mode&permission
	}
	if e.Kind == object.File {
		s.mtime = e.ModTime
	}
	g.ops = append(g.ops, op{code: opInode, ino: n.ino, mask: mask | fMode | fTimes | fMark, state: &s})
	g.notices = append(g.notices, Notice{Inode: n.ino})
	return nil
}

// planNew makes a new inode and gives it the name, in place of old if there is one.
func (t *Tree) planNew(d *inode, g *group, old *inode, e *object.Entry, staged Ino) error {
	if old != nil && old.isDir() {
		if err := t.mustBeEmpty(old); err != nil {
			return err
		}
	}
	if err := t.roomLocked(entryCost + uint64(len(e.Xattrs))); err != nil {
		return err
	}
	o, err := t.inodeFor(d, old, e, staged)
	if err != nil {
		return err
	}
	g.ops = append(g.ops, o, op{code: opName, ino: d.ino, name: e.Name, child: o.ino})
	notice := Notice{Parent: d.ino, Name: e.Name}
	if old != nil {
		t.planEnd(d, g, old, e.Name)
		notice.Removed = old.ino
	}
	if e.Kind == object.Directory {
		t.linkDelta(d, g, 1)
	}
	g.times = true
	g.notices = append(g.notices, notice)
	return nil
}

// inodeFor returns the operation that makes the inode for an entry of the server's. What the server knows nothing of
// owner and extended attributes comes from the inode that had the name before.
func (t *Tree) inodeFor(d *inode, old *inode, e *object.Entry, staged Ino) (op, error) {
	m := Make{UID: t.opt.UID, GID: t.opt.GID}
	switch e.Kind {
	case object.File:
		m.Mode = typeFile
	case object.Directory:
		m.Mode = typeDir
	case object.Symlink:
		m.Mode, m.Target = typeSymlink|0o777, e.Target
		if e.Target == "" || len(e.Target) > maxTarget {
			return op{}, fmt.Errorf("a symlink's target of %d bytes; 1 to %d are possible here", len(e.Target), maxTarget)
		}
	default:
		return op{}, fmt.Errorf("a %v can't be made", e.Kind)
	}
	o := t.newInode(d, m)
	s := o.state
	if old != nil && old.isFile() && e.Kind == object.File {
		s.uid, s.gid, s.xattrs = old.uid, old.gid, maps.Clone(old.xattrs)
		delete(s.xattrs, "security.capability") // it was given to other bytes, and a write clears it, too
	}
	if _, err := t.setOptional(s, e); err != nil {
		return op{}, err
	}
	if len(s.xattrs) > 0 {
		o.mask |= fXattrs
	}
	if e.Kind != object.Symlink {
		s.mode = m.Mode | e.Mode&permission
	}
	switch {
	case e.Kind == object.Directory:
		s.nlink = 2
	case e.Kind == object.File && staged != 0:
		n, err := t.get(staged)
		if err != nil {
			return op{}, err
		}
		if err := t.flush(n); err != nil {
			return op{}, err
		}
		o.ino, s.mtime = staged, e.ModTime
		o.mask &^= fSize
	case e.Kind == object.File:
		if !e.Content.Known || t.opt.Eager || e.Content.Size < 0 || e.Content.Size > maxSize {
			return op{}, errors.New("nothing says where its content is")
		}
		s.base, s.size, s.gen, s.mtime = e.Content, uint64(e.Content.Size), 1, e.ModTime
		if e.Content.Size > object.InlineMax {
			s.base.Data = nil
		}
		o.mask |= fBase
	}
	return o, nil
}

// stage takes content into the log, as a file without a name. If it was announced, it must be that.
func (t *Tree) stage(ctx context.Context, source replica.Source, announced object.Content) (Ino, error) {
	r, err := source(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	a, err := t.MakeUnnamed(ctx, RootIno, Make{Mode: typeFile | 0o600, UID: t.opt.UID, GID: t.opt.GID})
	if err != nil {
		return 0, err
	}
	w := &stageWriter{ctx: ctx, t: t, ino: a.Ino}
	c, err := t.blocks.Hash(ctx, io.TeeReader(r, w))
	if err == nil && c.Size != int64(w.off) {
		err = fmt.Errorf("%w: %d bytes hashed, %d read", io.ErrUnexpectedEOF, c.Size, w.off)
	}
	c.Known = true
	if err == nil && announced.Known && !announced.Same(c) {
		err = errors.New("its content is not what was announced; the next sync tries again")
	}
	if err != nil {
		t.Forget(a.Ino, 1)
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.get(a.Ino)
	if err != nil {
		return 0, err
	}
	return a.Ino, t.commit(hashed(n, c))
}

// unstage gives back the reference that stage took; without a name, the file ends. t.mu is held.
func (t *Tree) unstage(ino Ino) {
	if ino == 0 {
		return
	}
	if t.refs[ino]--; t.refs[ino] == 0 {
		delete(t.refs, ino)
		if t.orphans[ino] {
			_ = t.endOfLife(ino) // else the next Open ends it
		}
	}
}

type stageWriter struct {
	ctx context.Context
	t   *Tree
	ino Ino
	off uint64
}

func (w *stageWriter) Write(p []byte) (int, error) {
	n, err := w.t.Write(w.ctx, w.ino, p, w.off, false)
	w.off += uint64(n)
	return n, err
}

// rescueEdited gives a name to every inode that was written to after the reconciler took its name away. t.mu is held.
func (t *Tree) rescueEdited() {
	for ino := range t.heirs {
		n, err := t.get(ino)
		if err == nil {
			err = t.rescue(n)
		}
		if err != nil && err != syscall.ESTALE {
			return // tried again at the next look
		}
		delete(t.heirs, ino)
	}
}

// rescue makes such an inode a conflict copy where it was, or in the root if that directory is gone. If its name is
// free, because the other side deleted the file, it gets its own name back.
func (t *Tree) rescue(n *inode) error {
	if err := t.flush(n); err != nil {
		return err
	}
	d, err := t.getDir(n.heir.dir)
	if err != nil || d.nlink == 0 {
		if d, err = t.getDir(RootIno); err != nil {
			return err
		}
	}
	name := n.heir.name
	if d.dir.names[name].ino != 0 {
		name = t.opt.FreshName(name, func(s string) bool { _, ok := d.dir.names[s]; return ok })
	}
	link := t.linkCount(n, 1)
	link.mask |= fHeir
	if err := t.commit(link, op{code: opName, ino: d.ino, name: name, child: n.ino}, t.timesOf(d)); err != nil {
		return err
	}
	delete(t.heirs, n.ino)
	t.tell(Notice{Parent: d.ino, Name: name})
	return nil
}
