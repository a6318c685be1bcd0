package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"ensync/store/block"
	"ensync/store/object"
)

// Renamed knows what content of a store is called in the one that was re-keyed from it. It holds some 150 bytes for each
// content of the tree.
type Renamed struct {
	// Newer names a root of which the client has seen a commit after the one that was stored anew; "" if there is none.
	Newer string

	from, to *Store
	mu       sync.Mutex
	names    map[object.Key]object.Content
	new      map[object.Key]bool // what content is called now, as known at the beginning
	session  *Session
}

// Renamed compares the tree of a root in s, which was re-keyed from another store, with what it comes from. ErrForeign: it
// was not.
func (s *Store) Renamed(ctx context.Context, from *Store, name string) (*Renamed, error) {
	if !s.file.RekeyedFrom(from.file) {
		return nil, &Fault{Kind: ErrForeign, Object: keysObject, Cause: errors.New("it is no store that was re-keyed from the one in use, with root's key of now"),
			Next: "nothing was changed; check the address, or re-key the store anew"}
	}
	n := &Renamed{from: from, to: s, names: map[object.Key]object.Content{}}
	was, err := from.Root(ctx, name)
	if err != nil {
		return nil, err
	}
	now, err := s.Root(ctx, name)
	if err != nil {
		return nil, err
	}
	return n, n.root(ctx, was, now)
}

// root compares the only commit that the re-keying made of a root with the one that it tells.
func (n *Renamed) root(ctx context.Context, was, now *Root) error {
	seen := n.from.opt.Memory.root(was.info.ID).Seq
	first, err := now.first(ctx)
	if err != nil {
		return err
	}
	seq, id, ok := first.Origin()
	if seen > seq && n.Newer == "" {
		n.Newer = was.info.Name
	}
	if !ok || first.Tree.IsZero() {
		return nil // it was empty, or had ended
	}
	head, err := was.Head(ctx)
	if err != nil {
		return err
	}
	if head.Seq < seq {
		return fmt.Errorf("root %q: %w", was.info.Name, ErrRollback)
	}
	old, err := was.at(ctx, head, seq)
	if err != nil {
		return err
	}
	if block.ID(old.Commit) != id {
		return fmt.Errorf("root %q: commit %d of it is another one than the new store was made from: %w", was.info.Name, seq, ErrForeign)
	}
	if err := n.trees(ctx, was, now, old.Tree, first.Tree); err != nil || seen == 0 || seen >= seq {
		return err
	}
	return n.earlier(ctx, was, head, seen)
}

// earlier learns the names of small files as this client last saw them: nobody else can tell what they were.
func (n *Renamed) earlier(ctx context.Context, was *Root, head Head, seq uint64) error {
	old, err := was.at(ctx, head, seq)
	if err != nil || old.Tree.IsZero() {
		return err
	}
	return walkTree(ctx, was, old.Tree, func(e object.Entry) error {
		if _, ok := n.names[e.Content.Key]; ok || e.Content.Size > object.InlineMax {
			return nil
		}
		c, err := n.to.Hash(ctx, bytes.NewReader(e.Content.Data))
		n.names[e.Content.Key] = c
		return err
	})
}

// first returns the first commit of a root, or the head that has none.
func (r *Root) first(ctx context.Context) (Head, error) {
	h, err := r.Head(ctx)
	if err != nil || h.Seq <= 1 {
		return h, err
	}
	return r.at(ctx, h, 1)
}

// at returns a state in the history of h.
func (r *Root) at(ctx context.Context, h Head, seq uint64) (Head, error) {
	if seq == h.Seq {
		return h, nil
	}
	key, err := r.s.ancestor(ctx, r.info.ID, h.Seq, h.Commit, seq)
	if err != nil {
		return Head{}, err
	}
	c, err := r.s.loadCommit(ctx, r.info.ID, seq, key)
	if err != nil {
		return Head{}, err
	}
	at := Head{Seq: seq, Commit: key, root: r.info.ID}
	return at, r.openState(&at, c.private)
}

