package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

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

// keysFresh is how long ago the keys may have been read when this client is about to write.
const keysFresh = 30 * time.Second

// useKeys makes a key store that was written or read the one in use. What works with the keys from before goes on.
func (s *Store) useKeys(k *keys.File) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	chain, err := k.Refresh(s.chain)
	if err != nil {
		return err
	}
	s.former = append(s.former, s.chain)
	s.file, s.chain, s.keysRead = k, chain, now()
	return nil
}

// refreshKeys brings the keys up to what lies in the store now, and reports whether that is newer. If the passphrase in
// use was removed or changed, the error is keys.ErrStale.
func (s *Store) refreshKeys(ctx context.Context) (newer bool, err error) {
	k, _, err := loadKeys(ctx, s.b.Load, s.format, s.opt.Memory)
	if err != nil {
		return false, err
	}
	s.keysMu.RLock()
	old := s.file
	s.keysMu.RUnlock()
	if err := k.CheckPin(old.Pin()); err != nil {
		return false, &Fault{Kind: kindOf(err), Object: keysObject, Cause: err, Next: nextForKeys(err)}
	}
	if k.Version() == old.Version() {
		s.keysMu.Lock()
		defer s.keysMu.Unlock()
		s.keysRead = now()
		return false, nil
	}
	if s.opt.Memory != nil {
		if err := s.opt.Memory.sawStore(s.format, k); err != nil {
			return false, err
		}
	}
	return true, s.useKeys(k)
}

// currentKeys is refreshKeys if the keys in use were not read just now.
func (s *Store) currentKeys(ctx context.Context) error { return s.keysWithin(ctx, keysFresh) }

func (s *Store) keysWithin(ctx context.Context, fresh time.Duration) error {
	s.keysMu.RLock()
	age := now().Sub(s.keysRead)
	s.keysMu.RUnlock()
	if age >= 0 && age < fresh {
		return nil
	}
	_, err := s.refreshKeys(ctx)
	return err
}

// InEveryGroup reports whether there is nothing in the store that the passphrase may not read and change.
func (s *Store) InEveryGroup() bool { return len(s.Keys().Groups()) == len(s.Keys().AllGroups()) }

// LookForGroups reads the keys again if there are groups that the passphrase is not in: it may have been given one. Those who
// are in all groups hear of a change when they commit, or when they meet a key that they do not know.
func (s *Store) LookForGroups(ctx context.Context) error {
	if s.InEveryGroup() {
		return nil
	}
	return s.keysWithin(ctx, time.Second)
}

// errOtherKey says that something was sealed or signed with a key that this client does not know: the group's key may
// have been rotated.
var errOtherKey = errors.New("with a key that does not count, or that this passphrase does not have")

// withKeys does something; if that fails because of a key that is not known here, once more with the keys as they are by now.
// Several do that at once: the keys may be newer by then because another one has read them.
func (s *Store) withKeys(ctx context.Context, do func() error) error {
	before := s.keysVersion()
	err := do()
	if !errors.Is(err, errOtherKey) {
		return err
	}
	if _, kerr := s.refreshKeys(ctx); kerr != nil {
		return kerr
	}
	if s.keysVersion() == before {
		return err
	}
	return do()
}

func (s *Store) keysVersion() uint64 {
	s.keysMu.RLock()
	defer s.keysMu.RUnlock()
	return s.file.Version()
}

// loadKeyed loads an object and reads it with withKeys. While a group's key is rotated the object may be from before and the
// keys from after that: then it is loaded again.
func (s *Store) loadKeyed(ctx context.Context, load loader, name string, read func(raw []byte) error) (backend.Version, error) {
	var last backend.Version
	for {
		raw, version, err := load(ctx, name)
		if err != nil {
			return version, got(name, err)
		}
		err = s.withKeys(ctx, func() error { return read(raw) })
		if !errors.Is(err, errOtherKey) || version == last {
			return version, err
		}
		load, last = s.b.Load, version
	}
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
