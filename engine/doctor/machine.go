package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/store/cache"
)

// permissions looks whether others can read what is secret, and whether we can write what is ours.
func (e *examination) permissions() {
	const check = "permissions"
	file, private := filepath.Join(e.cfg.Dir, config.FileName), e.cfg.PrivateDir()
	well := true
	open := func(path, why, mode string) {
		if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
			well = false
			e.warn(check, fmt.Sprintf("%s is open to others (mode %04o), and %s", path, st.Mode().Perm(), why),
				fmt.Sprintf("chmod %s %s", mode, path))
		}
	}
	open(private, "holds what this machine knows of the store", "700")
	if e.cfg.General.Passphrase.Kind == config.PassphraseString {
		open(file, "holds the passphrase", "600")
	}
	if src, err := session.SourceOf(e.cfg.General.Passphrase); err == nil && src.Exposed() != nil {
		open(e.cfg.General.Passphrase.Path, "holds the passphrase", "600")
	}
	for _, dir := range []string{e.cfg.Dir, private} {
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, fs.ErrNotExist) {
			well = false
			e.fail(check, fmt.Sprintf("%s: can't be written: %v", dir, err), "correct its owner and mode; the state of this machine lies there")
		}
	}
	if well {
		e.ok(check, "nobody else can read the passphrase or the state of this machine")
	}
}

var errNoTree = errors.New("there is no such directory")

// treeOf says what a local tree is.
func treeOf(path string) (string, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: %w", path, errNoTree)
	case err != nil:
		return "", err
	case !st.IsDir():
		return "", fmt.Errorf("%s: not a directory", path)
	}
	return "a directory", nil
}

// The bounds of free space, in bytes.
const (
	littleSpace = 1 << 30
	noSpace     = 64 << 20
)

// space looks at the disks, each once.
func (e *examination) space() {
	places := []struct{ what, path string }{{"the local tree", e.cfg.General.Path}, {"the state of this machine", e.cfg.Dir}}
	if dir := cache.DefaultDir(); dir != "" {
		places = append(places, struct{ what, path string }{"the cache", dir})
	}
	if e.cfg.General.Server.Kind == config.ServerPath {
		places = append(places, struct{ what, path string }{"the store", e.cfg.General.Server.Path})
	}
	seen := map[uint64]bool{}
	for _, p := range places {
		path := p.path
		var st unix.Stat_t
		for unix.Stat(path, &st) != nil && filepath.Dir(path) != path {
			path = filepath.Dir(path) // what is not there yet is made on the same disk
		}
		var disk unix.Statfs_t
		if seen[uint64(st.Dev)] || unix.Statfs(path, &disk) != nil {
			continue
		}
		seen[uint64(st.Dev)] = true
		e.spaceOf(p.what, path, uint64(disk.Bavail)*uint64(disk.Bsize), uint64(disk.Blocks)*uint64(disk.Bsize))
	}
}

func (e *examination) spaceOf(what, path string, free, total uint64) {
	const check = "free space"
	says := fmt.Sprintf("%d MiB are free on the disk of %s (%s)", free>>20, what, path)
	switch {
	case total == 0: // a file system that tells nothing
	case free < noSpace:
		e.fail(check, says, "make room: nothing more can be synced there")
	case free < littleSpace && free < total/10:
		e.warn(check, says, "make room before it is full")
	default:
		e.ok(check, "%s", says)
	}
}

// cache looks at the local cache.
func (e *examination) cache() {
	const check = "cache"
	dir := cache.DefaultDir()
	if dir == "" {
		e.warn(check, "there is none, so everything is fetched each time", "set HOME, or ENSYNC_CACHE_DIR")
		return
	}
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		e.warn(check, dir+" is not a directory, so nothing is kept", "move it away")
		return
	}
	if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.warn(check, fmt.Sprintf("%s can't be used (%v), so nothing is kept", dir, err), "correct its owner and mode, or remove it")
		return
	}
	parts, err := cache.Parts(e.ctx, dir)
	if err != nil {
		e.warn(check, err.Error(), "ensync cache clean --all removes what is there")
		return
	}
	var bytes int64
	for _, p := range parts {
		bytes += p.Bytes
	}
	e.ok(check, "%d MiB of %d stores in %s", bytes>>20, len(parts), dir)
}

// countFor is how long directories are counted at most.
const countFor = 5 * time.Second

// countDirs counts the directories of a tree up to a limit. ok is false if that took too long.
func countDirs(ctx context.Context, path string, limit int) (n int, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, countFor)
	defer cancel()
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && d.IsDir() {
			if n++; n > limit {
				return fs.SkipAll
			}
		}
		return nil
	})
	return n, err == nil
}
