package pipe_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/backend/memory"
	"ensync/store/dir"
	"ensync/store/pipe/pipetest"
)

func TestConformance(t *testing.T) {
	spaces := map[backend.Backend]*memory.Backend{}
	connect := func(t *testing.T, m *memory.Backend) backend.Backend {
		c := pipetest.Client(t, pipetest.Link{}, func() (backend.Backend, error) { return m.Again(), nil })
		spaces[c] = m
		return c
	}
	backendtest.Run(t, func(t *testing.T) backend.Backend { return connect(t, memory.New()) }, backendtest.Options{
		Again: func(t *testing.T, b backend.Backend) backend.Backend { return connect(t, spaces[b]) },
	})
}

// TestRoundTrips counts round trips by the clock: requests run side by side, and a big object costs one.
func TestRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store")
		if err := dir.Create(path); err != nil {
			t.Fatal(err)
		}
		c := pipetest.Client(t, pipetest.Link{RTT: 100 * time.Millisecond}, func() (backend.Backend, error) { return dir.Open(path) })
		took := func(what string, trips float64, fn func() error) {
			t.Helper()
			start := time.Now()
			if err := fn(); err != nil {
				t.Fatal(err)
			}
			if got := float64(time.Since(start)) / float64(100*time.Millisecond); got != trips {
				t.Errorf("%s: %.1f round trips, want %.1f", what, got, trips)
			}
		}
		took("connecting", 1.5, func() error { _, err := c.Hello(t.Context()); return err })
		took("put", 1, func() error { return c.Put(t.Context(), "packs/a", make([]byte, 16<<20)) })
	})
}
