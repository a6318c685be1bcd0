// Package remotetest is a store in memory for tests of what stands on package remote: shared by any number of clients,
// with real compare-and-swap, and with faults.
package remotetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"ensync/engine/remote"
	"ensync/engine/replica"
	"ensync/store/object"
)

// Store is one tree, with the roots in it, that any number of clients share. All methods may be called concurrently.
type Store struct {
	*shared
	member func(group string) bool // nil: of all

	// Fault, if set, is asked before each operation ("head", "read", "put", "commit", "swap", "committed"); its error fails
	// it. "swap" is asked before each head that a commit replaces, "committed" after a commit took effect: an error there is
	// a lost answer.
	Fault func(op string) error
	// Hash gives contents their identity; it must be the clients' own.
	Hash func(data []byte) object.Content
}

// shared is what all clients of a store see.
type shared struct {
	mu       sync.Mutex
	contents map[object.Key][]byte
	trees    map[object.Tree][]object.Entry
	staged   map[object.Tree][]object.Entry // put since the last commit: not readable yet
	history  map[object.RootID][]object.Tree
	tags     map[string]bool
	puts     int
	commits  int
	ids      uint32
}

var _ remote.Store = (*Store)(nil)

// New returns an empty tree.
func New(hash func([]byte) object.Content) *Store {
	return &Store{Hash: hash, shared: &shared{contents: map[object.Key][]byte{}, trees: map[object.Tree][]object.Entry{},
		staged: map[object.Tree][]object.Entry{}, history: map[object.RootID][]object.Tree{{}: {{}}}, tags: map[string]bool{}}}
}

// As returns the store as a client sees it that is in some groups only.
func (s *Store) As(groups ...string) *Store {
	c := *s
	c.member = func(group string) bool { return slices.Contains(groups, group) }
	return &c
}

func (s *Store) fault(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Fault == nil {
		return nil
	}
	return s.Fault(op)
}

// Commits returns how many commits were made.
func (s *Store) Commits() int { s.mu.Lock(); defer s.mu.Unlock(); return s.commits }

// Puts returns how many contents and trees were stored.
func (s *Store) Puts() int { s.mu.Lock(); defer s.mu.Unlock(); return s.puts }

// Top implements remote.Store.
func (s *Store) Top() remote.Root { return remote.Root{Read: "everyone", Write: "root"} }

// Member implements remote.Store.
func (s *Store) Member(group string) error {
	if s.member == nil || s.member(group) {
		return nil
	}
	return fmt.Errorf("not in group %s", group)
}

// NewID implements remote.Store.
func (s *Store) NewID() object.RootID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return object.RootID(binary.BigEndian.AppendUint32(make([]byte, 12), s.ids))
}

// Heads implements remote.Store.
func (s *Store) Heads(ctx context.Context, roots []remote.Root) ([]remote.Head, []error) {
	heads, errs := make([]remote.Head, len(roots)), make([]error, len(roots))
	for i, r := range roots {
		if errs[i] = s.fault(ctx, "head"); errs[i] != nil {
			continue
		}
		s.mu.Lock()
		if n := len(s.history[r.ID]); n > 0 {
			heads[i] = headOf(r, s.history[r.ID], n-1)
		} else {
			errs[i] = fmt.Errorf("root %x: missing", r.ID)
		}
		s.mu.Unlock()
	}
	return heads, errs
}

func headOf(r remote.Root, history []object.Tree, n int) remote.Head {
	return remote.Head{Tree: history[n], Ended: r.ID != object.RootID{} && history[n].IsZero(), State: n}
}

