package engine

import (
	"strings"
	"testing"

	"ensync/engine/ancestor"
)

// FuzzMoveTag: a move is read back as it was noted.
func FuzzMoveTag(f *testing.F) {
	f.Add("a/b", "c", "client move\x00d\x00a\x00b")
	f.Fuzz(func(t *testing.T, from, to, tag string) {
		if !strings.ContainsRune(from+to, 0) {
			if m, ok := parseMoveTag(makeMoveTag(ancestor.Move{From: from, To: to})); !ok || m.From != from || m.To != to {
				t.Errorf("%q to %q is read as %+v, %v", from, to, m, ok)
			}
		}
		parseMoveTag(tag)
	})
}
