package store

import (
	"bytes"
	"context"
	"fmt"

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

// ReadFormat returns the id and the properties of a store without unlocking it. It creates nothing. mem may be nil. Errors
// are those of Open.
func ReadFormat(ctx context.Context, b backend.Backend, mem *Memory) (id [16]byte, p Params, err error) {
	f, err := loadFormat(ctx, b, mem)
	if err != nil {
		return id, p, err
	}
	return f.id, f.params(), nil
}

// CheckKeysCopy says what is wrong with the copy of the key store k.
func CheckKeysCopy(ctx context.Context, b backend.Backend, k *keys.File) error {
	copied, _, err := b.Load(ctx, keysCopy)
	if err != nil {
		return got(keysCopy, err)
	}
	if !bytes.Equal(copied, k.Encode()) {
		return damaged(keysCopy, fmt.Errorf("it differs from %s", keysObject))
	}
	return nil
}
