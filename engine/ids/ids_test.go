package ids

import (
	"errors"
	"testing"

	"ensync/store/object"
)

// machine has two users.
func machine() *Table {
	byNumber := map[string]string{"0": "root", "1001": "alice", "5": "a b"}
	return &Table{
		name: func(number string) (string, error) {
			if name, ok := byNumber[number]; ok {
				return name, nil
			}
			return "", errors.New("unknown")
		},
		number: func(name string) (string, error) {
			for number, n := range byNumber {
				if n == name {
					return number, nil
				}
			}
			return "", errors.New("unknown")
		},
	}
}

func TestOwner(t *testing.T) {
	m := machine()
	for number, want := range map[uint32]object.Owner{0: "root:0", 1001: "alice:1001", 7: ":7", 5: ":5"} {
		for range 2 { // asked, and remembered
			if got := m.Owner(number); got != want {
				t.Errorf("%d is %q, not %q", number, got, want)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	m := machine()
	for owner, want := range map[object.Owner]uint32{"alice:1000": 1001, "bob:1002": 1002, ":1001": 1001, "toor:0": 0,
		"root:12": 0} {
		for range 2 {
			if got := m.Number(owner); got != want {
				t.Errorf("%q is %d, not %d", owner, got, want)
			}
		}
	}
	if !m.Same("alice:1000", ":1001") || m.Same("alice:1000", "bob:1000") || m.Same("", ":0") || !m.Same("", "") {
		t.Error("Same is wrong")
	}
}

func TestThisMachine(t *testing.T) {
	if got := Users.Number(Users.Owner(0)); got != 0 {
		t.Errorf("root is %d", got)
	}
	if got := Groups.Number(Groups.Owner(0)); got != 0 {
		t.Errorf("the group of root is %d", got)
	}
}
