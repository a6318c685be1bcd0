package keys

import (
	"crypto"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
)

// A rotation gives a group another internal key, in two steps. Rotate makes the new version known to all keys in the
// group; then whoever rotates signs what counts with it, and Retire ends the validity of everything that older versions
// signed. In between both count: a client that has seen only what was before, and one that has seen only what comes
// after, must be able to work while the heads are signed anew one by one.

// GroupInfo is what a key store says in the open about one group. It is only authentic after an Unlock.
type GroupInfo struct {
	Name  string
	Epoch uint32 // of the current version of its internal key
	// Rotating says that a rotation was begun and not ended: signatures of an older version still count.
	Rotating bool
	// Left says that a key which is not in the group any more was given the current version.
	Left bool
}

// GroupList returns the groups in the order of their names. It needs no passphrase.
func (f *File) GroupList() []GroupInfo {
	list := make([]GroupInfo, 0, len(f.groups))
	for _, g := range f.groups {
		now := g.current().epoch
		list = append(list, GroupInfo{Name: g.name, Epoch: now, Rotating: g.valid != now, Left: g.left == now})
	}
	return list
}

// Rotate makes a new version of a group's internal key, and gives it to all keys in the group. with is in the group. The
// others are unlocked keys whose passphrases happen to be at hand: an entry that has no mailbox, since it was made before
// there were any, can be given the key only by its passphrase (ErrNoMailbox), and what a passphrase vouches for is
// renewed only with it.
//
// Of a group that is rotating already, and that nobody has left since, the pending version is kept.
func (f *File) Rotate(name string, with, root *Chain, others ...*Chain) (*File, error) {
	return f.edit("rotate group "+quote(name), append(chains{with}, others...), root, func(d *draft, fresh chains) error {
		g := d.group(name)
		if g == nil {
			return ErrNoGroup
		}
		old, ok := fresh[0].Group(name)
		switch {
		case !ok:
			return fmt.Errorf("key %s: %w", quote(with.name), ErrLacksGroups)
		case g.valid != g.current().epoch && g.left != g.current().epoch:
			return nil
		case len(g.public) >= MaxEpochs:
			return ErrTooMany
		}
		made, err := newVersion(name, old.epoch+1)
		if err != nil {
			return err
		}
		d.made = append(d.made, made)
		g.public = append(slices.Clone(g.public), publicKey{epoch: made.epoch, key: [32]byte(made.public)})
		if name == Root {
			if err := d.succeed(made); err != nil {
				return err
			}
		}
		return d.give(made, append(fresh, d.known))
	})
}

// give adds a version of a group to all entries in it.
func (d *draft) give(g *Group, open chains) error {
	for i := range d.entries {
		e := &d.entries[i]
		if !e.in(g.name) {
			continue
		}
		var w wrap
		var err error
		if c := open.of(e); c != nil {
			w, err = c.secret.wrap(d.origin, g)
		} else if e.mailbox == nil {
			err = fmt.Errorf("key %s: %w", quote(e.name), ErrNoMailbox)
		} else {
			w, err = e.mail(d.origin, g)
		}
		if err != nil {
			return err
		}
		e.put(w)
	}
	return nil
}

// of returns the chain that an entry is unlocked by; nil if it is not among them.
func (cs chains) of(e *entry) *Chain {
	for _, c := range cs {
		if c.secret.opens(e) {
			return c
		}
	}
	return nil
}

// Retire ends the rotation of a group: from now on nothing counts that was signed by a version before epoch.
func (f *File) Retire(name string, epoch uint32, root *Chain) (*File, error) {
	return f.edit("retire older keys of group "+quote(name), nil, root, func(d *draft, _ chains) error {
		g := d.group(name)
		if g == nil {
			return ErrNoGroup
		}
		g.valid = max(g.valid, min(epoch, g.current().epoch))
		return nil
	})
}

// leaves notes that an entry is about to go out of a group, whose current key it knows.
func (d *draft) leaves(e *entry, group string) {
	g := d.group(group)
	g.left = g.current().epoch
}

// renew brings the entry of an unlocked key up to what only its passphrase can do: what was mailed is wrapped, the
// passphrase vouches for the current version of root, and there is a mailbox.
func (d *draft) renew(c *Chain) error {
	e := d.entry(c.name)
	if e == nil || !c.secret.opens(e) {
		return nil
	}
	e.mailbox = c.secret.mailbox.PublicKey().Bytes()
	anchored, err := c.secret.openAnchor(&e.anchor, d.origin)
	if err == nil && anchored != d.rootKey() {
		e.anchor, err = c.secret.sealAnchor(d.origin, d.rootKey())
	}
	if err != nil {
		return err
	}
	for _, w := range e.wraps {
		if w.mailed == nil {
			continue
		}
		public, _ := d.group(w.group).at(w.epoch)
		g, err := c.secret.unwrap(d.origin, &w, public)
		if err != nil {
			return err
		}
		own, err := c.secret.wrap(d.origin, g)
		g.close()
		if err != nil {
			return err
		}
		e.put(own)
	}
	return nil
}

// An endorsement is what a version of root signs of its successor, so that who knows the one can trust the other.
type endorsement [ed25519.SignatureSize]byte

var successionOptions = &ed25519.Options{Hash: crypto.Hash(0), Context: "ensync/keys/2/root"}

// successionMessage is what version i of root signs of version i+1.
func (f *File) successionMessage(i int) []byte {
	b := f.origin[:]
	for _, p := range f.group(Root).public[i : i+2] {
		b = binary.BigEndian.AppendUint32(slices.Clip(b), p.epoch)
		b = append(b, p.key[:]...)
	}
	return b
}

// succeed makes a version of root, the last in the draft, the one that signs. The version before endorses it.
func (d *draft) succeed(made *Group) error {
	signature, err := d.signer.signWith(d.successionMessage(len(d.succession)), successionOptions)
	if err != nil {
		return err
	}
	d.succession = append(d.succession, endorsement(signature))
	d.signer = made
	return nil
}

// verifySuccession checks that each version of root was endorsed by the one before.
func (f *File) verifySuccession() error {
	root := f.group(Root).public
	for i := range f.succession {
		if ed25519.VerifyWithOptions(root[i].key[:], f.successionMessage(i), f.succession[i][:], successionOptions) != nil {
			return ErrTampered
		}
	}
	return nil
}

// descendsFrom reports whether a key is root's, or was, so that root now is its successor.
func (f *File) descendsFrom(rootKey [32]byte) bool {
	return slices.ContainsFunc(f.group(Root).public, func(p publicKey) bool { return p.key == rootKey })
}
