package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/internal/wire"
	"ensync/store/object"
)

// A store that shows two clients two histories of one root can never again show either what the other committed there:
// that would not descend from what it has seen. But the key store, the list of roots and the other roots are things of
// their own, so every commit tells, sealed, what its client had seen of them: the witness. Who reads the commit compares
// that with what the store shows here. As a client looks at the head before it commits on top of it, what the newest
// commit tells includes what all those before told.

// maxWitnessed is how many other roots a commit tells of. Of more, each commit tells of some.
const maxWitnessed = 64

// witness is what a client had seen of the rest of the store when it committed.
type witness struct {
	keys, list state
	roots      []rootState // in ascending order of ids
}

// state is one state of the key store or of the list of roots.
type state struct {
	version uint64 // 0: none was seen
	hash    [32]byte
}

// rootState is one state of a root that has a commit.
type rootState struct {
	root   [16]byte
	seq    uint64
	commit object.ID
}

func (w *witness) append(b []byte) []byte {
	for _, s := range []state{w.keys, w.list} {
		b = binary.AppendUvarint(b, s.version)
		b = append(b, s.hash[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(w.roots)))
	for _, r := range w.roots {
		b = append(b, r.root[:]...)
		b = binary.AppendUvarint(b, r.seq)
		b = append(b, r.commit[:]...)
	}
	return b
}

func readWitness(r *wire.Reader) *witness {
	w := &witness{}
	for _, s := range []*state{&w.keys, &w.list} {
		s.version = r.Uvarint(1 << 62)
		r.Copy(s.hash[:])
	}
	n := int(r.Uvarint(maxWitnessed))
	for i := 0; i < n && r.Err() == nil; i++ {
		var s rootState
		r.Copy(s.root[:])
		s.seq = r.Uvarint(1 << 62)
		r.Copy(s.commit[:])
		if s.seq == 0 || i > 0 && bytes.Compare(s.root[:], w.roots[i-1].root[:]) <= 0 {
			r.Fail("what a commit tells of other roots is not in order")
		}
		w.roots = append(w.roots, s)
	}
	return w
}

// witness returns what this client has seen of everything but one root; nil if it remembers nothing.
func (s *Store) witness(but [16]byte) *witness {
	mem := s.opt.Memory
	if mem == nil {
		return nil
	}
	mem.mu.Lock()
	defer mem.mu.Unlock()
	w := &witness{list: state{version: mem.data.List.Version}}
	copy(w.list.hash[:], mem.data.List.Hash)
	if pin := mem.data.Pin; pin != nil {
		w.keys = state{pin.Version, pin.Hash}
	}
	for name, seen := range mem.data.Roots { // in an order that is another each time
		if len(w.roots) == maxWitnessed {
			break
		}
		r := rootState{seq: seen.Seq, root: rootID(name)}
		if r.root == but || r.seq == 0 || len(seen.Commit) != len(r.commit) {
			continue
		}
		copy(r.commit[:], seen.Commit)
		w.roots = append(w.roots, r)
	}
	slices.SortFunc(w.roots, func(a, b rootState) int { return bytes.Compare(a.root[:], b.root[:]) })
	return w
}

// A contradiction is what two clients were shown that can't both be true.
type contradiction struct {
	about []string // what AcceptRollback notes, one for each thing that was told
	text  []string
}

func (c *contradiction) Error() string { return strings.Join(c.text, ", and ") }

func (c *contradiction) add(about, format string, args ...any) {
	c.about = append(c.about, about)
	c.text = append(c.text, fmt.Sprintf(format, args...))
}

// compare refuses a head whose client had seen something of the store that this client is not shown: ErrFork.
func (r *Root) compare(ctx context.Context, h Head) error {
	w, mem := h.witness, r.s.opt.Memory
	if w == nil || mem == nil {
		return nil
	}
	var c contradiction
	if err := r.s.compareKeys(ctx, w.keys, &c); err != nil {
		return err
	}
	// Most often all is known already, and the list is not asked for.
	list := sync.OnceValues(func() (*rootList, error) { return r.s.loadRoots(ctx, r.s.b.Load) })
	if err := r.s.compareList(w.list, list, &c); err != nil {
		return err
	}
	for _, told := range w.roots {
		if told.root == r.info.ID {
			continue // descent tells
		}
		if err := r.s.compareRoot(ctx, told, list, &c); err != nil {
			return err
		}
	}
	if len(c.about) == 0 {
		return nil
	}
	return &Fault{Kind: ErrFork, Object: headObject(r.info.ID),
		Cause: fmt.Errorf("commit %d of root %q by %s is of a client that was shown another state: %w", h.Seq, r.info.Name, h.Client, &c),
		Next:  "nothing was changed; somebody shows machines different stores, or a part of the store was restored from a backup: in that case run ensync store accept-rollback"}
}

func (s *Store) compareKeys(ctx context.Context, told state, c *contradiction) error {
	mem := s.opt.Memory
	about := fmt.Sprintf("keys %d %x", told.version, told.hash)
	if told.version == 0 || mem.waived(about) {
		return nil
	}
	if pin := mem.pin(); pin == nil || pin.Version < told.version {
		k, _, err := loadKeys(ctx, s.b.Load, s.format, mem)
		if err != nil {
			return err
		}
		if err := mem.sawStore(s.format, k); err != nil {
			return err
		}
	}
	s.compareState(keysObject, about, mem.pin().Version, told, mem.past().Keys, c)
	return nil
}

func (s *Store) compareList(told state, load func() (*rootList, error), c *contradiction) error {
	mem := s.opt.Memory
	about := fmt.Sprintf("list %d %x", told.version, told.hash)
	if told.version == 0 || mem.waived(about) {
		return nil
	}
	if mem.list().Version < told.version {
		if _, err := load(); err != nil {
			return err
		}
	}
	s.compareState(rootsObject, about, mem.list().Version, told, mem.past().List, c)
	return nil
}

// compareState compares a state that was told with the one that is there now, and with those that were there before.
func (s *Store) compareState(object, about string, now uint64, told state, past map[uint64]hexBytes, c *contradiction) {
	if now < told.version {
		c.add(about, "version %d of object %s, which has version %d here", told.version, object, now)
	} else if was, ok := past[told.version]; ok && !bytes.Equal(was, told.hash[:]) {
		c.add(about, "another version %d of object %s than was here", told.version, object)
	}
}

func (s *Store) compareRoot(ctx context.Context, told rootState, load func() (*rootList, error), c *contradiction) error {
	about := fmt.Sprintf("root %x %d %x", told.root, told.seq, told.commit)
	seen := s.opt.Memory.root(told.root)
	if seen.Seq == told.seq && bytes.Equal(seen.Commit, told.commit[:]) || s.agreed.has(told) || s.opt.Memory.waived(about) {
		return nil
	}
	r, h, err := s.openTold(ctx, told.root, load)
	if r == nil || err != nil && !isAbsent(err) {
		return err // of a root that was removed since: the list was compared
	}
	var key object.Key
	if err == nil && h.Seq >= told.seq {
		key, err = s.ancestor(ctx, told.root, h.Seq, h.Commit, told.seq)
	}
	switch {
	case isAbsent(err):
		return nil // whoever uses that root is told; nothing is shown that contradicts
	case err != nil:
		return fmt.Errorf("compare root %q with what another client saw of it: %w", r.info.Name, err)
	case h.Seq < told.seq:
		c.add(about, "commit %d of root %q (%x), which has commit %d here", told.seq, r.info.Name, told.commit[:8], h.Seq)
		return nil
	case block.ID(key) != told.commit:
		c.add(about, "commit %d of root %q (%x), which is not in its history here", told.seq, r.info.Name, told.commit[:8])
		return nil
	case seen.Seq < told.seq:
		err = r.absorb(ctx, Head{Seq: told.seq, Commit: key})
		if errors.Is(err, ErrRollback) {
			c.add(about, "a history of root %q that this client (commit %d) has not", r.info.Name, seen.Seq)
			return nil
		}
	}
	if err == nil {
		s.agreed.add(told)
	}
	return err
}

// openTold reads what everyone may know of a root's head; no root if it is none of this store, as far as can be told.
func (s *Store) openTold(ctx context.Context, id [16]byte, load func() (*rootList, error)) (*Root, Head, error) {
	list, err := load()
	if err != nil {
		return nil, Head{}, err
	}
	if i := slices.IndexFunc(list.roots, func(r RootInfo) bool { return r.ID == id }); i >= 0 {
		r := &Root{s: s, info: list.roots[i]}
		h, err := r.openHeadOnly(ctx)
		return r, h, err
	}
	raw, _, err := s.b.Load(ctx, headObject(id)) // perhaps a directory names it
	if err != nil {
		if err = got(headObject(id), err); isAbsent(err) {
			err = nil
		}
		return nil, Head{}, err
	}
	r, h := s.tellRoot(headObject(id), raw)
	return r, h, nil
}

// absorb remembers a state of a root that this client may not be able to read, so that its commits tell of it, too.
// ErrRollback if the state does not descend from what is remembered.
func (r *Root) absorb(ctx context.Context, h Head) error {
	isNew, err := r.descends(ctx, h)
	if err != nil || !isNew {
		return err
	}
	return r.s.opt.Memory.changeRoot(r.info.ID, func(s *rootSeen) {
		s.Told = s.Told || len(s.Commit) == 0
		s.saw(h.Seq, block.ID(h.Commit))
	})
}

// lookAround looks at the heads of roots that this client does not sync: what is not looked at can't be told to others.
func (s *Store) lookAround(ctx context.Context) error {
	list, err := s.loadRoots(ctx, s.b.Load)
	if err != nil || s.opt.Memory == nil {
		return err
	}
	var all error
	for _, info := range list.roots[:min(len(list.roots), maxWitnessed)] {
		r := &Root{s: s, info: info}
		h, err := r.openHeadOnly(ctx)
		if err == nil && h.Seq > 0 {
			err = r.absorb(ctx, h)
		}
		if isRefusal(err) {
			err = errors.Join(err, r.refuse())
		}
		if err != nil && !isAbsent(err) {
			all = errors.Join(all, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return all
}

// isAbsent reports whether an error says that something can't be had from a store that answers.
func isAbsent(err error) bool {
	for _, kind := range []error{ErrMissing, ErrDamaged, ErrForeign, backend.ErrDenied} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// openHeadOnly reads what everyone may know of a root's head: number and key of the commit.
func (r *Root) openHeadOnly(ctx context.Context) (Head, error) {
	raw, _, err := r.s.b.Load(ctx, headObject(r.info.ID))
	if err != nil {
		return Head{}, got(headObject(r.info.ID), err)
	}
	h, _, err := r.parseOpenNow(ctx, raw)
	return h, err
}

// agreedStates are what other clients told and was found to be so; bounded.
type agreedStates struct {
	mu  sync.Mutex
	all map[rootState]bool
}

func (a *agreedStates) has(s rootState) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[s]
}

func (a *agreedStates) add(s rootState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) >= 1024 || a.all == nil {
		a.all = map[rootState]bool{}
	}
	a.all[s] = true
}
