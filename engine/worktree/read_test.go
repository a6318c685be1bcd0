package worktree

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestLargeReads reads ranges that several processors share, over extents of every kind.
func TestLargeReads(t *testing.T) {
	b := newBench(t, testOptions())
	ctx := context.Background()
	const size = 3 << 20
	want := []byte(pattern(1, size))
	ino := b.write("f", string(want))
	change := func(data string, off int) {
		b.writeAt(ino, data, uint64(off))
		copy(want[off:], data)
	}
	for i := range 40 { // some in frames of their own, some in memory, some across units
		change(pattern(i, 100+700*i), 70_000*i+13)
		if i%3 == 0 {
			b.ok(b.Fsync(ctx, ino))
		}
	}
	const hole = 1 << 20
	b.ok(b.Allocate(ctx, ino, hole, 300_000, allocPunchHole|allocKeepSize))
	clear(want[hole : hole+300_000])
	check := func(off, n int) {
		t.Helper()
		buf := make([]byte, n)
		got, err := b.Read(ctx, ino, buf, uint64(off))
		if part := want[off:min(off+n, size)]; err != nil || string(buf[:got]) != string(part) {
			t.Fatalf("%d bytes at %d: %d, %v", n, off, got, err)
		}
	}
	for _, n := range []int{1 << 20, 2*shareRead - 1, 2 * shareRead, 2*shareRead + 1, size + 5} {
		for range 30 {
			check(rand.IntN(size), n)
		}
		check(0, n)
	}
}

// TestLargeReadOfDamage: damage in the share of any processor fails the whole read.
func TestLargeReadOfDamage(t *testing.T) {
	b := newBench(t, testOptions())
	ctx := context.Background()
	ino := b.write("f", strings.Repeat("0123456789abcdef", 1<<16))
	b.ok(b.Fsync(ctx, ino))
	for unitAt := uint64(0); unitAt < 1<<20; unitAt += unit {
		b.mu.Lock()
		e := b.inodes[ino].ext.at(unitAt)
		good := e.pos
		e.pos.Offset += 8 // where no frame begins
		b.mu.Unlock()
		if _, err := b.Read(ctx, ino, make([]byte, 1<<20), 0); err == nil || !strings.Contains(err.Error(), fmt.Sprint("inode ", ino)) {
			t.Errorf("damage at %d: %v", unitAt, err)
		}
		b.mu.Lock()
		b.inodes[ino].ext.at(unitAt).pos = good
		b.mu.Unlock()
	}
}
