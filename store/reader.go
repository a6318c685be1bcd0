package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"ensync/store/block"
	"ensync/store/object"
)

// Reader reads one content. Every byte it returns was verified. Read, ReadAt and ReadAtContext may be called concurrently;
// Read and Close not with each other.
type Reader struct {
	s      *Store
	ctx    context.Context
	cancel context.CancelFunc
	c      object.Content
	pos    int64

	mu      sync.Mutex
	lists   [object.MaxDepth + 1]*openList
	streams []*stream // the last used in front
	ahead   sync.WaitGroup
}

// OpenContent returns a reader for a content. Reading ends with the context, or with Close, which must be called.
// Nothing is read before the first Read.
func (s *Store) OpenContent(ctx context.Context, c object.Content) *Reader {
	r := &Reader{s: s, c: c}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// Size returns the length of the content in bytes.
func (r *Reader) Size() int64 { return r.c.Size }

// Close ends reading and returns when nothing of the reader runs any more.
func (r *Reader) Close() error {
	r.cancel()
	r.ahead.Wait()
	return nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p[:min(len(p), 1<<20)], r.pos)
	r.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) { return r.ReadAtContext(r.ctx, p, off) }

// ReadAtContext is ReadAt that ends with ctx, and then fetches nothing on behalf of this call any more. ctx need not be that
// of the reader.
func (r *Reader) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if !r.c.Known || off < 0 {
		return 0, errors.New("read content: it is not known, or the offset is negative")
	}
	if off >= r.c.Size {
		return 0, io.EOF
	}
	st := r.follow(off, min(off+int64(len(p)), r.c.Size))
	defer func() { r.leave(st, ctx.Err() != nil) }()
	n := 0
	for n < len(p) && off+int64(n) < r.c.Size {
		b, start, err := r.block(ctx, off+int64(n))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], b[off+int64(n)-start:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// block returns the block of data that holds offset off, and where it starts.
func (r *Reader) block(ctx context.Context, off int64) ([]byte, int64, error) {
	if r.c.Size <= object.InlineMax {
		if int64(len(r.c.Data)) != r.c.Size {
			return nil, 0, fmt.Errorf("read content: %d bytes of it at hand instead of %d", len(r.c.Data), r.c.Size)
		}
		return r.c.Data, 0, nil
	}
	ref, start, err := r.find(ctx, off)
	if err != nil {
		return nil, 0, err
	}
	b, err := r.s.load(ctx, block.Type{Kind: block.Data}, r.s.data, ref.Key, r.s.cutter.Params().Max())
	if err != nil {
		return nil, 0, err
	}
	if int64(len(b)) != ref.Length {
		return nil, 0, damaged(packPrefix+"*", fmt.Errorf("data block of %d bytes instead of %d", len(b), ref.Length))
	}
	return b, start, nil
}

// find walks down the lists to the block that holds offset off.
func (r *Reader) find(ctx context.Context, off int64) (object.Ref, int64, error) {
	if r.c.Depth > object.MaxDepth {
		return object.Ref{}, 0, fmt.Errorf("read content: list of depth %d", r.c.Depth)
	}
	ref, start := object.Ref{Key: r.c.Key, Length: r.c.Size}, int64(0)
	for depth := r.c.Depth; depth > 0; depth-- {
		l, err := r.list(ctx, depth, ref, start)
		if err != nil {
			return ref, 0, err
		}
		i := sort.Search(len(l.ends)-1, func(i int) bool { return off < l.ends[i] })
		if i > 0 {
			start = l.ends[i-1]
		}
		ref = l.refs[i]
	}
	return ref, start, nil
}

// openList is a list that was read, and where in the content each of its items ends.
type openList struct {
	key   object.Key
	start int64
	refs  []object.Ref
	ends  []int64
}

// list returns the list of a depth that starts at an offset of the content. The last one of each depth is kept.
func (r *Reader) list(ctx context.Context, depth uint8, ref object.Ref, start int64) (*openList, error) {
	r.mu.Lock()
	l := r.lists[depth]
	r.mu.Unlock()
	if l != nil && l.key == ref.Key && l.start == start {
		return l, nil
	}
	refs, err := r.s.loadList(ctx, r.s.data, block.Type{Kind: block.DataList, Depth: depth}, ref)
	if err != nil {
		return nil, err
	}
	l = &openList{key: ref.Key, start: start, refs: refs}
	for _, item := range refs {
		start += item.Length
		l.ends = append(l.ends, start)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lists[depth] = l
	return l, nil
}