func (n *Renamed) trees(ctx context.Context, was, now *Root, old, renamed object.Tree) error {
	before, err := was.entries(ctx, old)
	if err != nil {
		return err
	}
	after, err := now.entries(ctx, renamed)
	if err != nil {
		return err
	}
	if len(before) != len(after) {
		return errUnlike
	}
	for i, e := range before {
		f := after[i]
		if e.Name != f.Name || e.Kind != f.Kind || e.Root != f.Root || e.Kind == object.File && e.Content.Size != f.Content.Size {
			return fmt.Errorf("%q: %w", e.Name, errUnlike)
		}
		switch {
		case e.Kind == object.File:
			n.names[e.Content.Key] = object.Content{Known: true, Size: f.Content.Size, Depth: f.Content.Depth, Key: f.Content.Key}
		case e.Kind == object.Directory && e.Root != object.RootID{}:
			err = n.nested(ctx, was, now, e)
		case e.Kind == object.Directory:
			err = n.trees(ctx, was, now, e.Tree, f.Tree)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Name, err)
		}
	}
	return nil
}

var errUnlike = errors.New("the re-keyed store does not have what it was made from; nothing was changed; do not use it")

// nested goes on in a root that a directory names, if the passphrase may read it.
func (n *Renamed) nested(ctx context.Context, was, now *Root, e object.Entry) error {
	old, err := was.below(e)
	if err != nil {
		return err
	}
	renamed, err := now.below(e)
	if err != nil || n.from.Member(old.info.Read) != nil {
		return err
	}
	return n.root(ctx, old, renamed)
}

func (r *Root) entries(ctx context.Context, t object.Tree) ([]object.Entry, error) {
	group, err := r.ReadGroup()
	if err != nil {
		return nil, err
	}
	return r.s.ReadTree(ctx, group, t)
}

// Name returns what content is called now; false if nobody has looked at it.
func (n *Renamed) Name(c object.Content) (object.Content, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found, ok := n.names[c.Key]
	return found, ok && found.Size == c.Size
}

// Look is Name, and reads what is not known from the store before. With keep, it is stored in the new one, and there when
// Settle has returned. What is missing or damaged there keeps the name that it had.
func (n *Renamed) Look(ctx context.Context, c object.Content, keep bool) (object.Content, error) {
	found, ok := n.Name(c)
	if ok || !c.Known || n.renamed(c) {
		if ok {
			return found, nil
		}
		return c, nil
	}
	if c.Size <= object.InlineMax && int64(len(c.Data)) != c.Size {
		return c, nil // it lay in a directory of which there is nothing here
	}
	src := n.from.OpenContent(ctx, c)
	defer src.Close()
	put := n.to.Hash
	if keep {
		w, err := n.writer(ctx)
		if err != nil {
			return c, err
		}
		put = w.PutContent
	}
	found, err := put(ctx, src)
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[c.Key] = found
	return found, nil
}

// renamed reports whether content has a name of the new store already: an earlier run was cut short.
func (n *Renamed) renamed(c object.Content) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.new == nil {
		n.new = make(map[object.Key]bool, len(n.names))
		for _, to := range n.names {
			n.new[to.Key] = true
		}
	}
	return n.new[c.Key]
}

func (n *Renamed) writer(ctx context.Context) (*Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session != nil {
		return n.session, nil
	}
	w, err := n.to.Begin(ctx)
	if err == nil {
		n.session = w
	}
	return w, err
}

// Settle makes what Look has stored durable.
func (n *Renamed) Settle(ctx context.Context) error {
	if n.session == nil {
		return nil
	}
	return n.session.Flush(ctx)
}

// Close ends what Look has begun.
func (n *Renamed) Close() error {
	if n.session == nil {
		return nil
	}
	return n.session.Close()
}
