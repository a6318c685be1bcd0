package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The edits of a key store, with the checks of reference 1.13. Each takes a File and gives its successor, signed;
// nothing is written. The chains may come from any version of the same store's key store: each edit refreshes them
// first, so that it can be repeated, as it is, on a newer file when another client was faster.
//
// root is an unlocked key in group root, which signs. It may be nil where another of the chains is in root already:
// a command asks for a root passphrase only if no chain so far is InRoot.

// Add makes a new key, in all groups of the key of old. It tries the new passphrase on every key.
func (f *File) Add(ctx context.Context, old *Chain, name string, pass []byte, root *Chain, now time.Time) (*File, error) {
	return f.edit("add key "+quote(name), chains{old}, root, func(d *draft, with chains) error {
		if err := checkName(name); err != nil {
			return err
		}
		if d.entry(name) != nil {
			return ErrKeyExists
		}
		if len(d.entries) >= MaxKeys {
			return ErrTooMany
		}
		if err := f.unused(ctx, pass, ""); err != nil {
			return err
		}
		e, secret, err := d.newEntry(ctx, name, pass, with[0].sorted())
		if err != nil {
			return err
		}
		secret.close()
		e.created = stamp(now)
		d.put(e)
		return nil
	})
}

// Change gives a key another passphrase. name may be empty if the store has one key only. old is the key itself, or,
// with force, any key that is in every group of it. Groups and creation time stay.
func (f *File) Change(ctx context.Context, name string, old *Chain, pass []byte, force bool, root *Chain, now time.Time) (*File, error) {
	if name == "" && len(f.entries) == 1 {
		name = f.entries[0].name
	}
	return f.edit("change key "+quote(name), chains{old}, root, func(d *draft, with chains) error {
		if name == "" {
			return ErrWhichKey
		}
		before := d.entry(name)
		if before == nil {
			return ErrNoKey
		}
		if old.name != name && !force {
			return fmt.Errorf("%w (%s)", ErrOtherKey, quote(old.name))
		}
		groups, err := with[0].versionsOf(before)
		if err != nil {
			return err
		}
		if err := f.unused(ctx, pass, name); err != nil {
			return err
		}
		e, secret, err := d.newEntry(ctx, name, pass, groups)
		if err != nil {
			return err
		}
		secret.close()
		e.created, e.changed = before.created, stamp(now)
		d.put(e)
		return nil
	})
}

// Remove removes a key: not the last one, not the last one of any group, and not the one that signs.
func (f *File) Remove(name string, root *Chain) (*File, error) {
	return f.edit("remove key "+quote(name), nil, root, func(d *draft, _ chains) error {
		e := d.entry(name)
		switch {
		case e == nil:
			return ErrNoKey
		case len(d.entries) == 1:
			return ErrLastKey
		}
		for _, g := range e.groups() {
			if f.members(g) == 1 {
				return fmt.Errorf("%w (%s)", ErrLastMember, quote(g))
			}
		}
		if root.name == name {
			return ErrRootLost
		}
		for _, g := range e.groups() {
			d.leaves(e, g)
		}
		d.entries = slices.DeleteFunc(d.entries, func(e entry) bool { return e.name == name })
		return nil
	})
}

// CreateGroups makes groups with new random internal keys, and puts the key of to in them.
func (f *File) CreateGroups(names []string, to, root *Chain) (*File, error) {
	return f.edit("create group "+quote(names...), chains{to}, root, func(d *draft, with chains) error {
		switch {
		case len(names) == 0:
			return errNoneGiven
		case len(d.groups)+len(names) > MaxGroups:
			return ErrTooMany
		}
		for _, name := range names {
			if err := checkGroupName(name); err != nil {
				return fmt.Errorf("%s: %w", quote(name), err)
			}
			if d.group(name) != nil {
				return fmt.Errorf("%s: %w", quote(name), ErrGroupExists)
			}
			g, err := newGroup(name)
			if err != nil {
				return err
			}
			d.made = append(d.made, g)
			d.putGroup(g.record())
		}
		return d.entry(to.name).addWraps(with[0].secret, d.origin, d.made)
	})
}

