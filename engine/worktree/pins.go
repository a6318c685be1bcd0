package worktree

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"ensync/engine/replica"
	"ensync/store/object"
)

// What is pinned is written where no request can get at it, in extended attributes of directories: so it goes with a directory
// that is moved. A file is pinned by its name, because a program that saves a file puts a new one in its place.
const (
	ownXattrs   = "ensync."             // those that are not of users
	pinnedTree  = "ensync.pinned"       // this directory, with all that is or will be in it and below
	pinnedNames = "ensync.pinned.names" // files in this directory, each name followed by a zero byte
)

// ErrPinnedAbove says that something is pinned with a directory above it, so it can't be unpinned by itself.
var ErrPinnedAbove = errors.New("it is pinned with a directory above it")

func hasPins(n *inode) bool { return n.xattrs[pinnedTree] != nil || n.xattrs[pinnedNames] != nil }

// notePins keeps the set of directories that say what is pinned. t.mu is held.
func (t *Tree) notePins(n *inode) {
	if n.isDir() && hasPins(n) {
		t.pinned[n.ino] = true
	} else {
		delete(t.pinned, n.ino)
	}
}

// namesOfPins returns the files that a directory pins by name.
func namesOfPins(d *inode) []string {
	return strings.FieldsFunc(string(d.xattrs[pinnedNames]), func(r rune) bool { return r == 0 })
}

// Pin marks a file, or a directory and all that is or will be in it, as to be kept on this machine. It fetches nothing. It is
// durable when Pin returns.
func (t *Tree) Pin(ctx context.Context, path string) error {
	_, err := t.setPin(ctx, "pin", path, func(d, n *inode, name string) ([]op, error) {
		if n == nil {
			return nil, replica.ErrNotExist
		}
		if n.isDir() {
			if n.xattrs[pinnedTree] != nil {
				return nil, nil
			}
			return []op{pinOp(n, pinnedTree, []byte{1})}, nil
		}
		names := namesOfPins(d)
		if slices.Contains(names, name) {
			return nil, nil
		}
		return []op{pinOp(d, pinnedNames, encodeNames(append(names, name)))}, nil
	})
	return err
}

// Unpin takes the marks of Pin away, for a directory also those below it. It reports whether there were any.
func (t *Tree) Unpin(ctx context.Context, path string) (was bool, err error) {
	return t.setPin(ctx, "unpin", path, func(d, n *inode, name string) ([]op, error) {
		if d != n {
			if above, err := t.pinnedAbove(d); err != nil || above {
				return nil, cmp.Or(err, ErrPinnedAbove)
			}
		}
		if n != nil && n.isDir() {
			return t.unpinBelow(n)
		}
		names := namesOfPins(d)
		if i := slices.Index(names, name); i >= 0 { // also of a file that is not there any more
			return []op{pinOp(d, pinnedNames, encodeNames(slices.Delete(names, i, i+1)))}, nil
		}
		if n == nil {
			return nil, replica.ErrNotExist
		}
		return nil, nil
	})
}

// setPin commits what plan returns for a path: d is the directory of n, or n itself for the root; n is nil if it is not there.
func (t *Tree) setPin(ctx context.Context, verb, path string, plan func(d, n *inode, name string) ([]op, error)) (changed bool, err error) {
	t.mu.Lock()
	d, n, name, err := t.lookUp(path)
	var ops []op
	if errors.Is(err, replica.ErrNotExist) && d != nil {
		n, err = nil, nil
	}
	if n != nil && n.kind() != typeDir && n.kind() != typeFile {
		err = errors.New("it is neither a file nor a directory, and has no content to keep")
	}
	if err == nil {
		ops, err = plan(d, n, name)
	}
	if err == nil && len(ops) > 0 {
		err = t.commitFreeing(ops...)
	}
	lsn := t.log.Last()
	t.trim()
	t.mu.Unlock()
	if err == nil && len(ops) > 0 {
		err = t.log.Sync(ctx, lsn) // DURABLE: the user relies on it
	}
	return len(ops) > 0, wrap(verb, path, err)
}

// lookUp returns what is at a path, and its directory. t.mu is held.
func (t *Tree) lookUp(path string) (d, n *inode, name string, err error) {
	dir, name := replica.Split(path)
	d, _, err = t.resolve(dir)
	if err != nil || path == "" {
		return d, d, "", err
	}
	n, err = t.child(d, name)
	if err == syscall.ENOENT {
		err = replica.ErrNotExist
	}
	return d, n, name, err
}

func encodeNames(names []string) []byte {
	var b []byte
	for _, name := range names {
		b = append(append(b, name...), 0)
	}
	return b
}

