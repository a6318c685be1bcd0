// Package house_test holds the rules of the house that no compiler holds: where things are, what may import what, and
// how files look.
package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const top = "../.."

// maxLines is how long a file may get before it is two. Tests may hold a long table.
const (
	maxLines     = 500
	maxTestLines = 600
)

// layers are the floors from the ground up; code imports what is on its own floor or below.
var layers = []string{"keys", "store", "engine", "fusefs", "cmd"}

// apart are packages that may import nothing of ours but what is listed, whatever floor they are on.
var apart = map[string][]string{
	"keys":          {},
	"store/object":  {},
	"store/backend": {},
	"engine/plan":   {"store/object"},
	"engine/rules":  {"engine/plan", "engine/internal", "store/object"},
	"fusefs":        {"engine", "fusefs"}, // it knows the kernel, not the store
	"scripts":       {"scripts"},          // it knows the program, not its insides
}

// pure are packages without input, output or clock.
var pure = []string{"engine/plan", "engine/rules", "store/object"}

var impure = []string{"os", "net", "time", "io/fs", "syscall", "math/rand", "golang.org/x/sys"}

// rooms is what may lie at the top, besides names that start with a dot and what builds leave there.
var rooms = []string{
	"fusefs", "engine", "store", "keys", "cmd", "scripts", "testdata", "docs",
	"go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "bin", "dist",
}

// source is one Go file.
type source struct {
	path    string // from the top, with slashes
	dir     string
	test    bool
	lines   int
	file    *ast.File
	imports []string
}

// ours returns the imported package's directory, if it is one of ours.
func ours(name string) (string, bool) { return strings.CutPrefix(name, "ensync/") }

// under reports whether a package or path is one of dirs or lies below one.
func under(name string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return name == d || strings.HasPrefix(name, d+"/") })
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		s, err := parse(p)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("found only %d Go files; is this test where it was?", len(all))
	}
	return all
}

func parse(p string) (source, error) {
	text, err := os.ReadFile(p)
	if err != nil {
		return source{}, err
	}
	rel, err := filepath.Rel(top, p)
	if err != nil {
		return source{}, err
	}
	s := source{path: filepath.ToSlash(rel), test: strings.HasSuffix(p, "_test.go"), lines: strings.Count(string(text), "\n")}
	s.dir = path.Dir(s.path)
	if s.file, err = parser.ParseFile(token.NewFileSet(), p, text, parser.ImportsOnly|parser.ParseComments); err != nil {
		return s, err
	}
	for _, i := range s.file.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return s, err
		}
		s.imports = append(s.imports, name)
	}
	return s, nil
}

func floor(dir string) int {
	return slices.IndexFunc(layers, func(l string) bool { return under(dir, l) })
}

// wrongImport says what is wrong with a production package's import of another; "" if nothing is.
func wrongImport(dir, name string) string {
	if name == "C" {
		return "cgo: the program is pure Go"
	}
	for _, p := range pure {
		if dir == p && under(name, impure...) {
			return "has no input, output or clock"
		}
	}
	target, internal := ours(name)
	if !internal {
		return ""
	}
	if under(target, "scripts") && !under(dir, "scripts") {
		return "nothing stands on scripts"
	}
	for room, allowed := range apart {
		if (dir == room || room == "scripts" && under(dir, room)) && !under(target, allowed...) {
			return "may import of ours only " + strings.Join(allowed, ", ")
		}
	}
	if from, to := floor(dir), floor(target); from >= 0 && to > from {
		return "arrows point down: " + strings.Join(layers, " <- ")
	}
	if onlyForTests(target) && !onlyForTests(dir) {
		return "is there for tests"
	}
	return ""
}

// onlyForTests tells conformance suites and twins by their names.
func onlyForTests(dir string) bool {
	base := path.Base(dir)
	return strings.HasSuffix(base, "test") || under(dir, "store/backend/faulty", "store/backend/memory", "engine/replica/memory")
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue // a test may look at its package from above
		}
		for _, name := range s.imports {
			if wrong := wrongImport(s.dir, name); wrong != "" {
				t.Errorf("%s imports %s: %s", s.path, name, wrong)
			}
		}
	}
}

// TestWrongImport shows that the rules catch what they are there for.
func TestWrongImport(t *testing.T) {
	for _, c := range []struct {
		dir, name string
		wrong     bool
	}{
		{"cmd/ensync", "ensync/fusefs", false},
		{"fusefs", "ensync/engine/worktree", false},
		{"engine/remote", "ensync/store", false},
		{"store", "ensync/keys", false},
		{"store", "ensync/engine", true},
		{"store/dir", "ensync/fusefs", true},
		{"keys", "ensync/store/object", true},
		{"fusefs", "ensync/store", true},
		{"engine", "ensync/fusefs", true},
		{"engine/plan", "os", true},
		{"engine/rules", "time", true},
		{"engine/rules", "io/fs", true},
		{"engine/config", "os", false},
		{"store/pack", "C", true},
		{"scripts/soak", "ensync/engine", true},
		{"cmd/ensync", "ensync/scripts/internal/forest", true},
		{"store", "ensync/store/backend/memory", true},
		{"store/backend/backendtest", "ensync/store/backend/memory", false},
	} {
		if got := wrongImport(c.dir, c.name); (got != "") != c.wrong {
			t.Errorf("%s imports %s: got %q", c.dir, c.name, got)
		}
	}
}

func TestNoPackageOutsideTheLayers(t *testing.T) {
	for _, s := range sources(t) {
		if floor(s.dir) < 0 && !under(s.dir, "scripts") {
			t.Errorf("%s: no room of that name; Go code lies in %s or scripts", s.path, strings.Join(layers, ", "))
		}
	}
}

func TestFileLength(t *testing.T) {
	for _, s := range sources(t) {
		if limit := map[bool]int{false: maxLines, true: maxTestLines}[s.test]; s.lines > limit {
			t.Errorf("%s: %d lines, more than %d; part it by what its halves are about", s.path, s.lines, limit)
		}
	}
}

// TestPackageSentence: each package says once what it is, in a sentence that starts with its name.
func TestPackageSentence(t *testing.T) {
	said := map[string][]string{}
	for _, s := range sources(t) {
		if s.test && s.dir != "scripts/house" {
			continue
		}
		said[s.dir] = append(said[s.dir], "")
		if s.file.Doc == nil {
			continue
		}
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + path.Base(s.dir) + " "
		}
		if text := s.file.Doc.Text(); !strings.HasPrefix(text, want) {
			t.Errorf("%s: its comment starts %.30q, not %q", s.path, text, want)
		}
		said[s.dir] = append(said[s.dir], s.path)
	}
	for _, dir := range slices.Sorted(maps.Keys(said)) {
		files := slices.DeleteFunc(said[dir], func(f string) bool { return f == "" })
		if len(files) != 1 {
			t.Errorf("%s: the package comment is in %d files %v, not in one", dir, len(files), files)
		}
	}
}

func TestRooms(t *testing.T) {
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	ignored := func(name string) bool { // by .gitignore
		return strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".test") || strings.HasSuffix(name, ".out")
	}
	for _, e := range entries {
		if !ignored(e.Name()) && !slices.Contains(rooms, e.Name()) {
			t.Errorf("%s: not one of the names at the top: %s", e.Name(), strings.Join(rooms, " "))
		}
	}
}
