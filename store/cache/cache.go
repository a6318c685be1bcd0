// Package cache keeps encrypted pieces of a store's immutable objects on the local disk, so that they are fetched once.
//
// It is disposable at any moment, also while it is used: any number of processes share it, create it, clean it and are
// killed, and a user may remove it. So "not there" is success for whoever wanted something gone, every file appears
// whole by a rename, every piece is checked when it is read, and nothing that goes wrong here ever reaches a caller:
// then the piece is fetched, as if there were no cache.
//
//	DIR/CACHEDIR.TAG            tells backup programs to leave DIR out (bford.info/cachedir)
//	DIR/STORE/lock              who may clean; empty
//	DIR/STORE/tmp/RANDOM        being written
//	DIR/STORE/ab/HASH           a piece; HASH = SHA-256 of the object's name and the range; its mtime is its last use
//
// It leaves a part of its disk free for others, and gives way when that gets less. Pieces that are pinned are moved out of
// it, to a directory of whoever pins them, in the same form.
//
// It holds only what the store holds: ciphertext. Whether a piece is what was once sealed is for its reader to verify;
// the checksum here finds what disks and crashes do.
package cache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// stampAge is how old a piece's stamp may get before a use renews it: a use costs at most one utimensat a minute.
	stampAge = time.Minute
	// pause is how long nothing is stored after storing failed: a full disk would fail each time.
	pause = 30 * time.Second
	// largest is the part of the cache's size that one piece may have.
	largest = 8
)

// Cache is one store's part of a cache directory. All methods may be called concurrently, from any number of
// processes.
type Cache struct {
	dir   string // DIR/STORE; "" if there is no cache
	max   int64
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	tasks sync.WaitGroup // evictions
	group group
	pins  pins
	disk  disk

	cleaning atomic.Bool  // an eviction runs in this process
	used     atomic.Int64 // bytes as of the last look, and stored since
	fresh    atomic.Int64 // bytes stored since the last look
	looked   atomic.Bool  // used means something
	paused   atomic.Int64 // nothing is stored before this time, in Unix nanoseconds

	stats counters
}

type counters struct{ hits, misses, damaged, stored, evicted, failed atomic.Int64 }

// Stats counts what this process did with the cache since New.
type Stats struct {
	Hits    int64 // pieces read from the cache
	Misses  int64 // pieces fetched
	Damaged int64 // pieces that failed their check and were removed
	Stored  int64 // pieces stored
	Evicted int64 // pieces removed for room
	Failed  int64 // times that the cache itself could not do something; no caller noticed
}

// DefaultDir is where the cache is if nobody says otherwise: $ENSYNC_CACHE_DIR, else $XDG_CACHE_HOME/ensync, else
// ~/.cache/ensync. It is "" if there is no home directory; New takes that for "no cache".
func DefaultDir() string {
	if dir := os.Getenv("ENSYNC_CACHE_DIR"); dir != "" {
		return dir
	}
	// The XDG specification: a relative path is invalid and ignored.
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ensync")
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "ensync")
	}
	return ""
}

// New returns the cache of the store storeID below dir, which keeps about maxBytes: each process that stores may add a
// sixteenth to it before it looks again. It makes nothing until something is stored. An empty dir or a maxBytes of 0 or
// less gives a cache that keeps nothing.
func New(dir, storeID string, maxBytes int64) *Cache {
	c := &Cache{max: maxBytes}
	c.pins.round = make(chan struct{}, 1)
	c.ctx, c.stop = context.WithCancel(context.Background())
	if dir != "" && maxBytes > 0 {
		if abs, err := filepath.Abs(dir); err == nil {
			c.dir = filepath.Join(abs, storeDir(storeID))
		}
	}
	return c
}

