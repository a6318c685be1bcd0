package backend_test

import (
	"errors"
	"strings"
	"testing"

	"ensync/store/backend"
)

func TestCheckName(t *testing.T) {
	long := strings.Repeat("a", backend.MaxPart)
	for name, good := range map[string]bool{
		"format": true, "packs/ab/0123.x-y": true, "a": true, long: true,
		"": false, "/": false, "a/": false, "a//b": false, "A": false, "a_b": false, "../a": false, "a/..": false,
		".a": false, "a.": false, "a/.nfs01": false, "a\x00": false, "ä": false, long + "a": false,
		strings.Repeat("a/", 300) + "a": false,
	} {
		if err := backend.CheckName(name); (err == nil) != good || err != nil && !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("CheckName(%q) = %v, want good = %v", name, err, good)
		}
	}
}

func TestCheckPrefix(t *testing.T) {
	for prefix, good := range map[string]bool{
		"": true, "packs/": true, "packs/a": true, "a.": true, "/": false, "../": false, ".": false, "a//": false, "A": false,
	} {
		if err := backend.CheckPrefix(prefix); (err == nil) != good {
			t.Errorf("CheckPrefix(%q) = %v, want good = %v", prefix, err, good)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"", "a", "packs/ab/cd", "a/../b", ".x", "a@", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if backend.CheckName(name) != nil {
			return
		}
		if len(name) > backend.MaxName || strings.Contains("/"+name+"/", "/.") || strings.Contains(name, "//") {
			t.Errorf("CheckName accepts %q", name)
		}
		for i := range name {
			if err := backend.CheckPrefix(name[:i]); err != nil {
				t.Errorf("a prefix of the valid name %q is refused: %v", name, err)
			}
		}
	})
}
