package store

import (
	"bytes"
	"context"
	"io"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/memory"
	"ensync/store/cache"
)

// away is a backend that can be taken out of reach.
type away struct {
	backend.Backend
	gone bool
}

func (a *away) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if a.gone {
		return nil, backend.ErrUnavailable
	}
	return a.Backend.Get(ctx, name, off, n)
}

func TestWhatWasWrittenStaysReadableWithoutTheStore(t *testing.T) {
	for _, keep := range []bool{true, false} {
		b := &away{Backend: memory.New()}
		c := cache.New(t.TempDir(), "s", 64<<20)
		defer c.Close()
		s, err := Create(t.Context(), b, Params{}, pass, "original", Options{Cache: c, CacheData: keep})
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		data := noise(7, 3<<20)
		content, err := w.PutContent(t.Context(), bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.gone = true
		_, err = io.ReadAll(s.OpenContent(t.Context(), content))
		if readable := err == nil; readable != keep {
			t.Errorf("CacheData %v: reading without the store gives %v", keep, err)
		}
		w.Close()
		s.Close()
	}
}
