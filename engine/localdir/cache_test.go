package localdir_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ensync/engine/localdir"
	"ensync/store/object"
)

// counted is a directory whose hashed bytes are counted.
type counted struct {
	*testing.T
	user
	*localdir.Dir
	read    int64
	state   string
	reports []string
}

func newCounted(t *testing.T) *counted {
	c := &counted{T: t, user: user{t.TempDir()}, state: filepath.Join(t.TempDir(), "cache.sqlite")}
	c.start()
	t.Cleanup(func() { c.Dir.Close() })
	return c
}

func (c *counted) start() {
	c.Helper()
	d, err := localdir.Open(c.root, c.state, sha{&c.read}, localdir.Options{Report: func(s string) { c.reports = append(c.reports, s) }})
	if err != nil {
		c.Fatal(err)
	}
	c.Dir = d
}

func (c *counted) ok(errs ...error) {
	c.Helper()
	for _, err := range errs {
		if err != nil {
			c.Fatal(err)
		}
	}
}

// scan hashes what is unknown below dir, and returns how many bytes that took.
func (c *counted) scan(dirs ...string) int64 {
	c.Helper()
	c.read = 0
	for _, dir := range dirs {
		entries, err := c.List(c.Context(), dir)
		c.ok(err)
		for _, e := range entries {
			if e.Kind == object.File {
				_, err := c.Hash(c.Context(), dir, e)
				c.ok(err)
			}
		}
	}
	c.ok(c.Sync(c.Context()))
	return c.read
}

// settled waits, by looking, until the files of dirs are not racy on any file system, and restarts.
func (c *counted) settled(dirs ...string) {
	c.Helper()
	for range 1000 {
		c.scan(dirs...)
		if c.scan(dirs...) == 0 {
			c.restart()
			return
		}
	}
	c.Fatal("files are hashed again and again")
}

func (c *counted) restart() {
	c.Helper()
	c.ok(c.Dir.Close())
	c.start()
}

const large = 100_000

func TestNothingIsReadTwice(t *testing.T) {
	c := newCounted(t)
	data := strings.Repeat("x", large)
	c.ok(c.Write("d/one", data), c.Write("d/two", data+"2"), c.Mkdir("e"))
	c.settled("d", "e")
	steps := []struct {
		what string
		edit func() error
		dirs []string
		want int64
	}{
		{"nothing", func() error { return nil }, []string{"d"}, 0},
		{"rename", func() error { return c.Rename("d/one", "d/three") }, []string{"d"}, 0},
		{"move to another directory", func() error { return c.Rename("d/three", "e/one") }, []string{"e", "d"}, 0},
		{"and back, seen gone first", func() error { return c.Rename("e/one", "d/one") }, []string{"e", "d"}, 0},
		{"move of a directory", func() error { return c.Rename("d", "moved") }, []string{"moved"}, 0},
		{"and back", func() error { return c.Rename("moved", "d") }, []string{"d"}, 0},
		{"edit", func() error { return c.Write("d/one", data[1:]+"y") }, []string{"d"}, large},
	}
	for _, s := range steps {
		c.ok(s.edit())
		if got := c.scan(s.dirs...); got != s.want {
			t.Errorf("%s: %d bytes were read, not %d", s.what, got, s.want)
		}
		c.settled(s.dirs...)
	}
}

func TestSameSizeAndTimeIsRead(t *testing.T) {
	c := newCounted(t)
	c.ok(c.Write("d/f", strings.Repeat("x", large)), c.Touch("d/f", 1e18))
	c.settled("d")
	c.ok(c.Write("d/f", strings.Repeat("y", large)), c.Touch("d/f", 1e18))
	if got := c.scan("d"); got != large {
		t.Errorf("%d bytes were read", got)
	}
	c.settled("d")
	c.ok(c.Rename("d/f", "d/g"), c.Write("d/f", strings.Repeat("z", large)), c.Touch("d/f", 1e18))
	if got := c.scan("d"); got != large {
		t.Errorf("another file at the name: %d bytes were read", got)
	}
}

