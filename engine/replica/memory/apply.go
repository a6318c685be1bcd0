package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Apply implements replica.Client. Changes are carried out in order.
func (t *Tree) Apply(ctx context.Context, dir string, changes []replica.Change) []replica.Result {
	results := make([]replica.Result, len(changes))
	for i, c := range changes {
		e, err := t.applyOne(ctx, dir, c)
		results[i] = replica.Result{Entry: e, Err: err}
	}
	return results
}

func (t *Tree) applyOne(ctx context.Context, dir string, c replica.Change) (*object.Entry, error) {
	if err := replica.CheckChange(c); err != nil {
		return nil, fmt.Errorf("change in %q: %w", dir, err)
	}
	path := replica.Join(dir, c.Name())
	if err := t.start(ctx, OpWrite, path); err != nil {
		return nil, err
	}
	var fetched *node
	if c.New != nil && c.New.Kind == object.File && c.Source != nil {
		var err error
		if fetched, err = t.fetch(ctx, c); err != nil {
			return nil, fmt.Errorf("write %q: %w", path, err)
		}
	}
	if err := t.start(ctx, OpChange, path); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.change(dir, c, fetched)
}

func (t *Tree) fetch(ctx context.Context, c replica.Change) (*node, error) {
	r, err := c.Source(ctx)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if c.New.Content.Known && !t.hash(data).Same(c.New.Content) {
		return nil, errors.New("what arrived is not the content that was announced")
	}
	return &node{data: data}, nil
}

// change is the last look and the change in one step.
func (t *Tree) change(dir string, c replica.Change, fetched *node) (*object.Entry, error) {
	path := replica.Join(dir, c.Name())
	t.changed[path] = true
	parent, err := t.directory(dir)
	if err != nil {
		return nil, fmt.Errorf("change %q: %w", path, err)
	}
	var old *node
	if c.Old != nil {
		if old, err = t.asListed("change", dir, c.Old); err != nil {
			return nil, fmt.Errorf("%w; looked for what was listed: %w", err, replica.ErrChanged)
		}
	} else if parent.children[c.New.Name] != nil {
		return nil, fmt.Errorf("create %q: something is there: %w", path, replica.ErrChanged)
	}
	if c.Rename != "" {
		return t.rename(dir, parent, c, old)
	}
	if old != nil && len(old.children) > 0 && (c.New == nil || c.New.Kind != object.Directory) {
		return nil, fmt.Errorf("remove %q: the directory is not empty: %w", path, replica.ErrChanged)
	}
	if c.New == nil {
		delete(parent.children, c.Old.Name)
		delete(t.listed[dir], c.Old.Name)
		return nil, nil
	}
	return t.become(dir, parent, c, old, fetched)
}

func (t *Tree) rename(dir string, parent *node, c replica.Change, old *node) (*object.Entry, error) {
	if parent.children[c.Rename] != nil {
		return nil, fmt.Errorf("rename %q to %q: something is there: %w", replica.Join(dir, c.Old.Name), c.Rename, replica.ErrChanged)
	}
	delete(parent.children, c.Old.Name)
	delete(t.listed[dir], c.Old.Name)
	t.changed[replica.Join(dir, c.Rename)] = true
	return t.show(dir, parent, c.Rename, t.touched(old)), nil
}

// become makes or updates the node that c asks for.
func (t *Tree) become(dir string, parent *node, c replica.Change, old, fetched *node) (*object.Entry, error) {
	n := &node{kind: c.New.Kind, mode: c.New.Mode, modTime: c.New.ModTime, target: c.New.Target}
	switch c.New.Kind {
	case object.Directory:
		n.modTime, n.children = 0, map[string]*node{}
		if old != nil && old.kind == object.Directory {
			n.children, n.id = old.children, old.id
		}
	case object.File:
		n.known = true
		switch {
		case fetched != nil:
			n.data = fetched.data
		case old != nil && old.kind == object.File:
			n.data, n.known = old.data, old.known
		default:
			return nil, fmt.Errorf("write %q: nothing to read its content from", replica.Join(dir, c.New.Name))
		}
	}
	if n.kind == object.Symlink {
		n.mode, n.modTime = 0, 0
	}
	if err := t.setOptional(n, c.New, old); err != nil {
		return nil, err
	}
	return t.show(dir, parent, c.New.Name, t.touched(n)), nil
}

// setOptional gives n owner, group and extended attributes; what e does not know of them comes from what was there.
func (t *Tree) setOptional(n *node, e *object.Entry, old *node) error {
	if old != nil && old.kind == n.kind {
		n.user, n.group, n.xattrs = old.user, old.group, old.xattrs
	}
	if t.Fixed {
		return nil
	}
	n.user, n.group = cmp.Or(e.User, n.user), cmp.Or(e.Group, n.group)
	if e.Xattrs == "" {
		return nil
	}
	set, err := e.Xattrs.Parse()
	n.xattrs = set
	return err
}

// show puts n under a name and returns it as listed.
func (t *Tree) show(dir string, parent *node, name string, n *node) *object.Entry {
	parent.children[name] = n
	if t.listed[dir] != nil {
		t.listed[dir][name] = n.version
	}
	e := t.entry(name, n)
	return &e
}
