package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/faulty"
	"ensync/store/index"
	"ensync/store/object"
)

// storeOne stores one block in a session of its own, and returns what names it.
func storeOne(s *Store, seed uint64) (object.Content, error) {
	w, err := s.Begin(context.Background())
	if err != nil {
		return object.Content{}, err
	}
	defer w.Close()
	c, err := w.PutContent(context.Background(), bytes.NewReader(noise(seed, 2100)))
	if err == nil {
		err = w.Flush(context.Background())
	}
	w.tidier.running.Wait()
	return c, err
}

func indexObjects(t testing.TB, b backend.Backend) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	must(t, b.List(t.Context(), indexPrefix, func(i backend.Info) error { all[i.Name] = i.Size; return nil }))
	return all
}

// TestMerging: the number of index objects grows with the logarithm of the sessions, and so does the number of times
// that a byte of them is written.
func TestMerging(t *testing.T) {
	sessions := 300
	if testing.Short() {
		sessions = 80
	}
	p := newPlace(t)
	f := faulty.Wrap(p.b, 1)
	s := reopen(t, p.create(Params{}), f)
	p.b = f
	var contents []object.Content
	most := 0
	for i := range uint64(sessions) {
		c, err := storeOne(s, i)
		must(t, err)
		contents = append(contents, c)
		most = max(most, len(indexObjects(t, p.b)))
	}
	written, once := 0, 0
	for _, c := range f.Calls() {
		if c.Op == faulty.Put && c.Name[:len(indexPrefix)] == indexPrefix {
			written += c.Size
			if once == 0 {
				once = c.Size * sessions
			}
		}
	}
	t.Logf("at most %d index objects, %d bytes written, %.1f times what was to tell", most, written, float64(written)/float64(once))
	if most > 4*mergeFan || written > 4*once {
		t.Errorf("at most %d index objects, %d bytes written instead of %d", most, written, once)
	}
	for _, reader := range []*Store{s, reopen(t, s, f)} {
		for i, c := range contents {
			if string(readAll(t, reader, c)) != string(noise(uint64(i), 2100)) {
				t.Fatalf("content %d is wrong", i)
			}
		}
	}
	must(t, s.Check(t.Context(), true, func(p Problem) { t.Error(p) }))
}

// TestMergingIsRefused: where nothing can be deleted, nothing is lost, and merging ends.
func TestMergingIsRefused(t *testing.T) {
	p := newPlace(t)
	f := faulty.Wrap(p.b, 1, faulty.Rule{Ops: faulty.Delete, Fault: faulty.FailBefore, Err: backend.ErrDenied})
	s := reopen(t, p.create(Params{}), f)
	p.b = f
	var contents []object.Content
	for i := range uint64(60) {
		c, err := storeOne(s, i)
		must(t, err)
		contents = append(contents, c)
	}
	reader := reopen(t, s, f)
	for i, c := range contents {
		if string(readAll(t, reader, c)) != string(noise(uint64(i), 2100)) {
			t.Fatalf("content %d is wrong", i)
		}
	}
	sum := int64(0)
	sizes := indexObjects(t, p.b)
	for _, n := range sizes {
		sum += n
	}
	if smallest := slices.Min(values(sizes)); sum > 2*60*smallest || len(sizes) != 60 {
		t.Errorf("%d index objects of %d bytes, the smallest has %d", len(sizes), sum, smallest)
	}
	if n := f.Count(faulty.Delete, ""); n > 60 {
		t.Errorf("%d times tried to delete", n)
	}
}

func values(m map[string]int64) []int64 {
	var all []int64
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// pagedList is a backend whose List is read in two pages: names up to half, and the rest. Something may happen between.
type pagedList struct {
	backend.Backend
	half    string
	between func()
}

func (p *pagedList) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	page := func(first bool) error {
		return p.Backend.List(ctx, prefix, func(i backend.Info) error {
			if (i.Name <= p.half) != first {
				return nil
			}
			return fn(i)
		})
	}
	if err := page(true); err != nil {
		return err
	}
	if between := p.between; between != nil {
		p.between = nil
		between()
	}
	return page(false)
}

// TestMergedWhileListed: a reader finds everything, whatever its list shows of index objects that are merged meanwhile.
func TestMergedWhileListed(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	var contents []object.Content
	for i := range uint64(3) {
		c, err := storeOne(s, i)
		must(t, err)
		contents = append(contents, c)
	}
	all := snap(t, p.b)
	for _, c := range []struct {
		what, half string
		knows      bool
	}{
		{"neither old nor new", "index/0001", false},
		{"neither old nor new, and it knew the old ones", "index/0001", true},
		{"the old ones", "index/z", false},
		{"all", "", true},
	} {
		b := all.backend(t, "", nil)
		paged := &pagedList{Backend: b, half: c.half}
		reader := reopen(t, s, paged)
		if c.knows {
			must(t, reader.refreshIndex(t.Context()))
		}
		paged.between = func() { mergeAll(t, s, b, "index/00000000000000000000000000000000") }
		if c.knows || c.half == "index/z" {
			must(t, reader.refreshIndex(t.Context()))
		}
		if c.half == "index/z" {
			paged.Backend = nil // the one refresh is enough
			if names, err := reader.index.Objects(t.Context()); err != nil || len(names) != 1 {
				t.Errorf("%s: knows %v, %v", c.what, names, err)
			}
			continue
		}
		for _, content := range contents {
			if err := readErr(reader, content); err != nil {
				t.Errorf("the list shows %s: %v", c.what, err)
			}
		}
	}
}

