package worktree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ensync/engine/worktree/journal"
)

// Tree is an open working tree. All methods are safe for concurrent use. It is a fusefs.Tree and a replica.Client.
//
// # How a change becomes durable
//
// A change of names is one record, appended to the log before it holds in memory (commit). Changes of content and
// attributes hold in memory at once and wait there (flush.go) until fsync, the timer or the budget makes them one record
// for each inode. The log makes records durable in their order; all that is within Options.Delay, or at fsync. The catalogue follows
// behind (checkpoint.go), and is read for what is not in memory.
//
// # Locks
//
//	saving    one checkpoint at a time, or one that moves data in the log
//	mu        everything in memory
//	queue.mu  notices that wait
//
// are taken in this order. mu is never held over the network or a transaction. It is held over appends to the log, which
// wait for the disk only when a segment is full or too much is queued, and over reads of the catalogue. A reader plans under mu, takes a reference to each data frame it
// needs, and reads without it (read.go).
type Tree struct {
	opt    Options
	blocks Blocks
	log    *journal.Log
	cat    *catalogue
	lock   *os.File
	bases  baseCache
	queue  noticeQueue

	saving sync.Mutex
	tidyAt time.Time // when tidy may try again; only Tick uses it

	mu          sync.Mutex
	broken      error
	inodes      map[Ino]*inode
	dirty       map[Ino]*inode           // unsaved
	gone        map[Ino]bool             // since the last checkpoint
	savingGone  map[Ino]bool             // in the checkpoint that is being written
	orphans     map[Ino]bool             // inodes without a name
	refs        map[Ino]uint64           // the kernel's
	shown       map[Ino]map[string]shown // by directory and name
	untold      map[place]int            // names of which the kernel does not know yet that they mean another inode
	isShown     bool                     // somebody asked for notices
	origins     map[Ino]string           // where directories that were moved were agreed to be; see leaves
	heirs       map[Ino]bool             // edited since the reconciler took their name; see heir
	pinned      map[Ino]bool             // directories that say what is pinned
	next        Ino
	unsavedFrom Ino // inodes of this number and higher are not in the catalogue
	trimAt      int // see trim

	pending          []waiter // have changes that no record holds, oldest first
	ram              int64    // bytes of dirty extents
	logged           int64    // bytes of records since the last checkpoint
	savedAt          time.Time
	checkpointWanted bool

	space space

	ballast ballast

	changed chan struct{} // see Changed

	wake chan struct{} // the timer should look at once
	stop context.CancelFunc
	done sync.WaitGroup
}

// maxSize is the largest size of a file, in bytes.
const maxSize = 1<<62 - 1

var _ interface{ Close(context.Context) error } = (*Tree)(nil)

// Open opens the tree whose state is in stateDir, or makes an empty one, and recovers what the log holds. key is this
// replica's own. Only one process can have it open.
func Open(ctx context.Context, stateDir string, key [32]byte, blocks Blocks, opt Options) (*Tree, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("working tree %s: %w", stateDir, err)
	}
	opt.setDefaults(stateDir)
	lock, err := lockDir(stateDir)
	if err != nil {
		return nil, err
	}
	t := &Tree{opt: opt, blocks: blocks, lock: lock, inodes: map[Ino]*inode{}, dirty: map[Ino]*inode{},
		gone: map[Ino]bool{}, orphans: map[Ino]bool{}, refs: map[Ino]uint64{}, shown: map[Ino]map[string]shown{}, heirs: map[Ino]bool{}, origins: map[Ino]string{},
		untold: map[place]int{}, pinned: map[Ino]bool{}, ballast: newBallast(stateDir),
		next: RootIno + 1, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), savedAt: opt.Now()}
	t.bases.blocks = blocks
	if err := t.recover(ctx, stateDir, key); err != nil {
		t.closeFiles(ctx)
		return nil, fmt.Errorf("working tree %s: %w", stateDir, err)
	}
	run, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.queue.start(run, &t.done)
	if !opt.NoTimer {
		t.done.Add(2)
		go t.every(run, t.opt.Delay/8, nil, t.handOver) // the catalogue can be slow; the log must not wait for it
		go t.every(run, t.opt.Delay/4, t.wake, t.follow)
	}
	return t, nil
}

// lockDir makes sure that no other process has the directory open, for as long as the file is.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("working tree %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			err = errors.New("another process has it open; unmount there first")
		}
		return nil, fmt.Errorf("working tree %s: %w", dir, err)
	}
	return f, nil
}

// Close hands everything to the log, makes it durable, writes the catalogue and ends. What ctx cuts short is made good
// by the next Open.
func (t *Tree) Close(ctx context.Context) error {
	if t.stop != nil {
		t.stop()
		t.done.Wait()
	}
	err := t.SyncAll(ctx)
	if err == nil {
		err = t.checkpoint(ctx)
	}
	return errors.Join(err, t.closeFiles(ctx))
}

func (t *Tree) closeFiles(ctx context.Context) (err error) {
	t.mu.Lock()
	if t.broken == nil {
		t.broken = errors.New("working tree: closed")
	}
	t.mu.Unlock()
	t.bases.close()
	if t.log != nil {
		err = t.log.Close(ctx)
	}
	if t.cat != nil {
		err = errors.Join(err, t.cat.close())
	}
	return errors.Join(err, t.lock.Close())
}

// every is a timer.
func (t *Tree) every(ctx context.Context, period time.Duration, wake <-chan struct{}, do func(context.Context) error) {
	defer t.done.Done()
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-wake:
		}
		if err := do(ctx); err != nil && ctx.Err() == nil && t.opt.OnError != nil {
			t.opt.OnError(err)
		}
	}
}

// How much may gather before a checkpoint is due early.
const (
	checkpointBytes  = 16 << 20
	checkpointInodes = 8192
)

// throttle makes who creates wait while the catalogue is far behind, because what it does not have yet must stay in
// memory. When ctx ends, the creation goes on.
func (t *Tree) throttle(ctx context.Context) {
	for {
		t.mu.Lock()
		waiting := len(t.dirty)
		if waiting >= checkpointInodes {
			t.wantCheckpoint()
		}
		t.mu.Unlock()
		if waiting < 2*checkpointInodes {
			return
		}
		if t.saving.TryLock() { // nobody is writing it
			t.saving.Unlock()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Tick does what is due.
func (t *Tree) Tick(ctx context.Context) error { return errors.Join(t.handOver(ctx), t.follow(ctx)) }

// handOver gives changes that waited long enough to the log, which makes them durable in the background.
func (t *Tree) handOver(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	flushed, err := t.flushDue(t.opt.Now())
	if flushed {
		t.log.Commit()
	}
	return err
}

// follow brings the catalogue up to the log when that is due.
func (t *Tree) follow(ctx context.Context) error {
	t.mu.Lock()
	due := t.checkpointWanted || len(t.dirty) >= checkpointInodes || t.logged >= checkpointBytes ||
		t.opt.Now().Sub(t.savedAt) >= t.opt.Checkpoint && len(t.dirty)+len(t.gone) > 0
	t.mu.Unlock()
	if !due {
		return nil
	}
	return errors.Join(t.checkpoint(ctx), t.tidy(ctx))
}

// wantCheckpoint lets the timer make one soon. t.mu is held.
func (t *Tree) wantCheckpoint() {
	t.checkpointWanted = true
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func isNoSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) }
