package store

import (
	"context"
	"errors"
	"math/bits"
	"sync"

	"ensync/store/backend"
	"ensync/store/index"
	"ensync/store/pack"
)

// Index objects are merged as in a log-structured merge tree: whoever writes one takes along the small ones of the same
// author, once there are enough of about its size. So their number grows with the logarithm of what is stored, and
// every byte is written again that often. An object is deleted by a later session, and only while another one is in
// the store that tells all it tells: a crash at any point leaves at worst something told twice.
const (
	mergeFan   = 8       // objects of one size that become one
	mergeUnit  = 512     // bytes; objects of up to mergeFan times that are the smallest kind
	mergeLimit = 4 << 20 // bytes; an object that is larger is left as it is
	tidyMost   = 64      // objects that one session deletes
)

// tidier deletes the index objects that others cover, beside a session's work.
type tidier struct {
	running sync.WaitGroup

	mu     sync.Mutex
	spent  map[string]bool // objects of this author not to be merged: covered by another, or by what this session wrote
	denied bool            // the store lets nobody delete: merging would only add to what lies there
}

// tidy begins to delete what is covered.
func (w *Session) tidy(ctx context.Context) error {
	covered, err := w.s.index.Covered(ctx, w.author.Name())
	if err != nil {
		return err
	}
	have, err := w.s.index.Objects(ctx)
	if err != nil {
		return err
	}
	listed := w.s.refresh.listed()
	t := &w.tidier
	t.spent = map[string]bool{}
	var names []string
	for name, by := range covered {
		t.spent[name] = true
		if size, ok := listed[by]; ok && size == have[by] && len(names) < tidyMost { // whole, as far as a list shows
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	t.running.Go(func() {
		// The first shows whether the store lets objects be deleted at all.
		if w.remove(names[0]) {
			var all sync.WaitGroup
			for _, name := range names[1:] {
				all.Go(func() { w.remove(name) })
			}
			all.Wait()
		}
	})
	return nil
}

// remove deletes an index object, if it can. What stays is deleted by another session.
func (w *Session) remove(name string) bool {
	err := w.s.b.Delete(w.ctx, name)
	if errors.Is(err, backend.ErrDenied) {
		w.tidier.mu.Lock()
		defer w.tidier.mu.Unlock()
		w.tidier.denied = true
	}
	return err == nil && w.s.index.Forget(w.ctx, name) == nil
}

// tier is the kind of an object by its size.
func tier(size int64) int {
	return (bits.Len64(uint64(size/mergeUnit)) - 1) / bits.Len(mergeFan-1)
}

// absorb returns packs with those of the index objects that are to be merged into the one that tells of them, and the
// names of these objects.
func (w *Session) absorb(ctx context.Context, packs []index.Pack) ([]index.Pack, []string, error) {
	candidates, err := w.s.index.By(ctx, w.author.Name())
	if err != nil {
		return nil, nil, err
	}
	size := int64(len(index.Record{Author: w.author.Name(), Packs: packs}.Encode()))
	names := w.choose(candidates, size)
	if len(names) == 0 {
		return packs, nil, nil
	}
	w.tidier.running.Wait()
	w.tidier.mu.Lock()
	denied := w.tidier.denied
	w.tidier.mu.Unlock()
	if denied {
		return packs, nil, nil
	}
	told := map[pack.Name]bool{}
	for _, p := range packs {
		told[p.Name] = true
	}
	for _, name := range names {
		more, err := w.s.index.Told(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		for _, p := range more {
			if !told[p.Name] {
				told[p.Name] = true
				packs = append(packs, p)
			}
		}
	}
	return packs, names, nil
}

// choose returns which of the objects, sorted by size, one of size bytes takes along: all that are not larger than its
// kind, if with it there are enough of them; and if it becomes of a larger kind by that, those of that kind likewise.
func (w *Session) choose(objects []index.Object, size int64) []string {
	w.tidier.mu.Lock()
	defer w.tidier.mu.Unlock()
	var names []string
	for kind, i := tier(size), 0; ; kind = max(kind+1, tier(size)) {
		var waiting []string
		sum := int64(0)
		for ; i < len(objects) && tier(objects[i].Size) <= kind && size+sum+objects[i].Size <= mergeLimit; i++ {
			if !w.tidier.spent[objects[i].Name] {
				waiting = append(waiting, objects[i].Name)
				sum += objects[i].Size
			}
		}
		if len(waiting) < mergeFan-1 {
			return names
		}
		names, size = append(names, waiting...), size+sum
	}
}

// writeIndex writes an index object of the packs that have none.
func (w *Session) writeIndex(ctx context.Context) error {
	w.listed.Lock()
	defer w.listed.Unlock()
	w.mu.Lock()
	packs := w.unlisted
	w.unlisted = nil
	w.mu.Unlock()
	if len(packs) == 0 {
		return nil
	}
	if err := w.putIndex(ctx, packs); err != nil {
		return w.fail(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range packs {
		for _, e := range p.Table {
			delete(w.recent, e.ID)
		}
	}
	return nil
}

// putIndex writes an index object of packs, and of what it takes along.
func (w *Session) putIndex(ctx context.Context, packs []index.Pack) error {
	packs, absorbed, err := w.absorb(ctx, packs)
	if err != nil {
		return err
	}
	if err := w.s.addIndex(ctx, packs, w.author.Name()); err != nil {
		return err
	}
	w.tidier.mu.Lock()
	defer w.tidier.mu.Unlock()
	for _, name := range absorbed {
		w.tidier.spent[name] = true
	}
	return nil
}
