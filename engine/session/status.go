package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/config"
)

// Standing is how a replica stood after its last sync.
type Standing struct {
	LastSync time.Time // zero: never
	Issues   []ancestor.Issue
}

// Standing reads how things stood after the last sync.
func (r *Replica) Standing(ctx context.Context) (Standing, error) { return standing(ctx, r.Ancestor) }

// DirectoryStanding is Standing of the configured ordinary directory, for which nothing needs to be unlocked.
func DirectoryStanding(ctx context.Context, cfg *config.Config) (Standing, error) {
	path := filepath.Join(cfg.PrivateDir(), ancestorName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return Standing{}, nil
	}
	db, err := ancestor.Open(path, nil)
	if err != nil {
		return Standing{}, err
	}
	s, err := standing(ctx, db)
	return s, errors.Join(err, db.Close())
}

func standing(ctx context.Context, db *ancestor.DB) (s Standing, err error) {
	text, err := db.Meta(ctx, metaSynced)
	if err != nil {
		return s, err
	}
	if text != nil {
		if s.LastSync, err = time.Parse(time.RFC3339Nano, string(text)); err != nil {
			return s, err
		}
	}
	if s.Issues, err = db.Issues(ctx); err != nil {
		return s, err
	}
	names, err := db.LocalNames(ctx)
	for _, n := range names {
		if n.IsAside() {
			s.Issues = append(s.Issues, n.Issue())
		}
	}
	return s, err
}

// Local says what the configuration keeps on this machine while it is not mounted. A directory and a mount are two
// replicas, each with an ancestor of its own.
type Local struct {
	Mount     bool   // it was mounted: what the mount left is a replica
	Directory bool   // the configured directory is one
	Unsynced  string // something in the configured directory, which is none: after a mount, only who asks for it gets the tree there in clear
}

// LocalOf looks at what there is. After a mount, an empty directory is where it was mounted, and one with something in it
// is a replica if it was synced as one before or wanted says so.
func LocalOf(cfg *config.Config, wanted bool) (Local, error) {
	var l Local
	var err error
	if l.Mount, err = exists(filepath.Join(cfg.PrivateDir(), mountState, replicaFile)); err != nil || !l.Mount || wanted {
		l.Directory = true
		return l, err
	}
	some := firstOf(cfg.General.Path)
	if some == "" {
		return l, nil
	}
	if l.Directory, err = exists(filepath.Join(cfg.PrivateDir(), ancestorName)); err == nil && !l.Directory {
		l.Unsynced = some
	}
	return l, err
}

// firstOf returns the name of something in a directory, none if there is nothing that can be seen.
func firstOf(path string) string {
	d, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer d.Close()
	names, _ := d.Readdirnames(1)
	return strings.Join(names, "")
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
