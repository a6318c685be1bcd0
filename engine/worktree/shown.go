package worktree

import (
	"context"
	"slices"

	"ensync/engine/replica"
	"ensync/store/object"
)

var _ replica.Learner = (*Tree)(nil)

// shown is which file, and which generation of it, the reconciler saw under a name when the store did not have the content
// yet. Names change places, files have several, and size and time can be set back: only this tells what the reconciler
// has seen.
//
// What it was shown of a directory is of one instant, and so is what it can read of it, whatever happens to the files
// meanwhile: a database and its log, one of them as it was a moment later, are worth nothing. Before a file changes, or
// loses its name, that was shown, its content is set aside; the log is where it lies, so that costs little.
type shown struct {
	ino     Ino
	gen     uint64
	modTime int64
	content object.Content // as far as it was known
	read    bool           // Open has read it since
	was     *view          // its content, if it has changed since
}

// show returns an entry for the reconciler, and remembers what it was shown. t.mu is held.
func (t *Tree) show(d, n *inode, name string) object.Entry {
	if replica.Reserved(name) {
		return object.Entry{Name: name, Kind: object.Special}
	}
	is := n.recorded() // other machines, too, shall see no file that is only half rewritten
	e := t.entry(is, name)
	if e.Kind == object.File && !is.isBase() {
		if t.shown[d.ino] == nil {
			t.shown[d.ino] = map[string]shown{}
		}
		s := shown{ino: n.ino, gen: is.gen, modTime: is.mtime, content: e.Content}
		if is != n {
			s.was = t.view(is, 0, is.size)
		}
		t.shown[d.ino][name] = s
	}
	return e
}

// keep sets aside what the reconciler was shown of a file that is about to change or to lose a name. t.mu is held.
func (t *Tree) keep(n *inode) {
	for _, l := range n.links {
		s, ok := t.shown[l.dir][l.name]
		if ok && s.was == nil && s.ino == n.ino && s.gen == n.gen && s.modTime == n.mtime {
			s.was = t.view(n, 0, n.size)
			t.shown[l.dir][l.name] = s
		}
	}
}

// kept returns a file's content as it was listed, if it has changed since; else nil. t.mu is held.
func (t *Tree) kept(d *inode, e *object.Entry) *view {
	s := t.shown[d.ino][e.Name]
	if s.was == nil || s.modTime != e.ModTime || s.content.Size != e.Content.Size ||
		s.content.Known && e.Content.Known && !s.content.Same(e.Content) {
		return nil
	}
	v := &view{pieces: slices.Clone(s.was.pieces), base: s.was.base, frames: slices.Clone(s.was.frames)}
	t.reference(v.frames)
	return v
}

// unshow forgets what the reconciler was shown under a name.
func (t *Tree) unshow(dir Ino, name string) {
	if s := t.shown[dir][name]; s.was != nil {
		t.releaseView(s.was)
	}
	delete(t.shown[dir], name)
}

func (t *Tree) unshowAll(dir Ino) {
	for name := range t.shown[dir] {
		t.unshow(dir, name)
	}
	delete(t.shown, dir)
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

// Save ends a sync: nobody will read any more what was set aside. What was learned is in the log.
func (t *Tree) Save(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for dir := range t.shown {
		t.unshowAll(dir)
	}
	return nil
}

// hashed is the operation after which the content of an inode, as it is now, is known.
func hashed(n *inode, c object.Content) op {
	c.Known, c.Data = true, nil // the bytes are in the extents
	return op{code: opInode, ino: n.ino, mask: fHash, state: &state{hash: c, hashGen: n.gen}}
}
