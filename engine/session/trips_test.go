package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"ensync/engine"
	"ensync/engine/config"
	"ensync/store/backend"
	"ensync/store/backend/link"
)

// A traveller is a machine whose store is behind a line.
type traveller struct {
	t    *testing.T
	cfg  *config.Config
	line link.Line
	far  *link.Backend
	home string // of its cache
	hold int    // so many requests must go out before one is answered
}

func newTraveller(t *testing.T, storePath string, line link.Line) *traveller {
	return &traveller{t: t, cfg: machine(t, storePath), line: line, home: t.TempDir()}
}

// sync syncs once and returns what went over the line.
func (m *traveller) sync() (engine.Summary, link.Traffic) {
	m.t.Helper()
	m.t.Setenv("ENSYNC_CACHE_DIR", m.home)
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	defer cancel()
	sum, err := trySyncWith(ctx, m.cfg, Request{}, m.options())
	if err != nil {
		m.t.Fatal(err)
	}
	return sum, m.far.Traffic()
}

func (m *traveller) options() Options {
	return Options{Open: func(server config.Server) (backend.Backend, error) {
		b, err := OpenBackend(server)
		m.far = link.Wrap(b, m.line)
		if m.hold > 0 {
			m.far.Hold(m.hold)
		}
		return m.far, err
	}}
}

// TestMountStart: a mount that knows its store starts with one round trip.
func TestMountStart(t *testing.T) {
	m := newTraveller(t, newStore(t), link.Line{})
	t.Setenv("ENSYNC_CACHE_DIR", m.home)
	start := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := OpenStore(ctx, m.cfg, pass(), m.options())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		mounted, err := s.OpenMounted(ctx, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		defer mounted.Close()
		root, err := s.OpenRoot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if _, err := s.Sync(ctx, mounted.Replica, root, Request{}); err != nil {
			t.Fatal(err)
		}
	}
	start()
	start()
	m.hold = 3
	start()
	if got := m.far.Traffic(); !nothing(got) {
		t.Errorf("%+v", got)
	}
}

// forest makes a tree of files in directories; what is in a file depends on its name only.
func forest(t *testing.T, top string, dirs, files, size int) {
	t.Helper()
	for d := range dirs {
		dir := filepath.Join(top, fmt.Sprintf("d%04d", d))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for f := range files {
			writeNoise(t, filepath.Join(dir, fmt.Sprintf("f%06d", f)), uint64(d*files+f), size)
		}
	}
}

func writeNoise(t *testing.T, path string, seed uint64, size int) {
	t.Helper()
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 1}).Read(b)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTrips counts what a sync costs: requests, bytes, and round trips. ENSYNC_TRIPS=1000 makes that many directories
// of a hundred files, where a test of every day takes few.
func TestTrips(t *testing.T) {
	dirs := 20
	if n, err := strconv.Atoi(os.Getenv("ENSYNC_TRIPS")); err == nil {
		dirs = n
	}
	for _, shape := range []struct {
		name        string
		dirs, files int
	}{{"deep", dirs, 100}, {"flat", 1, dirs * 100}} {
		t.Run(shape.name, func(t *testing.T) {
			path := newStore(t)
			line := link.Line{RoundTrip: 10 * time.Millisecond}
			a, b := newTraveller(t, path, line), newTraveller(t, path, line)
			forest(t, a.cfg.General.Path, shape.dirs, shape.files, 100)
			step := func(what string, m *traveller, changes int, fits func(link.Traffic) bool) {
				t.Helper()
				start := time.Now()
				sum, got := m.sync()
				t.Logf("%-15s %+v, %v", what, got, time.Since(start).Round(time.Millisecond))
				if n := sum.Out.Created + sum.Out.Updated + sum.In.Created + sum.In.Updated; n != changes || !sum.Clean() {
					t.Errorf("%s: %d changes instead of %d", what, n, changes)
				}
				if !fits(got) {
					t.Errorf("%s: %+v is more than it may cost", what, got)
				}
			}
			all := shape.dirs * (shape.files + 1)
			first, second := upload, download
			if dirs > 20 { // in several steps
				first, second = anything, anything
			}
			step("first sync", a, all, first)
			step("second machine", b, all, second)
			for i := range 3 {
				writeNoise(t, filepath.Join(a.cfg.General.Path, "d0000", "f000007"), uint64(1_000_000+i), 5000)
				step("one file", a, 1, oneOut)
				step("it arrives", b, 1, oneIn)
			}
			for _, m := range []*traveller{a, b} {
				m.hold = 3
				step("nothing", m, 0, nothing)
			}
		})
	}
}

func anything(link.Traffic) bool { return true }

// oneOut: a sync that changes one file, whatever the size of the tree. At most 5 PUT and 3 GET were promised.
func oneOut(c link.Traffic) bool { return c.Writes() <= 3 && c.Reads() <= 3 && c.Lists <= 1 }

// A change of another machine is one list more, the index object, and what is read of the pack.
func oneIn(c link.Traffic) bool { return c.Writes() == 0 && c.Reads() <= 7 && c.Lists <= 1 }

// nothing is known to be one round trip when all that is asked may wait for the last question.
func nothing(c link.Traffic) bool {
	return c.Writes() == 0 && c.Reads() == 3 && c.Lists == 0 && c.Depth == 1
}

// A busy computer sends a little later what could go out at once, so these have room.
func upload(c link.Traffic) bool { return c.Depth <= 16 && c.Writes() <= 12 }

func download(c link.Traffic) bool { return c.Depth <= 24 && c.Reads() <= 40 }

// TestManySmallFiles: ten thousand files take the time of their bytes and a few round trips, out and in. ENSYNC_FAR=1
// does it over a line of 100 ms and 10 MiB a second, and says how long it took.
func TestManySmallFiles(t *testing.T) {
	line, dirs := link.Line{RoundTrip: 20 * time.Millisecond}, 20
	if os.Getenv("ENSYNC_FAR") != "" {
		line, dirs = link.Line{RoundTrip: 100 * time.Millisecond, Up: 10 << 20, Down: 10 << 20}, 100
	}
	path := newStore(t)
	a, b := newTraveller(t, path, line), newTraveller(t, path, line)
	forest(t, a.cfg.General.Path, dirs, 100, 4096)
	for _, m := range []*traveller{a, b} {
		start := time.Now()
		sum, got := m.sync()
		t.Logf("%+v, %v", got, time.Since(start).Round(time.Millisecond))
		// A busy computer sends together what could go out at once a little later, so the bounds have room.
		if files := sum.Out.Created + sum.In.Created; files != dirs*101 || got.Depth > 60 || got.Reads()+got.Writes() > 160 {
			t.Errorf("%d files, %+v", files, got)
		}
	}
}
