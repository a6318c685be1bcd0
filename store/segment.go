package store

import (
	"container/list"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"ensync/store/backend"
	"ensync/store/index"
	"ensync/store/pack"
)

// How much of a pack is fetched around a block that is wanted: blocks that were written together are read together, but a
// reader of one small file is not to wait for its neighbours.
const (
	firstSegment  = 128 << 10
	leastSegment  = 16 << 10
	largestBlock  = 256 << 10 // a block that is longer is fetched by itself
	lastSegment   = 4 << 20
	segmentGrowth = 4
	segmentsHeld  = 32 << 20 // bytes of segments that wait to be read
)

// segments reads blocks out of packs, in pieces that hold several. How large these are depends on how much of the pieces
// before, of the same pack, was wanted. What it returns is as the backend gave it; to verify it is the caller's business.
//
// Memory: segmentsHeld, and what is being fetched.
type segments struct {
	b backend.Backend

	mu    sync.Mutex
	held  int64
	base  int64      // length of the first segment of a pack: what was of use in the packs before
	order *list.List // of *segment, the last used in front
	packs map[pack.Name][]*segment
}

type segment struct {
	pack     pack.Name
	from, to int64
	step     int64         // of which it is what was not held
	wanted   int64         // bytes that were asked for
	done     chan struct{} // closed when data and err are set
	data     []byte
	err      error
	place    *list.Element // in order; nil while it is being fetched
}

func newSegments(b backend.Backend) *segments {
	return &segments{b: b, base: firstSegment, order: list.New(), packs: map[pack.Name][]*segment{}}
}

// read returns the sealed block at l.
func (s *segments) read(ctx context.Context, l index.Location) ([]byte, error) {
	for l.Entry.Length < largestBlock {
		g, mine := s.find(l)
		if mine {
			s.fetch(ctx, g)
		}
		select {
		case <-g.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch {
		case g.err == nil:
			from := l.Entry.Offset - g.from
			return g.data[from : from+l.Entry.Length : from+l.Entry.Length], nil
		case errors.Is(g.err, io.ErrUnexpectedEOF):
			return s.alone(ctx, l) // the pack is not as long as an index says; the block may be there
		case mine || ctx.Err() != nil:
			return nil, g.err
		}
		// Whoever fetched it failed, perhaps because nobody wanted it any more.
	}
	return s.alone(ctx, l)
}

// alone fetches a block and nothing else.
func (s *segments) alone(ctx context.Context, l index.Location) ([]byte, error) {
	return s.b.Get(ctx, l.Pack.Object(), l.Entry.Offset, l.Entry.Length)
}

// find returns a segment that holds the block at l, and whether the caller is to fetch it.
func (s *segments) find(l index.Location) (g *segment, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := l.Entry.Offset, l.Entry.Offset+l.Entry.Length
	for _, g := range s.packs[l.Pack] {
		if g.from <= from && to <= g.to {
			g.wanted += l.Entry.Length
			if g.place != nil {
				s.order.MoveToFront(g.place)
			}
			return g, false
		}
	}
	g = &segment{pack: l.Pack, step: s.step(l), wanted: l.Entry.Length, done: make(chan struct{})}
	g.from, g.to = s.room(l, g.step)
	s.packs[l.Pack] = append(s.packs[l.Pack], g)
	return g, true
}

// step returns how much to fetch around a block: more than was fetched right before or behind it, if most of that was
// wanted. s.mu is held.
func (s *segments) step(l index.Location) int64 {
	step := s.base
	for _, g := range s.packs[l.Pack] {
		near := g.from-largestBlock < l.Entry.Offset+l.Entry.Length && l.Entry.Offset < g.to+largestBlock
		if near && g.wanted*2 > g.to-g.from {
			step = max(step, min(g.step*segmentGrowth, lastSegment))
		}
	}
	s.base = step
	return step
}

// room returns the piece of a pack to fetch around a block: a step, as far as it is not held. s.mu is held.
func (s *segments) room(l index.Location, step int64) (low, high int64) {
	from, to := l.Entry.Offset, l.Entry.Offset+l.Entry.Length
	over := step / 16 // with most blocks at the ends whole
	low = from - from%step
	high = min(max(low+step+over, to), max(l.Size, to))
	for _, g := range s.packs[l.Pack] {
		switch {
		case g.to <= from:
			low = max(low, g.to-over)
		case g.from >= to:
			high = min(high, g.from+over)
		default: // holds a part of the block
			if g.from <= from {
				low = from
			}
			if to <= g.to {
				high = to
			}
		}
	}
	return low, high
}

// fetch fills a segment.
func (s *segments) fetch(ctx context.Context, g *segment) {
	data, err := s.b.Get(ctx, g.pack.Object(), g.from, g.to-g.from)
	if err == nil && int64(len(data)) != g.to-g.from {
		err = io.ErrUnexpectedEOF
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.data, g.err = data, err
	close(g.done)
	if err != nil {
		s.drop(g)
		return
	}
	g.place = s.order.PushFront(g)
	s.held += int64(len(data))
	for s.held > segmentsHeld {
		last := s.order.Back().Value.(*segment)
		if last.wanted*4 < last.to-last.from {
			s.base = max(s.base/segmentGrowth, leastSegment)
		}
		s.order.Remove(last.place)
		s.held -= int64(len(last.data))
		s.drop(last)
	}
}

// drop takes a segment out of its pack; s.mu is held.
func (s *segments) drop(g *segment) {
	left := slices.DeleteFunc(s.packs[g.pack], func(o *segment) bool { return o == g })
	if s.packs[g.pack] = left; len(left) == 0 {
		delete(s.packs, g.pack)
	}
}
