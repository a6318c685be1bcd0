package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Apply changes a directory on top of the committed state. Content is stored at once, and referred to by the next
// commit only.
func (t *Tree) Apply(ctx context.Context, dir string, changes []replica.Change) []replica.Result {
	results := make([]replica.Result, len(changes))
	n, err := t.node(ctx, dir)
	if err == nil {
		err = t.member(n.realm.root.Write, "change")
	}
	for i, c := range changes {
		if err != nil {
			results[i].Err = err
			continue
		}
		results[i].Entry, results[i].Err = t.change(ctx, n, c)
	}
	return results
}

func (t *Tree) change(ctx context.Context, n *node, c replica.Change) (*replica.Entry, error) {
	switch {
	case c.Rename != "":
		return t.rename(ctx, n, c)
	case c.New == nil:
		return nil, t.remove(ctx, n, *c.Old)
	case !object.ValidName(c.New.Name):
		return nil, fmt.Errorf("store %q in %q: not a valid name", c.New.Name, n.path)
	}
	e := *c.New
	if e.Kind == object.File && c.Source != nil {
		content, err := t.content(ctx, e.Content, c.Source)
		if err != nil {
			return nil, fmt.Errorf("store %q: %w", replica.Join(n.path, e.Name), err)
		}
		e.Content = content
	}
	return t.set(ctx, n, c, e)
}

// content brings content into the store, by reference where it is there already.
func (t *Tree) content(ctx context.Context, want object.Content, src replica.Source) (object.Content, error) {
	if want.Known && want.Size > object.InlineMax {
		if there, err := t.store.Adopt(ctx, want); err != nil || there {
			return want, err
		}
	}
	r, err := src(ctx)
	if err != nil {
		return object.Content{}, err
	}
	got, err := t.store.PutContent(ctx, r)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	if err == nil && (want.Known && !want.Same(got) || got.Size != want.Size) {
		err = replica.ErrChanged
	}
	return got, err
}

// set makes a name hold an entry, if it holds what the change expects.
func (t *Tree) set(ctx context.Context, n *node, c replica.Change, e object.Entry) (*replica.Entry, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(ctx, t); err != nil {
		return nil, err
	}
	now := n.entries.get(e.Name)
	if err := expect(n, e.Name, now.Entry, c.Old); err != nil {
		return nil, err
	}
	if err := t.mayChange(n, now.Entry); err != nil {
		return nil, err
	}
	if now.Kind == e.Kind {
		e = e.WithUnknownFrom(now.Entry)
	}
	if now.Kind == object.Directory && e.Kind == object.Directory {
		e.Tree, e.Root, e.Roots, e.Extra = now.Tree, now.Root, now.Roots, now.Extra
	} else {
		if err := t.vacate(ctx, n, now); err != nil {
			return nil, err
		}
		if now.Kind != object.Directory {
			e.Extra = now.Extra
		}
		if err := t.makeEmpty(ctx, n, &e); err != nil {
			return nil, err
		}
	}
	e = marked(e, c)
	n.entries.set(e.Name, item{Entry: e, fresh: true})
	t.count(n, e.Content.Size)
	return &e, nil
}

func (t *Tree) remove(ctx context.Context, n *node, old replica.Entry) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(ctx, t); err != nil {
		return err
	}
	now := n.entries.get(old.Name)
	if err := expect(n, old.Name, now.Entry, &old); err != nil {
		return err
	}
	if err := t.vacate(ctx, n, now); err != nil {
		return err
	}
	n.entries.set(old.Name, item{fresh: true})
	t.count(n, 0)
	return nil
}

// mayChange refuses changes of a directory that is a root by who may not write in it.
func (t *Tree) mayChange(n *node, e object.Entry) error {
	if (e.Root == object.RootID{}) {
		return nil
	}
	root, err := rootAt(n.realm.root, n.path, e.Name, e.Root)
	if err == nil {
		err = t.member(root.Write, "change")
	}
	if err != nil {
		return fmt.Errorf("change %q in the store: %w", replica.Join(n.path, e.Name), err)
	}
	return nil
}

