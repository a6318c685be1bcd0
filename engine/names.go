package engine

import (
	"cmp"
	"slices"
	"strings"

	"ensync/engine/replica"
)

// A name is what the three trees have under one name.
type name struct {
	client, known, server replica.Entry
}

func (n name) text() string {
	return cmp.Or(n.client.Name, n.known.Name, n.server.Name)
}

// listings are what the three trees have in one directory, each sorted, with how far each was read.
type listings struct {
	lists [3][]replica.Entry // client, ancestor, server
	at    [3]int
}

// next returns the next name in order; false if there is none left.
func (l *listings) next() (name, bool) {
	least, found := "", false
	for i, list := range l.lists {
		if l.at[i] < len(list) && (!found || list[l.at[i]].Name < least) {
			least, found = list[l.at[i]].Name, true
		}
	}
	var n [3]replica.Entry
	for i, list := range l.lists {
		n[i] = replica.Entry{Name: least}
		if l.at[i] < len(list) && list[l.at[i]].Name == least {
			n[i] = list[l.at[i]]
			l.at[i]++
		}
	}
	return name{client: n[0], known: n[1], server: n[2]}, found
}

// has reports whether any of the three has a name.
func (l *listings) has(text string) bool {
	for _, list := range l.lists {
		if _, ok := slices.BinarySearchFunc(list, text, func(e replica.Entry, text string) int {
			return strings.Compare(e.Name, text)
		}); ok {
			return true
		}
	}
	return false
}
