package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/internal/wire"
)

// Guard wraps the backend of a server, which has no passphrase, and refuses what no client of the store writes: a key store
// that is not the successor of the one that is there, a list of roots that group root did not sign, and a head that no
// write group signed, or another one than signed the head before. What it refuses, every client would refuse as well; but
// nobody has to repair it. It sees no sequence numbers, which are sealed: an older signed head passes.
//
// A place without a format object is no store yet, and nothing is refused there: a copy of a store gets it last.
func Guard(b backend.Backend) backend.Backend { return &guard{b} }

type guard struct{ backend.Backend }

// Swap implements backend.Backend.
func (g *guard) Swap(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	if is, err := g.isStore(ctx); err != nil {
		return "", err
	} else if is {
		if err := g.check(ctx, name, data); err != nil {
			return "", err
		}
	}
	return g.Backend.Swap(ctx, name, old, data)
}

// Put implements backend.Backend.
func (g *guard) Put(ctx context.Context, name string, data []byte) error {
	if isState(name) {
		return refuseWrite(name, errors.New("it is replaced, never put"))
	}
	return g.Backend.Put(ctx, name, data)
}

// Delete implements backend.Backend.
func (g *guard) Delete(ctx context.Context, name string) error {
	if name == formatObject || isState(name) && !isHead(name) {
		if is, err := g.isStore(ctx); err != nil {
			return err
		} else if is {
			return refuseWrite(name, errors.New("a store can't do without it"))
		}
	}
	return g.Backend.Delete(ctx, name)
}

func (g *guard) isStore(ctx context.Context) (bool, error) {
	_, err := g.Get(ctx, formatObject, 0, 0)
	if errors.Is(err, backend.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Renew implements backend.Renewer.
func (g *guard) Renew(ctx context.Context, name string, data []byte) error {
	if r, ok := g.Backend.(backend.Renewer); ok {
		return r.Renew(ctx, name, data)
	}
	return fmt.Errorf("renew %s: %w", name, errors.ErrUnsupported)
}

func isState(name string) bool {
	return name == keysObject || name == keysCopy || name == rootsObject || isHead(name)
}

func refuseWrite(name string, why error) error {
	return fmt.Errorf("write object %s: %w by the server: %w; nothing was changed", name, backend.ErrDenied, why)
}

// check says whether an object may become data.
func (g *guard) check(ctx context.Context, name string, data []byte) error {
	if !isState(name) {
		if name == formatObject || strings.HasPrefix(name, packPrefix) || strings.HasPrefix(name, indexPrefix) {
			return refuseWrite(name, errors.New("it is never replaced"))
		}
		return nil
	}
	k, err := g.keys(ctx, keysObject)
	if err != nil {
		return err
	}
	switch {
	case name == keysObject || name == keysCopy:
		err = g.checkKeys(ctx, name, k, data)
	case k == nil:
		return nil
	case name == rootsObject:
		err = checkSigned(k, data, rootsMagic, listMessage, k.StoreID(), keys.Root)
	default:
		err = g.checkHead(ctx, name, k, data)
	}
	if err != nil {
		return refuseWrite(name, err)
	}
	return nil
}

// keys reads a key store; nil if there is none, or none that can be read.
func (g *guard) keys(ctx context.Context, name string) (*keys.File, error) {
	raw, _, err := g.Load(ctx, name)
	if errors.Is(err, backend.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k, err := keys.Parse(raw)
	if err != nil || k.CheckPin(k.Pin()) != nil {
		return nil, nil // it is damaged, and may be put back
	}
	return k, nil
}

// checkKeys compares a key store with the one that is there, or else with its copy.
func (g *guard) checkKeys(ctx context.Context, name string, now *keys.File, data []byte) error {
	next, err := keys.Parse(data)
	if err != nil {
		return err
	}
	if now == nil {
		if now, err = g.keys(ctx, keysCopy); err != nil {
			return err
		}
	}
	switch {
	case now == nil:
		return next.CheckPin(next.Pin())
	case name == keysCopy && next.Version() < now.Version() && next.StoreID() == now.StoreID():
		return now.CheckPin(next.Pin()) // a client that was slower than the next edit
	}
	return next.CheckPin(now.Pin())
}

// checkHead verifies a head, by the group that signed the head before if there is one that can be told.
func (g *guard) checkHead(ctx context.Context, name string, k *keys.File, data []byte) error {
	var groups []string
	for _, g := range k.GroupList() {
		groups = append(groups, g.Name)
	}
	was, _, err := g.Load(ctx, name)
	if err != nil && !errors.Is(err, backend.ErrNotExist) {
		return err
	}
	if err == nil {
		for _, group := range groups {
			if checkSigned(k, was, headMagic, headMessage, k.StoreID(), group) == nil {
				groups = []string{group}
				break
			}
		}
	}
	for _, group := range groups {
		if err = checkSigned(k, data, headMagic, headMessage, k.StoreID(), group); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if body := data[len(headMagic)+8:]; headObject([16]byte(body[16:32])) != name {
		return ErrForeign
	}
	return nil
}

// checkSigned verifies an object of magic ‖ stamp [8] ‖ body ‖ signature, of which the body begins with the store id.
func checkSigned(k *keys.File, data []byte, magic string, message func([]byte) []byte, id [16]byte, group string) error {
	r := wire.NewReader(data)
	r.Magic(magic)
	r.Take(8)
	body := r.Take(r.Left() - ed25519.SignatureSize)
	sig := r.Rest()
	switch {
	case r.Err() != nil:
		return r.Err()
	case len(body) < 32 || !bytes.Equal(body[:16], id[:]):
		return ErrForeign
	}
	if _, ok := k.Verify(group, message(body), sig); !ok {
		return errors.New("it is not signed by the group that may write it")
	}
	return nil
}
