package worktree

import (
	"fmt"
	"syscall"

	"ensync/engine/worktree/journal"
)

// commit appends one record and, if the log has taken it, applies it. It is not durable yet.
func (t *Tree) commit(ops ...op) error { return t.commitAs(false, ops) }

// commitFreeing is commit for operations that free space, which must work on a full disk.
func (t *Tree) commitFreeing(ops ...op) error { return t.commitAs(true, ops) }

func (t *Tree) commitAs(freeing bool, ops []op) error {
	if t.broken != nil {
		return t.broken
	}
	b := encode(ops)
	if _, err := t.append(b, freeing); err != nil {
		return err
	}
	t.logged += int64(len(b))
	t.apply(ops)
	return t.broken
}

// apply makes operations hold in memory. It is the only way in which recorded state changes, live and at replay.
// A failure to load what they change breaks the tree: the log is right, memory is not, and opening again helps.
func (t *Tree) apply(ops []op) {
	for i := range ops {
		o := &ops[i]
		switch o.code {
		case opName:
			if d := t.loadDir(o.ino); d != nil {
				t.setName(d, o.name, o.child)
			}
		case opInode:
			t.applyInode(o)
		case opGone:
			t.drop(o.ino)
		case opListed:
			if d := t.loadDir(o.ino); d != nil {
				t.listed(d)
			}
		case opSettled:
			if d := t.loadDir(o.ino); d != nil {
				t.settled(d, o.name)
			}
		case opStale:
			if d := t.load(o.ino); d != nil {
				t.setStale(d, true)
			}
		}
	}
}

func (t *Tree) applyInode(o *op) {
	n, err := t.get(o.ino)
	if err == syscall.ESTALE && o.mask&fMode != 0 {
		n = &inode{ino: o.ino}
		if o.state.mode&typeMask == typeDir {
			n.dir = &directory{names: map[string]entry{}, changed: map[string]bool{}}
		}
		t.inodes[o.ino] = n
		delete(t.gone, o.ino)
		t.next = max(t.next, o.ino+1)
		err = nil
	}
	if err != nil {
		t.fail(fmt.Errorf("inode %d: %w", o.ino, err))
		return
	}
	t.change(n)
	n.assign(o.mask, o.state)
	if o.mask&fNlink != 0 {
		if n.nlink == 0 {
			t.orphans[n.ino] = true
		} else {
			delete(t.orphans, n.ino)
		}
	}
	if o.mask&fXattrs != 0 {
		t.notePins(n)
	}
	if o.mask&fBase != 0 {
		t.edit(n, func(r *refs) { n.ext.clear(0, maxSize, r) })
	}
	if o.mask&fExtents != 0 {
		t.edit(n, func(r *refs) {
			for _, e := range o.ext {
				n.ext.set(e, r)
			}
		})
	}
	if o.mask&fMark != 0 {
		t.mark(n)
	}
}

// edit changes an inode's extents by recorded operations: what they drop may go once the record holds.
func (t *Tree) edit(n *inode, f func(*refs)) {
	var r refs
	before := n.ext.dirty
	f(&r)
	t.ram += n.ext.dirty - before
	if t.log == nil { // at replay; all references are counted at its end
		return
	}
	t.reference(r.add)
	t.release(r.drop)
}

func (t *Tree) reference(pos []journal.Pos) {
	for _, p := range pos {
		if err := t.log.Live(p); err != nil {
			t.fail(err)
		}
	}
}

func (t *Tree) release(pos []journal.Pos) {
	for _, p := range pos {
		t.log.Release(p)
	}
}

// drop removes an inode that has no names.
func (t *Tree) drop(ino Ino) {
	if n := t.inodes[ino]; n != nil {
		t.discard(n)
		t.edit(n, func(r *refs) { n.ext.clear(0, maxSize, r) })
	} else if n, err := t.get(ino); err == nil { // its frames must be let go
		t.edit(n, func(r *refs) { n.ext.clear(0, maxSize, r) })
	}
	delete(t.inodes, ino)
	delete(t.dirty, ino)
	delete(t.orphans, ino)
	t.unshowAll(ino)
	delete(t.heirs, ino)
	delete(t.pinned, ino)
	t.gone[ino] = true
}

// change notes that an inode's recorded state differs from the catalogue.
func (t *Tree) change(n *inode) {
	if !n.unsaved {
		n.unsaved = true
		t.dirty[n.ino] = n
	}
}

// fail breaks the tree. The first cause stays.
func (t *Tree) fail(err error) {
	if t.broken == nil {
		t.broken = fmt.Errorf("working tree: %w; nothing is lost: unmount and mount again", err)
		if t.opt.OnError != nil {
			go t.opt.OnError(t.broken)
		}
	}
}

// load returns an inode that must be there, or breaks the tree and returns nil.
func (t *Tree) load(ino Ino) *inode {
	n, err := t.get(ino)
	if err != nil {
		t.fail(fmt.Errorf("inode %d, which a record changes: %w", ino, err))
		return nil
	}
	return n
}

func (t *Tree) loadDir(ino Ino) *inode {
	n, err := t.getDir(ino)
	if err != nil {
		t.fail(fmt.Errorf("directory %d, which a record changes: %w", ino, err))
		return nil
	}
	return n
}
