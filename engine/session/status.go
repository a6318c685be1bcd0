package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	s.Issues, err = db.Issues(ctx)
	return s, err
}

// WasMounted reports whether the configuration was ever used for a mount: its local tree is then the mount's state, and
// not a directory.
func WasMounted(cfg *config.Config) bool {
	_, err := os.Stat(filepath.Join(cfg.PrivateDir(), "mount", "replica"))
	return err == nil
}
