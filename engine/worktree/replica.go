package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"ensync/engine/replica"
	"ensync/store/object"
)

var _ replica.Client = (*Tree)(nil)

// resolve returns the directory at a path of the replica. moved says that one above it, or it, came to another path.
func (t *Tree) resolve(path string) (d *inode, moved bool, err error) {
	d, err = t.getDir(RootIno)
	for path != "" && err == nil {
		moved = moved || d.stale
		var name string
		name, path, _ = strings.Cut(path, "/")
		var n *inode
		if n, err = t.child(d, name); err == nil {
			d, err = t.getDir(n.ino)
		}
	}
	if err == syscall.ENOENT || err == syscall.ENOTDIR {
		err = replica.ErrNotExist
	}
	if err != nil {
		return nil, false, err
	}
	return d, moved || d.stale, nil
}

func wrap(verb, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", verb, path, err)
}

// List returns the entries of a directory, sorted by name. Content is known if it came from the store or was hashed
// and has not changed since; in all other cases the file is remembered as it is now. A file that is being rewritten at
// this moment is shown as it was before, if a short wait does not see the end of it.
func (t *Tree) List(ctx context.Context, dir string) ([]object.Entry, error) {
	if err := t.awaitRewrites(ctx, dir); err != nil {
		return nil, wrap("list", dir, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	t.rescueEdited()
	d, _, err := t.resolve(dir)
	if err != nil {
		return nil, wrap("list", dir, err)
	}
	entries := make([]object.Entry, 0, d.dir.live)
	fresh := false
	t.unshowAll(d.ino)
	for name, e := range d.dir.names {
		if e.ino == 0 {
			continue
		}
		n, err := t.get(e.ino)
		if err != nil {
			return nil, wrap("list", replica.Join(dir, name), err)
		}
		if n.pend.old != nil && !t.isRewriting(n) {
			if err := t.flush(n); err != nil {
				return nil, wrap("list", replica.Join(dir, name), err)
			}
		}
		fresh = fresh || e.fresh
		entries = append(entries, t.show(d, n, name))
	}
	if fresh {
		if err := t.commitFreeing(op{code: opListed, ino: d.ino}); err != nil {
			return nil, wrap("list", dir, err)
		}
	}
	slices.SortFunc(entries, func(a, b object.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// isRewriting reports whether a file was emptied, and it or its new content changed so lately that there may be more to come.
// One that is empty yet gets more time: on a busy machine a program may not run for a good while after it opened the file,
// and what is taken for whole here is what a crash leaves.
func (t *Tree) isRewriting(n *inode) bool {
	patience := t.opt.Delay / 2
	if n.size == 0 {
		patience = t.opt.Delay * 7 / 8 // awaitRewrites waits that long
	}
	return n.pend.old != nil && t.opt.Now().Sub(n.pend.latest) < patience
}

// awaitRewrites waits until no file in a directory is being rewritten, but not for long.
func (t *Tree) awaitRewrites(ctx context.Context, dir string) error {
	for range 8 {
		t.mu.Lock()
		d, _, err := t.resolve(dir)
		some := err == nil && slices.ContainsFunc(t.pending, func(w waiter) bool {
			return !w.void() && t.isRewriting(w.inode) && slices.ContainsFunc(w.links, func(l place) bool { return l.dir == d.ino })
		})
		t.mu.Unlock()
		if !some {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(t.opt.Delay / 8):
		}
		if ctx.Err() != nil {
			break
		}
	}
	return ctx.Err()
}

// Dirty reports whether anything in dir or below changed since it was settled. It takes a look at each directory of
// the path, and no more.
func (t *Tree) Dirty(ctx context.Context, dir string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return true, wrap("look at", dir, err)
	}
	t.rescueEdited()
	d, moved, err := t.resolve(dir)
	if err != nil {
		return true, wrap("look at", dir, err)
	}
	return moved || d.isDirty(), nil
}

// asListed returns the inode of an entry that must be as the reconciler knows it.
func (t *Tree) asListed(dir *inode, e *object.Entry) (*inode, error) {
	n, err := t.child(dir, e.Name)
	if err == syscall.ENOENT {
		return nil, replica.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	now := t.entry(n, e.Name)
	if now.Kind != e.Kind || now.Target != e.Target || !now.SameAttributes(e.WithUnknownFrom(now)) {
		return nil, replica.ErrChanged
	}
	if now.Kind != object.Symlink && now.Mode != e.Mode {
		return nil, replica.ErrChanged
	}
	if now.Kind != object.File {
		return n, nil
	}
	if now.ModTime != e.ModTime || now.Content.Size != e.Content.Size {
		return nil, replica.ErrChanged
	}
	if e.Content.Known && !e.Content.Same(now.Content) || !e.Content.Known && !t.isAsShown(dir, n, e.Name) {
		return nil, replica.ErrChanged
	}
	return n, nil
}

// snapshot reads a file as of one instant.
type snapshot struct {
	ctx  context.Context
	t    *Tree
	view *view
	off  uint64
	size uint64
}

// Read reads on; at most 1 MiB at a time, between which the context is looked at.
func (s *snapshot) Read(p []byte) (int, error) {
	if s.off == s.size {
		return 0, io.EOF
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	p = p[:min(uint64(len(p)), s.size-s.off, 1<<20)]
	if err := s.t.fill(s.ctx, s.view, p, s.off); err != nil {
		return 0, err
	}
	s.off += uint64(len(p))
	for len(s.view.pieces) > 0 && s.view.pieces[0].end() <= s.off {
		s.view.pieces = s.view.pieces[1:]
	}
	return len(p), nil
}

// Close lets go of what the snapshot holds in the log.
func (s *snapshot) Close() error {
	s.t.releaseView(s.view)
	s.size = s.off
	return nil
}

func (t *Tree) snapshot(ctx context.Context, n *inode) (*snapshot, error) {
	if n.pend.old == nil {
		if err := t.flush(n); err != nil { // so that no copy of what is dirty has to be made
			return nil, err
		}
	}
	return &snapshot{ctx: ctx, t: t, view: t.view(n, 0, n.size), size: n.size}, nil
}

// Open reads e's content as it was when the directory was last listed, whatever has become of the file. It fails with
// ErrChanged if that is not known any more; once open, it reads exactly that content.
func (t *Tree) Open(ctx context.Context, dir string, e object.Entry) (io.ReadCloser, error) {
	s, err := t.openListed(ctx, dir, e)
	if err != nil {
		return nil, wrap("open", replica.Join(dir, e.Name), err)
	}
	return s, nil
}

func (t *Tree) openListed(ctx context.Context, dir string, e object.Entry) (*snapshot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, _, err := t.resolve(dir)
	if err != nil {
		return nil, err
	}
	n, s, err := t.contentOf(ctx, d, &e)
	if err == nil && n != nil {
		t.noteRead(d, n, e.Name)
	}
	return s, err
}

// contentOf returns the content of a file as it was listed, and its inode, or nil if it has changed since.
func (t *Tree) contentOf(ctx context.Context, d *inode, e *object.Entry) (*inode, *snapshot, error) {
	if e.Kind != object.File {
		return nil, nil, fmt.Errorf("it is a %v, not a file", e.Kind)
	}
	n, err := t.asListed(d, e)
	if err != nil {
		if v := t.kept(d, e); v != nil {
			return nil, &snapshot{ctx: ctx, t: t, view: v, size: uint64(e.Content.Size)}, nil
		}
		return nil, nil, err
	}
	s, err := t.snapshot(ctx, n)
	return n, s, err
}

// Hash makes e's content known, as it was listed, and remembers it for as long as it stays.
func (t *Tree) Hash(ctx context.Context, dir string, e object.Entry) (object.Entry, error) {
	now, err := t.hash(ctx, dir, e)
	return now, wrap("hash", replica.Join(dir, e.Name), err)
}

func (t *Tree) hash(ctx context.Context, dir string, e object.Entry) (object.Entry, error) {
	var n *inode
	var s *snapshot
	t.mu.Lock()
	d, _, err := t.resolve(dir)
	if err == nil {
		n, s, err = t.contentOf(ctx, d, &e)
	}
	var gen uint64
	if n != nil {
		gen = n.gen
	}
	t.mu.Unlock()
	if err != nil {
		return e, err
	}
	defer s.Close()
	size := int64(s.size)
	c, err := t.blocks.Hash(ctx, s)
	if err != nil {
		return e, err
	}
	if c.Size != size {
		return e, fmt.Errorf("%d bytes read of %d", c.Size, size)
	}
	c.Known = true
	e.Content = c
	if n == nil {
		return e, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, err = t.get(n.ino); err == syscall.ESTALE || err == nil && n.gen != gen {
		return e, nil // changed since: there is nothing to remember it for
	}
	if err == nil {
		err = t.commit(hashed(n, c))
	}
	return e, err
}

// Sync makes everything durable that List may have shown, which is all but the unfinished content of files that are being
// rewritten.
func (t *Tree) Sync(ctx context.Context) error { return t.sync(ctx, false) }

// SyncAll makes everything durable that the tree holds now.
func (t *Tree) SyncAll(ctx context.Context) error { return t.sync(ctx, true) }

func (t *Tree) sync(ctx context.Context, rewritten bool) error {
	t.mu.Lock()
	err := t.broken
	if err == nil {
		err = t.flushAll(rewritten)
	}
	t.mu.Unlock()
	if err != nil {
		return fmt.Errorf("working tree: sync: %w", err)
	}
	// DURABLE: what the reconciler is about to call agreed.
	return t.log.Sync(ctx, 0)
}

// Settle notes that client and server agree on these entries. Where a file still is what was agreed on, the store's
// copy becomes its content, and the log lets go of it. Where it is not, it stays dirty.
func (t *Tree) Settle(ctx context.Context, dir string, entries []object.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, _, err := t.resolve(dir)
	if errors.Is(err, replica.ErrNotExist) {
		return nil // moved or removed meanwhile; that is marked elsewhere
	}
	if err != nil {
		return wrap("settle", dir, err)
	}
	var ops []op
	for _, e := range entries {
		t.unshow(d.ino, e.Name)
		more, err := t.settleOps(d, e)
		if err != nil {
			return wrap("settle", replica.Join(dir, e.Name), err)
		}
		if ops = append(ops, more...); len(ops) > maxGroup {
			if err := t.commitFreeing(ops...); err != nil {
				return wrap("settle", dir, err)
			}
			ops = nil
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return wrap("settle", dir, t.commitFreeing(ops...))
}

func (t *Tree) settleOps(d *inode, e object.Entry) (ops []op, err error) {
	now, ok := d.dir.names[e.Name]
	settled := op{code: opSettled, ino: d.ino, name: e.Name}
	if e.Kind == object.Absent {
		if ok && now.ino == 0 {
			ops = append(ops, settled)
		}
		return ops, nil
	}
	if now.ino == 0 {
		return nil, nil
	}
	delete(t.origins, now.ino) // from now on it was agreed to be here
	n, err := t.get(now.ino)
	if err != nil {
		return nil, err
	}
	seen := t.entry(n, e.Name)
	if e.Kind == object.File && seen.Kind == object.File {
		if n.pend.old != nil || !n.content().Same(e.Content) { // proven, or it is not so: sizes and times prove nothing
			return nil, nil
		}
		seen.Content = e.Content
		if !n.base.Same(e.Content) || n.ext.count > 0 || int64(n.size) != n.base.Size {
			ops, err = t.adoptBase(n, e.Content)
			if err != nil {
				return nil, err
			}
		}
	}
	if isAgreed(seen, e) && (now.dirty || d.stale) {
		ops = append(ops, settled)
	}
	return ops, nil
}

// adoptBase makes the store's copy the content of a file.
func (t *Tree) adoptBase(n *inode, c object.Content) ([]op, error) {
	if err := t.flush(n); err != nil {
		return nil, err
	}
	o := op{code: opInode, ino: n.ino, mask: fBase | fHash, state: &state{base: c}}
	if c.Size > 0 && c.Size <= object.InlineMax && int64(len(c.Data)) != c.Size {
		v := t.view(n, 0, n.size)
		defer t.releaseView(v)
		for _, e := range v.pieces {
			if e.kind == nowhere && n.base.Known && int64(len(n.base.Data)) != n.base.Size {
				return []op{hashed(n, c)}, nil
			}
		}
		o.state.base.Data = make([]byte, c.Size)
		if err := t.fill(context.Background(), v, o.state.base.Data, 0); err != nil {
			return nil, err
		}
	} else if c.Size > object.InlineMax {
		o.state.base.Data = nil
	}
	return []op{o}, nil
}
