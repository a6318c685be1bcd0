package worktree

import (
	"context"

	"ensync/engine/replica"
	"ensync/store/object"
)

var _ replica.Learner = (*Tree)(nil)

// shown is which file, and which generation of it, the reconciler saw under a name when nobody knew the content. Names
// change places, files have several, and size and time can be set back: only this tells what the reconciler has seen.
type shown struct {
	ino  Ino
	gen  uint64
	read bool // Open has read it since
}

// show returns an entry for the reconciler, and remembers what it was shown. t.mu is held.
func (t *Tree) show(d, n *inode, name string) object.Entry {
	if replica.Reserved(name) {
		return object.Entry{Name: name, Kind: object.Special}
	}
	e := t.entry(n, name)
	if e.Kind == object.File && !e.Content.Known {
		if t.shown[d.ino] == nil {
			t.shown[d.ino] = map[string]shown{}
		}
		t.shown[d.ino][name] = shown{ino: n.ino, gen: n.gen}
	}
	return e
}

// isAsShown reports whether a file, which now has this name, and its content are what the name was last shown to mean.
func (t *Tree) isAsShown(d, n *inode, name string) bool {
	s, ok := t.shown[d.ino][name]
	return ok && s.ino == n.ino && s.gen == n.gen
}

func (t *Tree) noteRead(d, n *inode, name string) {
	if s := t.shown[d.ino][name]; t.isAsShown(d, n, name) {
		s.read = true
		t.shown[d.ino][name] = s
	}
}

// Learn says that what Open read of an entry is e.Content. It is remembered as if it had been hashed, of exactly what was
// read, if that is still there.
func (t *Tree) Learn(dir string, e object.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, _, err := t.resolve(dir)
	if err != nil {
		return
	}
	n, err := t.child(d, e.Name)
	if err != nil || !n.isFile() || n.content().Known || !e.Content.Known || e.Content.Size != int64(n.size) {
		return
	}
	if t.shown[d.ino][e.Name].read && t.isAsShown(d, n, e.Name) {
		_ = t.commit(hashed(n, e.Content)) // else it is hashed when it has to be known
	}
}

// Save has nothing to do: what was learned is in the log.
func (t *Tree) Save(context.Context) error { return nil }

// hashed is the operation after which the content of an inode, as it is now, is known.
func hashed(n *inode, c object.Content) op {
	c.Known, c.Data = true, nil // the bytes are in the extents
	return op{code: opInode, ino: n.ino, mask: fHash, state: &state{hash: c, hashGen: n.gen}}
}