// ReadTree implements remote.Store.
func (s *Store) ReadTree(ctx context.Context, _ remote.Root, t object.Tree) ([]object.Entry, error) {
	if err := s.fault(ctx, "read"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, ok := s.trees[t]
	if !ok {
		return nil, fmt.Errorf("tree %x: %w", t.Key[:4], replica.ErrNotExist)
	}
	return append([]object.Entry(nil), list...), nil
}

// OpenContent implements remote.Store.
func (s *Store) OpenContent(ctx context.Context, c object.Content) (io.ReadCloser, error) {
	if err := s.fault(ctx, "read"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.contents[c.Key]
	if !ok {
		return nil, fmt.Errorf("content %x: %w", c.Key[:4], replica.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// PutContent implements remote.Store.
func (s *Store) PutContent(ctx context.Context, r io.Reader) (object.Content, error) {
	if err := s.fault(ctx, "put"); err != nil {
		return object.Content{}, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return object.Content{}, err
	}
	c := s.Hash(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contents[c.Key] = data
	s.puts++
	return c, nil
}

// Adopt implements remote.Store.
func (s *Store) Adopt(_ context.Context, c object.Content) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.contents[c.Key]
	return ok, nil
}

// PutTree implements remote.Store.
func (s *Store) PutTree(ctx context.Context, r remote.Root, _ object.Tree, entries []object.Entry) (object.Tree, error) {
	if err := s.fault(ctx, "put"); err != nil {
		return object.Tree{}, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q", r.Read) // as the key of a real store's directories
	for _, e := range entries {
		for _, part := range []string{e.Name, e.Target, string(e.Content.Key[:]), string(e.Tree.Key[:]), string(e.Root[:]), fmt.Sprint(e.Roots), string(e.Extra),
			string(e.User), string(e.Group), string(e.Xattrs)} {
			binary.Write(h, binary.LittleEndian, int64(len(part)))
			io.WriteString(h, part)
		}
		binary.Write(h, binary.LittleEndian, []int64{int64(e.Kind), int64(e.Mode), e.ModTime, e.Content.Size})
	}
	var t object.Tree
	h.Sum(t.Key[:0])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged[t] = append([]object.Entry(nil), entries...)
	s.puts++
	return t, nil
}

// Commit implements remote.Store.
func (s *Store) Commit(ctx context.Context, ranks [][]*remote.Change, prepare func([]string) error) error {
	if err := s.fault(ctx, "commit"); err != nil {
		return err
	}
	changes := slices.Concat(ranks...)
	var tags []string
	for _, c := range changes {
		tags = append(tags, fmt.Sprintf("commit %x %d %p %x", c.Root.ID, next(c.Old), prepare, c.Tree.Key[:8]))
	}
	if err := prepare(tags); err != nil {
		return err
	}
	for i, c := range changes {
		if err := s.fault(ctx, "swap"); err != nil {
			return err
		}
		if err := s.swap(c, tags[i]); err != nil {
			return err
		}
	}
	return s.fault(ctx, "committed")
}

// next is the number of the commit that replaces a head.
func next(old remote.Head) int {
	if old.State == nil {
		return 1
	}
	return old.State.(int) + 1
}

func (s *Store) swap(c *remote.Change, tag string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	history := s.history[c.Root.ID]
	if c.Old.State == nil {
		history = []object.Tree{{}} // its number is 0 here, too
	}
	if n := next(c.Old); n != len(history) || c.Old.Ended {
		return replica.ErrLost
	}
	s.history[c.Root.ID] = append(history, c.Tree)
	maps.Copy(s.trees, s.staged)
	clear(s.staged)
	s.tags[tag] = true
	s.commits++
	c.New = headOf(c.Root, s.history[c.Root.ID], len(history))
	return nil
}

// Happened implements remote.Store.
func (s *Store) Happened(_ context.Context, tag string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tags[tag], nil
}

// Parent implements remote.Store.
func (s *Store) Parent(_ context.Context, r remote.Root, h remote.Head) (remote.Head, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := h.State.(int) - 1
	if n < 0 {
		return remote.Head{}, false, nil
	}
	return headOf(r, s.history[r.ID], n), true, nil
}

// Entries are the entries of a directory by name.
func Entries(list []object.Entry) map[string]object.Entry {
	all := map[string]object.Entry{}
	for _, e := range list {
		all[e.Name] = e
	}
	return all
}

// Forge commits a top directory as it is given, whatever it says: the entries get the names that they stand under.
func (s *Store) Forge(entries map[string]object.Entry) { s.ForgeRoot(s.Top(), entries) }

// ForgeRoot is Forge for another root, which is made if it is not there.
func (s *Store) ForgeRoot(r remote.Root, entries map[string]object.Entry) {
	var list []object.Entry
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		e.Name = name
		list = append(list, e)
	}
	ctx := context.Background()
	heads, errs := s.Heads(ctx, []remote.Root{r})
	if errs[0] != nil {
		heads[0] = remote.Head{}
	}
	tree, err := s.PutTree(ctx, r, object.Tree{}, list)
	if err == nil {
		err = s.Commit(ctx, [][]*remote.Change{{{Root: r, Old: heads[0], Tree: tree}}}, func([]string) error { return nil })
	}
	if err != nil {
		panic(err)
	}
}
