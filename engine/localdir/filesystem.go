package localdir

import (
	"cmp"
	"context"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// fileSystem is one of the file systems that a tree lies on.
type fileSystem struct {
	id uint64 // the same across reboots, as far as the kernel has such a number
	fd int    // an open directory on it, so that syncfs reports errors since we began; -1 if none may be opened

	clockOnce sync.Once
	clock     clock

	traitsOnce sync.Once
	traits     Traits

	mu      sync.Mutex
	running bool     // a goroutine is in syncfs; it ends when nobody waits for another
	next    *syncRun // what those who come now wait for
	done    sync.WaitGroup

	failed error // the first failure of a syncfs; only syncLoop uses it
}

// syncRun is one syncfs, shared by all who asked before it began.
type syncRun struct {
	done chan struct{}
	err  error
}

func newFileSystem(dirfd int, dev uint64) (*fileSystem, error) {
	fd, err := unix.Openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.EACCES {
		fd = -1
	} else if err != nil {
		return nil, err
	}
	return &fileSystem{id: fileSystemID(dirfd, dev), fd: fd}, nil
}

func (fs *fileSystem) close() error {
	fs.done.Wait()
	if fs.fd < 0 {
		return nil
	}
	return unix.Close(fs.fd)
}

// sync returns when everything written to the file system before the call is on stable storage. Callers that wait at the
// same time share one syncfs. It returns early if the context ends; the syncfs goes on.
func (fs *fileSystem) sync(ctx context.Context) error {
	if perFileSync {
		return nil
	}
	fs.mu.Lock()
	run := fs.next
	if run == nil {
		run = &syncRun{done: make(chan struct{})}
		fs.next = run
	}
	if !fs.running {
		fs.running = true
		fs.done.Go(fs.syncLoop)
	}
	fs.mu.Unlock()
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (fs *fileSystem) syncLoop() {
	for {
		fs.mu.Lock()
		run := fs.next
		fs.next = nil
		fs.running = run != nil
		fs.mu.Unlock()
		if run == nil {
			return
		}
		if fs.fd < 0 {
			unix.Sync()
		} else {
			run.err = syncFileSystem(fs.fd) // DURABLE: all that its callers wrote
		}
		// The kernel tells of a failed write once. Whose bytes it was is not known, so nothing is durable any more.
		fs.failed = cmp.Or(fs.failed, run.err)
		run.err = fs.failed
		close(run.done)
	}
}

// clock is how a file system stamps changes.
type clock struct {
	// exact: two changes with a look in between always have different times. Linux does so since 6.13 on ext4, XFS, btrfs
	// and tmpfs ("multigrain timestamps").
	exact bool
	// grain is by how much, in nanoseconds, the stamp of a change may lie before the coarse clock at its time.
	grain int64
}

// racy reports whether a file could have been changed after a look at the coarse time looked, and still be stamped as it
// was then. It is the rule of git's index, with the ctime: every change sets ctime to the clock of the file system, so
// one that comes after looked is stamped looked-grain or later. A ctime before that is the ctime of no later change.
// The mtime is judged alike where ctime is not to be relied on (FAT); one in the future was set by hand.
func (c clock) racy(st stat, looked int64) bool {
	return !c.exact && (st.ctime >= looked-c.grain || c.racyTime(st, looked))
}

// racyTime is racy for a file whose ctime was set by our own rename after its bytes were complete and its mtime set: a
// later change to the bytes also sets the mtime, so that alone tells.
func (c clock) racyTime(st stat, looked int64) bool {
	return !c.exact && st.mtime >= looked-c.grain && st.mtime <= looked+c.grain
}

const unknownGrain = 2e9 // that of FAT, the coarsest there is; nanoseconds

// clockOf finds out by trying, once for each file system.
func (h *handle) clockOf() clock {
	h.fs.clockOnce.Do(func() { h.fs.clock = tryClock(h) })
	return h.fs.clock
}

// probeClock changes a temporary file again and again, with a look after each change.
func (h *handle) probeClock() clock {
	c := clock{grain: unknownGrain}
	name := h.d.owner.tempName()
	fd, err := unix.Openat(h.fd(), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return c
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	defer unix.Unlinkat(h.fd(), name, 0)
	first, tick := coarseNow()
	var stamps []int64
	for range 16 {
		if _, err := file.WriteAt([]byte{1}, 0); err != nil {
			return c
		}
		st, err := statFile(fd)
		if err != nil {
			return c
		}
		stamps = append(stamps, st.ctime)
	}
	last, _ := coarseNow()
	c.exact = last-first <= 2*tick // else ticks in between may be what told them apart
	for i := 1; i < len(stamps); i++ {
		c.exact = c.exact && stamps[i] > stamps[i-1]
	}
	c.grain = grainOf(stamps, first, last, tick)
	return c
}

// grainOf judges stamps that were made between two times of our coarse clock.
func grainOf(stamps []int64, first, last, tick int64) int64 {
	grain := int64(1)
	for _, g := range []int64{100, 1e3, 1e6, 1e7, 1e9, 2e9} {
		for _, s := range stamps {
			if s%g != 0 {
				return widen(grain+tick, stamps, first, last)
			}
		}
		grain = g
	}
	return widen(grain+tick, stamps, first, last)
}

// widen makes up for a clock that is not ours: that of a file server.
func widen(grain int64, stamps []int64, first, last int64) int64 {
	for _, s := range stamps {
		if s < first-grain {
			grain = max(grain, unknownGrain+first-s)
		}
		if s > last+grain {
			grain = max(grain, unknownGrain+s-last)
		}
	}
	return grain
}
