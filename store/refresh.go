package store

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/index"
)

// refresher lets one refresh of the local index run at a time, and callers who wait for it share its result.
type refresher struct {
	turn chan struct{}

	mu     sync.Mutex // guards what follows
	count  uint64
	faults map[string]error // index objects that can't be used
	sizes  map[string]int64 // of the index objects that lie in the store, as listed last
}

func newRefresher() *refresher {
	return &refresher{turn: make(chan struct{}, 1), faults: map[string]error{}}
}

// generation is how many refreshes were finished.
func (r *refresher) generation() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// listed returns the sizes of the index objects in the store, as listed last. The caller must not change it.
func (r *refresher) listed() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sizes
}

func (r *refresher) anyFault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.faults {
		return err
	}
	return nil
}

// refreshIndex brings the local index up to the store as it is now or later. An index object that can't be used is remembered, not an error: it only hides its own blocks.
func (s *Store) refreshIndex(ctx context.Context) error {
	r := s.refresh
	before := r.generation()
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.generation() > before+1 {
		return nil // of two that ended while we waited, the second began after we asked
	}
	for {
		made := s.index.Generation()
		if err := s.refreshOnce(ctx); err != nil {
			return err
		}
		if s.index.Generation() == made { // else what it held before the refresh is to be read again, too
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	return nil
}

const (
	// maxIndexes bounds how many index objects a store has. As they are merged, there are some dozens.
	maxIndexes = 1 << 16
	// indexesHeld bounds the bytes of index objects that are read at once.
	indexesHeld = index.MaxRecord
)

// maxRelists bounds how often a refresh lists again because others merge index objects meanwhile.
const maxRelists = 3

// errMerged says that an index object is gone since it was listed: another one, not listed yet, tells what it told.
var errMerged = errors.New("index object was merged")

func (s *Store) refreshOnce(ctx context.Context) error {
	for try := 0; ; try++ {
		// What the database holds is read before the store is listed: another process adds to the database only what
		// lies in the store already, so nothing new can be taken for vanished.
		have, err := s.index.Objects(ctx)
		if err != nil {
			return err
		}
		fresh, err := s.listIndex(ctx, have)
		if err != nil {
			return err
		}
		switch err := s.fetchIndexes(ctx, fresh); {
		case errors.Is(err, errMerged):
			if try < maxRelists {
				continue // else it is listed and not there: its blocks will be missed
			}
		case err != nil:
			return err
		}
		for name := range have {
			if err := s.index.Forget(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}
}

// listIndex returns the index objects that are not in have, and leaves in have those that are gone.
func (s *Store) listIndex(ctx context.Context, have map[string]int64) ([]string, error) {
	var fresh []string
	sizes := map[string]int64{}
	err := s.b.List(ctx, indexPrefix, func(i backend.Info) error {
		if len(sizes) == maxIndexes {
			return damaged(indexPrefix+"*", fmt.Errorf("the store lists more than %d index objects", maxIndexes))
		}
		sizes[i.Name] = i.Size
		if _, ok := have[i.Name]; ok {
			delete(have, i.Name)
		} else {
			fresh = append(fresh, i.Name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list index objects: %w", err)
	}
	s.refresh.mu.Lock()
	defer s.refresh.mu.Unlock()
	s.refresh.sizes = sizes
	return fresh, nil
}

// fetchIndexes reads index objects into the local database.
func (s *Store) fetchIndexes(ctx context.Context, names []string) error {
	var merged atomic.Bool
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	room := semaphore.NewWeighted(indexesHeld)
	for _, name := range names {
		g.Go(func() error {
			rec, size, err := s.readListed(gctx, room, name)
			switch {
			case errors.Is(err, ErrMissing):
				merged.Store(true)
				return nil
			case errors.Is(err, ErrDamaged):
				s.refresh.mu.Lock()
				defer s.refresh.mu.Unlock()
				s.refresh.faults[name] = err
				return nil
			case err != nil:
				return err
			}
			return s.index.Add(gctx, name, size, rec)
		})
	}
	err := g.Wait()
	if err == nil && merged.Load() {
		err = errMerged
	}
	return err
}

// readListed is readIndex of an object of the last list, when there is room for it.
func (s *Store) readListed(ctx context.Context, room *semaphore.Weighted, name string) (index.Record, int64, error) {
	s.refresh.mu.Lock()
	size := s.refresh.sizes[name]
	s.refresh.mu.Unlock()
	if size < 0 || size > index.MaxRecord {
		return index.Record{}, 0, damaged(name, fmt.Errorf("%d bytes", size))
	}
	if err := room.Acquire(ctx, size); err != nil {
		return index.Record{}, 0, err
	}
	defer room.Release(size)
	return s.readIndex(ctx, name, size)
}

// readIndex reads and opens an index object, of which the store says that it has so many bytes (-1: it does
// not say), and tells its size. The author is left empty unless its signature counts.
func (s *Store) readIndex(ctx context.Context, name string, size int64) (index.Record, int64, error) {
	sealed, err := s.b.Get(ctx, name, 0, size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return index.Record{}, 0, damaged(name, fmt.Errorf("it is shorter than the store says: %v", err))
	}
	if err != nil {
		return index.Record{}, 0, got(name, err)
	}
	var rec index.Record
	err = s.withKeys(ctx, func() error {
		rec, err = s.openIndex(name, sealed)
		return err
	})
	if errors.Is(err, errOtherKey) && rec.Packs != nil {
		rec.Author, err = "", nil // what it tells may be true, but nobody vouches for it
	}
	return rec, int64(len(sealed)), err
}

func (s *Store) openIndex(name string, sealed []byte) (index.Record, error) {
	if len(sealed) > index.MaxRecord {
		return index.Record{}, damaged(name, fmt.Errorf("%d bytes", len(sealed)))
	}
	everyone, err := s.group(keys.Everyone)
	if err != nil {
		return index.Record{}, err
	}
	plain, err := s.unseal(everyone, sealIndex, []byte(name), sealed)
	if err != nil || len(plain) < ed25519.SignatureSize {
		return index.Record{}, damaged(name, errors.Join(err, errSeal))
	}
	body, sig := plain[:len(plain)-ed25519.SignatureSize], plain[len(plain)-ed25519.SignatureSize:]
	rec, err := index.Parse(body)
	if err != nil {
		return rec, damaged(name, err)
	}
	if _, ok := s.Keys().Verify(rec.Author, s.indexMessage(name, body), sig); !ok {
		return rec, damaged(name, fmt.Errorf("signed %w", errOtherKey))
	}
	return rec, nil
}

// sealIndexRecord is the reverse of readIndex.
func (s *Store) sealIndexRecord(name string, rec index.Record, author *keys.Group) ([]byte, error) {
	everyone, err := s.group(keys.Everyone)
	if err != nil {
		return nil, err
	}
	rec.Author = author.Name()
	body := rec.Encode()
	return s.seal(everyone, sealIndex, []byte(name), append(body, author.Sign(s.indexMessage(name, body))...))
}

func (s *Store) indexMessage(name string, body []byte) []byte {
	m := append([]byte("ensync index 1\x00"), s.format.id[:]...)
	return append(append(m, name...), body...)
}

// author returns the group that signs what this client adds to the index: the one that most of those who have it can
// be trusted like oneself. Everyone proves nothing and is the last resort.
func (s *Store) author() (*keys.Group, error) {
	chain := s.Keys()
	names := append([]string{keys.Root}, chain.Groups()...)
	for _, name := range names {
		if g, ok := chain.Group(name); ok && name != keys.Everyone {
			return g, nil
		}
	}
	return s.group(keys.Everyone)
}

// trusted reports whether what an author says about blocks is believed without looking: only members of a group that
// this client is in too, and that not everybody is in.
func (s *Store) trusted(author string) bool {
	_, member := s.Keys().Group(author)
	return member && author != keys.Everyone && !strings.HasPrefix(author, "\x00")
}
