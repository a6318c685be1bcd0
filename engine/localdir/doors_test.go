package localdir

import (
	"testing"

	"golang.org/x/sys/unix"
)

// WithoutExchange makes every file system one without RENAME_EXCHANGE, for one test.
func WithoutExchange(t *testing.T) {
	t.Cleanup(func() { swapNames = renameExchange })
	swapNames = func(int, string, string) error { return unix.EINVAL }
}

// BeforeExchange lets a user do something between the last look and the exchange, for one test.
func BeforeExchange(t *testing.T, do func()) {
	t.Cleanup(func() { swapNames = renameExchange })
	swapNames = func(dirfd int, a, b string) error {
		do()
		return renameExchange(dirfd, a, b)
	}
}

// WithoutOwners makes every file system one where nothing can be given away, for one test.
func WithoutOwners(t *testing.T) {
	t.Cleanup(func() { giveAway = chownFile })
	giveAway = func(int, int, int) error { return unix.EPERM }
}

// WithoutLeases makes every file system one without leases, for one test.
func WithoutLeases(t *testing.T) {
	t.Cleanup(func() { takeLease = lease })
	takeLease = func(int) (bool, bool) { return false, false }
}

// WithCoarseClock makes every file system stamp changes by a clock of 10 ms, for one test.
func WithCoarseClock(t *testing.T) {
	t.Cleanup(func() { tryClock = (*handle).probeClock })
	tryClock = func(*handle) clock { return clock{grain: 1e7} }
}

func TestClock(t *testing.T) {
	c := clock{grain: 10}
	for _, test := range []struct {
		mtime, ctime int64
		racy         bool
	}{{50, 50, false}, {50, 89, false}, {50, 90, true}, {50, 100, true}, {50, 200, true}, {95, 50, true}, {105, 50, true}, {500, 50, false}} {
		st := stat{mtime: test.mtime, ctime: test.ctime}
		if got := c.racy(st, 100); got != test.racy {
			t.Errorf("mtime %d, ctime %d, looked at 100 with grain 10: racy is %v", test.mtime, test.ctime, got)
		}
		if (clock{exact: true, grain: 10}).racy(st, 100) {
			t.Errorf("an exact clock is racy")
		}
	}
	for _, test := range []struct {
		stamps []int64
		want   int64
	}{{[]int64{1_000_000_001, 1_000_000_123}, 5}, {[]int64{1_000_000_000, 1_010_000_000}, 1e7 + 4},
		{[]int64{2_000_000_000, 4_000_000_000}, 2e9 + 4}} {
		if got := grainOf(test.stamps, test.stamps[0], test.stamps[1], 4); got != test.want {
			t.Errorf("stamps %v: grain %d, not %d", test.stamps, got, test.want)
		}
	}
	if got := grainOf([]int64{5_000_000_001}, 1_000_000_000, 1_000_000_000, 4); got < 4e9 {
		t.Errorf("a server's clock 4 s ahead has the grain %d", got)
	}
}
