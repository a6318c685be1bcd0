package keys

import "slices"

// check holds for every version of every key store, whoever made it: lists are in strict order (so that each state has
// one encoding), nothing that should be random is zero, and nobody can be locked out: each group has a key, each
// key is in everyone, and has the current version of each of its groups.
func (f *File) check() error {
	if len(f.groups) > MaxGroups || len(f.entries) > MaxKeys {
		return ErrTooMany
	}
	sound := !isZero(f.storeID[:]) && f.version > 0 && (f.version == 1) == isZero(f.previous[:]) &&
		ascending(f.groups, func(a, b group) bool { return a.name < b.name }) &&
		ascending(f.entries, func(a, b entry) bool { return a.name < b.name }) &&
		!slices.ContainsFunc(f.groups, func(g group) bool { return !g.sound() }) &&
		f.group(Everyone) != nil && f.group(Root) != nil && len(f.succession) == len(f.group(Root).public)-1
	if !sound || !f.soundOrigin() {
		return ErrTampered
	}
	member := make(map[string]bool, len(f.groups))
	for i := range f.entries {
		if !f.entries[i].sound() || !f.knows(&f.entries[i]) {
			return ErrTampered
		}
		for _, g := range f.entries[i].groups() {
			member[g] = true
		}
	}
	if len(member) != len(f.groups) {
		return ErrTampered
	}
	return nil
}

// soundOrigin holds if a store has an origin exactly where it was re-keyed, and then a version of root to begin with.
func (f *File) soundOrigin() bool {
	if f.format < formatRekeyed {
		return f.origin == f.storeID
	}
	_, ok := f.group(Root).at(f.rootBase)
	return ok && !isZero(f.origin[:]) && f.origin != f.storeID && f.group(Root).valid >= f.rootBase
}

func (g *group) sound() bool {
	return checkGroupName(g.name) == nil && len(g.public) > 0 && len(g.public) <= MaxEpochs && g.public[0].epoch > 0 &&
		ascending(g.public, func(a, b publicKey) bool { return a.epoch < b.epoch }) &&
		!slices.ContainsFunc(g.public, func(p publicKey) bool { return isZero(p.key[:]) }) && g.left <= g.current().epoch &&
		slices.ContainsFunc(g.public, func(p publicKey) bool { return p.epoch == g.valid })
}

func (e *entry) sound() bool {
	return checkName(e.name) == nil && e.created > 0 && e.changed >= 0 &&
		e.kdf.logN >= minLogN && e.kdf.logN <= maxLogN &&
		!isZero(e.salt[:]) && !isZero(e.check[:]) && (e.mailbox == nil || !isZero(e.mailbox)) && !isZero(e.anchor.nonce[:]) && !isZero(e.anchor.sealed[:]) &&
		e.in(Everyone) && len(e.wraps) <= maxWraps &&
		ascending(e.wraps, func(a, b wrap) bool { return compareWraps(a, b) < 0 }) &&
		!slices.ContainsFunc(e.wraps, func(w wrap) bool { return !w.sound() })
}

func (w *wrap) sound() bool {
	if w.mailed != nil {
		return !isZero(w.mailed)
	}
	return !isZero(w.nonce[:]) && !isZero(w.sealed[:])
}

// knows reports whether each wrap of an entry is of a known version of a known group, and the newest of each is current.
func (f *File) knows(e *entry) bool {
	for i, w := range e.wraps {
		g := f.group(w.group)
		if g == nil {
			return false
		}
		if _, ok := g.at(w.epoch); !ok {
			return false
		}
		last := i+1 == len(e.wraps) || e.wraps[i+1].group != w.group
		if last && w.epoch != g.current().epoch {
			return false
		}
	}
	return true
}

func ascending[T any](list []T, less func(a, b T) bool) bool {
	for i := 1; i < len(list); i++ {
		if !less(list[i-1], list[i]) {
			return false
		}
	}
	return true
}
