package worktree

import (
	"context"
	"syscall"
	"time"
)

// space is what there was room for, looked up now and then.
type space struct {
	at     time.Time
	total  uint64 // of the disk
	free   uint64 // beyond the reserve, and within Options.Unsynced
	agreed uint64 // to what was asked for since then
}

// How old, and how much used, a look at the disk may be.
const (
	spaceAge  = time.Second
	spaceUsed = 8 << 20
)

// room refuses what would eat into the reserve of the disk, or be more than may wait for the store. Before it does, it lets
// go of what can be had again.
func (t *Tree) room(bytes uint64) error {
	t.mu.Lock()
	err := t.roomLocked(bytes)
	t.mu.Unlock()
	if !isNoSpace(err) || t.opt.MakeRoom == nil {
		return err
	}
	t.opt.MakeRoom()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.space.at = time.Time{}
	return t.roomLocked(bytes)
}

func (t *Tree) roomLocked(bytes uint64) error {
	s := &t.space
	if now := t.opt.Now(); now.Sub(s.at) > spaceAge || s.agreed > spaceUsed {
		total, free, err := t.available()
		if err != nil {
			return err
		}
		*s = space{at: now, total: total, free: free}
	}
	if s.free < s.agreed+bytes {
		t.wantCheckpoint() // which gives back what the log holds and nobody needs
		return syscall.ENOSPC
	}
	s.agreed += bytes
	return nil
}

// available is what the tree may hold, and how much more it may take: what is in memory and in the log counts as taken.
func (t *Tree) available() (total, free uint64, err error) {
	total, free, err = t.opt.Space()
	if err != nil {
		return 0, 0, err
	}
	total -= min(total, t.opt.Reserve)
	free -= min(free, t.opt.Reserve+uint64(max(0, t.ram)))
	if t.opt.Unsynced > 0 {
		waits := uint64(max(0, t.log.Stats().LiveBytes+t.ram))
		free = min(free, t.opt.Unsynced-min(waits, t.opt.Unsynced))
	}
	return total, free, nil
}

// StatFS tells what there is room for.
func (t *Tree) StatFS(ctx context.Context) (StatFS, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	total, free, err := t.available()
	if err != nil {
		return StatFS{}, err
	}
	const files = 1 << 40
	return StatFS{Total: total, Free: free, Available: free, Files: files, FilesFree: files}, nil
}
