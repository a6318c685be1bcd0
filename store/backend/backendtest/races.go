package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"ensync/store/backend"
)

// handles returns n handles for n racers: two places' worth if the backend has second handles, one otherwise.
func (s *suite) handles(n int) (handles []backend.Backend, done func()) {
	handles = make([]backend.Backend, n)
	second := s.Backend
	if s.opts.Again != nil {
		second = s.opts.Again(s.T, s.Backend)
	}
	for i := range handles {
		handles[i] = s.Backend
		if i%2 == 1 {
			handles[i] = second
		}
	}
	return handles, func() {
		if second != s.Backend {
			if err := second.Close(); err != nil {
				s.Errorf("Close: %v", err)
			}
		}
	}
}

// race runs fn in opts.Writers goroutines that start together, each with a handle.
func (s *suite) race(fn func(writer int, b backend.Backend)) {
	handles, done := s.handles(s.opts.Writers)
	defer done()
	start := make(chan struct{})
	var all sync.WaitGroup
	for w, b := range handles {
		all.Go(func() {
			<-start
			fn(w, b)
		})
	}
	close(start)
	all.Wait()
}

func testRacingPuts(s *suite) {
	for round := range 6 {
		name := fmt.Sprintf("packs/%02x/contested", round)
		var won atomic.Int32
		var winner atomic.Value
		s.race(func(w int, b backend.Backend) {
			data := bytes.Repeat([]byte{byte('a' + w)}, 20000+w)
			switch err := b.Put(s.ctx, name, data); {
			case err == nil:
				won.Add(1)
				winner.Store(string(data))
			case !errors.Is(err, backend.ErrExist):
				s.Errorf("losing Put: %v; want %q", err, backend.ErrExist)
			}
			// Whoever lost knows that the object is there, whole.
			if got, err := b.Get(s.ctx, name, 0, -1); err != nil || len(got) < 20000 || len(bytes.Trim(got, string(got[:1]))) != 0 {
				s.Errorf("Get after the race: %s, %v; want one writer's bytes", brief(got), err)
			}
		})
		if won.Load() != 1 {
			s.Errorf("%d of %d racing creators were told that they won", won.Load(), s.opts.Writers)
			continue
		}
		s.wantGet(name, winner.Load().(string))
	}
}

func testRacingCreations(s *suite) {
	for round := range 6 {
		name := fmt.Sprintf("roots/new-%d", round)
		var won atomic.Int32
		s.race(func(w int, b backend.Backend) {
			_, err := b.Swap(s.ctx, name, "", fmt.Appendf(nil, "writer %d", w))
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, backend.ErrChanged) {
				s.Errorf("losing creation: %v; want %q", err, backend.ErrChanged)
			}
		})
		if won.Load() != 1 {
			s.Errorf("%d of %d racing creators were told that they won", won.Load(), s.opts.Writers)
		}
	}
}

// testRacingSwaps lets every writer add its own lines to one object. Each line that was acknowledged, or that was found
// by reading back after an unclear answer, must be there exactly once at the end, and no other line.
func testRacingSwaps(s *suite) {
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	s.race(func(w int, b backend.Backend) {
		for i := range s.opts.Rounds {
			line := fmt.Sprintf("%d.%d", w, i)
			if !appendLine(s, b, "roots/counter", line) {
				return
			}
			mu.Lock()
			acknowledged[line] = true
			mu.Unlock()
		}
	})
	data, _, err := s.Load(s.ctx, "roots/counter")
	if err != nil {
		s.Fatal(err)
	}
	seen := map[string]int{}
	for _, line := range strings.Fields(string(data)) {
		if seen[line]++; seen[line] > 1 || !acknowledged[line] {
			s.Errorf("line %s is there %d times, acknowledged: %v", line, seen[line], acknowledged[line])
		}
	}
	if len(seen) != len(acknowledged) || len(acknowledged) != s.opts.Writers*s.opts.Rounds {
		s.Errorf("counter: %d acknowledged of %d, %d in the object", len(acknowledged), s.opts.Writers*s.opts.Rounds, len(seen))
	}
}

// appendLine adds a line with Load and Swap until it is in.
func appendLine(s *suite, b backend.Backend, name, line string) bool {
	unclear := false
	for {
		data, v, err := b.Load(s.ctx, name)
		if err != nil && !errors.Is(err, backend.ErrNotExist) {
			s.Errorf("Load: %v", err)
			return false
		}
		if unclear && strings.Contains(" "+string(data), " "+line+" ") {
			return true
		}
		_, err = b.Swap(s.ctx, name, v, append(data, line+" "...))
		switch {
		case err == nil:
			return true
		case errors.Is(err, backend.ErrUnavailable) && s.ctx.Err() == nil:
			unclear = true
		case !errors.Is(err, backend.ErrChanged):
			s.Errorf("Swap: %v", err)
			return false
		}
	}
}

func testRacingDeletes(s *suite) {
	const objects = 12
	for i := range objects {
		s.put(fmt.Sprintf("packs/aa/%d", i), "x")
		s.swap(fmt.Sprintf("roots/%d", i), "", "x")
	}
	s.race(func(w int, b backend.Backend) {
		for i := range objects {
			for _, name := range []string{fmt.Sprintf("packs/aa/%d", (i+w)%objects), fmt.Sprintf("roots/%d", (i+w)%objects)} {
				if err := b.Delete(s.ctx, name); err != nil {
					s.Errorf("Delete %s: %v", name, err)
				}
			}
		}
	})
	s.wantList(s, "", "")
}

// testReadersDuringSwaps reads while a writer swaps as fast as it can: every reader sees whole states, none older than
// one that it has seen, and never absence.
func testReadersDuringSwaps(s *suite) {
	state := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%08d", i), 200+i%7) }
	v := s.swap("roots/busy", "", string(state(0)))
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	handles, done := s.handles(4)
	defer done()
	var readers sync.WaitGroup
	for _, b := range handles {
		readers.Go(func() {
			for last := 0; ctx.Err() == nil; {
				data, _, err := b.Load(ctx, "roots/busy")
				if ctx.Err() != nil {
					return
				}
				var i int
				if _, scan := fmt.Sscanf(string(data[:min(8, len(data))]), "%08d", &i); err != nil || scan != nil ||
					!bytes.Equal(data, state(i)) || i < last {
					s.Errorf("Load during swaps: %s, %v; after state %d", brief(data), err, last)
					return
				}
				last = i
			}
		})
	}
	for i := 1; i <= 25 && !s.Failed(); i++ {
		v = s.swap("roots/busy", v, string(state(i)))
	}
	stop()
	readers.Wait()
}

func testParallelPuts(s *suite) {
	s.race(func(w int, b backend.Backend) {
		for i := range 6 {
			name := fmt.Sprintf("packs/%02x/w%d-%d", i%3, w, i)
			want := bytes.Repeat([]byte(name), 1000)
			if err := b.Put(s.ctx, name, want); err != nil {
				s.Errorf("Put %s: %v", name, err)
				return
			}
			if got, err := b.Get(s.ctx, name, 0, -1); err != nil || !bytes.Equal(got, want) {
				s.Errorf("Get %s: %s, %v", name, brief(got), err)
			}
		}
	})
	n := 0
	if err := s.List(s.ctx, "packs/", func(backend.Info) error { n++; return nil }); err != nil || n != s.opts.Writers*6 {
		s.Errorf("List: %d objects, %v; want %d", n, err, s.opts.Writers*6)
	}
}
