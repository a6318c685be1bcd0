package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// content is what the pretended store has at a range of an object.
func content(name string, offset, length int64) []byte {
	if length < 0 {
		length = 3000
	}
	return bytes.Repeat(fmt.Appendf(nil, "%s@%d+%d ", name, offset, length), int(length))[:length]
}

// want gets a piece and checks it; fetched tells whether the store was asked.
func want(t *testing.T, c *Cache, name string, offset, length int64) (fetched bool) {
	t.Helper()
	got, err := c.Get(t.Context(), name, offset, length, func(context.Context) ([]byte, error) {
		fetched = true
		return content(name, offset, length), nil
	})
	if err != nil || !bytes.Equal(got, content(name, offset, length)) {
		t.Errorf("Get %s %d+%d: %d bytes, %v", name, offset, length, len(got), err)
	}
	return fetched
}

func fetches(t *testing.T, c *Cache, expect bool, name string, offset, length int64) {
	t.Helper()
	if got := want(t, c, name, offset, length); got != expect {
		t.Errorf("%s %d+%d: fetched %v, want %v", name, offset, length, got, expect)
	}
}

func fresh(t *testing.T, max int64) *Cache {
	t.Helper()
	c := New(filepath.Join(t.TempDir(), "cache"), "store-1", max)
	t.Cleanup(func() { c.Close() })
	return c
}

