package store

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/faulty"
	"ensync/store/backend/link"
	"ensync/store/backend/memory"
	"ensync/store/index"
	"ensync/store/pack"
)

// packOf puts a pack of blocks into a backend and returns its bytes and where the blocks are.
func packOf(t *testing.T, b backend.Backend, name byte, blocks, size int) ([]byte, []index.Location) {
	data := noise(uint64(name), blocks*size+500)
	must(t, b.Put(t.Context(), pack.Name{name}.Object(), data))
	var all []index.Location
	for i := range blocks {
		l := index.Location{Pack: pack.Name{name}, Size: int64(len(data))}
		l.Entry.Offset, l.Entry.Length = int64(8+i*size), int64(size)
		all = append(all, l)
	}
	return data, all
}

func wantBlock(t *testing.T, s *segments, data []byte, l index.Location) {
	t.Helper()
	got, err := s.read(t.Context(), l)
	if err != nil || !bytes.Equal(got, data[l.Entry.Offset:l.Entry.Offset+l.Entry.Length]) {
		t.Fatalf("block at %d: %d bytes that are wrong, %v", l.Entry.Offset, len(got), err)
	}
}

// TestSegments: a pack that is read in order takes few requests, one block of it little more than the block.
func TestSegments(t *testing.T) {
	for _, size := range []int{100, 4000, 30_000, 250_000, 1 << 20} {
		b := link.Wrap(memory.New(), link.Line{})
		data, all := packOf(t, b, 1, (8<<20)/size, size)
		s := newSegments(b)
		b.Reset()
		for _, l := range all {
			wantBlock(t, s, data, l)
		}
		got := b.Traffic()
		if got.Gets > min(len(all), 8+8*size/(256<<10)) || got.Down > int64(len(data))*5/4 {
			t.Errorf("blocks of %d bytes in order: %+v", size, got)
		}
		s = newSegments(b)
		b.Reset()
		wantBlock(t, s, data, all[len(all)/2])
		if got := b.Traffic(); got.Gets != 1 || got.Down > int64(size+firstSegment*9/8) {
			t.Errorf("one block of %d bytes: %+v", size, got)
		}
	}
}

// TestSegmentsAtRandom reads blocks of many packs here and there, from several sides at once: every one is the right
// one, memory is bounded, and ever less is fetched around them.
func TestSegmentsAtRandom(t *testing.T) {
	b := link.Wrap(memory.New(), link.Line{})
	s := newSegments(b)
	var datas [][]byte
	var all [][]index.Location
	for n := range byte(20) {
		data, l := packOf(t, b, n, 1000, 5000)
		datas, all = append(datas, data), append(all, l)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 200 {
				n := rand.IntN(len(all))
				l := all[n][rand.IntN(len(all[n]))]
				got, err := s.read(t.Context(), l)
				if err != nil || !bytes.Equal(got, datas[n][l.Entry.Offset:l.Entry.Offset+l.Entry.Length]) {
					t.Errorf("pack %d, block at %d: %v", n, l.Entry.Offset, err)
				}
			}
		})
	}
	readers.Wait()
	held := int64(0)
	for e := s.order.Front(); e != nil; e = e.Next() {
		held += int64(len(e.Value.(*segment).data))
	}
	if held != s.held || held > segmentsHeld {
		t.Errorf("%d bytes held, %d counted", held, s.held)
	}
	if s.base > firstSegment {
		t.Errorf("fetches %d bytes around blocks that are read here and there", s.base)
	}
}

// TestSegmentsFail: an index that is wrong about the length of a pack hides no block, and a reader that gives up costs
// only itself.
func TestSegmentsFail(t *testing.T) {
	m := memory.New()
	data, all := packOf(t, m, 1, 10, 1000)
	gate := make(chan struct{})
	f := faulty.Wrap(m, 1, faulty.Rule{Ops: faulty.Get, Times: 1, Fault: faulty.Slow, Gate: gate})
	s := newSegments(f)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := s.read(ctx, all[3])
		gone <- err
	}()
	for len(s.segmentsOf(all[3].Pack)) == 0 {
	}
	stays := make(chan error)
	go func() {
		got, err := s.read(t.Context(), all[4])
		if err == nil && !bytes.Equal(got, data[all[4].Entry.Offset:all[4].Entry.Offset+1000]) {
			err = errors.New("wrong bytes")
		}
		stays <- err
	}()
	cancel()
	wantErr(t, <-gone, context.Canceled)
	must(t, <-stays)
	s = newSegments(f)
	for _, l := range all {
		l.Size = 1 << 20
		wantBlock(t, s, data, l)
	}
	must(t, m.Delete(t.Context(), all[0].Pack.Object()))
	_, err := newSegments(f).read(t.Context(), all[0])
	wantErr(t, err, backend.ErrNotExist)
}

func (s *segments) segmentsOf(n pack.Name) []*segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.packs[n]
}