// mergeAll puts one index object in the place of all.
func mergeAll(t *testing.T, s *Store, b backend.Backend, name string) {
	rec := index.Record{Author: keys.Root}
	old := indexObjects(t, b)
	for name := range old {
		more, err := s.index.Told(t.Context(), name)
		must(t, err)
		rec.Packs = append(rec.Packs, more...)
	}
	author, err := s.author()
	must(t, err)
	sealed, err := s.sealIndexRecord(name, rec, author)
	must(t, err)
	must(t, b.Put(t.Context(), name, sealed))
	for name := range old {
		must(t, b.Delete(t.Context(), name))
	}
}

// TestMergingWithFaults: clients write, merge and delete at the same time and are cut off anywhere. Whatever one of them
// was told is stored, can be read by everyone at any time.
func TestMergingWithFaults(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	_, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	f := faulty.Wrap(p.b, 3,
		faulty.Rule{Ops: faulty.Put, Name: indexPrefix, Chance: 0.05, Fault: faulty.FailBefore},
		faulty.Rule{Ops: faulty.Put, Name: indexPrefix, Chance: 0.05, Fault: faulty.FailAfter},
		faulty.Rule{Ops: faulty.Delete, Chance: 0.2, Fault: faulty.FailBefore},
		faulty.Rule{Ops: faulty.Delete, Chance: 0.1, Fault: faulty.FailAfter})
	p.b = &pagedList{Backend: f, half: "index/8"}
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	var mu sync.Mutex
	var stored []object.Content
	var seeds []uint64
	var seed atomic.Uint64
	var clients sync.WaitGroup
	for range 3 {
		client := reopen(t, s, p.b)
		clients.Go(func() {
			for range rounds {
				n := seed.Add(1)
				content, err := storeOne(client, n)
				if err != nil {
					continue // a fault
				}
				mu.Lock()
				stored, seeds = append(stored, content), append(seeds, n)
				mu.Unlock()
			}
		})
	}
	reader := reopen(t, s, p.b)
	check := func(s *Store) {
		mu.Lock()
		i := rand.IntN(len(stored) + 1)
		var c object.Content
		if i < len(stored) {
			c = stored[i]
		}
		mu.Unlock()
		if !c.Known {
			return
		}
		s.blocks = newBlockCache(1) // of decoded blocks: all is to be found
		if err := readErr(s, c); err != nil {
			t.Errorf("content %d: %v", seeds[i], err)
		}
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			must(t, reader.refreshIndex(t.Context()))
			check(reader)
		}
	}
	fresh := reopen(t, s, p.b)
	for i, c := range stored {
		if err := readErr(fresh, c); err != nil {
			t.Errorf("content %d, by a new client: %v", seeds[i], err)
		}
	}
	if len(stored) < rounds || len(indexObjects(t, p.b)) > rounds {
		t.Errorf("%d contents in %d index objects", len(stored), len(indexObjects(t, p.b)))
	}
	t.Logf("%d contents in %d index objects", len(stored), len(indexObjects(t, p.b)))
}

func readErr(s *Store, c object.Content) error {
	r := s.OpenContent(context.Background(), c)
	defer r.Close()
	_, err := r.ReadAt(make([]byte, c.Size), 0)
	return err
}

// TestCoveredHasNoCircles: of index objects that tell the same in any way, whatever is deleted because another one
// covers it, all is still told of, also if everybody deletes by what they saw at the start.
func TestCoveredHasNoCircles(t *testing.T) {
	s := newPlace(t).create(Params{})
	for round := range 50 {
		db, err := index.Open(t.Context(), "", s.ID())
		must(t, err)
		told := map[string][]int{}
		for o := range 6 {
			var rec index.Record
			rec.Author = keys.Root
			name := fmt.Sprintf("index/%d", o)
			for n := range 4 {
				if rand.IntN(2) == 0 || round == 0 {
					rec.Packs = append(rec.Packs, index.Pack{Name: [16]byte{byte(n + 1)}, Size: 100})
					told[name] = append(told[name], n)
				}
			}
			must(t, db.Add(t.Context(), name, 1, rec))
		}
		covered, err := db.Covered(t.Context(), keys.Root)
		must(t, err)
		left := map[int]bool{}
		for name, packs := range told {
			if covered[name] == "" {
				for _, n := range packs {
					left[n] = true
				}
			}
		}
		for _, packs := range told {
			for _, n := range packs {
				if !left[n] {
					t.Fatalf("round %d: nothing tells of pack %d: %v, covered %v", round, n, told, covered)
				}
			}
		}
		if round == 0 && len(covered) != 5 {
			t.Errorf("six that tell the same: %v", covered)
		}
		must(t, db.Close())
	}
}
