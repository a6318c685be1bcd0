package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

var _ replica.Client = (*Tree)(nil)

// List implements replica.Client. Content is Known if it came from Apply or was hashed since the user's last edit.
func (t *Tree) List(ctx context.Context, dir string) ([]object.Entry, error) {
	if err := t.start(ctx, OpList, dir); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.directory(dir)
	if err != nil {
		return nil, err
	}
	seen := map[string]uint64{}
	entries := make([]object.Entry, 0, len(n.children))
	for _, name := range n.names() {
		child := n.children[name]
		seen[name] = child.version
		entries = append(entries, t.entry(name, child))
	}
	t.listed[dir] = seen
	return entries, nil
}

func (t *Tree) start(ctx context.Context, op Op, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.before(op, path)
}

// Dirty implements replica.Client. The tree is compared with what was settled, and a change of which nobody settled
// what became counts, even if it was taken back: the ancestor may have it.
func (t *Tree) Dirty(ctx context.Context, dir string) (bool, error) {
	if err := t.start(ctx, OpDirty, dir); err != nil {
		return true, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.directory(dir)
	if err != nil {
		return true, err
	}
	return t.AlwaysDirty || t.changedBelow(dir) || t.dirty(dir, n), nil
}

func (t *Tree) changedBelow(dir string) bool {
	for path := range t.changed {
		if dir == "" || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

func (t *Tree) dirty(dir string, n *node) bool {
	agreed := t.settled[dir]
	if len(agreed) != len(n.children) {
		return true
	}
	for name, child := range n.children {
		e := t.entry(name, child)
		if e.Kind == object.File {
			e.Content = t.hash(child.data)
		}
		if was, ok := agreed[name]; !ok || !e.Agrees(was.OnClient()) {
			return true
		}
		if child.kind == object.Directory && t.dirty(replica.Join(dir, name), child) {
			return true
		}
	}
	return false
}

// Hash implements replica.Client.
func (t *Tree) Hash(ctx context.Context, dir string, e object.Entry) (object.Entry, error) {
	path := replica.Join(dir, e.Name)
	if err := t.start(ctx, OpHash, path); err != nil {
		return e, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.asListed("hash", dir, &e)
	if err != nil {
		return e, err
	}
	if n.kind != object.File {
		return e, fmt.Errorf("hash %q: it is a %v, not a file", path, n.kind)
	}
	n.known = true
	return t.entry(e.Name, n), nil
}

// Open implements replica.Client.
func (t *Tree) Open(ctx context.Context, dir string, e object.Entry) (io.ReadCloser, error) {
	path := replica.Join(dir, e.Name)
	if err := t.start(ctx, OpOpen, path); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.asListed("open", dir, &e)
	if err != nil {
		return nil, err
	}
	if n.kind != object.File {
		return nil, fmt.Errorf("open %q: it is a %v, not a file", path, n.kind)
	}
	return io.NopCloser(bytes.NewReader(n.data)), nil
}

// asListed returns the node of an entry that must be as it was listed; ErrNotExist or ErrChanged otherwise.
func (t *Tree) asListed(verb, dir string, e *object.Entry) (*node, error) {
	path := replica.Join(dir, e.Name)
	parent, err := t.directory(dir)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", verb, path, err)
	}
	n := parent.children[e.Name]
	if n == nil {
		return nil, fmt.Errorf("%s %q: %w", verb, path, replica.ErrNotExist)
	}
	now := t.entry(e.Name, n)
	same := now.Kind == e.Kind && now.Mode == e.Mode && now.ModTime == e.ModTime && now.Target == e.Target &&
		now.SameAttributes(e.WithUnknownFrom(now))
	if n.kind == object.File {
		same = same && now.Content.Size == e.Content.Size && (!e.Content.Known || t.hash(n.data).Same(e.Content))
	}
	if seen, ok := t.listed[dir][e.Name]; !same || ok && seen != n.version {
		return nil, fmt.Errorf("%s %q: %w", verb, path, replica.ErrChanged)
	}
	return n, nil
}

// Sync implements replica.Client: what is there now survives a Crash.
func (t *Tree) Sync(ctx context.Context) error {
	if err := t.start(ctx, OpSync, ""); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.durable = t.root.clone()
	return nil
}

// Settle implements replica.Client.
func (t *Tree) Settle(ctx context.Context, dir string, entries []object.Entry) error {
	if err := t.start(ctx, OpSettle, dir); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settled[dir] == nil {
		t.settled[dir] = map[string]object.Entry{}
	}
	for _, e := range entries {
		delete(t.changed, replica.Join(dir, e.Name))
		if e.Kind != object.Directory {
			t.forget(replica.Join(dir, e.Name))
		}
		if e.Kind == object.Absent {
			delete(t.settled[dir], e.Name)
		} else {
			t.settled[dir][e.Name] = e
		}
		if n := t.find(replica.Join(dir, e.Name)); n != nil && e.Kind == object.Directory && n.kind == e.Kind {
			t.places[n.id] = replica.Join(dir, e.Name)
		}
	}
	return nil
}

// Was implements replica.Tracker.
func (t *Tree) Was(ctx context.Context, dir string) (string, error) {
	if err := t.start(ctx, OpList, dir); err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.find(dir)
	if n == nil || t.places[n.id] == dir {
		return "", nil
	}
	return t.places[n.id], nil
}

// Relocate implements replica.Relocator.
func (t *Tree) Relocate(ctx context.Context, from, to string, e object.Entry) error {
	if err := t.start(ctx, OpChange, from); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fromDir, fromName := replica.Split(from)
	toDir, toName := replica.Split(to)
	n := t.find(from)
	target, err := t.directory(toDir)
	switch {
	case err != nil:
		return err
	case n == nil:
		return fmt.Errorf("move %q: %w", from, replica.ErrNotExist)
	case target.children[toName] != nil || strings.HasPrefix(to, from+"/"):
		return fmt.Errorf("move %q to %q: %w", from, to, replica.ErrChanged)
	case n.kind == object.File:
		if _, err := t.asListed("move", fromDir, &e); err != nil {
			return fmt.Errorf("%w: %w", err, replica.ErrChanged)
		}
	}
	delete(t.find(fromDir).children, fromName)
	delete(t.listed[fromDir], fromName)
	t.show(toDir, target, toName, n)
	t.changed[from], t.changed[to] = true, true
	return nil
}

// forget drops what was settled in and below a directory that is agreed to be gone.
func (t *Tree) forget(dir string) {
	below := dir + "/"
	maps.DeleteFunc(t.changed, func(path string, _ bool) bool { return strings.HasPrefix(path, below) })
	maps.DeleteFunc(t.settled, func(d string, _ map[string]object.Entry) bool {
		return d == dir || len(d) > len(below) && d[:len(below)] == below
	})
}

// Settled returns what the replica was told to be agreed in a directory, sorted by name.
func (t *Tree) Settled(dir string) []object.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var entries []object.Entry
	for _, name := range slices.Sorted(maps.Keys(t.settled[dir])) {
		entries = append(entries, t.settled[dir][name])
	}
	return entries
}

// Peek implements replica.Peeker.
func (t *Tree) Peek(ctx context.Context, dir string, _ object.Entry) ([]object.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.directory(dir)
	if err != nil {
		return nil, err
	}
	var entries []object.Entry
	for _, name := range n.names() {
		entries = append(entries, t.entry(name, n.children[name]))
	}
	return entries, nil
}
