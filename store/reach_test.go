package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/memory"
)

// line is a backend behind a line that can go silent, or slow.
type line struct {
	backend.Backend
	mu    sync.Mutex    // over cut, and over Backend where it is exchanged
	cut   chan struct{} // closed: nobody answers
	slow  time.Duration // of an object; a probe is quick
	asked int
}

// mend lets the line go to a backend, from now on.
func (l *line) mend(b backend.Backend) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.Backend = make(chan struct{}), b
}

func (l *line) end() (backend.Backend, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Backend, l.cut
}

func (l *line) wait(ctx context.Context, d time.Duration) error {
	_, cut := l.end()
	select {
	case <-cut:
		<-ctx.Done()
		return ctx.Err()
	default:
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (l *line) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := l.wait(ctx, l.slow); err != nil {
		return nil, err
	}
	b, _ := l.end()
	return b.Get(ctx, name, offset, length)
}

func (l *line) Load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	if err := l.wait(ctx, 0); err != nil {
		return nil, "", err
	}
	b, _ := l.end()
	return b.Load(ctx, name)
}

func (l *line) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	if err := l.wait(ctx, 0); err != nil {
		return err
	}
	b, _ := l.end()
	return b.List(ctx, prefix, fn)
}

func (l *line) Probe(ctx context.Context) error {
	l.asked++
	return l.wait(ctx, 0)
}

// behindLine opens a store of which another client stored data, over a line.
func behindLine(t *testing.T, wait time.Duration) (*place, *line, *Store, []byte, func() error) {
	p := newPlace(t)
	data := noise(9, 100_000)
	w := begin(t, p.create(Params{}))
	c, err := w.PutContent(t.Context(), bytes.NewReader(data))
	must(t, err)
	must(t, w.Flush(t.Context()))
	l := &line{Backend: p.b, cut: make(chan struct{})}
	opt := p.options("reader")
	opt.Wait = wait
	s, err := Open(t.Context(), l, pass, opt)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return p, l, s, data, func() error {
		r := s.OpenContent(t.Context(), c)
		defer r.Close()
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, data) {
			err = errors.New("other content")
		}
		return err
	}
}

// TestSilence: who reads content of a store that went silent hears so in time, and sooner when it is known already.
func TestSilence(t *testing.T) {
	const wait = 3 * time.Second
	_, l, s, _, read := behindLine(t, wait)
	close(l.cut)
	for _, most := range []time.Duration{wait, knownWait} {
		begun := time.Now()
		err := read()
		wantErr(t, err, backend.ErrUnavailable)
		if took := time.Since(begun); took < most/2 || took > most+time.Second {
			t.Errorf("a read failed after %v, at most %v were to be waited", took, most)
		}
		if since, why := s.Offline(); since.IsZero() || why == nil {
			t.Errorf("out of reach since %v: %v", since, why)
		}
	}
	l.mend(l.Backend)
	must(t, read())
	if since, _ := s.Offline(); !since.IsZero() {
		t.Error("it answered, and is out of reach")
	}
	select {
	case <-s.Back():
	default:
		t.Error("nobody was told that it is back")
	}
}

// TestSlow: an object may take far longer than silence is waited for.
func TestSlow(t *testing.T) {
	_, l, _, _, read := behindLine(t, 200*time.Millisecond)
	l.slow = time.Second
	must(t, read())
	if l.asked == 0 {
		t.Error("nobody asked whether it lives")
	}
}

// TestOpenRemembered: a store that is remembered opens while it is silent. Before anything is believed of it, it passes
// the checks that opening would have made.
func TestOpenRemembered(t *testing.T) {
	p, l, first, _, _ := behindLine(t, time.Minute)
	_, err := first.Roots(t.Context()) // which vouches for the format: from here on the store is remembered
	must(t, err)
	must(t, first.Close())
	close(l.cut)
	open := func(b backend.Backend, client string) (*Store, error) {
		opt := p.options(client)
		opt.Wait = time.Second
		return Open(t.Context(), b, pass, opt)
	}
	_, err = open(l, "stranger")
	wantErr(t, err, backend.ErrUnavailable)
	s, err := open(l, "reader")
	must(t, err)
	defer s.Close()
	if s.Assumed() == nil {
		t.Fatal("it does not say that it could not ask")
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Confirm(soon); err == nil {
		t.Fatal("confirmed by nobody")
	} else if s.Assumed() == nil {
		t.Fatal("confirmed without an answer")
	}
	other := &place{t: t, b: memory.New(), dir: t.TempDir()}
	other.create(Params{})
	inner := l.Backend
	l.mend(other.b)
	wantErr(t, s.Confirm(t.Context()), ErrForeign)
	l.mend(inner)
	must(t, s.Confirm(t.Context()))
	if s.Assumed() != nil {
		t.Error("confirmed, and still assumed")
	}
}
