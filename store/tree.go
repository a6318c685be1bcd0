package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"ensync/keys"
	"ensync/store/block"
	"ensync/store/object"
)

const (
	treeBlock    = 32 << 10  // wanted average of a directory block, bytes
	maxTreeBlock = 256 << 10 // no directory block is longer
	maxTree      = 512 << 20 // bytes of all entries of one directory
	maxEntries   = 1 << 20   // that one directory has at most: a reader holds them all in memory
	maxBlocks    = 1 << 17   // of one directory: eight times as many as maxTree makes
	maxList      = object.ListMax * (9 + 32)
)

// PutTree stores the entries of a directory for a read group. They may come in any order; names must be different. It
// is as fast as the entries can be encoded when most of them are stored already.
//
// Blocks end at an entry with a probability that grows with its length, decided by a keyed hash of its name: changing an
// entry changes the block it is in and the list above, and nothing else.
func (w *Session) PutTree(ctx context.Context, group *keys.Group, entries []object.Entry) (object.Tree, error) {
	return w.ReplaceTree(ctx, group, object.Tree{}, entries)
}

// ReplaceTree is PutTree of what a directory has become. old is what it was: a tree that belongs to the head which the
// coming commit replaces, or that was put in this session; zero if it was none. The blocks of old need no look whether
// they are there: that head, and what it and its parents tell of, stands on them.
func (w *Session) ReplaceTree(ctx context.Context, group *keys.Group, old object.Tree, entries []object.Entry) (object.Tree, error) {
	mac, err := w.s.mac(group)
	if err != nil {
		return object.Tree{}, err
	}
	to := onto{Session: w}
	if !old.IsZero() {
		if to.held, err = w.s.treeBlocks(ctx, mac, old); err != nil {
			if ctx.Err() != nil {
				return object.Tree{}, err
			}
			to.held = nil // then every block is looked for
		}
	}
	if !slices.IsSortedFunc(entries, byName) {
		entries = slices.SortedFunc(slices.Values(entries), byName)
	}
	stream := w.s.newStream(ctx, to, mac, block.Tree, block.TreeList)
	defer stream.abandon()
	if err := cutEntries(mac, entries, stream.add); err != nil {
		return object.Tree{}, err
	}
	var t object.Tree
	t.Depth, t.Key, err = stream.finish()
	return t, err
}

// onto is a session that need not care for some blocks.
type onto struct {
	*Session
	held map[object.Key]bool
}

func (o onto) put(ctx context.Context, t block.Type, mac *block.MAC, plain []byte) (object.Key, error) {
	if len(o.held) > 0 {
		if key := mac.Sum(t, plain); o.held[key] {
			o.count(len(plain), false)
			return key, o.failed()
		}
	}
	return o.Session.put(ctx, t, mac, plain)
}

// treeBlocks returns the keys of all blocks of a directory.
func (s *Store) treeBlocks(ctx context.Context, mac *block.MAC, t object.Tree) (map[object.Key]bool, error) {
	all := map[object.Key]bool{t.Key: true}
	for depth := uint8(1); depth <= t.Depth; depth++ { // to the lists of each depth, and at last to the leaves
		refs, err := s.level(ctx, mac, block.TreeList, t.Depth, depth, t.Key, -1, maxBlocks)
		if err != nil {
			return nil, err
		}
		for _, r := range refs {
			all[r.Key] = true
		}
	}
	return all, nil
}

func byName(a, b object.Entry) int { return cmp.Compare(a.Name, b.Name) }

