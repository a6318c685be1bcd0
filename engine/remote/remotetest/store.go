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
	"sync"

	"ensync/engine/remote"
	"ensync/engine/replica"
	"ensync/store/object"
)

// Store is one root that any number of clients share. All methods may be called concurrently.
type Store struct {
	mu       sync.Mutex
	contents map[object.Key][]byte
	trees    map[object.Tree][]object.Entry
	staged   map[object.Tree][]object.Entry // put since the last commit: not readable yet
	history  []object.Tree
	tags     map[string]bool
	puts     int

	// Fault, if set, is asked before each operation ("head", "read", "put", "commit", "committed"); its error fails it.
	// "committed" is asked after a commit took effect: an error there is a lost answer.
	Fault func(op string) error
	// Hash gives contents their identity; it must be the clients' own.
	Hash func(data []byte) object.Content
}

var _ remote.Store = (*Store)(nil)

// New returns an empty root.
func New(hash func([]byte) object.Content) *Store {
	return &Store{contents: map[object.Key][]byte{}, trees: map[object.Tree][]object.Entry{}, staged: map[object.Tree][]object.Entry{}, history: []object.Tree{{}},
		tags: map[string]bool{}, Hash: hash}
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

// Commits returns how many commits were made, and Puts how many contents and trees were stored.
func (s *Store) Commits() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.history) - 1 }

// Puts returns how many contents and trees were stored.
func (s *Store) Puts() int { s.mu.Lock(); defer s.mu.Unlock(); return s.puts }

// Head implements remote.Store.
func (s *Store) Head(ctx context.Context) (remote.Head, error) {
	if err := s.fault(ctx, "head"); err != nil {
		return remote.Head{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.history) - 1
	return remote.Head{Tree: s.history[n], State: n}, nil
}

// ReadTree implements remote.Store.
func (s *Store) ReadTree(ctx context.Context, t object.Tree) ([]object.Entry, error) {
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
func (s *Store) PutTree(ctx context.Context, _ object.Tree, entries []object.Entry) (object.Tree, error) {
	if err := s.fault(ctx, "put"); err != nil {
		return object.Tree{}, err
	}
	h := sha256.New()
	for _, e := range entries {
		for _, part := range []string{e.Name, e.Target, string(e.Content.Key[:]), string(e.Tree.Key[:]), string(e.Extra),
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
func (s *Store) Commit(ctx context.Context, old remote.Head, tree object.Tree, prepare func(string) error) (remote.Head, error) {
	if err := s.fault(ctx, "commit"); err != nil {
		return remote.Head{}, err
	}
	n := old.State.(int) + 1
	tag := fmt.Sprintf("commit %d %p %x", n, prepare, tree.Key[:8])
	if err := prepare(tag); err != nil {
		return remote.Head{}, err
	}
	s.mu.Lock()
	if n != len(s.history) {
		s.mu.Unlock()
		return remote.Head{}, replica.ErrLost
	}
	s.history = append(s.history, tree)
	maps.Copy(s.trees, s.staged)
	clear(s.staged)
	s.tags[tag] = true
	s.mu.Unlock()
	if err := s.fault(ctx, "committed"); err != nil {
		return remote.Head{}, err
	}
	return remote.Head{Tree: tree, State: n}, nil
}

// Happened implements remote.Store.
func (s *Store) Happened(_ context.Context, tag string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tags[tag], nil
}

// Parent implements remote.Store.
func (s *Store) Parent(_ context.Context, h remote.Head) (remote.Head, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := h.State.(int) - 1
	if n < 0 {
		return remote.Head{}, false, nil
	}
	return remote.Head{Tree: s.history[n], State: n}, true, nil
}
