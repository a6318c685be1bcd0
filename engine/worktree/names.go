package worktree

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"syscall"
)

const (
	maxName   = 255
	maxTarget = 4095
)

func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return syscall.ENAMETOOLONG
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return syscall.EINVAL
	}
	return nil
}

// Lookup returns what a name means, and counts a reference.
func (t *Tree) Lookup(ctx context.Context, parent Ino, name string) (Attr, error) {
	if len(name) > maxName {
		return Attr{}, syscall.ENAMETOOLONG
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	delete(t.untold, place{parent, name})
	d, err := t.getDir(parent)
	if err == nil {
		err = t.maySee(d)
	}
	if err != nil {
		return Attr{}, err
	}
	n, err := t.child(d, name)
	if err != nil {
		return Attr{}, err
	}
	t.refs[n.ino]++
	return n.attr(), nil
}

// Forget takes references back. An inode without name ends with the last.
func (t *Tree) Forget(ino Ino, lookups uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := t.refs[ino] - min(lookups, t.refs[ino])
	if left > 0 {
		t.refs[ino] = left
		return
	}
	delete(t.refs, ino)
	if t.orphans[ino] {
		if err := t.endOfLife(ino); err != nil && t.opt.OnError != nil { // it stays an orphan; the next open tries again
			go t.opt.OnError(err)
		}
	}
}

// Ref counts one more reference to an inode.
func (t *Tree) Ref(ctx context.Context, ino Ino) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.get(ino); err != nil {
		return err
	}
	t.refs[ino]++
	return nil
}

// Parent returns the directory that holds a directory; the root's is itself.
func (t *Tree) Parent(ctx context.Context, ino Ino) (Ino, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.get(ino)
	if err != nil {
		return 0, err
	}
	return n.parent(), nil
}

// PathOf returns where a directory is.
func (t *Tree) PathOf(ctx context.Context, ino Ino) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, err := t.getDir(ino)
	if err != nil {
		return "", err
	}
	return t.pathOf(d)
}

