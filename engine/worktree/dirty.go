package worktree

// What the reconciler has to look at.
//
// A name is dirty if what it means changed since the reconciler settled it. A directory counts its dirty names and its
// dirty child directories, so that one look at a directory tells whether anything in it or below may have changed; a
// count that leaves zero or comes back to it is carried up. A name that is gone stays as a tombstone until the
// reconciler has been told, unless it is fresh: come and gone without ever being listed.
//
// A directory that came to another path is stale: nothing in it or below was ever settled there. The mark moves down
// one level when the first of its names is settled.
//
// All of this is a function of the records alone, so a replay ends in the same state.

// setName makes name in directory d mean child, 0 for nothing, and marks it dirty.
func (t *Tree) setName(d *inode, name string, child Ino) {
	t.tellChanged()
	t.change(d)
	e := d.dir.names[name]
	if e.ino != 0 {
		d.dir.live--
		if old := t.load(e.ino); old != nil {
			t.change(old)
			old.removeLink(place{d.ino, name})
			if old.isDir() && old.isDirty() {
				t.count(d, 0, -1)
			}
		}
	}
	_, known := d.dir.names[name]
	d.dir.changed[name] = true
	switch {
	case child != 0:
		d.dir.live++
		t.putName(d, name, entry{ino: child, dirty: true, fresh: !known || e.fresh})
		n := t.load(child)
		if n == nil {
			return
		}
		t.change(n)
		n.links = append(n.links, place{d.ino, name})
		if n.isDir() && n.isDirty() {
			t.count(d, 0, 1)
		}
	case e.fresh:
		t.putName(d, name, entry{})
		delete(d.dir.names, name)
	case known:
		t.putName(d, name, entry{dirty: true})
	}
}

// Changed gets a value after something changed that the reconciler may have to look at; also by the reconciler.
func (t *Tree) Changed() <-chan struct{} { return t.changed }

func (t *Tree) tellChanged() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// putName stores a name's entry and keeps the count of dirty names.
func (t *Tree) putName(d *inode, name string, e entry) {
	before := d.dir.names[name].dirty
	d.dir.names[name] = e
	d.dir.changed[name] = true
	if before != e.dirty {
		t.count(d, int(bit(e.dirty))-int(bit(before)), 0)
	}
}

// count changes the counts of a directory and carries it up if it became dirty or clean.
func (t *Tree) count(d *inode, names, dirs int) {
	for {
		t.change(d)
		before := d.isDirty()
		d.dirtyNames += uint32(names)
		d.dirtyDirs += uint32(dirs)
		if before == d.isDirty() || len(d.links) == 0 {
			return
		}
		names, dirs = 0, 1
		if before {
			dirs = -1
		}
		up := t.load(d.parent())
		if up == nil {
			return
		}
		d = up
	}
}

// mark makes every name of an inode dirty.
func (t *Tree) mark(n *inode) {
	t.tellChanged()
	for _, l := range n.links {
		d := t.loadDir(l.dir)
		if d == nil {
			return
		}
		if e := d.dir.names[l.name]; !e.dirty {
			e.dirty = true
			t.change(d)
			t.putName(d, l.name, e)
		}
	}
}

// setStale marks a directory that came to another path.
func (t *Tree) setStale(d *inode, stale bool) {
	if d.stale == stale {
		return
	}
	t.change(d)
	before := d.isDirty()
	d.stale = stale
	if before != d.isDirty() && len(d.links) > 0 {
		if up := t.load(d.parent()); up != nil {
			t.count(up, 0, int(bit(stale))-int(bit(!stale)))
		}
	}
}

// unstale moves the mark of a stale directory down one level.
func (t *Tree) unstale(d *inode) {
	if !d.stale {
		return
	}
	for name, e := range d.dir.names {
		if e.ino == 0 { // of the former path; there, the directory's own name is the tombstone
			t.putName(d, name, entry{})
			delete(d.dir.names, name)
			continue
		}
		e.dirty, e.fresh = true, true
		t.putName(d, name, e)
		if n := t.load(e.ino); n != nil && n.isDir() {
			t.setStale(n, true)
		}
	}
	t.setStale(d, false)
}

// settled clears the mark of a name that the reconciler has settled as it is now.
func (t *Tree) settled(d *inode, name string) {
	t.unstale(d)
	e, ok := d.dir.names[name]
	if !ok {
		return
	}
	t.change(d)
	e.dirty, e.fresh = false, false
	t.putName(d, name, e)
	if e.ino == 0 {
		delete(d.dir.names, name)
	}
}

// listed notes that the reconciler has seen every name in a directory.
func (t *Tree) listed(d *inode) {
	for name, e := range d.dir.names {
		if e.fresh {
			e.fresh = false
			t.change(d)
			t.putName(d, name, e)
		}
	}
}
