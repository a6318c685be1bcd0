package keys

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
)

// Chain is what one passphrase opens: the groups of its key, and the public keys of all groups. Safe for concurrent
// use. It stays as it was at Unlock; Refresh brings it up to another version of the key store without the passphrase.
type Chain struct {
	name    string
	storeID [16]byte
	rootKey [32]byte
	secret  *entrySecret
	groups  map[string]*Group
	public  []group // of the authenticated file; never changed
}

// Unlock tries a passphrase on the keys, the one named hint first, then the cheapest, and authenticates the whole key
// store with what it opens. Each key tried takes 1 to 2 s and 256 MiB if its passphrase is short.
//
// ErrWrongPassphrase if no key opens, ErrTampered if the bytes are not what root signed (that is found before the
// passphrase is used at all, so it does not tell a hostile store anything) or root is not who the passphrase vouches for.
func (f *File) Unlock(pass []byte, hint string) (*Chain, error) {
	return f.UnlockContext(context.Background(), pass, hint)
}

// UnlockContext is Unlock with a context.
func (f *File) UnlockContext(ctx context.Context, pass []byte, hint string) (*Chain, error) {
	chain, err := f.unlock(ctx, pass, hint)
	if err != nil {
		return nil, fmt.Errorf("unlock key store: %w", err)
	}
	return chain, nil
}

func (f *File) unlock(ctx context.Context, pass []byte, hint string) (*Chain, error) {
	if err := f.verify(); err != nil {
		return nil, err
	}
	e, secret, err := f.find(ctx, pass, hint, "")
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, ErrWrongPassphrase
	}
	defer secret.close()
	return f.open(e, secret)
}

// find returns the entry that a passphrase opens; nil if there is none. The entry named except is not tried.
//
// An entry that is cheaper to stretch than the length of the passphrase demands is not tried either: no honest client
// made it for this passphrase.
func (f *File) find(ctx context.Context, pass []byte, hint, except string) (*entry, *entrySecret, error) {
	if len(pass) == 0 {
		return nil, nil, ErrEmptyPassphrase
	}
	var try []*entry
	for i := range f.entries {
		if e := &f.entries[i]; e.name != except && e.kdf.logN >= kdfFor(pass).logN {
			try = append(try, e)
		}
	}
	slices.SortStableFunc(try, func(a, b *entry) int {
		if (a.name == hint) != (b.name == hint) {
			if a.name == hint {
				return -1
			}
			return 1
		}
		return int(a.kdf.logN) - int(b.kdf.logN)
	})
	for _, e := range try {
		secret, err := f.stretch(ctx, e, pass)
		if err != nil {
			return nil, nil, err
		}
		if secret.opens(e) {
			return e, secret, nil
		}
		secret.close()
	}
	return nil, nil, nil
}

// open makes the chain of an entry whose secret is known. The chain keeps a copy of the secret.
func (f *File) open(e *entry, secret *entrySecret) (*Chain, error) {
	anchored, err := secret.openAnchor(&e.anchor, f.origin)
	if err != nil {
		return nil, err
	}
	if !f.descendsFrom(anchored) {
		return nil, ErrTampered
	}
	c := &Chain{
		name: e.name, storeID: f.storeID, rootKey: f.rootKey(), secret: secret.clone(),
		groups: make(map[string]*Group), public: f.groups,
	}
	for i := range e.wraps {
		w := &e.wraps[i]
		public, ok := f.group(w.group).at(w.epoch)
		if !ok {
			c.Close()
			return nil, ErrTampered
		}
		g, err := secret.unwrap(f.origin, w, public)
		if err != nil {
			c.Close()
			return nil, err
		}
		g.first = f.firstEpoch(w.group)
		if older := c.groups[w.group]; older != nil {
			g.older = append(older.older, older)
			older.older = nil
		}
		c.groups[w.group] = g
	}
	return c, nil
}

// firstEpoch is the version that a group began with in this store.
func (f *File) firstEpoch(name string) uint32 {
	if name == Root && f.format >= formatRekeyed {
		return f.rootBase
	}
	return f.group(name).public[0].epoch
}

// Refresh opens the same key in another version of the key store, without its passphrase and without stretching it.
// ErrStale if the key is gone or has another passphrase now; ErrForeign, ErrReplaced and ErrTampered as in CheckPin.
// The old chain stays open.
func (f *File) Refresh(c *Chain) (*Chain, error) {
	fresh, err := f.refresh(c)
	if err != nil {
		return nil, fmt.Errorf("refresh key %q: %w", c.name, err)
	}
	return fresh, nil
}

func (f *File) refresh(c *Chain) (*Chain, error) {
	if err := f.isOf(c.storeID, c.rootKey); err != nil {
		return nil, err
	}
	e := f.entry(c.name)
	if e == nil || !c.secret.opens(e) {
		return nil, ErrStale
	}
	return f.open(e, c.secret)
}

// Name returns the name of the key that the passphrase opened.
func (c *Chain) Name() string { return c.name }

// Groups returns the names of the key's groups, in order.
func (c *Chain) Groups() []string { return slices.Sorted(maps.Keys(c.groups)) }

// AllGroups returns the names of all groups of the store, in order.
func (c *Chain) AllGroups() []string {
	var all []string
	for _, g := range c.public {
		all = append(all, g.name)
	}
	return all
}

// Group returns the current version of a group of the key; false if the key is not in it.
func (c *Chain) Group(name string) (*Group, bool) {
	g, ok := c.groups[name]
	return g, ok
}

// InRoot reports whether the key may edit the key store.
func (c *Chain) InRoot() bool { return c.groups[Root] != nil }

// Public returns the key that verifies what a group signs now, whether this key is in the group or not; false if
// there is no such group.
func (c *Chain) Public(group string) (ed25519.PublicKey, bool) {
	if g := (&File{groups: c.public}).group(group); g != nil {
		p := g.current()
		return p.key[:], true
	}
	return nil, false
}

// Verify reports which version of a group signed a message; false if none did whose signatures still count.
func (c *Chain) Verify(group string, message, signature []byte) (epoch uint32, ok bool) {
	return (&File{groups: c.public}).Verify(group, message, signature)
}

// Verify is Chain.Verify for who has no passphrase.
func (f *File) Verify(group string, message, signature []byte) (epoch uint32, ok bool) {
	g := f.group(group)
	if g == nil {
		return 0, false
	}
	for _, p := range slices.Backward(g.public) {
		if p.epoch >= g.valid && ed25519.Verify(p.key[:], message, signature) {
			return p.epoch, true
		}
	}
	return 0, false
}

// Close wipes the secrets, as far as Go lets us: copies that the runtime made are out of reach.
func (c *Chain) Close() {
	if c == nil {
		return
	}
	c.secret.close()
	for _, g := range c.groups {
		g.close()
	}
}