// TestEveryEditIsSeen edits right after each look, without a pause: the racy rule.
func TestEveryEditIsSeen(t *testing.T) {
	c := newCounted(t)
	for i := range 200 {
		c.ok(c.Write("f", string(rune('a'+i%26))), c.Touch("f", 1e18))
		entries, err := c.List(c.Context(), "")
		c.ok(err)
		e, err := c.Hash(c.Context(), "", entries[0])
		c.ok(err)
		if want := string(rune('a' + i%26)); string(e.Content.Data) != want {
			t.Fatalf("edit %d: %q is seen, not %q", i, e.Content.Data, want)
		}
		c.ok(c.Sync(c.Context()))
	}
}

func TestDamagedCacheIsMadeAnew(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return []byte("this is no database at all, but long enough to be one") },
		"flipped":     func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), "name-to-find", "name-to-fund")) },
		"cut":         func(b []byte) []byte { return b[:len(b)/2/4096*4096+100] },
		"empty":       func(b []byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounted(t)
			c.ok(c.Write("d/name-to-find", strings.Repeat("x", large)))
			c.settled("d")
			c.ok(c.Dir.Close())
			b, err := os.ReadFile(c.state)
			c.ok(err, os.WriteFile(c.state, damage(b), 0o600))
			c.start()
			if got := c.scan("d"); got != large {
				t.Errorf("%d bytes were read", got)
			}
			c.settled("d")
			if got := c.scan("d"); got != 0 {
				t.Errorf("%d bytes were read although the cache is new; %q", got, c.reports)
			}
			if name != "empty" && len(c.reports) == 0 {
				t.Error("nothing was reported")
			}
		})
	}
}

func TestLockedCacheIsLeftAlone(t *testing.T) {
	c := newCounted(t)
	c.ok(c.Write("d/f", strings.Repeat("x", large)))
	c.settled("d")
	var reports []string
	other, err := localdir.Open(c.root, c.state, sha{}, localdir.Options{Report: func(s string) { reports = append(reports, s) }})
	c.ok(err)
	if _, err := other.List(t.Context(), "d"); err != nil || len(reports) != 1 {
		t.Errorf("second process: %v, reports %q", err, reports)
	}
	c.ok(other.Close())
	c.restart()
	if got := c.scan("d"); got != 0 {
		t.Errorf("the locked cache was lost: %d bytes were read", got)
	}
}

func TestCacheForgetsWhatIsGone(t *testing.T) {
	c := newCounted(t)
	c.ok(c.Write("d/e/f", strings.Repeat("x", large)), c.Write("d0/f", strings.Repeat("y", large)))
	c.settled("d", "d/e", "d0")
	c.ok(c.Remove("d"), c.Settle(t.Context(), "", []object.Entry{{Name: "d"}}), c.Dir.Close())
	db, err := sql.Open("sqlite", c.state)
	c.ok(err)
	defer db.Close()
	var paths, big int
	c.ok(db.QueryRow("SELECT count(*) FROM directory").Scan(&paths), db.QueryRow("SELECT count(*) FROM big").Scan(&big))
	if paths != 1 || big != 1 {
		t.Errorf("%d directories and %d big files are still remembered", paths, big)
	}
	c.start()
}

// TestRenamedEditIsFound: a small file that was edited without a trace, and renamed, is taken for renamed only until it is
// read; then it is known for what it is.
func TestRenamedEditIsFound(t *testing.T) {
	c := newCounted(t)
	c.ok(c.Write("d/f", "tiny AA"), c.Touch("d/f", 1e18))
	time.Sleep(100 * time.Millisecond) // else its time stamp may not tell it from what comes next
	c.scan("d")
	c.ok(c.Write("d/f", "tiny BB"), c.Touch("d/f", 1e18), c.Rename("d/f", "d/g"))
	var err error
	for range 3 {
		var list []object.Entry
		list, err = c.List(c.Context(), "d")
		c.ok(err)
		var e object.Entry
		if e, err = c.Hash(c.Context(), "d", list[0]); err == nil && string(e.Content.Data) != "tiny BB" {
			t.Fatalf("it holds %q", e.Content.Data)
		}
	}
	if err != nil {
		t.Errorf("it can't be read: %v", err)
	}
}