// cutEntries encodes sorted entries and calls add for every block of them.
func cutEntries(mac *block.MAC, entries []object.Entry, add func([]byte) error) error {
	var b []byte
	total := 0
	for i, e := range entries {
		if i > 0 && e.Name == entries[i-1].Name {
			return fmt.Errorf("entry %q: %w: the name is there twice", e.Name, object.ErrMalformed)
		}
		before := len(b)
		var err error
		if b, err = object.AppendEntry(b, e); err != nil {
			return err
		}
		n := len(b) - before
		if total += n; total > maxTree || i >= maxEntries {
			return errors.New("directory has too many entries to be stored")
		}
		if len(b) > maxTreeBlock {
			if err := add(b[:before]); err != nil {
				return err
			}
			b = b[:copy(b, b[before:])]
		}
		if mac.Score([]byte(e.Name)) < math.MaxUint64/treeBlock*uint64(min(n, treeBlock)) {
			if err := add(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if len(b) > 0 {
		return add(b)
	}
	return nil
}

// ReadTree returns the entries of a directory that was stored for a read group, sorted by name. Its error names the
// object that is missing or damaged.
func (s *Store) ReadTree(ctx context.Context, group *keys.Group, t object.Tree) ([]object.Entry, error) {
	mac, err := s.mac(group)
	if err != nil {
		return nil, err
	}
	refs, err := s.leaves(ctx, mac, block.TreeList, t.Depth, t.Key, -1, maxBlocks)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, r := range refs {
		if total += max(r.Length, 0); total > maxTree {
			return nil, damaged(packPrefix+"*", fmt.Errorf("directory of more than %d bytes", maxTree))
		}
	}
	blocks := make([][]byte, len(refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, r := range refs {
		g.Go(func() error {
			b, err := s.load(gctx, block.Type{Kind: block.Tree}, mac, r.Key, maxTreeBlock)
			if err == nil && r.Length >= 0 && int64(len(b)) != r.Length {
				err = damaged(packPrefix+"*", fmt.Errorf("directory block of %d bytes instead of %d", len(b), r.Length))
			}
			blocks[i] = b
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return s.parseTree(blocks)
}

// parseTree reads entries, and checks that names ascend over all blocks.
func (s *Store) parseTree(blocks [][]byte) ([]object.Entry, error) {
	n := 0
	for _, b := range blocks {
		n += object.CountEntries(b)
	}
	if n > maxEntries {
		return nil, damaged(packPrefix+"*", fmt.Errorf("directory of %d entries; it can have %d", n, maxEntries))
	}
	entries := make([]object.Entry, 0, n)
	for _, b := range blocks {
		for len(b) > 0 {
			e, rest, err := object.ParseEntry(b)
			if err == nil && len(entries) > 0 && e.Name <= entries[len(entries)-1].Name {
				err = fmt.Errorf("%w: %q after %q", object.ErrMalformed, e.Name, entries[len(entries)-1].Name)
			}
			if err != nil {
				return nil, damaged(packPrefix+"*", fmt.Errorf("directory: %w", err))
			}
			if e.Kind == object.File && e.Content.Size <= object.InlineMax {
				e.Content.Key = s.data.Sum(block.Type{Kind: block.Data}, e.Content.Data)
			}
			entries = append(entries, e)
			b = rest
		}
	}
	return entries, nil
}

// leaves returns the blocks of a stream in order. length is that of the stream; -1: not known, then so is that of an
// only leaf. More than limit blocks are an error.
func (s *Store) leaves(ctx context.Context, mac *block.MAC, list block.Kind, depth uint8, key object.Key, length int64, limit int) ([]object.Ref, error) {
	return s.level(ctx, mac, list, depth, depth, key, length, limit)
}

// level is leaves, but goes only some levels down.
func (s *Store) level(ctx context.Context, mac *block.MAC, list block.Kind, depth, down uint8, key object.Key, length int64, limit int) ([]object.Ref, error) {
	if depth > object.MaxDepth {
		return nil, damaged(packPrefix+"*", fmt.Errorf("list of depth %d", depth))
	}
	refs := []object.Ref{{Key: key, Length: length}}
	for ; down > 0; depth, down = depth-1, down-1 {
		var next []object.Ref
		for _, r := range refs {
			below, err := s.loadList(ctx, mac, block.Type{Kind: list, Depth: depth}, r)
			if err != nil {
				return nil, err
			}
			if next = append(next, below...); len(next) > limit {
				return nil, damaged(packPrefix+"*", fmt.Errorf("more than %d blocks in one stream", limit))
			}
		}
		refs = next
	}
	return refs, nil
}

func (s *Store) loadList(ctx context.Context, mac *block.MAC, t block.Type, r object.Ref) ([]object.Ref, error) {
	b, err := s.load(ctx, t, mac, r.Key, maxList)
	if err != nil {
		return nil, err
	}
	refs, err := object.ParseList(b, r.Length)
	if err != nil {
		return nil, damaged(packPrefix+"*", err)
	}
	return refs, nil
}

// limit returns how long the plaintext of a block of a type can be.
func (s *Store) limit(t block.Type) int {
	switch t.Kind {
	case block.Data:
		return s.cutter.Params().Max()
	case block.Tree:
		return maxTreeBlock
	case block.Commit:
		return maxCommit
	}
	return maxList
}
