package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull says that pinned pieces take all the room that they may take.
var ErrFull = errors.New("the room for pinned content is used up")

// pinShare is the part of the cache's size, in tenths, that pinned pieces may take: the rest is for what is read beside.
const pinShare = 9

// pins are pieces that stay. They lie in a directory of one process, in the form that they have in the cache, count as
// part of the cache's size, and are found before those of the cache.
type pins struct {
	dir   string
	bytes atomic.Int64
	round chan struct{} // holds one value while a round is under way
}

// PinIn says where pinned pieces lie; one process at a time may use dir. It is called before anything else.
func (c *Cache) PinIn(ctx context.Context, dir string) error {
	c.pins.dir = dir
	_, total, err := scan(ctx, dir, c.note)
	c.pins.bytes.Store(total)
	return err
}

// Pinned is how many bytes pinned pieces take, and may take.
func (c *Cache) Pinned() (bytes, most int64) { return c.pins.bytes.Load(), c.max / 10 * pinShare }

// A Round says which pieces are to be pinned, all of them: what it does not name is pinned no longer when it ends. There is
// one at a time.
type Round struct {
	c    *Cache
	mu   sync.Mutex
	want map[key]bool
}

// BeginRound begins a round, and waits for the one before.
func (c *Cache) BeginRound(ctx context.Context) (*Round, error) {
	select {
	case c.pins.round <- struct{}{}:
		return &Round{c: c, want: map[key]bool{}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Keep says that a piece is to be pinned, and reports whether it is.
func (r *Round) Keep(name string, offset, length int64) bool {
	k := keyOf(name, offset, length)
	r.mu.Lock()
	r.want[k] = true
	r.mu.Unlock()
	return isWhole(pathIn(r.c.pins.dir, k), length)
}

// Put pins a piece that Keep did not find, and takes it out of the cache. ErrFull if there is no room.
func (r *Round) Put(name string, offset, length int64, data []byte) error {
	c, k := r.c, keyOf(name, offset, length)
	size := onDisk(int64(len(data)) + headerSize)
	if total, most := c.Pinned(); total+size > most {
		return fmt.Errorf("%w: %d of %d bytes", ErrFull, total, most)
	}
	err := write(c.pins.dir, k, data, func(shard string) error {
		return errors.Join(os.MkdirAll(filepath.Join(c.pins.dir, tmpDir), 0o700), os.MkdirAll(shard, 0o700))
	})
	if err != nil {
		return fmt.Errorf("pin a piece of %s: %w", name, err)
	}
	c.pins.bytes.Add(size)
	c.note(os.Remove(pathIn(c.dir, k)))
	return nil
}

// End ends a round. If it is whole, it lets go of all pieces that it does not name: they go back to the cache.
func (r *Round) End(ctx context.Context, whole bool) error {
	c := r.c
	defer func() { <-c.pins.round }()
	if !whole {
		return nil
	}
	pieces, total, err := scan(ctx, c.pins.dir, c.note)
	if err != nil {
		return err
	}
	names := make(map[string]bool, len(r.want))
	for k := range r.want {
		names[pathIn(c.pins.dir, k)] = true
	}
	for _, p := range pieces {
		if names[p.path] {
			continue
		}
		c.unpin(p)
		total -= p.size
	}
	c.pins.bytes.Store(total)
	return ctx.Err()
}

// unpin moves a piece to the cache, as just used, or removes it if that is elsewhere.
func (c *Cache) unpin(p piece) {
	now := time.Now()
	c.note(os.Chtimes(p.path, now, now))
	shard := filepath.Join(c.dir, filepath.Base(filepath.Dir(p.path)))
	if c.dir != "" && c.makeDirs(shard) == nil && os.Rename(p.path, filepath.Join(shard, filepath.Base(p.path))) == nil {
		c.grown(p.size)
		return
	}
	c.note(os.Remove(p.path))
}

// Has tells whether a piece is here. It does not look at what is in it.
func (c *Cache) Has(name string, offset, length int64) bool {
	k := keyOf(name, offset, length)
	for _, dir := range c.places() {
		if isWhole(pathIn(dir, k), length) {
			return true
		}
	}
	return false
}

// Peek returns a piece if it is here.
func (c *Cache) Peek(name string, offset, length int64) ([]byte, bool) {
	return c.load(keyOf(name, offset, length), length)
}

// places are the directories that hold pieces, in the order in which they are looked into.
func (c *Cache) places() []string {
	var dirs []string
	for _, dir := range []string{c.pins.dir, c.dir} {
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func isWhole(path string, length int64) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular() && st.Size() == length+headerSize
}

// blockSize is what file systems give files space in, in bytes.
const blockSize = 4096

// onDisk is what a file of size bytes takes.
func onDisk(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

// notThere reports whether an error says that somebody removed what was to be used.
func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
