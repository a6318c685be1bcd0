package store

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/singleflight"

	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/index"
	"ensync/store/object"
)

// readBuffer bounds the decoded blocks that a store keeps for reading, in bytes.
const readBuffer = 32 << 20

// load returns the plaintext of a block, at most limit bytes of it. The caller must not change it.
func (s *Store) load(ctx context.Context, t block.Type, mac *block.MAC, key object.Key, limit int) ([]byte, error) {
	at := blockName{t, key}
	for {
		if b, ok := s.blocks.get(at); ok {
			return s.bounded(b, t, limit)
		}
		flight := s.blocks.flights.DoChan(string(append(key[:], byte(t.Kind), t.Depth)), func() (any, error) {
			b, err := s.fetch(ctx, t, mac, key, limit)
			if err == nil {
				s.blocks.add(at, b)
			}
			return b, err
		})
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case r := <-flight:
			if r.Err != nil && ctx.Err() == nil && (errors.Is(r.Err, context.Canceled) || errors.Is(r.Err, context.DeadlineExceeded)) {
				continue // whoever asked first gave up; we did not
			}
			if r.Err != nil {
				return nil, r.Err
			}
			return s.bounded(r.Val.([]byte), t, limit)
		}
	}
}

func (s *Store) bounded(b []byte, t block.Type, limit int) ([]byte, error) {
	if len(b) > limit {
		return nil, damaged(packPrefix, fmt.Errorf("%v of %d bytes where at most %d can be", t, len(b), limit))
	}
	return b, nil
}

// fetch finds, reads and opens a block. Every place where the block lies is tried before it counts as lost.
func (s *Store) fetch(ctx context.Context, t block.Type, mac *block.MAC, key object.Key, limit int) ([]byte, error) {
	id := block.ID(key)
	var fault error
	for round := 0; ; round++ {
		found, err := s.index.Lookup(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			plain, err := s.readBlock(ctx, l, t, mac, key, limit)
			if err == nil {
				return plain, nil
			}
			if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrDamaged) {
				return nil, err
			}
			fault = err
		}
		// A list that is read while index objects are merged may show neither the old ones nor the new one. The next
		// list begins when the new one is there.
		if round == 2 || round == 1 && fault != nil {
			break
		}
		_, err = within(ctx, s.reach, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.refreshIndex(ctx) })
		if err != nil {
			return nil, errors.Join(fault, err)
		}
	}
	if fault == nil {
		fault = s.unknownBlock(t, id)
	}
	return nil, fault
}

// unknownBlock is the error for a block of which no index object tells.
func (s *Store) unknownBlock(t block.Type, id object.ID) error {
	if err := s.refresh.anyFault(); err != nil {
		return fmt.Errorf("%v %x is in no index that can be read: %w", t, id[:8], err)
	}
	f := missing(indexPrefix + "*").(*Fault)
	f.Cause = fmt.Errorf("no index object tells where %v %x lies", t, id[:8])
	return f
}

// readBlock reads a block at one place. ErrMissing and ErrDamaged name the pack.
func (s *Store) readBlock(ctx context.Context, l index.Location, t block.Type, mac *block.MAC, key object.Key, limit int) ([]byte, error) {
	name := l.Pack.Object()
	get := s.nearby.read
	fetch := func(ctx context.Context) ([]byte, error) {
		return within(ctx, s.reach, func(ctx context.Context) ([]byte, error) { return get(ctx, l) })
	}
	cached, direct := s.cachesType(t), false
	for {
		var sealed []byte
		var err error
		if cached {
			sealed, err = s.opt.Cache.Get(ctx, name, l.Entry.Offset, l.Entry.Length, fetch)
		} else {
			sealed, err = fetch(ctx)
		}
		switch {
		case errors.Is(err, backend.ErrNotExist):
			// Its blocks stay in the local index: the error is to name it the next time, too, and it may be put back. Who
			// writes relies on no pack without having looked whether it is there.
			return nil, missing(name)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, damaged(name, fmt.Errorf("it is shorter than its table says: %v", err)) // not io.ErrUnexpectedEOF, which says that content ended
		case err != nil:
			return nil, fmt.Errorf("read object %s: %w", name, err)
		}
		plain, err := s.sealer.Open(t, mac, key, sealed, limit)
		if err == nil {
			return plain, nil
		}
		if direct {
			return nil, damaged(name, fmt.Errorf("%v at %d: %w", t, l.Entry.Offset, err))
		}
		if cached {
			s.opt.Cache.Forget(name, l.Entry.Offset, l.Entry.Length)
		}
		// Perhaps it was only the local copy, or the one answer.
		cached, direct = false, true
		get = s.nearby.alone
	}
}

// cachesType reports whether the cache keeps blocks of a type.
func (s *Store) cachesType(t block.Type) bool {
	return s.opt.Cache != nil && (t.Kind != block.Data || s.opt.CacheData)
}

// keep puts the blocks of a pack that was written into the cache: what is in use on this machine stays readable while
// the store is out of reach.
func (s *Store) keep(p index.Pack, data []byte) {
	for _, e := range p.Table {
		if s.cachesType(e.Type) {
			s.opt.Cache.Add(p.Name.Object(), e.Offset, e.Length, data[e.Offset:e.Offset+e.Length])
		}
	}
}

// blockName is what the cache of decoded blocks goes by.
type blockName struct {
	t   block.Type
	key object.Key
}

// blockCache keeps the decoded blocks that were used last, bounded in bytes.
type blockCache struct {
	flights singleflight.Group

	mu    sync.Mutex
	limit int
	size  int
	order *list.List // of blockItem, the last used in front
	items map[blockName]*list.Element
}

type blockItem struct {
	name blockName
	b    []byte
}

func newBlockCache(limit int) *blockCache {
	return &blockCache{limit: limit, order: list.New(), items: map[blockName]*list.Element{}}
}

func (c *blockCache) get(n blockName) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[n]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(blockItem).b, true
}

func (c *blockCache) add(n blockName, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[n]; ok {
		return
	}
	c.items[n] = c.order.PushFront(blockItem{n, b})
	for c.size += len(b) + 128; c.size > c.limit && c.order.Len() > 1; {
		last := c.order.Back()
		it := c.order.Remove(last).(blockItem)
		delete(c.items, it.name)
		c.size -= len(it.b) + 128
	}
}
