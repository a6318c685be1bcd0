package remote

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"ensync/store/object"
)

// A listing is the entries of a directory: as they were stored, and what differs from that. A directory of a hundred
// thousand entries is so held once, and not copied to be looked at.
type listing struct {
	stored  []object.Entry // sorted; never changed in place, since others may hold it
	changed map[string]item
}

// An item is an entry; kind Absent means that the stored one is gone.
type item struct {
	object.Entry
	fresh bool // changed since the last commit
}

// get returns the entry of a name; kind Absent if there is none.
func (l *listing) get(name string) item {
	if e, ok := l.changed[name]; ok {
		return e
	}
	i := sort.Search(len(l.stored), func(i int) bool { return l.stored[i].Name >= name })
	if i < len(l.stored) && l.stored[i].Name == name {
		return item{Entry: l.stored[i]}
	}
	return item{}
}

func (l *listing) set(name string, e item) {
	if l.changed == nil {
		l.changed = map[string]item{}
	}
	l.changed[name] = e
}

// all returns the entries, sorted. The caller must not change them.
func (l *listing) all() []object.Entry {
	if len(l.changed) == 0 {
		return l.stored
	}
	list := make([]object.Entry, 0, len(l.stored)+len(l.changed))
	old := l.stored
	for _, name := range slices.Sorted(maps.Keys(l.changed)) {
		n, replaced := slices.BinarySearchFunc(old, name, func(e object.Entry, name string) int {
			return strings.Compare(e.Name, name)
		})
		list = append(list, old[:n]...)
		if old = old[n:]; replaced {
			old = old[1:]
		}
		if e := l.changed[name]; e.Kind != object.Absent {
			list = append(list, e.Entry)
		}
	}
	return append(list, old...)
}

// settle makes what differs the stored state.
func (l *listing) settle() {
	l.stored, l.changed = l.all(), nil
}
