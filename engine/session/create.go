package session

import (
	"context"
	"errors"
	"fmt"

	"ensync/engine/config"
	"ensync/keys"
	"ensync/store"
	"ensync/store/backend"
	"ensync/store/dir"
)

// CreateStore makes a store where the configuration says that one is, and opens it. It is store.Create: the place must
// be empty, and this machine must not remember a store there.
func CreateStore(ctx context.Context, cfg *config.Config, pass []byte, keyName string, opt Options) (*Store, error) {
	if err := cfg.EnsurePrivateDir(); err != nil {
		return nil, err
	}
	mem, err := store.OpenMemory(memoryPath(cfg))
	if err != nil {
		return nil, err
	}
	b, err := createBackend(ctx, cfg.General.Server, opt)
	if err != nil {
		return nil, err
	}
	// Said before anything else: a store that is there is no damage, whatever this machine remembers.
	if _, err := store.ReadKeys(ctx, b, nil); err == nil {
		return nil, errors.Join(fmt.Errorf("create store %s: %w: it has a store with keys already; use that one", b.Location(),
			store.ErrExists), b.Close())
	}
	s := &Store{Config: cfg, Backend: b, notice: opt.Notice}
	if s.notice == nil {
		s.notice = func(string) {}
	}
	o := StoreOptions(cfg)
	o.Memory = mem
	if s.Store, err = store.Create(ctx, b, params(cfg), pass, keyName, o); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return s, nil
}

// createBackend makes the place where a store can lie, or finds it, and opens it.
func createBackend(ctx context.Context, server config.Server, opt Options) (backend.Backend, error) {
	if server.Kind == config.ServerPath {
		if err := dir.Create(server.Path); err != nil {
			return nil, err
		}
	}
	b, err := opt.open(server)
	if err != nil {
		return nil, err
	}
	if p, ok := b.(interface{ Create(context.Context) error }); ok {
		if err := p.Create(ctx); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

// params are the properties that the configuration wants of a new store.
func params(cfg *config.Config) store.Params {
	return store.Params{BlockSize: cfg.General.BlockSize, Chunking: cfg.General.Chunking}
}

// Keys reads the configured store's key store without a passphrase. store.ErrNoStore if certainly nothing
// is there; backend.ErrNoPlace if not even the place for it is.
func Keys(ctx context.Context, cfg *config.Config, opt Options) (*keys.File, error) {
	b, err := opt.open(cfg.General.Server)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	mem, err := store.OpenMemory(memoryPath(cfg))
	if err != nil {
		return nil, err
	}
	return store.ReadKeys(ctx, b, mem)
}
