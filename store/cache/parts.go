package cache

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// indexSuffix marks the directory of a store's local index, which lies beside its pieces and is as disposable.
const indexSuffix = ".index"

// IndexDir makes the directory for the store's local index, and notes on it that the store was used now; "" if nothing
// is kept, or the directory can't be made.
func (c *Cache) IndexDir() string {
	if c.dir == "" {
		return ""
	}
	path := c.dir + indexSuffix
	if err := os.MkdirAll(path, 0o700); err != nil {
		c.note(err)
		return ""
	}
	now := time.Now()
	c.note(os.Chtimes(path, now, now))
	return path
}

// Part is what one store has in a cache directory.
type Part struct {
	Store  string    // the name of its directory: the id of the store
	Pieces int       // how many
	Bytes  int64     // of pieces and index
	Used   time.Time // last; zero if nobody knows
}

// Parts lists the stores that have something in the cache directory dir, by name. A directory that is not there has none.
func Parts(ctx context.Context, dir string) ([]Part, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	var all []Part
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), indexSuffix)
		if !e.IsDir() || !isStoreDir(name) || len(all) > 0 && all[len(all)-1].Store == name {
			continue
		}
		p, err := part(ctx, filepath.Join(dir, name))
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

// isStoreDir tells what New makes for stores from what others may have put beside it.
func isStoreDir(name string) bool {
	digits, hashed := strings.CutPrefix(name, "x-")
	b, err := hex.DecodeString(digits)
	return err == nil && digits == strings.ToLower(digits) && (len(b) == 16 && !hashed || len(b) == 32 && hashed)
}

func part(ctx context.Context, path string) (Part, error) {
	p := Part{Store: filepath.Base(path)}
	pieces, total, err := (&Cache{dir: path}).scan(ctx)
	if err != nil {
		return p, err
	}
	p.Pieces, p.Bytes = len(pieces), total
	for _, piece := range pieces {
		if piece.used.After(p.Used) {
			p.Used = piece.used
		}
	}
	if st, err := os.Stat(path + indexSuffix); err == nil && st.ModTime().After(p.Used) {
		p.Used = st.ModTime()
	}
	files, err := readDir(path + indexSuffix)
	for _, f := range files {
		if st, err := f.Info(); err == nil {
			p.Bytes += st.Size()
		}
	}
	return p, err
}

// Trim removes the pieces that a store has in the cache directory dir and that were not used since a time, and what
// killed processes left; also the index and the directories, if the store was not used since then either. It returns how
// many bytes that freed. Others may go on using the cache meanwhile: they fetch what they miss, and build the index anew.
func Trim(ctx context.Context, dir, store string, since time.Time) (freed int64, err error) {
	c := &Cache{dir: filepath.Join(dir, store)}
	before, err := part(ctx, c.dir)
	if err != nil {
		return 0, err
	}
	pieces, _, err := c.scan(ctx)
	if err != nil {
		return 0, err
	}
	var failed error
	for _, p := range pieces {
		if ctx.Err() != nil {
			return freed, ctx.Err()
		}
		if p.used.After(since) {
			continue
		}
		if err := ignoreAbsent(os.Remove(p.path)); err != nil {
			failed = errors.Join(failed, err)
		} else {
			freed += p.size
		}
	}
	if before.Used.After(since) || failed != nil {
		return freed, failed
	}
	if err := c.removeIndex(); err != nil {
		return freed, err
	}
	freed = max(freed, before.Bytes)
	return freed, c.removeDirs(ctx)
}

// removeIndex takes the index away whole: who has it open goes on with what it has until it notices, and who opens it
// from now on makes a new one. Removed file by file, the database of one could meet the log of the other.
func (c *Cache) removeIndex() error {
	away := c.dir + indexSuffix + "."
	if err := ignoreAbsent(os.Rename(c.dir+indexSuffix, away+randomName())); err != nil {
		return err
	}
	gone, err := filepath.Glob(away + "*") // also of those that were killed here
	for _, path := range gone {
		err = errors.Join(err, ignoreAbsent(os.RemoveAll(path)))
	}
	return err
}

// removeDirs removes the directories that are empty. One that somebody fills at this moment stays.
func (c *Cache) removeDirs(ctx context.Context) error {
	dirs, err := readDir(c.dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.IsDir() {
			os.Remove(filepath.Join(c.dir, d.Name()))
		}
	}
	// RACE: the lock of one who cleans at this moment goes with it; at worst two clean at once.
	os.Remove(filepath.Join(c.dir, "lock"))
	os.Remove(c.dir)
	return nil
}
