package worktree

import (
	"context"
	"errors"
	"strconv"

	"ensync/store/object"
)

// Extended attributes by which a file tells of itself. They can be read by who knows them, and are not listed: nothing that
// copies a file with its attributes would find them, or carry one elsewhere as if it meant something there.
const (
	stateXattr = "user.ensync.state" // see State
	localXattr = "user.ensync.local" // bytes of the file that can be read without the store
)

func toldXattr(name string) bool { return name == stateXattr || name == localXattr }

func (t *Tree) tellXattr(ctx context.Context, ino Ino, name string) ([]byte, error) {
	s, err := t.State(ctx, ino)
	switch {
	case err != nil:
		return nil, err
	case name == stateXattr:
		return []byte(s.String()), nil
	case name == localXattr && s.isFile:
		return strconv.AppendUint(nil, s.Local, 10), nil
	}
	return nil, errNoXattr
}

// State says where the content of a file is, or whether a directory was changed.
type State struct {
	Dirty  bool   // something in it is not in the store yet
	Pinned bool   // it stays on this machine
	Size   uint64 // bytes; of a file
	Local  uint64 // of them on this machine
	isFile bool
}

// String is the state in words: "clean", "partly" (some of the content is not on this machine), "remote" (nothing of it is) or
// "dirty"; then " pinned", if it is. Of what is dirty, "dirty partly" says that what was not changed is not all here.
func (s State) String() string {
	word := "clean"
	switch missing := s.Local < s.Size; {
	case s.Dirty && missing:
		word = "dirty partly"
	case s.Dirty:
		word = "dirty"
	case missing && s.Local == 0:
		word = "remote"
	case missing:
		word = "partly"
	}
	if s.Pinned {
		word += " pinned"
	}
	return word
}

// State tells the state of an inode. It does not wait for the network.
func (t *Tree) State(ctx context.Context, ino Ino) (State, error) {
	t.mu.Lock()
	n, err := t.get(ino)
	var s State
	var h holding
	if err == nil {
		s, err = t.stateOf(n)
		h = n.holding()
	}
	t.trim()
	t.mu.Unlock()
	if err != nil || !s.isFile {
		return s, err
	}
	missing, err := h.missing(ctx, t.blocks)
	s.Local = s.Size - missing
	return s, err
}

func (t *Tree) stateOf(n *inode) (s State, err error) {
	s.Pinned, err = t.isPinned(n)
	s.Dirty = n.isDir() && n.isDirty()
	if n.isFile() {
		s.isFile, s.Size = true, n.size
	}
	for _, l := range n.links {
		var d *inode
		if err == nil {
			d, err = t.getDir(l.dir)
		}
		if err != nil {
			return s, err
		}
		s.Dirty = s.Dirty || d.stale || d.dir.names[l.name].dirty
	}
	return s, err
}

// holding is what tells how much of a file is on this machine.
type holding struct {
	size uint64
	base object.Content
	over uint64 // bytes of the base that something else lies over
}

func (n *inode) holding() holding {
	h := holding{size: n.size, base: n.base}
	if n.base.Known && n.ext.count > 0 {
		n.ext.each(0, uint64(n.base.Size), func(e extent) bool { h.over += e.len; return true })
	}
	return h
}

// missing is how many bytes of a file can't be read without the store. Where a part of its base is here, and a part of that
// hidden, nobody knows which: then it is what can be missing at most.
func (h holding) missing(ctx context.Context, b Blocks) (uint64, error) {
	if !h.base.Known || h.base.Size <= object.InlineMax {
		return 0, nil
	}
	shown := min(uint64(h.base.Size), h.size)
	shown -= min(shown, h.over)
	if shown == 0 {
		return 0, nil
	}
	here, err := b.Local(ctx, h.base)
	if err != nil {
		return 0, err
	}
	return min(shown, uint64(max(0, h.base.Size-here))), nil
}

// Amount is how much of a tree is where.
type Amount struct {
	Files int
	Bytes uint64 // of all files
	Local uint64 // of them on this machine
}

// Amount looks at every file. It reads the catalogue from end to end, and asks the local index for each block: for many files
// that takes seconds, in which requests go on.
func (t *Tree) Amount(ctx context.Context) (Amount, error) {
	var sum Amount
	add := func(h holding) error {
		missing, err := h.missing(ctx, t.blocks)
		sum.Files++
		sum.Bytes += h.size
		sum.Local += h.size - missing
		return errors.Join(err, ctx.Err())
	}
	seen, files := t.inMemory()
	for _, h := range files {
		if err := add(h); err != nil {
			return sum, err
		}
	}
	err := t.cat.each(ctx, func(n *inode) error {
		if seen[n.ino] || !n.isFile() {
			return nil
		}
		return add(n.holding())
	})
	return sum, err
}

// inMemory returns the files of which memory may know more than the catalogue, and the inodes that are not to be looked for
// there.
func (t *Tree) inMemory() (seen map[Ino]bool, files []holding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen = map[Ino]bool{}
	for ino := range t.gone {
		seen[ino] = true
	}
	for ino := range t.savingGone {
		seen[ino] = true
	}
	for ino, n := range t.inodes {
		if !n.unsaved && !n.saving && !n.pend.waits {
			continue
		}
		seen[ino] = true
		if n.isFile() {
			files = append(files, n.holding())
		}
	}
	return seen, files
}
