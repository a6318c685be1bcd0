package keys

import (
	"fmt"
	"slices"
)

// Rekey makes the key store of a new store, id, that takes the place of this file's: all groups have new keys, the same
// entries are in them, and nobody is given a key from before. with is in group root; the others are unlocked keys whose
// passphrases are at hand. An entry that has no mailbox and is not among them can't be given anything: it is left out, and
// named, and so is a group that nobody is in then.
//
// The entries stay as their passphrases made them: so they go by the id of the store that they were made in, the origin.
// Root's new key is endorsed by its old one, so that what a passphrase vouches for leads to it as after a rotation.
func (f *File) Rekey(id [16]byte, with *Chain, others ...*Chain) (next *File, left []string, err error) {
	next, err = f.edit("re-key the store", append(chains{with}, others...), nil, func(d *draft, fresh chains) error {
		if isZero(id[:]) || id == f.storeID || id == f.origin {
			return fmt.Errorf("store id %x: %w", id, ErrTampered)
		}
		d.format, d.storeID = formatRekeyed, id
		open := append(fresh, d.known)
		left = d.leaveOut(open)
		for i := range d.groups {
			if err := d.renewGroup(&d.groups[i], open); err != nil {
				return err
			}
		}
		for i := range d.entries {
			d.entries[i].dropOld(d.File)
		}
		return nil
	})
	return next, left, err
}

// leaveOut drops the entries that can't be given keys, and then the groups that are empty.
func (d *draft) leaveOut(open chains) (left []string) {
	d.entries = slices.DeleteFunc(d.entries, func(e entry) bool {
		out := e.mailbox == nil && open.of(&e) == nil
		if out {
			left = append(left, e.name)
		}
		return out
	})
	d.groups = slices.DeleteFunc(d.groups, func(g group) bool { return d.members(g.name) == 0 })
	return left
}

// renewGroup gives a group a key that has nothing to do with those before.
func (d *draft) renewGroup(g *group, open chains) error {
	made, err := newVersion(g.name, g.current().epoch+1)
	if err != nil {
		return err
	}
	d.made = append(d.made, made)
	public := publicKey{epoch: made.epoch, key: [32]byte(made.public)}
	if g.name == Root {
		if len(g.public) >= MaxEpochs {
			return fmt.Errorf("group %s: %w", quote(g.name), ErrTooMany)
		}
		g.public = append(slices.Clone(g.public), public)
		if err := d.succeed(made); err != nil {
			return err
		}
		d.rootBase = made.epoch
	} else {
		g.public = []publicKey{public}
	}
	g.valid, g.left = made.epoch, 0
	return d.give(made, open)
}

// dropOld takes from an entry what was before the re-keying.
func (e *entry) dropOld(f *File) {
	e.wraps = slices.DeleteFunc(slices.Clone(e.wraps), func(w wrap) bool {
		return w.epoch != f.group(w.group).current().epoch
	})
}

// RekeyedFrom reports whether this is the key store of a store that was re-keyed from another one, by one who had root's key
// of now.
func (f *File) RekeyedFrom(was *File) bool {
	return f.format >= formatRekeyed && f.origin == was.origin && f.storeID != was.storeID && f.rootBase > was.firstEpoch(Root) &&
		f.descendsFrom(was.rootKey()) && f.verify() == nil
}

// Continues is RekeyedFrom for the first version of a key store, that was made from this version of the other one.
func (f *File) Continues(was *File) bool {
	return f.RekeyedFrom(was) && f.version == was.version+1 && f.previous == was.Hash()
}

// Follow opens a key in the key store of a store that was re-keyed from the one of c, by one who had root's key of then, or
// later: without the passphrase. Errors are those of Refresh.
func (f *File) Follow(c *Chain) (*Chain, error) {
	fail := func(err error) (*Chain, error) {
		return nil, fmt.Errorf("key %q in the re-keyed store: %w", c.name, err)
	}
	if !f.descendsFrom(c.rootKey) {
		return fail(ErrReplaced)
	}
	if err := f.verify(); err != nil {
		return fail(err)
	}
	e := f.entry(c.name)
	if e == nil || !c.secret.opens(e) {
		return fail(ErrStale)
	}
	chain, err := f.open(e, c.secret)
	if err != nil {
		return fail(err)
	}
	return chain, nil
}
