package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"ensync/keys"
	"ensync/store/backend"
)

// Create makes a store in a place that is empty: format, keys, a copy of the keys, and a list of roots without roots.
// It is the only function that makes a secret. It fails with ErrExists, naming what is there, if a List shows anything,
// and with ErrMissing if opt.Memory remembers a store here. Of several clients that create at the same moment one wins,
// the one whose format object is first; the others get ErrExists. The store is durable when it returns.
func Create(ctx context.Context, b backend.Backend, p Params, pass []byte, keyName string, opt Options) (*Store, error) {
	c, err := p.chunking()
	if err != nil {
		return nil, err
	}
	if id, known := opt.Memory.known(); known {
		return nil, remembered(ctx, b, opt.Memory, id)
	}
	if err := mustBeEmpty(ctx, b); err != nil {
		return nil, err
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	f, err := newFormat(id, c)
	if err != nil {
		return nil, err
	}
	// The slow part, the stretching of the passphrase, comes before the first write: a client that is stopped here
	// leaves nothing.
	k, chain, err := keys.CreateContext(ctx, id, keyName, pass, now())
	if err != nil {
		return nil, err
	}
	if err := writeNew(ctx, b, f, k); err != nil {
		chain.Close()
		return nil, err
	}
	s, err := open(ctx, askEarly(ctx, b, nil), f, k, chain, opt)
	if err != nil {
		return nil, err
	}
	if err := s.finishCreate(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// remembered says why a client that remembers a store makes no other in its place: what of that store is missing or wrong.
func remembered(ctx context.Context, b backend.Backend, mem *Memory, id [16]byte) error {
	_, err := ReadKeys(ctx, b, mem)
	if err == nil {
		return mustBeEmpty(ctx, b)
	}
	var fault *Fault
	if !errors.As(err, &fault) {
		return err
	}
	other, err := anyObject(ctx, b)
	if err != nil {
		return fmt.Errorf("list %s: %w", b.Location(), err)
	}
	next := "nothing was created; " + fault.Next
	if other == "" {
		next = "nothing was created: find out where the store went; only if it is gone for good, make the new store with a new configuration"
	}
	return &Fault{Kind: fault.Kind, Object: fault.Object, Cause: fmt.Errorf("this client remembers store %x at this address", id), Next: next}
}

func mustBeEmpty(ctx context.Context, b backend.Backend) error {
	name, err := anyObject(ctx, b)
	if err != nil {
		return fmt.Errorf("list %s: %w", b.Location(), err)
	}
	if name == "" {
		return nil
	}
	next := "open it, or choose an empty place"
	var fault *Fault
	if _, err := ReadKeys(ctx, b, nil); errors.Is(err, ErrUnfinished) {
		next = "a copy of a store was begun here: finish it with ensync store copy, or ensync store rekey if that began it, or choose an empty place"
	} else if errors.As(err, &fault) && fault.Kind == ErrMissing {
		next = fmt.Sprintf("if it was a store, its %s object is missing: ensync repair, on a machine that has used it, puts it back; "+
			"otherwise choose an empty place", fault.Object)
	}
	return &Fault{Kind: ErrExists, Object: name, Next: next}
}

// writeNew writes the format object, which decides between clients that create at once, and then the keys.
func writeNew(ctx context.Context, b backend.Backend, f *format, k *keys.File) error {
	err := putNew(ctx, b, formatObject, f.encoded)
	if errors.Is(err, backend.ErrExist) {
		return &Fault{Kind: ErrExists, Object: formatObject, Cause: err,
			Next: "another client is creating a store here at this moment; open that one"}
	}
	if err != nil {
		return err
	}
	for _, name := range []string{keysObject, keysCopy} {
		if err := swap(ctx, b, name, "", k.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// finishCreate writes the empty list of roots and looks whether what is there now is what was written: a backend on
// which two clients could both create would show it here, before anybody relies on the store.
func (s *Store) finishCreate(ctx context.Context) error {
	if err := s.writeList(ctx, "", &rootList{version: 1}); err != nil {
		return err
	}
	raw, err := s.b.Get(ctx, formatObject, 0, -1)
	if err != nil {
		return got(formatObject, err)
	}
	k, _, err := loadKeys(ctx, s.b.Load, s.format, nil)
	if err != nil {
		return err
	}
	if string(raw) != string(s.format.encoded) || k.Hash() != s.file.Hash() {
		return &Fault{Kind: ErrExists, Object: formatObject,
			Next: "another client created a store here at the same moment, and the place can't tell who was first; do not use it"}
	}
	return nil
}