// Associate puts the key of to in groups that the key of from is in, and that it is not in itself.
func (f *File) Associate(groups []string, from, to, root *Chain) (*File, error) {
	return f.edit("associate group "+quote(groups...), chains{from, to}, root, func(d *draft, with chains) error {
		if len(groups) == 0 {
			return errNoneGiven
		}
		e := d.entry(to.name)
		for _, name := range groups {
			if d.group(name) == nil {
				return fmt.Errorf("%s: %w", quote(name), ErrNoGroup)
			}
			g, ok := with[0].Group(name)
			if !ok {
				return fmt.Errorf("%s, key %s: %w", quote(name), quote(from.name), ErrLacksGroups)
			}
			if e.in(name) {
				return fmt.Errorf("%s, key %s: %w", quote(name), quote(to.name), ErrHasGroup)
			}
			if err := e.addWraps(with[1].secret, d.origin, []*Group{g}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Disassociate takes a key out of groups: never out of everyone, and never the last one of a group. The internal keys
// stay as they are: who had them may still know them.
func (f *File) Disassociate(name string, groups []string, root *Chain) (*File, error) {
	return f.edit("disassociate group "+quote(groups...), nil, root, func(d *draft, _ chains) error {
		e := d.entry(name)
		if e == nil {
			return fmt.Errorf("key %s: %w", quote(name), ErrNoKey)
		}
		if len(groups) == 0 {
			return errNoneGiven
		}
		for _, g := range groups {
			switch {
			case g == Everyone:
				return fmt.Errorf("%s: %w: every key is in it", quote(g), ErrPermanent)
			case d.group(g) == nil:
				return fmt.Errorf("%s: %w", quote(g), ErrNoGroup)
			case !e.in(g):
				return fmt.Errorf("%s, key %s: %w", quote(g), quote(name), ErrLacksGroups)
			case d.members(g) == 1:
				return fmt.Errorf("%s, key %s: %w", quote(g), quote(name), ErrLastMember)
			case g == Root && root.name == name:
				return ErrRootLost
			}
			d.leaves(e, g)
			e.drop(g)
		}
		return nil
	})
}

// DestroyGroups removes groups from all keys. Their internal keys are gone with the last copy of an older key store.
func (f *File) DestroyGroups(groups []string, root *Chain) (*File, error) {
	return f.edit("destroy group "+quote(groups...), nil, root, func(d *draft, _ chains) error {
		if len(groups) == 0 {
			return errNoneGiven
		}
		for _, name := range groups {
			if name == Everyone || name == Root {
				return fmt.Errorf("%s: %w: no store can be without it", quote(name), ErrPermanent)
			}
			if d.group(name) == nil {
				return fmt.Errorf("%s: %w", quote(name), ErrNoGroup)
			}
			for i := range d.entries {
				d.entries[i].drop(name)
			}
			d.groups = slices.DeleteFunc(d.groups, func(g group) bool { return g.name == name })
		}
		return nil
	})
}

var errNoneGiven = fmt.Errorf("%w: no group was given", ErrBadName)

// edit runs one change on a draft of the next version, and signs what comes out.
func (f *File) edit(what string, with chains, root *Chain, change func(*draft, chains) error) (*File, error) {
	next, err := func() (*File, error) {
		fresh, err := with.refresh(f)
		if err != nil {
			return nil, err
		}
		defer fresh.close()
		signer, err := f.signer(fresh, root)
		if err != nil {
			return nil, err
		}
		defer signer.Close()
		d := &draft{File: f.next(), known: signer, signer: signer.groups[Root]}
		defer func() { closeGroups(d.made) }()
		if err := change(d, fresh); err != nil {
			return nil, err
		}
		for _, c := range append(slices.Clone(fresh), signer) {
			if err := d.renew(c); err != nil {
				return nil, err
			}
		}
		if err := d.File.sign(d.signer); err != nil {
			return nil, err
		}
		return d.File, nil
	}()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return next, nil
}

// signer opens the key that signs: root, or else the first of the other chains that is in group root.
func (f *File) signer(with chains, root *Chain) (*Chain, error) {
	for _, c := range with {
		if root == nil && c.InRoot() {
			root = c
		}
	}
	if root == nil {
		return nil, ErrNotRoot
	}
	fresh, err := f.refresh(root)
	if err != nil {
		return nil, fmt.Errorf("root passphrase, key %s: %w", quote(root.name), err)
	}
	if !fresh.InRoot() {
		fresh.Close()
		return nil, fmt.Errorf("key %s: %w", quote(root.name), ErrNotRoot)
	}
	return fresh, nil
}

// unused refuses a new passphrase that opens a key already, other than except.
func (f *File) unused(ctx context.Context, pass []byte, except string) error {
	e, secret, err := f.find(ctx, pass, "", except)
	if err != nil {
		return err
	}
	if e != nil {
		secret.close()
		return fmt.Errorf("%w (key %s)", ErrPassphraseUsed, quote(e.name))
	}
	return nil
}

// draft is the next version of a File, still being made; it shares no slice that an edit changes.
type draft struct {
	*File
	known  *Chain   // that signs
	signer *Group   // the version of root that will sign it
	made   []*Group // in the course of the edit, to be closed after it
}

func (f *File) next() *File {
	return &File{
		format: max(formatNow, f.format), succession: slices.Clone(f.succession), storeID: f.storeID, origin: f.origin, rootBase: f.rootBase, version: f.version + 1, previous: f.Hash(),
		groups: slices.Clone(f.groups), entries: slices.Clone(f.entries),
	}
}

// put adds or replaces an entry.
func (d *draft) put(e entry) {
	d.entries = slices.DeleteFunc(d.entries, func(o entry) bool { return o.name == e.name })
	d.entries = append(d.entries, e)
	slices.SortFunc(d.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
}

func (d *draft) putGroup(g group) {
	d.groups = append(d.groups, g)
	slices.SortFunc(d.groups, func(a, b group) int { return strings.Compare(a.name, b.name) })
}

// drop takes an entry out of a group.
func (e *entry) drop(group string) {
	e.wraps = slices.DeleteFunc(slices.Clone(e.wraps), func(w wrap) bool { return w.group == group })
}

// chains are those that an edit takes keys from.
type chains []*Chain

func (cs chains) refresh(f *File) (fresh chains, err error) {
	for _, c := range cs {
		n, err := f.refresh(c)
		if err != nil {
			fresh.close()
			return nil, fmt.Errorf("passphrase of key %s: %w", quote(c.name), err)
		}
		fresh = append(fresh, n)
	}
	return fresh, nil
}

func (cs chains) close() {
	for _, c := range cs {
		c.Close()
	}
}

// sorted returns the chain's groups in order.
func (c *Chain) sorted() []*Group {
	var groups []*Group
	for _, name := range c.Groups() {
		groups = append(groups, c.groups[name])
	}
	return groups
}

// versionsOf returns the groups of an entry, if the chain has every version of them that the entry has.
func (c *Chain) versionsOf(e *entry) ([]*Group, error) {
	for _, w := range e.wraps {
		g, ok := c.Group(w.group)
		if ok {
			_, ok = g.At(w.epoch)
		}
		if !ok {
			return nil, fmt.Errorf("%s, key %s: %w", quote(w.group), quote(c.name), ErrLacksGroups)
		}
	}
	var groups []*Group
	for _, name := range e.groups() {
		groups = append(groups, c.groups[name])
	}
	return groups, nil
}

func quote(names ...string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}
