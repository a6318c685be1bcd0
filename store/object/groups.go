package object

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// HasGroups reports whether a directory of that name is a root of its own, for groups that its name tells.
func HasGroups(name string) bool { return strings.Contains(name, groupsOpen) }

const groupsOpen = ".ensync["

// ParseGroups returns the read and write group of a directory of that name: the last of each that blocks of the form
// .ensync[r=GROUP,w=GROUP,rw=GROUP] in the name give, or else what it inherits (reference 6.10).
func ParseGroups(name, inheritRead, inheritWrite string) (read, write string, err error) {
	read, write = inheritRead, inheritWrite
	for rest := []byte(name); ; {
		_, after, found := bytes.Cut(rest, []byte(groupsOpen))
		if !found {
			return read, write, nil
		}
		inside, behind, closed := bytes.Cut(after, []byte("]"))
		if !closed || !utf8.Valid(inside) {
			return "", "", fmt.Errorf("directory %q: .ensync[ in its name is not closed, or not text", name)
		}
		rest = behind
		for _, pair := range bytes.Split(inside, []byte(",")) {
			key, value, ok := bytes.Cut(pair, []byte("="))
			switch k := string(key); {
			case len(pair) == 0:
			case !ok || len(value) == 0 || k != "r" && k != "w" && k != "rw" && k != "wr":
				return "", "", fmt.Errorf("directory %q: %q in its name is not r=GROUP, w=GROUP or rw=GROUP", name, pair)
			default:
				if k != "w" {
					read = string(value)
				}
				if k != "r" {
					write = string(value)
				}
			}
		}
	}
}
