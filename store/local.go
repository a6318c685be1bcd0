package store

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/index"
	"ensync/store/object"
)

// ErrNotKept says that what was fetched could not be kept on this machine.
var ErrNotKept = errors.New("the local cache has no room for it")

// Keeper is told which pieces of packs are to stay on this machine.
type Keeper interface {
	// Keep says that a piece is to stay, and reports whether it is kept already.
	Keep(name string, offset, length int64) bool
	// Put keeps a piece.
	Put(name string, offset, length int64, data []byte) error
}

// Local tells how many bytes of a content can be read without asking the store.
func (s *Store) Local(ctx context.Context, c object.Content) (int64, error) {
	if c.Size <= object.InlineMax || s.opt.Cache == nil {
		return min(int64(len(c.Data)), c.Size), nil
	}
	return s.localBytes(ctx, c.Depth, object.Ref{Key: c.Key, Length: c.Size})
}

func (s *Store) localBytes(ctx context.Context, depth uint8, ref object.Ref) (int64, error) {
	at, err := s.placeHere(ctx, ref.Key)
	if err != nil || at == nil {
		return 0, err
	}
	if depth == 0 {
		return ref.Length, nil
	}
	refs, err := s.listHere(block.Type{Kind: block.DataList, Depth: depth}, ref, at)
	if err != nil {
		return 0, nil // damaged: it is fetched again
	}
	var sum int64
	for _, r := range refs {
		n, err := s.localBytes(ctx, depth-1, r)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// placeHere returns where a block lies of which the cache has the piece; nil if it has none.
func (s *Store) placeHere(ctx context.Context, key object.Key) (*index.Location, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found, err := s.index.Lookup(ctx, block.ID(key))
	for i, l := range found {
		if s.opt.Cache.Has(l.Pack.Object(), l.Entry.Offset, l.Entry.Length) {
			return &found[i], nil
		}
	}
	return nil, err
}

// listHere reads a list that the cache has.
func (s *Store) listHere(t block.Type, ref object.Ref, at *index.Location) ([]object.Ref, error) {
	b, ok := s.blocks.get(blockName{t, ref.Key})
	if !ok {
		sealed, ok := s.opt.Cache.Peek(at.Pack.Object(), at.Entry.Offset, at.Entry.Length)
		if !ok {
			return nil, backend.ErrNotExist
		}
		var err error
		if b, err = s.sealer.Open(t, s.data, ref.Key, sealed, maxList); err != nil {
			return nil, err
		}
		s.blocks.add(blockName{t, ref.Key}, b)
	}
	return object.ParseList(b, ref.Length)
}

// fetchFlights is how many blocks of one content Fetch has under way.
const fetchFlights = 4

// Fetch sees to it that the cache has all of a content, verified, or, if keep is not nil, that keep has. It tells report,
// from several goroutines, how many more bytes of the content are there.
func (s *Store) Fetch(ctx context.Context, c object.Content, keep Keeper, report func(int64)) error {
	if c.Size <= object.InlineMax {
		report(c.Size)
		return nil
	}
	if s.opt.Cache == nil || !s.opt.CacheData {
		return ErrNotKept
	}
	if c.Depth > object.MaxDepth {
		return fmt.Errorf("fetch content: list of depth %d", c.Depth)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchFlights)
	f := &fetching{s: s, keep: keep, report: report, flights: g}
	err := f.below(ctx, c.Depth, object.Ref{Key: c.Key, Length: c.Size})
	return errors.Join(err, g.Wait())
}

// fetching is one Fetch.
type fetching struct {
	s       *Store
	keep    Keeper
	report  func(int64)
	flights *errgroup.Group
}

func (f *fetching) below(ctx context.Context, depth uint8, ref object.Ref) error {
	if depth == 0 {
		f.flights.Go(func() error {
			err := f.block(ctx, block.Type{Kind: block.Data}, ref.Key)
			if err == nil {
				f.report(ref.Length)
			}
			return err
		})
		return ctx.Err()
	}
	t := block.Type{Kind: block.DataList, Depth: depth}
	if err := f.block(ctx, t, ref.Key); err != nil {
		return err
	}
	refs, err := f.s.loadList(ctx, f.s.data, t, ref)
	for _, r := range refs {
		if err == nil {
			err = f.below(ctx, depth-1, r)
		}
	}
	return err
}

// block sees to it that one block is where it shall be.
func (f *fetching) block(ctx context.Context, t block.Type, key object.Key) error {
	s := f.s
	found, err := s.index.Lookup(ctx, block.ID(key))
	if err != nil {
		return err
	}
	for _, l := range found {
		if f.has(l) {
			return nil
		}
	}
	if f.keep != nil {
		if kept, err := f.put(ctx, t, key, found); kept || err != nil {
			return err
		}
	}
	if _, err := s.fetch(ctx, t, s.data, key, s.limit(t)); err != nil { // which also looks for other places
		return err
	}
	at, err := s.placeHere(ctx, key)
	if err != nil || at == nil {
		return errors.Join(err, ErrNotKept)
	}
	if f.keep != nil {
		kept, err := f.put(ctx, t, key, []index.Location{*at})
		if err == nil && !kept {
			err = ErrNotKept
		}
		return err
	}
	return nil
}

// put lets the keeper have a block from the first of some places where it is whole.
func (f *fetching) put(ctx context.Context, t block.Type, key object.Key, places []index.Location) (kept bool, err error) {
	for _, l := range places {
		sealed, ok := f.s.opt.Cache.Peek(l.Pack.Object(), l.Entry.Offset, l.Entry.Length)
		if !ok {
			if sealed, err = f.s.nearby.read(ctx, l); err != nil {
				continue
			}
		}
		if _, err = f.s.sealer.Open(t, f.s.data, key, sealed, f.s.limit(t)); err == nil {
			f.keep.Keep(l.Pack.Object(), l.Entry.Offset, l.Entry.Length)
			return true, f.keep.Put(l.Pack.Object(), l.Entry.Offset, l.Entry.Length, sealed)
		}
	}
	if errors.Is(err, backend.ErrUnavailable) || ctx.Err() != nil {
		return false, errors.Join(err, ctx.Err())
	}
	return false, nil
}

func (f *fetching) has(l index.Location) bool {
	has := f.s.opt.Cache.Has
	if f.keep != nil {
		has = f.keep.Keep
	}
	return has(l.Pack.Object(), l.Entry.Offset, l.Entry.Length)
}
