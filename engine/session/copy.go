package session

import (
	"context"
	"errors"
	"fmt"
	"os"

	"ensync/engine/config"
	"ensync/store"
	"ensync/store/backend"
)

// OpenPlace makes the place where a store can lie, or finds it, and opens it. It makes no store.
func OpenPlace(ctx context.Context, server config.Server, opt Options) (backend.Backend, error) {
	return createBackend(ctx, server, opt)
}

// CheckCopy checks a copy of a store with a passphrase, and calls report for each thing that is wrong with it. Everything
// is read from the copy itself, whatever this machine has in its cache.
func CheckCopy(ctx context.Context, b backend.Backend, pass []byte, readData bool, report func(store.Problem)) error {
	dir, err := os.MkdirTemp("", "ensync-check-")
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, b, pass, store.Options{IndexDir: dir})
	if err == nil {
		err = errors.Join(s.Check(ctx, readData, report), s.Close())
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// ErrBehind says that a copy of a store is older than what this machine has seen.
var ErrBehind = errors.New("the copy is older than what this machine has synced")

// Move changes a configuration over to a whole copy of its store, or to a store that was re-keyed from it: see rekeyed.go. What this machine remembers and keeps stays: it is the
// same store. The copy must show what this machine has seen, or newer: else it is ErrBehind and nothing is changed, or,
// with merge, the last agreement is dropped, so that the next sync merges and deletes nothing. It must not be called while
// the configuration is mounted or watched: ErrInUse.
func Move(ctx context.Context, cfg *config.Config, to config.Address, pass []byte, merge bool, opt Options) error {
	if err := cfg.EnsurePrivateDir(); err != nil {
		return err
	}
	unlock, err := lockState(cfg.PrivateDir())
	if err != nil {
		return err
	}
	return errors.Join(move(ctx, cfg, to, pass, merge, opt), unlock())
}

func move(ctx context.Context, cfg *config.Config, to config.Address, pass []byte, merge bool, opt Options) error {
	next := *cfg
	var err error
	if next.General.Server, err = config.ParseServer(to.Server, cfg.Dir); err != nil {
		return err
	}
	if next.General.Server.Kind == config.ServerS3 {
		s3 := &next.General.Server.S3
		s3.Region, s3.CA, s3.Profile = to.S3Region, to.S3CA, to.S3Profile
	}
	if err := Apart(next.General.Server, cfg.General.Path); err != nil {
		return err
	}
	if rekeyed, err := isRekeyed(ctx, cfg, &next, opt); err != nil {
		return err
	} else if rekeyed {
		return moveRekeyed(ctx, cfg, &next, to, pass, merge, opt)
	}
	s, err := OpenStore(ctx, &next, pass, opt)
	if err != nil {
		return err
	}
	rb, err := s.Rollback(ctx, cfg.General.ServerRoot)
	switch {
	case err != nil:
	case rb.Older && !merge:
		err = fmt.Errorf("%w: %w; nothing was changed: make a new copy while nothing syncs; or, if others use this one already, "+
			"move with --merge: the next sync then merges, and deletes nothing", ErrBehind, rb.Cause)
	default:
		if rb.Older {
			err = s.dropAgreements(rb)
		}
		if err == nil {
			err = finishMove(cfg.PrivateDir())
		}
		if err == nil {
			err = config.Move(cfg.Dir, to)
		}
		if err == nil {
			err = endMove(cfg.PrivateDir())
		}
	}
	return errors.Join(err, s.Close())
}

// Rekey re-keys the store at one place to another; see store.Store.Rekey. cfg is nil if the store is not that of a
// configuration, of which this machine remembers something. with are more passphrases of the store.
func Rekey(ctx context.Context, cfg *config.Config, from, to backend.Backend, pass []byte, with [][]byte, r store.Rekeying) error {
	opt := store.Options{Compression: store.Default}
	if cfg != nil {
		if err := cfg.EnsurePrivateDir(); err != nil {
			return err
		}
		mem, err := store.OpenMemory(memoryPath(cfg))
		if err != nil {
			return err
		}
		opt = StoreOptions(cfg)
		opt.Memory = mem
	}
	dir, err := os.MkdirTemp("", "ensync-rekey-")
	if err != nil {
		return err
	}
	opt.IndexDir = dir
	return errors.Join(rekey(ctx, from, to, pass, with, r, opt), os.RemoveAll(dir))
}

func rekey(ctx context.Context, from, to backend.Backend, pass []byte, with [][]byte, r store.Rekeying, opt store.Options) error {
	s, err := store.Open(ctx, from, pass, opt)
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range r.Others {
			c.Close()
		}
	}()
	for _, more := range with {
		file, err := store.ReadKeys(ctx, from, opt.Memory)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		c, err := file.UnlockContext(ctx, more, "")
		if err != nil {
			return errors.Join(err, s.Close())
		}
		r.Others = append(r.Others, c)
	}
	return errors.Join(s.Rekey(ctx, to, r), s.Close())
}