// vacate makes room for something else where e is: a directory must be empty, and a root ends. n.mu is held.
func (t *Tree) vacate(ctx context.Context, n *node, e item) error {
	if e.Kind != object.Directory {
		return nil
	}
	if err := t.mayChange(n, e.Entry); err != nil {
		return err
	}
	var other *twin
	if err := t.mustBeEmpty(ctx, n, e); errors.As(err, &other) {
		return nil // the root stays, where else it is
	} else if err != nil {
		return err
	}
	t.forget(replica.Join(n.path, e.Name))
	if (e.Root != object.RootID{}) {
		t.endRealm(e.Root)
	}
	return nil
}

// makeEmpty gives a directory that is to be made what it needs to be stored.
func (t *Tree) makeEmpty(ctx context.Context, n *node, e *replica.Entry) error {
	e.Tree, e.Root, e.Roots = object.Tree{}, object.RootID{}, false
	if e.Kind != object.Directory {
		return nil
	}
	if !object.HasGroups(e.Name) {
		var err error
		e.Tree, err = t.put(ctx, n.realm, object.Tree{}, nil)
		return err
	}
	r, err := t.newRealm(ctx, n.realm, n.path, e.Name)
	if err != nil {
		return fmt.Errorf("make directory %q in the store: %w", replica.Join(n.path, e.Name), err)
	}
	e.Root = r.root.ID
	t.mu.Lock()
	defer t.mu.Unlock()
	t.realms[e.Root] = r
	return nil
}

// marked returns an entry as the change wants it to be a conflict copy.
func marked(e object.Entry, c replica.Change) object.Entry {
	if c.Copy == nil {
		return e
	}
	return e.WithCopy(*c.Copy)
}

func (t *Tree) rename(ctx context.Context, n *node, c replica.Change) (*replica.Entry, error) {
	old, to := *c.Old, c.Rename
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(ctx, t); err != nil {
		return nil, err
	}
	now := n.entries.get(old.Name)
	if err := expect(n, old.Name, now.Entry, &old); err != nil {
		return nil, err
	}
	if n.entries.get(to).Kind != object.Absent || !object.ValidName(to) {
		return nil, fmt.Errorf("rename %q to %q in the store: name is taken or not valid", replica.Join(n.path, old.Name), to)
	}
	if err := t.mayMove(n.path, old.Name, n.path, to, now.Kind); err != nil {
		return nil, err
	}
	if t.open(replica.Join(n.path, old.Name)) {
		return nil, fmt.Errorf("rename %q in the store: its directory is being worked on", replica.Join(n.path, old.Name))
	}
	n.entries.set(old.Name, item{fresh: true})
	now.Entry = marked(now.Entry, c)
	now.Name, now.fresh = to, true
	n.entries.set(to, now)
	t.count(n, 0)
	e := now.Entry
	return &e, nil
}

// expect compares what is there with what the caller saw.
func expect(n *node, name string, now object.Entry, old *replica.Entry) error {
	if old == nil && now.Kind == object.Absent || old != nil && now.Equal(*old) {
		return nil
	}
	return fmt.Errorf("change %q in the store: %w", replica.Join(n.path, name), replica.ErrChanged)
}

// mustBeEmpty looks into a directory about to vanish. n.mu is held: the child's node, if it is open, was left before
// its parent's entries change, so its tree says all.
func (t *Tree) mustBeEmpty(ctx context.Context, n *node, e item) error {
	path := replica.Join(n.path, e.Name)
	t.mu.Lock()
	child := t.nodes[path]
	t.mu.Unlock()
	count := 0
	if child != nil {
		child.mu.Lock()
		defer child.mu.Unlock()
		if err := child.load(ctx, t); err != nil {
			return err
		}
		count = len(child.entries.all())
	} else {
		at := &node{path: path, realm: n.realm, base: e.Tree, moved: n.moved || e.fresh}
		if err := t.enterRealm(ctx, at, e.Entry); err != nil {
			return err
		}
		if err := at.load(ctx, t); err != nil {
			return err
		}
		count = len(at.entries.all())
	}
	if count > 0 {
		return fmt.Errorf("remove directory %q in the store: not empty", path)
	}
	return nil
}

// count notes a change; n.mu is held.
func (t *Tree) count(n *node, size int64) {
	n.changed = true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes++
	t.bytes += size
}

// open reports whether a directory or one below it is being looked at.
func (t *Tree) open(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.nodes {
		if p == path || strings.HasPrefix(p, path+"/") {
			return true
		}
	}
	return false
}

// forget drops the nodes of a directory that is gone.
func (t *Tree) forget(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.nodes {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(t.nodes, p)
		}
	}
}
