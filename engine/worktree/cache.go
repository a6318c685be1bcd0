package worktree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"ensync/store/object"
)

// get returns an inode, from the catalogue if it is not in memory; ESTALE if there is none. t.mu is held.
func (t *Tree) get(ino Ino) (*inode, error) {
	if n := t.inodes[ino]; n != nil {
		n.used = true
		return n, nil
	}
	if ino >= t.unsavedFrom || t.gone[ino] || t.savingGone[ino] {
		return nil, syscall.ESTALE
	}
	n, err := t.cat.inode(ino)
	if errors.Is(err, errNoRow) {
		return nil, syscall.ESTALE
	}
	if err != nil {
		return nil, err
	}
	n.used = true
	t.inodes[ino] = n
	return n, nil
}

// When a run of numbers is read with one query: how many it has at least, and how far apart two of them are at most.
const (
	minRun = 4
	maxGap = 8
)

// loadChildren brings what a directory's names mean into memory, with a query for each run of numbers rather than for
// each. t.mu is held.
func (t *Tree) loadChildren(d *inode) error {
	var missing []Ino
	for _, e := range d.dir.names {
		if e.ino != 0 && e.ino < t.unsavedFrom && t.inodes[e.ino] == nil {
			missing = append(missing, e.ino)
		}
	}
	slices.Sort(missing)
	for len(missing) > 0 {
		n := 1
		for n < len(missing) && missing[n]-missing[n-1] <= maxGap {
			n++
		}
		run := missing[:n]
		missing = missing[n:]
		if n < minRun { // get will find it
			continue
		}
		err := t.cat.inodes(run[0], run[n-1], func(ino Ino) bool {
			_, wanted := slices.BinarySearch(run, ino)
			return wanted && !t.gone[ino] && !t.savingGone[ino]
		}, func(n *inode) { t.inodes[n.ino] = n })
		if err != nil {
			return err
		}
	}
	return nil
}

// getDir returns a directory with its names loaded.
func (t *Tree) getDir(ino Ino) (*inode, error) {
	n, err := t.get(ino)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, syscall.ENOTDIR
	}
	if n.dir == nil {
		if n.dir, err = t.cat.names(ino); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// getFile returns a regular file.
func (t *Tree) getFile(ino Ino) (*inode, error) {
	n, err := t.get(ino)
	if err != nil {
		return nil, err
	}
	switch n.kind() {
	case typeFile:
		return n, nil
	case typeDir:
		return nil, syscall.EISDIR
	}
	return nil, syscall.EINVAL
}

// getWritable returns a regular file that is about to change.
func (t *Tree) getWritable(ino Ino) (*inode, error) {
	n, err := t.getFile(ino)
	if err == nil {
		err = cmp.Or(t.broken, t.mayChange(n))
	}
	if err == nil {
		t.keep(n)
	}
	return n, err
}

// child returns what a name in a directory means; ENOENT if nothing.
func (t *Tree) child(d *inode, name string) (*inode, error) {
	e := d.dir.names[name]
	if e.ino == 0 {
		return nil, syscall.ENOENT
	}
	n, err := t.get(e.ino)
	if err != nil {
		return nil, fmt.Errorf("%q in directory %d: %w", name, d.ino, err)
	}
	return n, nil
}

// weight is what an inode counts for in memory: one, and one for every few hundred bytes of extents, content and names.
func (n *inode) weight() int {
	w := 1 + n.ext.count/4 + len(n.base.Data)/512
	if n.size <= object.InlineMax && n.ext.count > 0 {
		w += int(n.size) / 512
	}
	if n.dir != nil {
		w += len(n.dir.names) / 4
	}
	return w
}

// trim lets go of inodes when there are more than there should be. Called at the end of a request, when nobody holds
// on to one. t.mu is held.
func (t *Tree) trim() {
	if len(t.inodes) > max(t.opt.Inodes, t.trimAt) {
		t.evict()
		t.trimAt = len(t.inodes) + t.opt.Inodes/8 // where most must stay, it would look at them all every time
	}
}

// evict drops inodes that the catalogue has as they are and that were not used since the clock last passed, until
// the number is well below the limit or everything was looked at twice.
func (t *Tree) evict() {
	total := 0
	for _, n := range t.inodes {
		total += n.weight()
	}
	goal := t.opt.Inodes - t.opt.Inodes/8
	for round := 0; round < 2 && total > goal; round++ {
		for ino, n := range t.inodes {
			if total <= goal {
				break
			}
			if n.unsaved || n.saving || n.pend.waits || ino == RootIno {
				continue
			}
			if n.used {
				n.used = false
				continue
			}
			total -= n.weight()
			delete(t.inodes, ino)
		}
	}
}
