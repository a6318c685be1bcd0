// Package ids translates between the owners that travel, names with numbers, and the numbers of users and groups on this
// machine.
//
// It does as rsync does: a name that this machine knows counts, else the number. Number 0 is root everywhere.
package ids

import (
	"os/user"
	"strconv"
	"sync"
	"time"

	"ensync/store/object"
)

// A Table knows the users or the groups of a machine. Methods may be called concurrently.
type Table struct {
	name   func(number string) (string, error)
	number func(name string) (string, error)

	mu      sync.Mutex
	asked   time.Time
	names   map[uint32]object.Owner
	numbers map[string]uint32 // names that there are
	unknown map[string]bool   // names that there are not
}

// Users and Groups are those of this machine.
var (
	Users = &Table{
		name: func(number string) (string, error) {
			u, err := user.LookupId(number)
			if err != nil {
				return "", err
			}
			return u.Username, nil
		},
		number: func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		},
	}
	Groups = &Table{
		name: func(number string) (string, error) {
			g, err := user.LookupGroupId(number)
			if err != nil {
				return "", err
			}
			return g.Name, nil
		},
		number: func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		},
	}
)

// maxAge is how long answers are believed: users come and go while a mount runs.
const maxAge = time.Minute

// fresh drops answers that are too old. t.mu is held.
func (t *Table) fresh() {
	if t.names != nil && time.Since(t.asked) < maxAge {
		return
	}
	t.asked = time.Now()
	t.names, t.numbers, t.unknown = map[uint32]object.Owner{}, map[string]uint32{}, map[string]bool{}
}

// Owner returns what a number of this machine is called elsewhere.
func (t *Table) Owner(number uint32) object.Owner {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh()
	o, ok := t.names[number]
	if !ok {
		name, err := t.name(strconv.FormatUint(uint64(number), 10))
		if err != nil {
			name = ""
		}
		o = object.MakeOwner(name, number)
		t.names[number] = o
	}
	return o
}

// Number returns the number that an owner has on this machine.
func (t *Table) Number(o object.Owner) uint32 {
	name, number := o.Split()
	if name == "" || number == 0 {
		return number
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh()
	if n, ok := t.numbers[name]; ok {
		return n
	}
	if t.unknown[name] {
		return number
	}
	text, err := t.number(name)
	n, bad := strconv.ParseUint(text, 10, 32)
	if err != nil || bad != nil {
		t.unknown[name] = true
		return number
	}
	t.numbers[name] = uint32(n)
	return uint32(n)
}

// Same reports whether two owners are one on this machine. What is not known is nobody's.
func (t *Table) Same(a, b object.Owner) bool {
	return a == b || a != "" && b != "" && t.Number(a) == t.Number(b)
}
