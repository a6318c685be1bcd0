package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ensync/engine/config"
	"ensync/engine/session"
)

// A watching is a directory that is watched.
type watching struct {
	*Service
	cfg    *config.Config
	client *Client
	stop   context.CancelFunc
	ended  chan error
	syncs  chan struct{} // one value for each sync that was begun unasked
}

func watchDirectory(t *testing.T, place string) *watching {
	t.Helper()
	cfg := newConfig(t, place)
	cfg.General.Path = t.TempDir()
	st, err := session.OpenStore(t.Context(), cfg, pass(), session.Options{})
	must(t, err)
	r, err := st.WatchDirectory(t.Context(), false)
	must(t, err)
	s, err := Watch(st, r, Options{Settle: 10 * time.Millisecond})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	w := &watching{Service: s, cfg: cfg, stop: stop, ended: make(chan error, 1), syncs: make(chan struct{}, 1000)}
	w.client, err = Dial(t.Context(), cfg.Dir)
	must(t, err)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		w.ended <- s.Follow(ctx, func(ctx context.Context, req session.Request) error {
			w.syncs <- struct{}{}
			_, err := s.Sync(ctx, req)
			return err
		})
		if err := errors.Join(s.Close(context.Background()), st.Close()); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-closed })
	return w
}

func (w *watching) path(name string) string { return filepath.Join(w.cfg.General.Path, name) }

func (w *watching) write(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(w.path(name)), 0o700))
	must(t, os.WriteFile(w.path(name), []byte(text), 0o600))
}

// await waits until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what, "does not come")
		}
	}
}

func (w *watching) has(name, text string) func() bool {
	return func() bool {
		got, err := os.ReadFile(w.path(name))
		return err == nil && string(got) == text
	}
}

// quiet waits until nothing more is synced.
func (w *watching) quiet() {
	for {
		select {
		case <-w.syncs:
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

func TestFollow(t *testing.T) {
	place := newStore(t)
	a, b := watchDirectory(t, place), watchDirectory(t, place)
	a.write(t, "d/e/f", "1")
	await(t, "what was made", b.has("d/e/f", "1"))
	b.write(t, "d/e/f", "22")
	await(t, "what was changed", a.has("d/e/f", "22"))
	must(t, os.Rename(a.path("d/e"), a.path("g")))
	await(t, "what was moved", b.has("g/f", "22"))
	a.quiet()
	b.quiet()
	st, err := a.client.Status(t.Context())
	must(t, err)
	if st.Mounted || st.Watch == nil || st.Watch.Method == "walk" || !st.Watch.Told || st.LastSync.IsZero() || st.LastError != "" {
		t.Errorf("status: %+v %+v", st, st.Watch)
	}
	if _, _, err := a.client.Unmount(t.Context(), false, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("unmounting what is not mounted: %v", err)
	}
}

// TestAskedToSync: a sync that was asked for has every change made before.
func TestAskedToSync(t *testing.T) {
	a := watchDirectory(t, newStore(t))
	a.quiet()
	a.tellPace(func(p *pace) { p.settle = time.Hour })
	for i := range 6 {
		a.write(t, "d/"+strings.Repeat("x", i+1), "1")
		sum, err := a.client.Sync(t.Context(), session.Request{})
		must(t, err)
		if sum.Out.Created == 0 {
			t.Fatalf("sync %d has not seen the change before it: %+v", i, sum)
		}
		a.write(t, "only shown", strings.Repeat("y", i+1))
		sum, err = a.client.Sync(t.Context(), session.Request{DryRun: true})
		must(t, err)
		if sum.Out.Created+sum.Out.Updated == 0 {
			t.Fatalf("dry run %d: %+v", i, sum)
		}
	}
}

// TestIdle takes the store away but for the head of the root: who only asks for that does not notice.
func TestIdle(t *testing.T) {
	place := newStore(t)
	a := watchDirectory(t, place)
	a.write(t, "f", "1")
	a.quiet()
	away := t.TempDir()
	for _, name := range []string{"packs", "index", "format", "keys@", "roots@"} {
		if err := os.Rename(filepath.Join(place, name), filepath.Join(away, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for range 5 {
		asked := time.Now()
		a.tellPace(func(p *pace) { p.looked, p.poll = time.Time{}, time.Millisecond })
		a.kickNow()
		await(t, "a look at the store", func() (done bool) {
			a.tellPace(func(p *pace) { done = p.looked.After(asked) })
			return done
		})
	}
	select {
	case err := <-a.ended:
		t.Fatal("it asked for more than the head: ", err)
	case <-a.syncs:
		t.Error("it synced, though nothing changed")
	default:
	}
}

// TestTreeIsReplaced: a watch ends when another directory is where the tree was, and deletes nothing.
func TestTreeIsReplaced(t *testing.T) {
	place := newStore(t)
	a, b := watchDirectory(t, place), watchDirectory(t, place)
	a.write(t, "d/f", "1")
	await(t, "what was made", b.has("d/f", "1"))
	must(t, os.Rename(a.path(""), a.path("")+".away"))
	must(t, os.Mkdir(a.path(""), 0o700))
	select {
	case err := <-a.ended:
		if err == nil || !strings.Contains(err.Error(), "another directory is there now") {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	b.quiet()
	if !b.has("d/f", "1")() {
		t.Error("what was moved away was deleted elsewhere")
	}
}

// TestMountsFollow: what is changed through a mount is in the other one soon, with nobody asking.
func TestMountsFollow(t *testing.T) {
	place := newStore(t)
	mount := func() *running {
		cfg := newConfig(t, place)
		cfg.Mount.Interval = time.Hour
		return run(t, cfg)
	}
	a, b := mount(), mount()
	a.write(t, "f", "1")
	await(t, "what was made", func() bool { return b.has(t, "f") })
	b.write(t, "g", "1")
	await(t, "what was made in return", func() bool { return a.has(t, "g") })
	must(t, os.Rename(place, place+".away"))
	a.write(t, "h", "1")
	await(t, "that the store is away", func() bool {
		st, err := a.client.Status(t.Context())
		must(t, err)
		return !st.Offline.IsZero()
	})
	must(t, os.Rename(place+".away", place))
	await(t, "what waited for the store", func() bool { return b.has(t, "h") })
}
