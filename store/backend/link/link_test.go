package link

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/backend/memory"
)

func TestConformance(t *testing.T) {
	again := func(_ *testing.T, b backend.Backend) backend.Backend {
		return Wrap(b.(*Backend).inner.(*memory.Backend).Again(), Line{})
	}
	backendtest.Run(t, func(*testing.T) backend.Backend { return Wrap(memory.New(), Line{}) }, backendtest.Options{Again: again})
}

// TestDepth: calls that go out together are one deep, calls that wait for each other are not.
func TestDepth(t *testing.T) {
	b := Wrap(memory.New(), Line{})
	put := func(name string) {
		if err := b.Put(t.Context(), name, []byte("12345")); err != nil {
			t.Error(err)
		}
	}
	b.Hold(3)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		wg.Go(func() { put(name) })
	}
	wg.Wait()
	if got, want := b.Traffic(), (Traffic{Puts: 3, Up: 15, Depth: 1}); got != want {
		t.Errorf("together: %+v, want %+v", got, want)
	}
	put("d")
	put("e")
	if _, err := b.Get(t.Context(), "e", 1, 3); err != nil {
		t.Error(err)
	}
	if got, want := b.Traffic(), (Traffic{Puts: 5, Gets: 1, Up: 25, Down: 3, Depth: 4}); got != want {
		t.Errorf("one by one: %+v, want %+v", got, want)
	}
}

// TestLine: calls share the bandwidth, not the round trip, and end with their context.
func TestLine(t *testing.T) {
	b := Wrap(memory.New(), Line{RoundTrip: 30 * time.Millisecond, Up: 100_000})
	start := time.Now()
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() { b.Put(t.Context(), name, make([]byte, 2000)) })
	}
	wg.Wait()
	if d := time.Since(start); d < 110*time.Millisecond {
		t.Errorf("8000 bytes at 100 kB/s and a round trip of 30 ms took %v", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := b.Put(ctx, "e", make([]byte, 2000)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
