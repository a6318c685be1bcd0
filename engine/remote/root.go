package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"ensync/engine/replica"
	"ensync/store"
	"ensync/store/object"
)

// Encrypted is an encrypted store, of which one tree is used.
type Encrypted struct {
	store *store.Store
	root  *store.Root // that the tree begins with

	mu      sync.Mutex
	session *store.Session           // begun by the first write, ended by Close
	heads   map[[16]byte]*store.Head // that were read or committed last
	nested  map[[16]byte]*store.Root
	listed  map[[16]byte]string // the names of the store's roots; nil: nobody has asked
}

var _ Store = (*Encrypted)(nil)

// OpenRoot returns the store with the root of that name. Close it when the sync is over.
func OpenRoot(ctx context.Context, s *store.Store, name string) (*Encrypted, error) {
	r, err := s.Root(ctx, name)
	if err != nil {
		return nil, err
	}
	return NewRoot(s, r)
}

// NewRoot is OpenRoot for a root that is open already.
func NewRoot(s *store.Store, r *store.Root) (*Encrypted, error) {
	if _, err := r.ReadGroup(); err != nil {
		return nil, err
	}
	return &Encrypted{store: s, root: r, heads: map[[16]byte]*store.Head{}, nested: map[[16]byte]*store.Root{}}, nil
}

// Top implements Store.
func (r *Encrypted) Top() Root {
	info := r.root.Info()
	return Root{ID: info.ID, Read: info.Read, Write: info.Write}
}

// Member implements Store.
func (r *Encrypted) Member(group string) error { return r.store.Member(group) }

// NewID implements Store.
func (r *Encrypted) NewID() object.RootID { return store.NewRootID() }

// open returns the root of a store that a root of the tree is.
func (r *Encrypted) open(of Root) *store.Root {
	if of.ID == r.root.Info().ID {
		return r.root
	}
	return r.store.Nested(store.RootInfo{ID: of.ID, Name: r.root.Info().Name + "/" + of.Path, Read: of.Read, Write: of.Write})
}

// Keep notes that this client keeps the tree of this root.
func (r *Encrypted) Keep() error { return r.root.Keep() }

// writer returns the session that holds what is put.
func (r *Encrypted) writer(ctx context.Context) (*store.Session, error) {
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
func (r *Encrypted) Close() error {
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
func (r *Encrypted) Stats() store.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil {
		return store.Stats{}
	}
	return r.session.Stats()
}

// Heads implements Store.
func (r *Encrypted) Heads(ctx context.Context, roots []Root) ([]Head, []error) {
	open := make([]*store.Root, len(roots))
	for i, of := range roots {
		open[i] = r.open(of)
	}
	heads, errs := r.store.Heads(ctx, open)
	all := make([]Head, len(roots))
	for i, h := range heads {
		errs[i] = cmp.Or(errs[i], r.isNested(ctx, open[i]))
		if errs[i] == nil {
			r.saw(open[i], h)
			all[i] = headOf(h)
		}
	}
	return all, errs
}

// isNested refuses a root that a directory names, and that is a tree of the store by itself.
func (r *Encrypted) isNested(ctx context.Context, root *store.Root) error {
	if root == r.root {
		return nil
	}
	r.mu.Lock()
	listed := r.listed
	r.mu.Unlock()
	if listed == nil {
		infos, err := r.store.Roots(ctx)
		if err != nil {
			return err
		}
		listed = map[[16]byte]string{}
		for _, info := range infos {
			listed[info.ID] = info.Name
		}
		r.mu.Lock()
		r.listed = listed
		r.mu.Unlock()
	}
	if name, ok := listed[root.Info().ID]; ok {
		return &twin{of: name}
	}
	return nil
}

func headOf(h store.Head) Head {
	return Head{Tree: h.Tree, Ended: h.Ended(), Author: object.Author{Machine: h.Client, Time: h.Time.UnixNano()}, State: h}
}

// Parent implements Store.
func (r *Encrypted) Parent(ctx context.Context, of Root, h Head) (Head, bool, error) {
	parent, ok, err := r.open(of).Parent(ctx, h.State.(store.Head))
	return headOf(parent), ok, err
}

func (r *Encrypted) saw(of *store.Root, h store.Head) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := of.Info().ID
	if h.Ended() {
		delete(r.heads, id)
		return
	}
	r.heads[id], r.nested[id] = &h, of
}

