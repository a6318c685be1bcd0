package memory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

const second = 1_000_000_000

// put places n at path, making directories as needed. What is there is replaced, unless it is a directory with
// something in it.
func (t *Tree) put(path string, n *node) error {
	dir, name := replica.Split(path)
	for _, part := range split(path) {
		if !object.ValidName(part) {
			return fmt.Errorf("put %q: %q is not a name: %w", path, part, errUsage)
		}
	}
	if name == "" {
		return fmt.Errorf("put %q: no name: %w", path, errUsage)
	}
	parent := t.root
	for _, part := range split(dir) {
		child := parent.children[part]
		if child == nil {
			child = t.touched(&node{kind: object.Directory, mode: DirectoryMode, children: map[string]*node{}})
			parent.children[part] = child
		}
		if child.kind != object.Directory {
			return fmt.Errorf("put %q: %q is no directory: %w", path, part, errUsage)
		}
		parent = child
	}
	if was := parent.children[name]; was != nil && was.kind == object.Directory && len(was.children) > 0 {
		return fmt.Errorf("put %q: a directory that is not empty is there: %w", path, errUsage)
	}
	parent.children[name] = t.touched(n)
	t.changed[path] = true
	return nil
}

func (t *Tree) tick() int64 {
	t.clock++
	return t.clock * second
}

// existing returns the node at path for an edit.
func (t *Tree) existing(verb, path string) (*node, error) {
	n := t.find(path)
	if n == nil {
		return nil, fmt.Errorf("%s %q: %w", verb, path, replica.ErrNotExist)
	}
	t.changed[path] = true
	return n, nil
}

// Write is the user writing a file: in place, keeping its mode, if there is one, else a new one of FileMode. Directories
// on the way are made.
func (t *Tree) Write(path, data string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.find(path); n != nil && n.kind == object.File {
		n.data, n.known, n.modTime = []byte(data), false, t.tick()
		t.changed[path] = true
		t.touched(n)
		return nil
	}
	return t.put(path, &node{kind: object.File, mode: FileMode, data: []byte(data), modTime: t.tick()})
}

// Mkdir is the user making a directory, and those on the way. An existing one is left as it is.
func (t *Tree) Mkdir(path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.find(path); n != nil && n.kind == object.Directory {
		return nil
	}
	return t.put(path, &node{kind: object.Directory, mode: DirectoryMode, children: map[string]*node{}})
}

// Symlink is the user making a symbolic link.
func (t *Tree) Symlink(path, target string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(path, &node{kind: object.Symlink, target: target})
}

// Special is the user making a socket.
func (t *Tree) Special(path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(path, &node{kind: object.Special})
}

// Chmod is the user changing the mode of a file or directory.
func (t *Tree) Chmod(path string, mode uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.existing("chmod", path)
	if err == nil {
		n.mode = mode & 0o7777
		t.touched(n)
	}
	return err
}

// Touch is the user setting a file's modification time, in nanoseconds since 1970.
func (t *Tree) Touch(path string, modTime int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.existing("touch", path)
	if err == nil {
		n.modTime = modTime
		t.touched(n)
	}
	return err
}

// Chown is the user giving something to another user and group; "" leaves one as it is.
func (t *Tree) Chown(path string, user, group object.Owner) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.existing("chown", path)
	if err == nil {
		n.user, n.group = cmp.Or(user, n.user), cmp.Or(group, n.group)
		t.touched(n)
	}
	return err
}

// SetXattr is the user setting an extended attribute; nil removes it.
func (t *Tree) SetXattr(path, name string, value []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.existing("set an attribute of", path)
	if err != nil {
		return err
	}
	x := maps.Clone(n.xattrs)
	if x == nil {
		x = map[string][]byte{}
	}
	if x[name] = value; value == nil {
		delete(x, name)
	}
	n.xattrs = x
	t.touched(n)
	return nil
}

// Remove is the user removing a path and all below it.
func (t *Tree) Remove(path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.existing("remove", path); err != nil {
		return err
	}
	dir, name := replica.Split(path)
	delete(t.find(dir).children, name)
	return nil
}

// Rename is the user moving a path, replacing what rename(2) would replace.
func (t *Tree) Rename(from, to string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.existing("rename", from)
	if err != nil {
		return err
	}
	if from == to {
		return nil
	}
	if strings.HasPrefix(to, from+"/") || from == "" {
		return fmt.Errorf("rename %q to %q: into itself: %w", from, to, errUsage)
	}
	if err := t.put(to, n); err != nil {
		return err
	}
	dir, name := replica.Split(from)
	delete(t.find(dir).children, name)
	return nil
}

// Data returns the bytes of a file, or the target of a symlink.
func (t *Tree) Data(path string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.existing("read", path)
	if err != nil {
		return "", err
	}
	if n.kind == object.Symlink {
		return n.target, nil
	}
	return string(n.data), nil
}

// Entry returns what is at path, its content known, or an entry of kind Absent.
func (t *Tree) Entry(path string) object.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, name := replica.Split(path)
	n := t.find(path)
	if n == nil {
		return object.Entry{Name: name}
	}
	e := t.entry(name, n)
	if e.Kind == object.File {
		e.Content = t.hash(n.data)
	}
	return e
}

// Paths returns every path but the root's, parents first, in ascending order of names.
func (t *Tree) Paths() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var paths []string
	var walk func(string, *node)
	walk = func(dir string, n *node) {
		for _, name := range n.names() {
			paths = append(paths, replica.Join(dir, name))
			walk(replica.Join(dir, name), n.children[name])
		}
	}
	walk("", t.root)
	return slices.Clip(paths)
}
