package worktree

import (
	"context"
	"fmt"
	"testing"
)

// TestListingAfterwards lists a directory of which the catalogue has some inodes, memory newer ones of others, and of
// which some are gone: since the last checkpoint, and before.
func TestListingAfterwards(t *testing.T) {
	b := newBench(t, testOptions())
	ctx := context.Background()
	b.mkdir("d")
	for i := range 300 {
		b.write(fmt.Sprintf("d/f%03d", i), fmt.Sprint("old", i))
		if i%20 == 0 { // numbers of others in between
			b.write(fmt.Sprint("other", i), "x")
		}
	}
	remove := func(i int) {
		b.ok(b.remove(fmt.Sprintf("d/f%03d", i)))
	}
	remove(5)
	if err := b.checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	clear(b.inodes)
	b.mu.Unlock()
	b.write("d/f007", "newer than the catalogue")
	remove(9)
	b.write("d/new", "not in it")
	d := b.must("d")
	list, err := b.ReadDir(ctx, d)
	if err != nil || len(list) != 299 {
		t.Fatalf("%d names, %v", len(list), err)
	}
	for _, e := range list {
		want, err := b.GetAttr(ctx, e.Attr.Ino)
		if err != nil || want != e.Attr {
			t.Errorf("%s: listed as %v, is %v (%v)", e.Name, e.Attr, want, err)
		}
		if e.Name == "f007" && e.Attr.Size != 24 || e.Name == "f008" && e.Attr.Size != 4 {
			t.Errorf("%s has %d bytes", e.Name, e.Attr.Size)
		}
	}
}