// storeDir is a store's directory: its id if that is harmless as a name, else the id's hash.
func storeDir(id string) string {
	harmless := 0 < len(id) && len(id) <= 64
	for _, b := range []byte(id) {
		harmless = harmless && ('a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-')
	}
	if harmless {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "x-" + hex.EncodeToString(sum[:])
}

// Dir is where this store's pieces are; "" if nothing is kept.
func (c *Cache) Dir() string { return c.dir }

// Close calls off the fetches that still run and the eviction, and waits for their ends: a fetch must end soon after its
// context. No call may follow.
func (c *Cache) Close() error {
	c.stop()
	c.group.wait()
	c.tasks.Wait()
	return nil
}

// Stats tells what happened so far.
func (c *Cache) Stats() Stats {
	s := &c.stats
	return Stats{s.hits.Load(), s.misses.Load(), s.damaged.Load(), s.stored.Load(), s.evicted.Load(), s.failed.Load()}
}

// Get returns length bytes of the immutable object name from offset, or all of the rest if length is negative: from
// the cache, or else by fetch, which must return exactly that. Pieces are found again only by the same name, offset
// and length. Callers who want the same piece at the same time share one fetch; it goes on while at least one of them
// waits. The error is that of fetch or of ctx. The bytes belong to the caller.
func (c *Cache) Get(ctx context.Context, name string, offset, length int64, fetch func(context.Context) ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := keyOf(name, offset, length)
	return c.group.do(ctx, k, func(ctx context.Context) ([]byte, error) {
		if data, ok := c.load(k, length); ok {
			c.stats.hits.Add(1)
			return data, nil
		}
		c.stats.misses.Add(1)
		data, err := fetch(ctx)
		if err != nil {
			return nil, err
		}
		if length < 0 || int64(len(data)) == length {
			c.store(k, data)
		}
		return data, nil
	})
}

// Add keeps a piece that the caller has anyway, such as one that it has just put into the store. It costs the write of
// a file without a sync, and returns when that is done.
func (c *Cache) Add(name string, offset, length int64, data []byte) {
	if length < 0 || int64(len(data)) == length {
		c.store(keyOf(name, offset, length), data)
	}
}

// Forget removes a piece, because its reader found that it is not what was sealed.
func (c *Cache) Forget(name string, offset, length int64) {
	for _, dir := range c.places() {
		c.remove(pathIn(dir, keyOf(name, offset, length)))
	}
}

// pathIn is where the piece k lies in a directory of pieces.
func pathIn(dir string, k key) string {
	hash := hex.EncodeToString(k[:])
	return filepath.Join(dir, hash[:2], hash)
}

// load reads a piece. What fails its check is removed.
func (c *Cache) load(k key, length int64) ([]byte, bool) {
	for _, dir := range c.places() {
		if data, ok := c.loadFrom(pathIn(dir, k), k, length); ok {
			return data, true
		}
	}
	return nil, false
}

func (c *Cache) loadFrom(path string, k key, length int64) ([]byte, bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		c.note(err)
		return nil, false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		c.note(err)
		return nil, false
	}
	if !st.Mode().IsRegular() || st.Size()-headerSize > c.max {
		return nil, false
	}
	data, err := readEntry(f, st.Size(), k)
	switch {
	case errors.Is(err, errDamaged) || err == nil && length >= 0 && int64(len(data)) != length:
		c.stats.damaged.Add(1)
		c.remove(path)
		return nil, false
	case err != nil:
		c.note(err)
		return nil, false
	}
	if now := time.Now(); now.Sub(st.ModTime()).Abs() > stampAge {
		c.note(os.Chtimes(path, now, now))
	}
	return data, true
}

// remove removes a file that was found to be damaged. Another process may have replaced it by a good one meanwhile:
// then that is fetched once more.
func (c *Cache) remove(path string) { c.note(os.Remove(path)) }

// note counts a failure of the cache itself. That something is not there is none, nor that Close called it off.
func (c *Cache) note(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, context.Canceled) {
		c.stats.failed.Add(1)
	}
}

// store keeps a piece if it can.
func (c *Cache) store(k key, data []byte) {
	size := onDisk(int64(len(data)) + headerSize)
	if c.dir == "" || size > c.max/largest || time.Now().UnixNano() < c.paused.Load() || !c.hasRoom(size) {
		return
	}
	err := write(c.dir, k, data, c.makeDirs)
	if notThere(err) {
		return // someone is removing the whole cache just now: then so be it
	}
	if err != nil {
		c.stats.failed.Add(1)
		c.paused.Store(time.Now().Add(pause).UnixNano())
		return
	}
	c.stats.stored.Add(1)
	c.grown(size)
}

// write writes a piece into a directory of pieces, under a temporary name, and renames it. There is no sync: after a crash a
// piece may be damaged, and is then fetched again. A directory that is missing is made, also if a cleaner removes it at that
// moment.
func write(dir string, k key, data []byte, makeDirs func(shard string) error) error {
	path := pathIn(dir, k)
	var err error
	for range 4 {
		var tmp string
		if tmp, err = writeTemp(dir, encodeHeader(k, data), data); err == nil {
			if err = os.Rename(tmp, path); err == nil {
				return nil
			}
			os.Remove(tmp)
		}
		if !notThere(err) {
			return err
		}
		if err = makeDirs(filepath.Dir(path)); err != nil && !notThere(err) {
			return err
		}
	}
	return err
}

func writeTemp(dir string, parts ...[]byte) (string, error) {
	path := filepath.Join(dir, tmpDir, randomName())
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	for _, data := range parts {
		if err == nil {
			_, err = f.Write(data)
		}
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(path)
		return "", err
	}
	return path, nil
}

func randomName() string {
	var random [16]byte
	rand.Read(random[:])
	return hex.EncodeToString(random[:])
}

// makeDirs makes what is missing of the cache: the tag, this store's directory, its temporaries, and shard.
func (c *Cache) makeDirs(shard string) error {
	for _, dir := range []string{filepath.Join(c.dir, tmpDir), shard} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	// A user's own mkdir may have left it open to others.
	if st, err := os.Lstat(c.dir); err == nil && st.Mode().Perm()&0o077 != 0 {
		c.note(os.Chmod(c.dir, 0o700))
	}
	tag := filepath.Join(filepath.Dir(c.dir), tagName)
	if _, err := os.Lstat(tag); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	tmp, err := writeTemp(c.dir, []byte(tagText))
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, tag); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

const (
	tmpDir  = "tmp"
	tagName = "CACHEDIR.TAG"
	tagText = "Signature: 8a477f597d28d172789f06886806bc55\n" +
		"# This directory is a cache of ensync. It may be removed at any time.\n" +
		"# About this file: https://bford.info/cachedir/\n"
)
