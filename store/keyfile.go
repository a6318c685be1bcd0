package store

import (
	"context"

	"ensync/keys"
	"ensync/store/backend"
)

// ReadKeys returns the key store of a store without unlocking it: names, groups and times, which only a passphrase
// authenticates. It creates nothing and remembers nothing. mem may be nil. Errors are those of Open before it unlocks.
func ReadKeys(ctx context.Context, b backend.Backend, mem *Memory) (*keys.File, error) {
	f, err := loadFormat(ctx, b, mem)
	if err != nil {
		return nil, err
	}
	k, _, err := loadKeys(ctx, b.Load, f, mem)
	return k, err
}
