package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ensync/engine/config"
	"ensync/store"
)

// Repair puts format, keys and the copy of the keys back into the configured store, as store.Repair does, and tells report
// what it did. pass is asked for the passphrase only if this machine does not remember the store.
func Repair(ctx context.Context, cfg *config.Config, pass func(context.Context) ([]byte, error), report func(string)) error {
	if err := cfg.EnsurePrivateDir(); err != nil {
		return err
	}
	mem, err := store.OpenMemory(memoryPath(cfg))
	if err != nil {
		return err
	}
	b, err := OpenBackend(cfg.General.Server)
	if err != nil {
		return err
	}
	return errors.Join(store.Repair(ctx, b, mem, pass, report), b.Close())
}

// Memory opens what this machine remembers of the configured store.
func Memory(cfg *config.Config) (*store.Memory, error) { return store.OpenMemory(memoryPath(cfg)) }

func memoryPath(cfg *config.Config) string { return filepath.Join(cfg.PrivateDir(), "store.json") }

// AcceptRollback makes the next sync take the store as it is, although this machine has seen a newer state: it drops the
// last agreement of every tree of this configuration, and then what is remembered of the root. Without an agreement
// nothing counts as deleted, so the next sync merges: what the store has lost goes there again. Trees and store are not
// touched. It must not be called while the configuration is mounted: ErrInUse.
func (s *Store) AcceptRollback(rb store.Rollback) error {
	if !rb.Older {
		return nil
	}
	private := s.Config.PrivateDir()
	unlock, err := lockState(private)
	if err != nil {
		return err
	}
	return errors.Join(s.dropAgreements(rb), unlock())
}

// dropAgreements drops what was in sync, of every tree of the configuration, and then what is remembered of the root. The
// agreements go first: against a newer one, what the store has lost would look deleted there. Whoever is stopped in
// between is refused as before.
func (s *Store) dropAgreements(rb store.Rollback) error {
	private := s.Config.PrivateDir()
	if err := dropAgreement(private); err != nil {
		return err
	}
	if err := dropAgreement(filepath.Join(private, mountState)); err != nil {
		return err
	}
	return s.Store.AcceptRollback(rb)
}

// dropAgreement removes the ancestor in a directory of state, and is durable.
func dropAgreement(state string) error {
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Remove(filepath.Join(state, ancestorName+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop the record of the last sync: %w", err)
		}
	}
	// DURABLE: a power cut must not bring the agreement back next to a memory that has forgotten the newer state.
	if err := syncDir(state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// StoreID returns the id of the store that the configuration was used with on this machine.
func StoreID(cfg *config.Config) (id [16]byte, known bool, err error) {
	mem, err := Memory(cfg)
	if err != nil {
		return id, false, err
	}
	id, known = mem.StoreID()
	return id, known, nil
}