// Moved reports whether a root of the tree has another head than the one that was read or committed last: whether there
// is something to sync. It may be called after Close.
func (r *Encrypted) Moved(ctx context.Context) (bool, error) {
	r.mu.Lock()
	var roots []*store.Root
	var heads []store.Head
	for id, h := range r.heads {
		roots, heads = append(roots, r.nested[id]), append(heads, *h)
	}
	r.mu.Unlock()
	return r.store.AnyMoved(ctx, roots, heads)
}

// Notify returns what gets a value soon after the head was changed, where the store can tell; see store.Root.
func (r *Encrypted) Notify(ctx context.Context) (<-chan struct{}, error) { return r.root.Notify(ctx) }

// ReadTree implements Store.
func (r *Encrypted) ReadTree(ctx context.Context, of Root, t object.Tree) ([]object.Entry, error) {
	group, err := r.open(of).ReadGroup()
	if err != nil {
		return nil, err
	}
	return r.store.ReadTree(ctx, group, t)
}

// OpenContent implements Store.
func (r *Encrypted) OpenContent(ctx context.Context, c object.Content) (io.ReadCloser, error) {
	return r.store.OpenContent(ctx, c), nil
}

// PutContent implements Store.
func (r *Encrypted) PutContent(ctx context.Context, src io.Reader) (object.Content, error) {
	w, err := r.writer(ctx)
	if err != nil {
		return object.Content{}, err
	}
	return w.PutContent(ctx, src)
}

// Adopt implements Store.
func (r *Encrypted) Adopt(ctx context.Context, c object.Content) (bool, error) {
	w, err := r.writer(ctx)
	if err != nil {
		return false, err
	}
	return w.Adopt(ctx, c)
}

// PutTree implements Store.
func (r *Encrypted) PutTree(ctx context.Context, of Root, old object.Tree, entries []object.Entry) (object.Tree, error) {
	group, err := r.open(of).ReadGroup()
	if err != nil {
		return object.Tree{}, err
	}
	w, err := r.writer(ctx)
	if err != nil {
		return object.Tree{}, err
	}
	return w.ReplaceTree(ctx, group, old, entries)
}

// Commit implements Store.
func (r *Encrypted) Commit(ctx context.Context, ranks [][]*Change, prepare func(tags []string) error) error {
	w, err := r.writer(ctx)
	if err != nil {
		return err
	}
	var tags []string
	staged := make([][]*store.Next, len(ranks))
	for i, rank := range ranks {
		for _, c := range rank {
			root := r.open(c.Root)
			old, ok := c.Old.State.(store.Head)
			if !ok {
				old = root.Unborn()
			}
			next, err := root.Stage(ctx, w, old, c.Tree)
			if err != nil {
				return err
			}
			staged[i], tags = append(staged[i], next), append(tags, makeTag(root.Info(), next.Head))
		}
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	if err := prepare(tags); err != nil {
		return err
	}
	err = r.store.PublishAll(ctx, staged)
	if errors.Is(err, store.ErrOvertaken) {
		return fmt.Errorf("%w: %w", replica.ErrLost, err)
	}
	if err != nil {
		return err
	}
	for i, rank := range ranks {
		for n, c := range rank {
			h := staged[i][n].Head
			r.saw(r.open(c.Root), h)
			c.New = headOf(h)
		}
	}
	return nil
}

// Happened implements Store.
func (r *Encrypted) Happened(ctx context.Context, tag string) (bool, error) {
	var seq uint64
	var key, id []byte
	var info store.RootInfo
	n, err := fmt.Sscanf(tag, "%d %x %x %q %q", &seq, &key, &id, &info.Read, &info.Write)
	if n < 2 || len(key) != len(object.Key{}) {
		return false, nil // no commit of this store was ever tagged like that
	}
	root := r.root
	if err == nil && len(id) == len(info.ID) {
		info.ID, info.Name = [16]byte(id), r.root.Info().Name
		if info.ID != r.root.Info().ID {
			root = r.store.Nested(info)
		}
	} // an earlier version left the rest out
	return root.Happened(ctx, seq, object.Key(key))
}

func makeTag(of store.RootInfo, h store.Head) string {
	return fmt.Sprintf("%d %x %x %q %q", h.Seq, h.Commit[:], of.ID[:], of.Read, of.Write)
}
