package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"ensync/engine/replica"
	"ensync/keys"
	"ensync/store"
	"ensync/store/object"
)

// Root is one root of an encrypted store as this package wants it.
type Root struct {
	store *store.Store
	root  *store.Root
	group *keys.Group

	mu      sync.Mutex
	session *store.Session // begun by the first write, ended by Close
	head    store.Head     // that was read or committed last
}

var _ Store = (*Root)(nil)

// OpenRoot returns the root of that name. Close it when the sync is over.
func OpenRoot(ctx context.Context, s *store.Store, name string) (*Root, error) {
	r, err := s.Root(ctx, name)
	if err != nil {
		return nil, err
	}
	return NewRoot(s, r)
}

// NewRoot is OpenRoot for a root that is open already.
func NewRoot(s *store.Store, r *store.Root) (*Root, error) {
	group, err := r.ReadGroup()
	if err != nil {
		return nil, err
	}
	return &Root{store: s, root: r, group: group}, nil
}

// Keep notes that this client keeps the tree of this root.
func (r *Root) Keep() error { return r.root.Keep() }

// writer returns the session that holds what is put.
func (r *Root) writer(ctx context.Context) (*store.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session != nil {
		return r.session, nil
	}
	// What was put outlives the request that began the session.
	w, err := r.store.Begin(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	r.session = w
	return w, nil
}

// Close abandons what was put and not committed.
func (r *Root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil {
		return nil
	}
	err := r.session.Close()
	r.session = nil
	return err
}

// Stats counts what was written to the store.
func (r *Root) Stats() store.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil {
		return store.Stats{}
	}
	return r.session.Stats()
}

// Head implements Store.
func (r *Root) Head(ctx context.Context) (Head, error) {
	h, err := r.root.Head(ctx)
	if err == nil {
		r.saw(h)
	}
	return headOf(h), err
}

func headOf(h store.Head) Head {
	return Head{Tree: h.Tree, Author: object.Author{Machine: h.Client, Time: h.Time.UnixNano()}, State: h}
}

// Parent implements Store.
func (r *Root) Parent(ctx context.Context, h Head) (Head, bool, error) {
	parent, ok, err := r.root.Parent(ctx, h.State.(store.Head))
	return headOf(parent), ok, err
}

func (r *Root) saw(h store.Head) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = h
}

// Moved reports whether the root has another head than the one that was read or committed last: whether there is
// something to sync. It may be called after Close.
func (r *Root) Moved(ctx context.Context) (bool, error) {
	r.mu.Lock()
	h := r.head
	r.mu.Unlock()
	return r.root.Moved(ctx, h)
}

// Notify returns what gets a value soon after the head was changed, where the store can tell; see store.Root.
func (r *Root) Notify(ctx context.Context) (<-chan struct{}, error) { return r.root.Notify(ctx) }

// ReadTree implements Store.
func (r *Root) ReadTree(ctx context.Context, t object.Tree) ([]object.Entry, error) {
	return r.store.ReadTree(ctx, r.group, t)
}

// OpenContent implements Store.
func (r *Root) OpenContent(ctx context.Context, c object.Content) (io.ReadCloser, error) {
	return r.store.OpenContent(ctx, c), nil
}

// PutContent implements Store.
func (r *Root) PutContent(ctx context.Context, src io.Reader) (object.Content, error) {
	w, err := r.writer(ctx)
	if err != nil {
		return object.Content{}, err
	}
	return w.PutContent(ctx, src)
}

// Adopt implements Store.
func (r *Root) Adopt(ctx context.Context, c object.Content) (bool, error) {
	w, err := r.writer(ctx)
	if err != nil {
		return false, err
	}
	return w.Adopt(ctx, c)
}

// PutTree implements Store.
func (r *Root) PutTree(ctx context.Context, old object.Tree, entries []object.Entry) (object.Tree, error) {
	w, err := r.writer(ctx)
	if err != nil {
		return object.Tree{}, err
	}
	return w.ReplaceTree(ctx, r.group, old, entries)
}

// Commit implements Store.
func (r *Root) Commit(ctx context.Context, old Head, tree object.Tree, prepare func(tag string) error) (Head, error) {
	w, err := r.writer(ctx)
	if err != nil {
		return Head{}, err
	}
	h, err := r.root.Commit(ctx, w, old.State.(store.Head), tree, func(h store.Head) error { return prepare(makeTag(h)) })
	if errors.Is(err, store.ErrOvertaken) {
		return Head{}, fmt.Errorf("%w: %w", replica.ErrLost, err)
	}
	if err == nil {
		r.saw(h)
	}
	return headOf(h), err
}

// Happened implements Store.
func (r *Root) Happened(ctx context.Context, tag string) (bool, error) {
	var seq uint64
	var key []byte
	if n, err := fmt.Sscanf(tag, "%d %x", &seq, &key); n != 2 || err != nil || len(key) != len(object.Key{}) {
		return false, nil // no commit of this store was ever tagged like that
	}
	h, err := r.root.Head(ctx)
	if err != nil {
		return false, err
	}
	return r.root.Contains(ctx, h, seq, object.Key(key))
}

func makeTag(h store.Head) string { return fmt.Sprintf("%d %x", h.Seq, h.Commit[:]) }
