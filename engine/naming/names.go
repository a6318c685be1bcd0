package naming

import (
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ensync/engine/ancestor"
	"ensync/store/object"
)

// names are those of one directory that differ. They don't change; nil are none.
type names struct {
	byStore map[string]ancestor.LocalName
	byLocal map[string]string // the name in the store
}

func (n *names) clone() *names {
	if n == nil {
		return &names{byStore: map[string]ancestor.LocalName{}, byLocal: map[string]string{}}
	}
	return &names{byStore: maps.Clone(n.byStore), byLocal: maps.Clone(n.byLocal)}
}

func (n *names) drop(store string) {
	if was, ok := n.byStore[store]; ok {
		delete(n.byStore, store)
		if n.byLocal[was.Local] == store {
			delete(n.byLocal, was.Local)
		}
	}
}

func (n *names) set(name ancestor.LocalName) {
	n.drop(name.Store)
	n.byStore[name.Store] = name
	n.byLocal[name.Local] = name.Store
}

func (n *names) get(store string) (ancestor.LocalName, bool) {
	if n == nil {
		return ancestor.LocalName{}, false
	}
	name, ok := n.byStore[store]
	return name, ok
}

// id is the DirectoryID at the time the names were noted.
func (n *names) id() string {
	for _, name := range n.byStore {
		return name.DirID
	}
	return ""
}

// local is the name on this machine of one in the store.
func (n *names) local(store string) string {
	if name, ok := n.get(store); ok {
		return name.Local
	}
	return store
}

// store is the name in the store of one on this machine.
func (n *names) store(local string) string {
	if n != nil {
		if store, ok := n.byLocal[local]; ok {
			return store
		}
	}
	return local
}

// entry is an entry with its name on this machine.
func (n *names) entry(e *object.Entry) *object.Entry {
	if e == nil {
		return nil
	}
	there := *e
	there.Name = n.local(e.Name)
	return &there
}

// compare returns what a listing says of the names that differ: those that no longer do, and new ones.
func (n *names) compare(dir string, entries []object.Entry) (drop, set []ancestor.LocalName) {
	listed := make(map[string]bool, len(entries))
	for _, e := range entries {
		listed[e.Name] = true
	}
	now := n.clone()
	for store, name := range n.byStore {
		if !listed[name.Local] && name.Next != "" && name.Next != store && listed[name.Next] {
			now.set(arrived(name)) // a crash came before that was noted
			set = append(set, arrived(name))
			continue
		}
		// A program that saves may be about to put it back, so a note of nothing stays until it is agreed to be gone. It
		// goes if the store's name is here, or if the user gave what had been renamed another name again.
		if !listed[name.Local] && (listed[store] || name.Why == ancestor.Respelled && name.Beside != "") {
			now.drop(store)
			drop = append(drop, name)
		}
	}
	for store, name := range now.byStore {
		if _, aside := now.byStore[name.Beside]; name.Why == ancestor.Respelled && name.Beside != "" && !aside {
			now.drop(store) // nothing is in the way of the name that its user gave it
			drop = append(drop, name)
		}
	}
	for _, e := range entries {
		aside, taken := now.byStore[e.Name]
		if _, known := now.byLocal[e.Name]; !taken || known {
			continue
		}
		name := ancestor.LocalName{Dir: dir, Local: e.Name, Beside: e.Name, DirID: aside.DirID, Since: time.Now()}
		if keeper := aside.Beside; keeper != "" && !listed[now.local(keeper)] {
			// What was in the way was given this spelling by its user, who can't know what has it in the store.
			name.Store, name.Why = keeper, ancestor.Respelled
		} else {
			name.Store, name.Why = now.fresh(e.Name, listed), ancestor.Clash
		}
		now.set(name)
		set = append(set, name)
	}
	return drop, set
}

// arrived is a name that was kept aside, when it has its own again, as the file system spells it.
func arrived(n ancestor.LocalName) ancestor.LocalName {
	n.Local, n.Next, n.Why, n.Beside = n.Next, "", ancestor.Respelled, ""
	return n
}

// fresh returns a name for the store that nothing has.
func (n *names) fresh(name string, listed map[string]bool) string {
	for i := 1; ; i++ {
		fresh := asideName(name, i)
		if _, taken := n.byStore[fresh]; !taken && !listed[fresh] {
			return fresh
		}
	}
}

// mark tells a name that was kept aside.
const mark = "~aside"

// maxName is the longest name in bytes that a directory may hold; see object.ValidName.
const maxName = 255

// asideName is the n-th name under which one is kept aside: README~aside1.md for README.md.
func asideName(name string, n int) string {
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 32 {
		stem, ext = name[:i], name[i:]
	}
	tail := mark + strconv.Itoa(n) + strings.TrimRight(ext, ". ")
	for len(stem)+len(tail) > maxName {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	return stem + tail
}

// harmless replaces in a name what file systems refuse.
func harmless(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || strings.ContainsRune(`\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	return cut(name, 100)
}

// ascii is harmless with nothing left that needs another character set.
func ascii(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '_'
		}
		return r
	}, harmless(name))
}

// cut shortens a name to n bytes, not within a character, and keeps its extension.
func cut(name string, n int) string {
	if len(name) <= n {
		return name
	}
	ext := name[max(strings.LastIndexByte(name, '.'), 0):]
	if len(ext) > 32 || len(ext) == len(name) {
		ext = ""
	}
	stem := name[:n-len(ext)]
	for !utf8.ValidString(stem) {
		stem = stem[:len(stem)-1]
	}
	return stem + ext
}