// ReadDir returns all entries of a directory, sorted by name. It counts no references.
func (t *Tree) ReadDir(ctx context.Context, ino Ino) ([]DirEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, err := t.getDir(ino)
	if err == nil {
		err = t.maySee(d)
	}
	if err != nil {
		return nil, err
	}
	if err := t.loadChildren(d); err != nil {
		return nil, err
	}
	out := make([]DirEntry, 0, d.dir.live)
	for name, e := range d.dir.names {
		if e.ino == 0 {
			continue
		}
		n, err := t.get(e.ino)
		if err != nil {
			return nil, err
		}
		out = append(out, DirEntry{name, n.attr()})
	}
	slices.SortFunc(out, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// freeName returns a directory in which name can be made.
func (t *Tree) freeName(parent Ino, name string) (*inode, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	d, err := t.getDir(parent)
	switch {
	case err != nil:
		return nil, err
	case d.nlink == 0:
		return nil, syscall.ENOENT
	case d.dir.names[name].ino != 0:
		return nil, syscall.EEXIST
	}
	return d, nil
}

// entryCost is what a new name is taken to need of the disk, in bytes.
const entryCost = 1024

// Make creates an inode with a name, and counts a reference to it.
func (t *Tree) Make(ctx context.Context, parent Ino, name string, m Make) (Attr, error) {
	if len(m.Target) > maxTarget {
		return Attr{}, syscall.ENAMETOOLONG
	}
	t.throttle(ctx)
	if err := t.room(entryCost); err != nil {
		return Attr{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, err := t.freeName(parent, name)
	if err == nil {
		err = t.mayName(d, name, m.Mode&typeMask == typeDir)
	}
	if err != nil {
		return Attr{}, err
	}
	made := t.newInode(d, m)
	ops := []op{made, {code: opName, ino: parent, name: name, child: made.ino}, t.timesOf(d)}
	if m.Mode&typeMask == typeDir {
		made.state.nlink = 2
		ops[2] = t.nlinkOf(d, d.nlink+1)
	}
	return t.makeInode(made.ino, ops)
}

// MakeUnnamed makes a file without a name, and counts a reference to it.
func (t *Tree) MakeUnnamed(ctx context.Context, parent Ino, m Make) (Attr, error) {
	if m.Mode&typeMask != typeFile {
		return Attr{}, syscall.EINVAL
	}
	if err := t.room(entryCost); err != nil {
		return Attr{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d, err := t.getDir(parent)
	if err == nil {
		err = t.mayChangeIn(d)
	}
	if err != nil {
		return Attr{}, err
	}
	made := t.newInode(d, m)
	made.state.nlink = 0
	return t.makeInode(made.ino, []op{made})
}

func (t *Tree) makeInode(ino Ino, ops []op) (Attr, error) {
	if err := t.commit(ops...); err != nil {
		return Attr{}, err
	}
	n := t.inodes[ino]
	t.refs[ino]++
	return n.attr(), nil
}

// newInode returns the operation that makes an inode in directory d.
func (t *Tree) newInode(d *inode, m Make) op {
	now := nanos(t.opt.Now())
	s := &state{mode: m.Mode, uid: m.UID, gid: m.GID, rdev: m.Rdev, nlink: 1, target: m.Target,
		atime: now, mtime: now, ctime: now}
	if d.mode&setgid != 0 {
		s.gid = d.gid
		if m.Mode&typeMask == typeDir {
			s.mode |= setgid
		}
	}
	o := op{code: opInode, ino: t.next, state: s, mask: fMode | fTimes | fAtime | fNlink | fSize}
	if s.target != "" {
		o.mask |= fTarget
	}
	t.next++
	return o
}

// timesOf sets a directory's mtime and ctime to now.
func (t *Tree) timesOf(d *inode) op {
	now := nanos(t.opt.Now())
	return op{code: opInode, ino: d.ino, mask: fTimes, state: &state{mtime: now, ctime: now}}
}

// nlinkOf does that, and sets its link count.
func (t *Tree) nlinkOf(d *inode, nlink uint32) op {
	o := t.timesOf(d)
	o.mask |= fNlink
	o.state.nlink = nlink
	return o
}

// linkCount sets an inode's link count and its ctime.
func (t *Tree) linkCount(n *inode, nlink uint32) op {
	return op{code: opInode, ino: n.ino, mask: fNlink, state: &state{nlink: nlink, ctime: nanos(t.opt.Now())}}
}

// unlinked is the operation after which an inode has a name less. Without a name and a reference it is gone.
func (t *Tree) unlinked(n *inode) op {
	nlink := n.nlink - 1
	if n.isDir() {
		nlink = 0
	}
	if nlink == 0 && t.refs[n.ino] == 0 {
		return op{code: opGone, ino: n.ino}
	}
	return t.linkCount(n, nlink)
}

// endOfLife ends an inode without name that nobody refers to, or makes it a conflict copy; see heir.
func (t *Tree) endOfLife(ino Ino) error {
	n, err := t.get(ino)
	if err != nil {
		return err
	}
	if n.heir.edited {
		return t.rescue(n)
	}
	return t.commitFreeing(op{code: opGone, ino: ino})
}

// Link gives an inode one more name, and counts a reference.
func (t *Tree) Link(ctx context.Context, ino, parent Ino, name string) (Attr, error) {
	if err := t.room(entryCost); err != nil {
		return Attr{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, err := t.freeName(parent, name)
	if err != nil {
		return Attr{}, err
	}
	n, err := t.get(ino)
	if err == nil {
		err = cmp.Or(t.mayChangeIn(d), t.mayChange(n))
	}
	if err != nil {
		return Attr{}, err
	}
	if n.isDir() {
		return Attr{}, syscall.EPERM
	}
	if err := t.flush(n); err != nil {
		return Attr{}, err
	}
	link := t.linkCount(n, n.nlink+1)
	link.mask |= fHeir // with a name again, it is nobody's heir
	ops := []op{link, {code: opName, ino: parent, name: name, child: ino}, t.timesOf(d)}
	a, err := t.makeInode(ino, ops)
	if err == nil {
		delete(t.heirs, ino)
	}
	return a, err
}

// Unlink removes a name that is no directory's.
func (t *Tree) Unlink(ctx context.Context, parent Ino, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, n, err := t.named(parent, name)
	if err != nil {
		return err
	}
	if n.isDir() {
		return syscall.EISDIR
	}
	if err := t.mayChangeIn(d); err != nil {
		return err
	}
	t.keep(n)
	return t.commitFreeing(op{code: opName, ino: parent, name: name}, t.timesOf(d), t.unlinked(n))
}

// Rmdir removes an empty directory.
func (t *Tree) Rmdir(ctx context.Context, parent Ino, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, n, err := t.named(parent, name)
	if err != nil {
		return err
	}
	if err := t.mayName(d, name, n.isDir()); err != nil {
		return err
	}
	if err := t.mustBeEmpty(n); err != nil {
		return err
	}
	return t.commitFreeing(op{code: opName, ino: parent, name: name}, t.nlinkOf(d, d.nlink-1), t.unlinked(n))
}

func (t *Tree) mustBeEmpty(n *inode) error {
	n, err := t.getDir(n.ino)
	if err == nil && n.dir.live > 0 {
		return syscall.ENOTEMPTY
	}
	return err
}

func (t *Tree) named(parent Ino, name string) (d, n *inode, err error) {
	if len(name) > maxName {
		return nil, nil, syscall.ENAMETOOLONG
	}
	if d, err = t.getDir(parent); err != nil {
		return nil, nil, err
	}
	n, err = t.child(d, name)
	return d, n, err
}
