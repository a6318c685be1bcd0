package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// tmpMaxAge is when a temporary file is taken for one that a killed process left.
const tmpMaxAge = time.Hour

// grown takes note that a piece was stored, and starts an eviction when it is time to look: before the first look,
// when the cache seems too big, and when this process alone has added a sixteenth, since others may add as much.
func (c *Cache) grown(size int64) {
	used, fresh := c.used.Add(size), c.fresh.Add(size)
	if c.looked.Load() && used <= c.limit() && fresh <= c.max/16 {
		return
	}
	c.cleanSoon()
}

// limit is what the pieces may take that are not pinned.
func (c *Cache) limit() int64 { return c.max - c.pins.bytes.Load() }

// cleanSoon starts an eviction, unless one runs.
func (c *Cache) cleanSoon() {
	if !c.cleaning.CompareAndSwap(false, true) {
		return
	}
	c.tasks.Go(func() {
		before := c.stats.evicted.Load()
		c.note(c.Clean(c.ctx))
		c.cleaning.Store(false)
		// What was stored meanwhile may be too much again.
		if c.used.Load() > c.limit() && c.stats.evicted.Load() > before && c.ctx.Err() == nil {
			c.cleanSoon()
		}
	})
}

// Clean brings the cache to nine tenths of its size if it is bigger, or smaller if its disk is nearly full, the longest unused
// pieces first, and removes what killed processes left. If another process cleans at the moment, Clean does nothing. Its error is only for those who
// want to show it.
func (c *Cache) Clean(ctx context.Context) error {
	if c.dir == "" {
		return nil
	}
	// Whatever comes of it, the next look is due after as much again has been stored.
	c.looked.Store(true)
	c.fresh.Store(0)
	c.used.Store(0)
	// The lock only saves work: without one, on file systems that have none, two processes remove the same pieces.
	unlock, busy := tryLock(filepath.Join(c.dir, "lock"))
	if busy {
		return nil
	}
	defer unlock()
	pieces, total, err := c.scan(ctx)
	if err != nil {
		return err
	}
	goal := total - c.disk.lacks(c.dir)
	if limit := c.limit(); total > limit {
		goal = min(goal, limit/10*9)
	}
	if total > goal {
		slices.SortFunc(pieces, func(a, b piece) int { return a.used.Compare(b.used) })
		for _, p := range pieces {
			if total <= goal || ctx.Err() != nil {
				break
			}
			if err := ignoreAbsent(os.Remove(p.path)); err != nil {
				c.note(err)
				continue
			}
			c.stats.evicted.Add(1)
			total -= p.size
		}
	}
	c.used.Add(total)
	return ctx.Err()
}

// Clear removes all pieces of this store. Others may go on using the cache meanwhile.
func (c *Cache) Clear(ctx context.Context) error {
	if c.dir == "" {
		return nil
	}
	pieces, _, err := c.scan(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, p := range pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		failed = errors.Join(failed, ignoreAbsent(os.Remove(p.path)))
	}
	return failed
}

// Size tells how many bytes the pieces of this store take, in how many files.
func (c *Cache) Size(ctx context.Context) (bytes int64, files int, err error) {
	if c.dir == "" {
		return 0, 0, nil
	}
	pieces, total, err := c.scan(ctx)
	return total, len(pieces), err
}

type piece struct {
	path string
	size int64 // that it takes on the disk
	used time.Time
}

func (c *Cache) scan(ctx context.Context) (pieces []piece, total int64, err error) {
	return scan(ctx, c.dir, c.note)
}

// scan looks at all pieces in a directory, and removes old temporary files on the way. Failures with single files go to note.
func scan(ctx context.Context, top string, note func(error)) (pieces []piece, total int64, err error) {
	shards, err := readDir(top)
	if err != nil {
		return nil, 0, err
	}
	for _, shard := range shards {
		if !shard.IsDir() {
			continue
		}
		dir := filepath.Join(top, shard.Name())
		files, err := readDir(dir)
		note(err) // what cannot be read cannot be removed either; the rest can
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return nil, 0, err
			}
			path := filepath.Join(dir, f.Name())
			st, err := os.Lstat(path)
			if err != nil {
				note(err)
				continue
			}
			if shard.Name() != tmpDir {
				size := onDisk(st.Size())
				pieces = append(pieces, piece{path, size, st.ModTime()})
				total += size
			} else if time.Since(st.ModTime()) > tmpMaxAge {
				note(os.Remove(path))
			}
		}
	}
	return pieces, total, nil
}

// readDir lists a directory; one that is not there is empty.
func readDir(path string) ([]os.DirEntry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	return entries, ignoreAbsent(err)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
