package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ensync/engine/ancestor"
	"ensync/engine/config"
	"ensync/engine/worktree"
	"ensync/keys"
	"ensync/store"
	"ensync/store/object"
)

// A store that was re-keyed has the same content under other names, and knows nothing of what this machine remembers of the
// store before. So a move to it changes the names in all that the machine keeps, once, while nothing is in use:
//
//  1. movingName is made: until it is gone, nothing is synced or mounted.
//  2. The names are changed. A run that is cut short here is done again from the start, with the old memory and key.
//  3. The key of a mount's state, sealed for the new store, is put beside the old one.
//  4. The new memory replaces the old one. From here on the next run goes on forward.
//  5. The new key replaces the old one, the configuration gets the address, and movingName goes.
const (
	movingName  = "moving"
	newMemory   = "store.json.new"
	oldMemory   = "store.json.old" // a copy, that may be written to without a trace
	replicaNext = "replica.new"
	hashesName  = "files.sqlite" // of an ordinary directory
)

// checkMoving refuses a state of which a move was cut short.
func checkMoving(private string) error {
	to, err := os.ReadFile(filepath.Join(private, movingName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(fmt.Errorf("the state in %s is half way to another store; run ensync store move again, to %s", private, to), err)
}

// finishMove is step 5, but for the address.
func finishMove(private string) error {
	state := filepath.Join(private, mountState)
	err := os.Rename(filepath.Join(state, replicaNext), filepath.Join(state, replicaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(state)) // DURABLE: the state opens with this key alone
}

func endMove(private string) error {
	if err := os.Remove(filepath.Join(private, movingName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isRekeyed reports whether a store lies at a place that was re-keyed from the one this machine remembers.
func isRekeyed(ctx context.Context, cfg, next *config.Config, opt Options) (bool, error) {
	mem, err := Memory(cfg)
	if err != nil {
		return false, err
	}
	was, err := keys.Parse(mem.Keys())
	if err != nil {
		return false, nil // it remembers none
	}
	b, err := opt.open(next.General.Server)
	if err != nil {
		return false, err
	}
	now, err := store.ReadKeys(ctx, b, nil)
	if err = errors.Join(err, b.Close()); err != nil {
		return false, err
	}
	return now.RekeyedFrom(was), nil
}

// rekeyedMove is a move to a store that was re-keyed from the one in use.
type rekeyedMove struct {
	cfg       *config.Config
	private   string
	was, now  *Store
	names     *store.Renamed
	forgetful bool // drops the agreements, so that the next sync merges
}

func moveRekeyed(ctx context.Context, cfg, next *config.Config, to config.Address, pass []byte, merge bool, opt Options) (err error) {
	m := &rekeyedMove{cfg: cfg, private: cfg.PrivateDir()}
	defer func() { err = errors.Join(err, m.close()) }()
	here := opt
	here.Open = nil
	if m.was, err = m.open(ctx, cfg, pass, here, oldMemory); err != nil {
		return fmt.Errorf("the store in use: %w", err)
	}
	if m.now, err = m.open(ctx, next, pass, opt, newMemory); err != nil {
		return err
	}
	if m.names, err = m.now.Renamed(ctx, m.was.Store, cfg.General.ServerRoot); err != nil {
		return err
	}
	if m.names.Newer != "" {
		if !merge {
			return fmt.Errorf("%w: %q has changed since it was re-keyed; nothing was changed: re-key to a new place while nothing "+
				"syncs; or, if others use this one already, move with --merge: the next sync then merges, and deletes nothing", ErrBehind, m.names.Newer)
		}
		m.forgetful = true
	}
	// DURABLE: before anything is half way.
	if err := writeDurably(filepath.Join(m.private, movingName), []byte(to.Server)); err != nil {
		return err
	}
	if err := m.change(ctx); err != nil {
		return err
	}
	if err := finishMove(m.private); err != nil {
		return err
	}
	if err := config.Move(cfg.Dir, to); err != nil {
		return err
	}
	return endMove(m.private)
}

// open opens a store with a memory of its own: of the one in use, a copy of what this machine remembers.
func (m *rekeyedMove) open(ctx context.Context, cfg *config.Config, pass []byte, opt Options, memory string) (*Store, error) {
	path := filepath.Join(m.private, memory)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if memory == oldMemory {
		data, err := os.ReadFile(memoryPath(m.cfg))
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	b, err := opt.open(cfg.General.Server)
	if err != nil {
		return nil, err
	}
	b = Limit(cfg, b)
	o := StoreOptions(cfg)
	if o.Memory, err = store.OpenMemory(path); err == nil {
		o.IndexDir, err = os.MkdirTemp("", "ensync-move-")
	}
	s := &Store{Config: cfg, Backend: b, scratch: o.IndexDir}
	if err == nil {
		s.Store, err = store.Open(ctx, b, pass, o)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close(), os.RemoveAll(o.IndexDir))
	}
	return s, nil
}

func (m *rekeyedMove) close() (err error) {
	if m.names != nil {
		err = m.names.Close()
	}
	for _, s := range []*Store{m.now, m.was} {
		if s != nil {
			err = errors.Join(err, s.Close(), os.RemoveAll(s.scratch))
		}
	}
	for _, name := range []string{newMemory, oldMemory} {
		for _, suffix := range []string{"", ".lock", ".tmp"} {
			if e := os.Remove(filepath.Join(m.private, name+suffix)); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

// change is steps 2 to 4.
func (m *rekeyedMove) change(ctx context.Context) error {
	if err := m.changeMount(ctx); err != nil {
		return err
	}
	// Files are read once more to learn what the new store calls them: that is no transfer.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(m.private, hashesName+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := m.changeAncestor(ctx, m.private, nil, false); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(m.private, newMemory), memoryPath(m.cfg)); err != nil {
		return err
	}
	return syncDir(m.private) // DURABLE: before the configuration names the new store
}

// changeMount changes the state of the mount, if there is one. What its tree stands on is all made to be in the new store,
// also what was replaced there since.
func (m *rekeyedMove) changeMount(ctx context.Context) error {
	state := filepath.Join(m.private, mountState)
	if _, err := os.Stat(filepath.Join(state, replicaFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	key, err := m.was.replicaKey(state)
	if err != nil {
		return err
	}
	look := func(ctx context.Context, c object.Content) (object.Content, error) { return m.names.Look(ctx, c, true) }
	if err := worktree.RenameContent(ctx, state, key, blocks{m.was.Store}, worktree.ContentNames{Look: look, Settle: m.names.Settle}); err != nil {
		return err
	}
	if err := m.changeAncestor(ctx, state, &key, true); err != nil {
		return err
	}
	sealed, err := m.now.sealReplicaKey(state, key)
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(state, replicaNext), sealed) // DURABLE: nothing else opens the state in the new store
}

func (m *rekeyedMove) changeAncestor(ctx context.Context, state string, key *[32]byte, keep bool) error {
	if m.forgetful {
		return dropAgreement(state)
	}
	path := filepath.Join(state, ancestorName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := ancestor.Open(path, key)
	if err != nil {
		return err
	}
	err = db.RenameContent(ctx, func(ctx context.Context, c object.Content) (object.Content, error) { return m.names.Look(ctx, c, keep) })
	return errors.Join(err, db.Close())
}

// sealReplicaKey returns what the replica file holds in a store whose groups did not make the key: the random number of the
// state, the version of group everyone, and the key sealed under what comes of both.
func (s *Store) sealReplicaKey(state string, key [32]byte) ([]byte, error) {
	group, ok := s.Keys().Group(keys.Everyone)
	if !ok {
		return nil, fmt.Errorf("the passphrase is not in group %s", keys.Everyone)
	}
	id, err := os.ReadFile(filepath.Join(state, replicaFile))
	if err != nil {
		return nil, err
	}
	if len(id) < replicaIDSize {
		return nil, fmt.Errorf("read %s: %d bytes", replicaFile, len(id))
	}
	return sealKey(group, id[:replicaIDSize], key)
}
