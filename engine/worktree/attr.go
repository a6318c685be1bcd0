package worktree

import (
	"context"
	"maps"
	"slices"
	"strings"
	"syscall"

	"ensync/store/object"
)

// GetAttr returns an inode's attributes.
func (t *Tree) GetAttr(ctx context.Context, ino Ino) (Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	n, err := t.get(ino)
	if err != nil {
		return Attr{}, err
	}
	return n.attr(), nil
}

// Readlink returns the target of a symlink.
func (t *Tree) Readlink(ctx context.Context, ino Ino) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.get(ino)
	if err != nil {
		return "", err
	}
	if n.kind() != typeSymlink {
		return "", syscall.EINVAL
	}
	return n.target, nil
}

// SetAttr changes attributes, and the size.
func (t *Tree) SetAttr(ctx context.Context, ino Ino, s SetAttr) (Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	if t.broken != nil {
		return Attr{}, t.broken
	}
	n, err := t.get(ino)
	if err == nil {
		err = t.mayChange(n)
	}
	if err == nil && n.isFile() {
		t.keep(n)
	}
	if err == nil && s.Size != nil {
		if n, err = t.getFile(ino); err == nil {
			err = t.truncate(n, *s.Size)
		}
	}
	if err != nil {
		return Attr{}, err
	}
	mask := fields(0)
	if s.Mode != nil {
		n.mode = n.kind() | *s.Mode&permission
		mask |= fMode | fMark
	}
	if s.UID != nil {
		n.uid = *s.UID
		mask |= fMode
	}
	if s.GID != nil {
		n.gid = *s.GID
		mask |= fMode
	}
	if t.opt.Owner && (s.UID != nil || s.GID != nil) {
		mask |= fMark
	}
	if s.Atime != nil {
		n.atime = nanos(*s.Atime)
		mask |= fAtime | fTimes
	}
	if s.Mtime != nil {
		n.mtime = nanos(*s.Mtime)
		mask |= fTimes
		if n.isFile() {
			mask |= fMark
		}
	}
	if s.KillPriv && !n.isDir() && (s.UID != nil || s.GID != nil || s.Size != nil) {
		t.killPriv(n, s.KillGroup)
	}
	if mask != 0 {
		n.ctime = nanos(t.opt.Now())
		t.touch(n, mask|fTimes)
	}
	if mask&fMark != 0 {
		t.mark(n)
	}
	return n.attr(), nil
}

// Flags of SetXattr, with the values of setxattr(2).
const (
	xattrCreate  = 1
	xattrReplace = 2
)

// maxXattrs bounds what all extended attributes of an inode take, in bytes.
const maxXattrs = 128 << 10

// GetXattr returns an extended attribute; ENODATA if there is none.
func (t *Tree) GetXattr(ctx context.Context, ino Ino, name string) ([]byte, error) {
	if toldXattr(name) {
		return t.tellXattr(ctx, ino, name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.get(ino)
	if err != nil {
		return nil, err
	}
	v, ok := n.xattrs[name]
	if !ok {
		return nil, errNoXattr
	}
	return slices.Clone(v), nil
}

// SetXattr sets an extended attribute.
func (t *Tree) SetXattr(ctx context.Context, ino Ino, name string, value []byte, flags uint32) error {
	if name == "" || len(name) > maxName {
		return syscall.ERANGE
	}
	if len(value) > 64<<10 {
		return syscall.E2BIG
	}
	if toldXattr(name) {
		return syscall.EPERM
	}
	if err := t.room(entryCost + uint64(len(value))); err != nil {
		return err
	}
	return t.changeXattrs(ino, name, func(x map[string][]byte) error {
		_, ok := x[name]
		if ok && flags&xattrCreate != 0 {
			return syscall.EEXIST
		}
		if !ok && flags&xattrReplace != 0 {
			return errNoXattr
		}
		x[name] = slices.Clone(value)
		total := 0
		for k, v := range x {
			total += len(k) + len(v)
		}
		if total > maxXattrs {
			return syscall.ENOSPC
		}
		return nil
	})
}

// RemoveXattr removes an extended attribute; ENODATA if there is none.
func (t *Tree) RemoveXattr(ctx context.Context, ino Ino, name string) error {
	if toldXattr(name) {
		return syscall.EPERM
	}
	return t.changeXattrs(ino, name, func(x map[string][]byte) error {
		if _, ok := x[name]; !ok {
			return errNoXattr
		}
		delete(x, name)
		return nil
	})
}

// ListXattr returns the names of the extended attributes, sorted.
func (t *Tree) ListXattr(ctx context.Context, ino Ino) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.get(ino)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(n.xattrs))
	return slices.DeleteFunc(names, func(name string) bool { return toldXattr(name) || strings.HasPrefix(name, ownXattrs) }), nil
}

func (t *Tree) changeXattrs(ino Ino, name string, f func(map[string][]byte) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	if t.broken != nil {
		return t.broken
	}
	n, err := t.get(ino)
	if err == nil && !strings.HasPrefix(name, object.XattrPrefix+ownXattrs) { // those are no change of the tree
		err = t.mayChange(n)
	}
	if err != nil {
		return err
	}
	x := maps.Clone(n.xattrs)
	if x == nil {
		x = map[string][]byte{}
	}
	if err := f(x); err != nil {
		return err
	}
	n.xattrs = x
	n.ctime = nanos(t.opt.Now())
	if !t.opt.Xattrs || !object.ValidXattr(name) {
		t.touch(n, fXattrs|fTimes)
		return nil
	}
	t.touch(n, fXattrs|fTimes|fMark)
	t.mark(n)
	return nil
}