// files are the pieces' paths.
func files(t *testing.T, c *Cache) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(c.Dir(), "??", strings.Repeat("?", 64)))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestGet(t *testing.T) {
	c := fresh(t, 1<<20)
	for _, expect := range []bool{true, false, false} {
		fetches(t, c, expect, "packs/ab/x", 0, 1000)
		fetches(t, c, expect, "packs/ab/x", 1000, 1000)
		fetches(t, c, expect, "packs/ab/x", 0, 1001)
		fetches(t, c, expect, "packs/ab/x", 0, -1)
		fetches(t, c, expect, "packs/ab/y", 0, 1000)
		fetches(t, c, expect, "index/e", 0, 0)
	}
	other := New(filepath.Dir(c.Dir()), "store-2", 1<<20)
	defer other.Close()
	fetches(t, other, true, "packs/ab/x", 0, 1000)
	again := New(filepath.Dir(c.Dir()), "store-1", 1<<20)
	defer again.Close()
	fetches(t, again, false, "packs/ab/x", 0, 1000)
	c.Forget("packs/ab/x", 0, 1000)
	c.Forget("packs/ab/x", 0, 1000)
	fetches(t, again, true, "packs/ab/x", 0, 1000)
	c.Add("packs/ab/z", 5, 10, content("packs/ab/z", 5, 10))
	c.Add("packs/ab/z", 6, 10, content("too short", 0, 9))
	fetches(t, c, false, "packs/ab/z", 5, 10)
	fetches(t, c, true, "packs/ab/z", 6, 10)
	if s := c.Stats(); s.Failed != 0 || s.Damaged != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLayout(t *testing.T) {
	c := fresh(t, 1<<20)
	if entries, _ := os.ReadDir(filepath.Dir(c.Dir())); len(entries) != 0 {
		t.Errorf("New made %v", entries)
	}
	want(t, c, "packs/ab/x", 0, 1000)
	tag, err := os.ReadFile(filepath.Join(filepath.Dir(c.Dir()), "CACHEDIR.TAG"))
	if err != nil || !bytes.HasPrefix(tag, []byte("Signature: 8a477f597d28d172789f06886806bc55\n")) {
		t.Errorf("CACHEDIR.TAG: %q, %v", tag, err)
	}
	for _, path := range append(files(t, c), c.Dir(), filepath.Dir(c.Dir())) {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(c.Dir(), tmpDir)); len(left) != 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

func TestDamagedPiecesAreFetchedAgain(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"bit in content": func(b []byte) []byte { b[headerSize+500] ^= 4; return b },
		"bit in header":  func(b []byte) []byte { b[41] ^= 4; return b },
		"bit in key":     func(b []byte) []byte { b[9] ^= 4; return b },
		"cut":            func(b []byte) []byte { return b[:len(b)-1] },
		"only a header":  func(b []byte) []byte { return b[:headerSize] },
		"empty":          func([]byte) []byte { return nil },
		"longer":         func(b []byte) []byte { return append(b, 0) },
		"zeros":          func(b []byte) []byte { return make([]byte, len(b)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := fresh(t, 1<<20)
			want(t, c, "x", 0, 1000)
			path := files(t, c)[0]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			fetches(t, c, true, "x", 0, 1000)
			fetches(t, c, false, "x", 0, 1000)
			if s := c.Stats(); s.Damaged != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestPieceUnderAnotherNameIsNotTaken(t *testing.T) {
	c := fresh(t, 1<<20)
	want(t, c, "x", 0, 1000)
	want(t, c, "y", 0, 1000)
	if err := os.Rename(pathIn(c.dir, keyOf("x", 0, 1000)), pathIn(c.dir, keyOf("y", 0, 1000))); err != nil {
		t.Fatal(err)
	}
	fetches(t, c, true, "y", 0, 1000)
}

func TestCacheFailuresReachNobody(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Cache{
		"a file in the way": New(filepath.Join(blocked, "below"), "s", 1<<20),
		"not writable":      New("/proc/none", "s", 1<<20),
		"no directory":      New("", "s", 1<<20),
		"no size":           New(t.TempDir(), "s", 0),
		"negative size":     New(t.TempDir(), "s", -1),
		"device full":       New("/dev/full", "s", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				fetches(t, c, true, "x", 0, 1000)
			}
			c.Add("x", 0, 1000, content("x", 0, 1000))
			c.Forget("x", 0, 1000)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("removed", func(t *testing.T) {
		c := fresh(t, 1<<20)
		want(t, c, "x", 0, 1000)
		c.tasks.Wait()
		if err := os.RemoveAll(filepath.Dir(c.Dir())); err != nil {
			t.Fatal(err)
		}
		fetches(t, c, true, "x", 0, 1000)
		fetches(t, c, false, "x", 0, 1000)
	})
}

func TestFetchErrorsAreNotKept(t *testing.T) {
	c := fresh(t, 1<<20)
	broken := errors.New("broken")
	if _, err := c.Get(t.Context(), "x", 0, 10, func(context.Context) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	// An answer of the wrong length is the caller's to refuse; it is not kept.
	got, err := c.Get(t.Context(), "x", 0, 10, func(context.Context) ([]byte, error) { return []byte("short"), nil })
	if string(got) != "short" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	fetches(t, c, true, "x", 0, 10)
}

func TestEviction(t *testing.T) {
	const size, pieces = 1000, 200
	c := fresh(t, 100*onDisk(size+headerSize))
	for i := range pieces {
		want(t, c, fmt.Sprint("o", i), 0, size)
		stamp := time.Now().Add(time.Duration(i-pieces) * time.Hour)
		if err := os.Chtimes(pathIn(c.dir, keyOf(fmt.Sprint("o", i), 0, size)), stamp, stamp); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		c.tasks.Wait()
	}
	if bytes, _, err := c.Size(t.Context()); err != nil || bytes > c.max {
		t.Errorf("%d bytes of %d, %v", bytes, c.max, err)
	}
	if len(files(t, c)) < 80 {
		t.Errorf("only %d pieces are left", len(files(t, c)))
	}
	// What is read is used: it outlives what was stored after it.
	oldest := fmt.Sprint("o", pieces-80)
	fetches(t, c, false, oldest, 0, size)
	for i := range 60 {
		want(t, c, fmt.Sprint("new", i), 0, size)
		c.tasks.Wait()
	}
	fetches(t, c, false, oldest, 0, size)
	fetches(t, c, true, fmt.Sprint("o", pieces-79), 0, size)
	fetches(t, c, true, "o0", 0, size)
	if s := c.Stats(); s.Failed != 0 || s.Evicted == 0 {
		t.Errorf("%+v", s)
	}
}

func TestCleanSkipsWhenAnotherCleans(t *testing.T) {
	c := fresh(t, 100_000)
	want(t, c, "x", 0, 1000)
	c.tasks.Wait()
	unlock, busy := tryLock(filepath.Join(c.Dir(), "lock"))
	if busy {
		t.Fatal("locked by nobody")
	}
	c.max = 1
	if err := c.Clean(t.Context()); err != nil || len(files(t, c)) != 1 {
		t.Errorf("Clean under another's lock: %v, %d files", err, len(files(t, c)))
	}
	unlock()
	if err := c.Clean(t.Context()); err != nil || len(files(t, c)) != 0 {
		t.Errorf("Clean: %v, %d files", err, len(files(t, c)))
	}
}

func TestOldTemporariesAreRemoved(t *testing.T) {
	c := fresh(t, 100_000)
	want(t, c, "x", 0, 1000)
	c.tasks.Wait()
	old, young := filepath.Join(c.Dir(), tmpDir, "old"), filepath.Join(c.Dir(), tmpDir, "young")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stamp := time.Now().Add(-2 * tmpMaxAge)
	if err := os.Chtimes(old, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	if err := c.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young one: %v", err)
	}
}

func TestOneFetchForAll(t *testing.T) {
	c := fresh(t, 1<<20)
	var calls atomic.Int32
	gate := make(chan struct{})
	fetch := func(context.Context) ([]byte, error) {
		calls.Add(1)
		<-gate
		return content("x", 0, 100), nil
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			got, err := c.Get(t.Context(), "x", 0, 100, fetch)
			if err != nil || !bytes.Equal(got, content("x", 0, 100)) {
				t.Errorf("%q, %v", got, err)
			}
			clear(got) // as a reader does who decrypts in place
		})
	}
	for waiting := 0; waiting < 20; runtime.Gosched() {
		c.group.mu.Lock()
		if f := c.group.flights[keyOf("x", 0, 100)]; f != nil {
			waiting = f.waiting
		}
		c.group.mu.Unlock()
	}
	close(gate)
	all.Wait()
	if calls.Load() != 1 {
		t.Errorf("%d fetches", calls.Load())
	}
	fetches(t, c, false, "x", 0, 100)
}

func TestAFlightOutlivesItsFirstCaller(t *testing.T) {
	c := fresh(t, 1<<20)
	started, gate := make(chan struct{}), make(chan struct{})
	fetch := func(ctx context.Context) ([]byte, error) {
		close(started)
		select {
		case <-gate:
			return content("x", 0, 100), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { _, err := c.Get(ctx, "x", 0, 100, fetch); first <- err }()
	<-started
	go func() { _, err := c.Get(t.Context(), "x", 0, 100, fetch); second <- err }()
	for waiting := 0; waiting < 2; runtime.Gosched() {
		c.group.mu.Lock()
		waiting = c.group.flights[keyOf("x", 0, 100)].waiting
		c.group.mu.Unlock()
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(gate)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestAFlightEndsWhenNobodyWaits(t *testing.T) {
	c := fresh(t, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	_, err := c.Get(ctx, "x", 0, 100, func(ctx context.Context) ([]byte, error) {
		cancel()
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-ended
	fetches(t, c, true, "x", 0, 100)
}

func TestDefaultDir(t *testing.T) {
	for _, c := range []struct{ own, xdg, home, want string }{
		{"/own", "/xdg", "/home/u", "/own"},
		{"", "/xdg", "/home/u", "/xdg/ensync"},
		{"", "", "/home/u", "/home/u/.cache/ensync"},
		{"", "relative", "/home/u", "/home/u/.cache/ensync"},
		{"", "", "", ""},
	} {
		t.Setenv("ENSYNC_CACHE_DIR", c.own)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		if got := DefaultDir(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestStoreIDsStayBelowTheCache(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"0a1b", "", "..", "../x", "a/b", "A", "a", "tmp", strings.Repeat("a", 65), "a\x00"} {
		dir := storeDir(id)
		if dir != filepath.Base(dir) || dir == "." || dir == ".." || len(dir) > 80 {
			t.Errorf("%q lies in %q", id, dir)
		}
		if other, ok := seen[dir]; ok {
			t.Errorf("%q and %q share %q", id, other, dir)
		}
		seen[dir] = id
	}
}

func FuzzReadEntry(f *testing.F) {
	k := keyOf("packs/ab/x", 0, 5)
	good := append(encodeHeader(k, []byte("hello")), "hello"...)
	f.Add(good)
	f.Add(good[:20])
	f.Add(good[:headerSize])
	f.Add(make([]byte, headerSize))
	f.Fuzz(func(t *testing.T, file []byte) {
		data, err := readEntry(bytes.NewReader(file), int64(len(file)), k)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("error %v", err)
			}
			return
		}
		if again := append(encodeHeader(k, data), data...); !bytes.Equal(again, file) {
			t.Errorf("%x reads as %x, which is written %x", file, data, again)
		}
	})
}
