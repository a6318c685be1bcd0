package cache

import (
	"context"
	"path/filepath"
	"sync"
	"time"
)

// disk knows how much room there is where the cache lies.
type disk struct {
	mu     sync.Mutex
	at     time.Time
	free   int64
	leave  int64
	stored int64 // since the last look

	space func(dir string) (total, free int64, err error) // nil: that of the file system
}

// How old, and how much used, a look at the disk may be.
const (
	diskAge    = time.Second
	diskStored = 8 << 20
	diskPause  = 2 * time.Second // for which nothing is stored after there was no room
)

// spaceToLeave is what the cache leaves of a disk for others: more than a mounted tree's reserve, which lies on the same disk
// as a rule.
func spaceToLeave(total int64) int64 { return min(max(total/16, 32<<20), 1<<30) }

// look looks at the disk that holds dir, or will. mu is held.
func (d *disk) look(dir string) {
	space := d.space
	if space == nil {
		space = diskSpace
	}
	total, free, err := space(dir)
	for err != nil && notThere(err) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		total, free, err = space(dir)
	}
	d.at, d.stored = time.Now(), 0
	if err != nil { // nobody can tell: then storing tells
		d.free, d.leave = 1<<62, 0
		return
	}
	d.free, d.leave = free, spaceToLeave(total)
}

// lacks is by how much there is less free than there should be.
func (d *disk) lacks(dir string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look(dir)
	return max(0, d.leave-d.free)
}

// hasRoom reports whether a piece may be stored. Where there is no room, some is made for the next one.
func (c *Cache) hasRoom(size int64) bool {
	d := &c.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stored > diskStored || time.Since(d.at).Abs() > diskAge {
		d.look(c.dir)
	}
	if d.free-d.stored-size < d.leave {
		c.paused.Store(time.Now().Add(diskPause).UnixNano())
		c.cleanSoon()
		return false
	}
	d.stored += size
	return true
}

// GiveWay removes pieces if the disk is fuller than it should be: others need the room more. It waits until that is done.
func (c *Cache) GiveWay(ctx context.Context) error {
	if c.dir == "" || c.disk.lacks(c.dir) == 0 {
		return nil
	}
	return c.Clean(ctx)
}
