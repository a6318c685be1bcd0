package house_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNothingPutOff: what is not done is in the README's list, not in the code.
func TestNothingPutOff(t *testing.T) {
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, s := range sources(t) {
		text, err := os.ReadFile(filepath.Join(top, s.path))
		if err != nil {
			t.Fatal(err)
		}
		if m := mark.Find(text); m != nil {
			t.Errorf("%s: says %s", s.path, m)
		}
	}
}

// TestRandomness: what is secret or must not repeat comes from crypto/rand.
func TestRandomness(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || onlyForTests(s.dir) || !under(s.dir, "keys", "store") {
			continue
		}
		for _, name := range s.imports {
			if strings.HasPrefix(name, "math/rand") {
				t.Errorf("%s imports %s: use crypto/rand", s.path, name)
			}
		}
	}
}

var direct = regexp.MustCompile(`(?m)^\s*(?:require )?([a-z0-9.-]+\.[a-z]+/\S+) v\S+$`)

// TestDependencies: each direct dependency has a line that says why it is there.
func TestDependencies(t *testing.T) {
	mod := read(t, "go.mod")
	text := read(t, "docs/dependencies.md")
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		listed[m[1]] = true
	}
	for _, m := range direct.FindAllStringSubmatch(mod, -1) {
		if !listed[m[1]] {
			t.Errorf("%s: has no line in docs/dependencies.md", m[1])
		}
		delete(listed, m[1])
	}
	for name := range maps.Keys(listed) {
		if !strings.Contains(mod, name+" ") {
			t.Errorf("docs/dependencies.md names %s, which is not in go.mod", name)
		}
	}
}

// TestLinks: what the documents point at is there.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	for _, f := range append(files, filepath.Join(top, "README.md")) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(f), m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", filepath.Base(f), m[1], err)
			}
		}
	}
}

// TestMakeTargets: what the README tells people to type exists.
func TestMakeTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	var missing []string
	for _, m := range regexp.MustCompile("(?m)(?:`|^\\s*)make ([a-z0-9-]+)").FindAllStringSubmatch(read(t, "README.md"), -1) {
		if !targets[m[1]] {
			missing = append(missing, m[1])
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		t.Errorf("README.md names targets that the Makefile has not: %v", missing)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
