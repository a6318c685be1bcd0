package nearest

import (
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	valid := []string{"files", "siblings", "mode", "name", "cud/cud", "root"}
	for word, want := range map[string]string{
		"file": "files", "sibling": "siblings", "sibilngs": "siblings", "Mode": "mode", "nmae": "name", "cud/dcu": "cud/cud",
		"rot": "root", "xyzzy": "", "": "", strings.Repeat("a", 100): "",
	} {
		if got := Word(word, valid); got != want {
			t.Errorf("Word(%q) = %q, want %q", word, got, want)
		}
	}
}
