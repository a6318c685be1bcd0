package cache

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// pin makes one round that keeps the pieces of the given names, fetching what is not there.
func pin(t *testing.T, c *Cache, names ...string) error {
	t.Helper()
	r, err := c.BeginRound(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	for _, name := range names {
		if r.Keep(name, 0, 1000) {
			continue
		}
		want(t, c, name, 0, 1000)
		data, ok := c.Peek(name, 0, 1000)
		if !ok {
			t.Fatalf("%s was fetched, and is not there", name)
		}
		failed = errors.Join(failed, r.Put(name, 0, 1000, data))
	}
	if err := r.End(t.Context(), failed == nil); err != nil {
		t.Fatal(err)
	}
	return failed
}

func TestPinnedPiecesStay(t *testing.T) {
	piece := onDisk(1000 + headerSize)
	c := fresh(t, 40*piece)
	dir := filepath.Join(t.TempDir(), "pinned")
	open := func(c *Cache) {
		if err := c.PinIn(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	open(c)
	if err := pin(t, c, "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		want(t, c, fmt.Sprint("o", i), 0, 1000)
	}
	c.tasks.Wait()
	// The bound holds for both, and a user who clears the cache clears what is not pinned.
	size, _, err := c.Size(t.Context())
	if pinned, _ := c.Pinned(); err != nil || pinned != 3*piece || size+pinned > c.max {
		t.Errorf("%d bytes pinned and %d not, of %d; %v", pinned, size, c.max, err)
	}
	if err := c.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		fetches(t, c, false, name, 0, 1000)
	}
	// Another process goes on with them.
	again := New(filepath.Dir(c.Dir()), "store-1", c.max)
	defer again.Close()
	open(again)
	fetches(t, again, false, "a", 0, 1000)
	// A round that was broken off lets go of nothing, a whole one of what it does not name; that is cached from then on.
	broken, err := again.BeginRound(t.Context())
	if err == nil {
		err = broken.End(t.Context(), false)
	}
	if err != nil {
		t.Fatal(err)
	}
	if pinned, _ := again.Pinned(); pinned != 3*piece {
		t.Errorf("%d bytes pinned", pinned)
	}
	if err := pin(t, again, "b"); err != nil {
		t.Fatal(err)
	}
	pinned, _ := again.Pinned()
	if left := files(t, again); pinned != piece || len(left) != 2 {
		t.Errorf("%d bytes pinned, %d pieces cached", pinned, len(left))
	}
	fetches(t, again, false, "a", 0, 1000)
}

func TestPinnedPiecesAreBounded(t *testing.T) {
	c := fresh(t, 40*onDisk(1000+headerSize))
	if err := c.PinIn(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprint("o", i))
	}
	if err := pin(t, c, names[:30]...); err != nil {
		t.Fatal(err)
	}
	if err := pin(t, c, names[:30]...); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := pin(t, c, names...); !errors.Is(err, ErrFull) {
		t.Errorf("more than there is room for: %v", err)
	}
	if pinned, most := c.Pinned(); pinned > most || most >= c.max {
		t.Errorf("%d of %d pinned", pinned, most)
	}
}

// TestGivesWay: when the disk gets full, nothing is stored, and what there is goes.
func TestGivesWay(t *testing.T) {
	c := fresh(t, 100<<20)
	total, free := int64(10<<30), int64(5<<30)
	c.disk.space = func(string) (int64, int64, error) {
		return total, free, nil
	}
	for i := range 50 {
		want(t, c, fmt.Sprint("o", i), 0, 1000)
	}
	c.tasks.Wait()
	if err := c.GiveWay(t.Context()); err != nil || len(files(t, c)) != 50 {
		t.Fatalf("%d pieces while there is room, %v", len(files(t, c)), err)
	}
	free = spaceToLeave(total) - 20*onDisk(1000+headerSize)
	c.disk.lacks(c.dir)
	fetches(t, c, true, "one more", 0, 1000)
	c.tasks.Wait()
	if left := len(files(t, c)); left < 29 || left > 30 {
		t.Errorf("%d pieces are left", left)
	}
	free = 0
	if err := c.GiveWay(context.Background()); err != nil || len(files(t, c)) != 0 {
		t.Errorf("%d pieces on a full disk, %v", len(files(t, c)), err)
	}
}
