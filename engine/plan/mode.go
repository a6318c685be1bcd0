package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Right says what may be done to one side in one respect.
type Right uint8

// The three grades of a right. Force also settles conflicts: inbound force lets the server's version win.
const (
	Off Right = iota
	On
	Force
)

// Rights says what may be created, updated and deleted on one side.
type Rights struct{ Create, Update, Delete Right }

// Mode is a sync mode such as cud/cud: what may flow in (to the client), and what may flow out (to the server).
type Mode struct{ In, Out Rights }

// The names that stand for modes; reference 2.3.
var aliases = map[string]string{
	"mirror":            "---/CUD",
	"reset-server":      "---/CUD",
	"reset-client":      "CUD/---",
	"conservative-sync": "cud/cud",
	"sync":              "cud/cud",
	"aggressive-sync":   "CUD/CUD",
}

// ParseMode reads a mode: seven characters such as cud/cud or ---/CUD, or one of the names.
func ParseMode(s string) (Mode, error) {
	text := s
	if long, ok := aliases[s]; ok {
		text = long
	}
	in, out, ok := strings.Cut(text, "/")
	var m Mode
	if !ok || !m.In.parse(in) || !m.Out.parse(out) {
		return Mode{}, fmt.Errorf("sync mode %q: not understood; write seven characters like cud/cud (lower case: "+
			"allowed, upper case: forced, -: off) or one of mirror, reset-server, reset-client, conservative-sync, "+
			"aggressive-sync", s)
	}
	return m, nil
}

// String returns the seven characters.
func (m Mode) String() string { return m.In.String() + "/" + m.Out.String() }

// String returns three characters such as c-D.
func (r Rights) String() string {
	b := []byte("---")
	for i, g := range []Right{r.Create, r.Update, r.Delete} {
		switch g {
		case On:
			b[i] = "cud"[i]
		case Force:
			b[i] = "CUD"[i]
		}
	}
	return string(b)
}

func (r *Rights) parse(s string) bool {
	if len(s) != 3 {
		return false
	}
	for i, g := range []*Right{&r.Create, &r.Update, &r.Delete} {
		switch s[i] {
		case '-':
			*g = Off
		case "cud"[i]:
			*g = On
		case "CUD"[i]:
			*g = Force
		default:
			return false
		}
	}
	return true
}

// ModeNames returns the names that ParseMode knows besides the seven characters, sorted.
func ModeNames() []string {
	return slices.Sorted(maps.Keys(aliases))
}