// pinOp sets one of our extended attributes; an empty value removes it.
func pinOp(n *inode, name string, value []byte) op {
	s := n.state
	s.xattrs = make(map[string][]byte, len(n.xattrs)+1)
	for k, v := range n.xattrs {
		s.xattrs[k] = v
	}
	s.xattrs[name] = bytes.Clone(value)
	if len(value) == 0 {
		delete(s.xattrs, name)
	}
	return op{code: opInode, ino: n.ino, mask: fXattrs, state: &s}
}

// unpinBelow removes all marks of a directory and below it. t.mu is held.
func (t *Tree) unpinBelow(top *inode) ([]op, error) {
	var ops []op
	for ino := range t.pinned {
		n, err := t.get(ino)
		if err != nil {
			return nil, err
		}
		in, err := t.isBelow(n, top.ino)
		if err != nil {
			return nil, err
		}
		if in {
			o := pinOp(n, pinnedTree, nil)
			delete(o.state.xattrs, pinnedNames)
			ops = append(ops, o)
		}
	}
	return ops, nil
}

// isBelow reports whether a directory is top, or below it. t.mu is held.
func (t *Tree) isBelow(n *inode, top Ino) (bool, error) {
	for n.ino != top {
		if n.ino == RootIno || len(n.links) == 0 {
			return false, nil
		}
		var err error
		if n, err = t.get(n.parent()); err != nil {
			return false, err
		}
	}
	return true, nil
}

// pinnedAbove reports whether a directory is pinned with all that is in it. t.mu is held.
func (t *Tree) pinnedAbove(n *inode) (bool, error) {
	if len(t.pinned) == 0 {
		return false, nil
	}
	for {
		if n.xattrs[pinnedTree] != nil {
			return true, nil
		}
		if n.ino == RootIno || len(n.links) == 0 {
			return false, nil
		}
		var err error
		if n, err = t.get(n.parent()); err != nil {
			return false, err
		}
	}
}

// isPinned reports whether an inode is to stay on this machine. t.mu is held.
func (t *Tree) isPinned(n *inode) (bool, error) {
	if n.isDir() {
		return t.pinnedAbove(n)
	}
	for _, l := range n.links {
		d, err := t.get(l.dir)
		if err != nil {
			return false, err
		}
		if slices.Contains(namesOfPins(d), l.name) {
			return true, nil
		}
		if above, err := t.pinnedAbove(d); err != nil || above {
			return above, err
		}
	}
	return false, nil
}

// File is a file of the tree, as of one moment.
type File struct {
	Path string
	Size uint64
	Base object.Content // what of it is in the store; unknown if nothing is
}

// Pins calls fn for each path that was pinned, in their order.
func (t *Tree) Pins(ctx context.Context, fn func(path string, dir bool) error) error {
	t.mu.Lock()
	type pin struct {
		path string
		dir  bool
	}
	var all []pin
	var failed error
	for ino := range t.pinned {
		n, err := t.get(ino)
		var path string
		if err == nil {
			path, err = t.pathOf(n)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if n.xattrs[pinnedTree] != nil {
			all = append(all, pin{path, true})
		}
		for _, name := range namesOfPins(n) {
			all = append(all, pin{replica.Join(path, name), false})
		}
	}
	t.trim()
	t.mu.Unlock()
	slices.SortFunc(all, func(a, b pin) int { return strings.Compare(a.path, b.path) })
	for _, p := range all {
		if err := errors.Join(ctx.Err(), failed); err != nil {
			return err
		}
		if err := fn(p.path, p.dir); err != nil {
			return err
		}
	}
	return failed
}

// Files calls fn for the file at a path, or for each one below the directory there. What moves meanwhile may be left out.
func (t *Tree) Files(ctx context.Context, path string, fn func(File) error) error {
	t.mu.Lock()
	_, n, _, err := t.lookUp(path)
	if err == nil && !n.isDir() {
		f, isFile := n.file(path), n.isFile()
		t.mu.Unlock()
		if !isFile {
			return nil
		}
		return fn(f)
	}
	t.mu.Unlock()
	if err != nil {
		return wrap("look for", path, err)
	}
	queue := []string{path}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		files, below, err := t.filesIn(queue[0])
		if err != nil {
			return wrap("look into", queue[0], err)
		}
		queue = append(queue[1:], below...)
		for _, f := range files {
			if err := fn(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *inode) file(path string) File { return File{Path: path, Size: n.size, Base: n.base} }

func (t *Tree) filesIn(dir string) (files []File, below []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, _, err := t.resolve(dir)
	if errors.Is(err, replica.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for name, e := range d.dir.names {
		if e.ino == 0 {
			continue
		}
		n, err := t.get(e.ino)
		if err != nil {
			return nil, nil, fmt.Errorf("%q: %w", name, err)
		}
		switch path := replica.Join(dir, name); {
		case n.isDir():
			below = append(below, path)
		case n.isFile():
			files = append(files, n.file(path))
		}
	}
	return files, below, nil
}
