package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories runs testdata/script/stories: what people edit on machines a, b and c between two syncs, and what all have
// then. Each story is told between directories, between a directory and mounts, and between mounts.
//
//	story NAME        begins one, in a directory of its own
//	base TREE         what all have in sync before
//	a EDIT            a line for sh on machine a, in the story's directory; so b and c
//	want TREE         what all have after two syncs of each, as a tree in one line
//	settle            does it all
//
// TREE is words such as d/f=1 (a file with what is in it), d/ (an empty directory), l->f (a link); @600 at the end is a
// mode other than 644 of a file and 755 of a directory.
func TestStories(t *testing.T) {
	for _, kinds := range []string{"dir dir dir", "dir mount dir", "mount mount mount"} {
		t.Run(strings.ReplaceAll(kinds, " ", "-"), func(t *testing.T) {
			if strings.Contains(kinds, "mount") && !canMount() {
				t.Skip("needs root and /dev/fuse")
			}
			if testing.Short() && kinds != "dir mount dir" {
				t.Skip("one of each kind is enough")
			}
			testscript.Run(t, testscript.Params{
				Dir: filepath.Join("..", "..", "testdata", "script", "stories"),
				Setup: func(env *testscript.Env) error {
					env.Values[tellerKey{}] = &teller{kinds: strings.Fields(kinds)}
					return setUpScript(env)
				},
				Cmds:                storyCommands,
				RequireExplicitExec: true,
			})
		})
	}
}

var storyCommands = map[string]func(*testscript.TestScript, bool, []string){
	"story": func(ts *testscript.TestScript, _ bool, args []string) {
		tl := tellerOf(ts)
		tl.stories = append(tl.stories, &story{name: strings.Join(args, " "), dir: fmt.Sprintf("s%02d", len(tl.stories)+1)})
	},
	"base":   func(ts *testscript.TestScript, _ bool, args []string) { tellerOf(ts).last(ts).base = args },
	"want":   func(ts *testscript.TestScript, _ bool, args []string) { tellerOf(ts).last(ts).want = args },
	"a":      func(ts *testscript.TestScript, _ bool, args []string) { tellerOf(ts).last(ts).edit(ts, 0, args) },
	"b":      func(ts *testscript.TestScript, _ bool, args []string) { tellerOf(ts).last(ts).edit(ts, 1, args) },
	"c":      func(ts *testscript.TestScript, _ bool, args []string) { tellerOf(ts).last(ts).edit(ts, 2, args) },
	"settle": func(ts *testscript.TestScript, _ bool, _ []string) { tellerOf(ts).settle(ts) },
}

// A teller keeps the stories of a script until they are played, all at once: a sync for each would take minutes.
type teller struct {
	kinds   []string // of the machines
	stories []*story
}

type story struct {
	name, dir  string
	base, want []string
	edits      [3][]string
}

func (s *story) edit(ts *testscript.TestScript, machine int, args []string) {
	s.edits[machine] = append(s.edits[machine], strings.Join(args, " "))
}

type tellerKey struct{}

func tellerOf(ts *testscript.TestScript) *teller { return ts.Value(tellerKey{}).(*teller) }

func (tl *teller) last(ts *testscript.TestScript) *story {
	if len(tl.stories) == 0 {
		ts.Fatalf("no story has begun")
	}
	return tl.stories[len(tl.stories)-1]
}

func configOf(i int) string { return "config-" + string(rune('a'+i)) }

// tree is where a machine's tree is.
func (tl *teller) tree(ts *testscript.TestScript, i int) string {
	return ts.MkAbs("tree-" + string(rune('a'+i)))
}

func (tl *teller) setUp(ts *testscript.TestScript, i int) {
	execute(ts, "mkdir", tl.tree(ts, i))
	execute(ts, "ensync", "setup", "--yes", "--key", "file:pass-one", configOf(i), tl.tree(ts, i), "store")
	if tl.kinds[i] == "mount" {
		execute(ts, "sed", "-i", "s/^# interval = .*/interval = 0/", filepath.Join(configOf(i), "config.toml")) // only on request
		execute(ts, "ensync", "--config", configOf(i), "mount")
	}
}

func execute(ts *testscript.TestScript, program string, args ...string) {
	if err := ts.Exec(program, args...); err != nil {
		ts.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
}

// syncAll syncs each machine, and returns what was changed by it anywhere.
func (tl *teller) syncAll(ts *testscript.TestScript) string {
	var changes strings.Builder
	for i := range tl.kinds {
		execute(ts, "ensync", "sync", "--itemise", configOf(i))
		changes.WriteString(ts.ReadFile("stdout"))
	}
	return changes.String()
}

func (tl *teller) settle(ts *testscript.TestScript) {
	for i := range tl.kinds {
		tl.setUp(ts, i)
	}
	for _, s := range tl.stories {
		build(ts, filepath.Join(tl.tree(ts, 0), s.dir), s.base)
	}
	tl.syncAll(ts)
	for _, s := range tl.stories {
		for i, lines := range s.edits {
			if len(lines) > 0 {
				dir := filepath.Join(tl.tree(ts, i), s.dir)
				execute(ts, "sh", "-ec", "cd "+dir+"\nput() { printf %s \"$2\" >\"$1\"; }\n"+strings.Join(lines, "\n"))
			}
		}
	}
	tl.syncAll(ts)
	tl.syncAll(ts)
	wrong := false
	for _, s := range tl.stories {
		for i := range tl.kinds {
			if got, want := treeOf(ts, filepath.Join(tl.tree(ts, i), s.dir)), s.want; !slices.Equal(got, want) {
				ts.Logf("story %q: machine %c has\n  %q, want\n  %q", s.name, 'a'+i, got, want)
				wrong = true
			}
		}
	}
	store := files(ts, ts.MkAbs("store"))
	if changes := tl.syncAll(ts); changes != "" {
		ts.Fatalf("one more sync changes something:\n%s", changes)
	}
	if now := files(ts, ts.MkAbs("store")); !slices.Equal(now, store) {
		ts.Fatalf("one more sync writes to the store: %q, before %q", now, store)
	}
	if wrong {
		ts.Fatalf("not all stories end well")
	}
	for i := range tl.kinds {
		if tl.kinds[i] == "mount" {
			execute(ts, "ensync", "--config", configOf(i), "unmount")
		}
	}
}

// build makes the tree that words describe.
func build(ts *testscript.TestScript, dir string, words []string) {
	ts.Check(os.MkdirAll(dir, 0o755))
	for _, word := range words {
		path, data, isFile := strings.Cut(word, "=")
		path, target, isLink := strings.Cut(path, "->")
		path = filepath.Join(dir, path)
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case isFile:
			ts.Check(os.WriteFile(path, []byte(data), 0o644))
		case isLink:
			ts.Check(os.Symlink(target, path))
		default:
			ts.Check(os.Mkdir(path, 0o755))
		}
	}
}

// treeOf describes a tree in words, in order.
func treeOf(ts *testscript.TestScript, dir string) []string {
	var words []string
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		word, usual := path[len(dir)+1:], fs.FileMode(0o644)
		switch {
		case d.IsDir():
			inside, err := os.ReadDir(path)
			if usual = 0o755; err != nil || len(inside) > 0 && info.Mode().Perm() == usual {
				return err
			}
			word += "/"
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			words = append(words, word+"->"+target)
			return err
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			word += "=" + string(data)
		}
		if mode := info.Mode().Perm(); mode != usual {
			word += fmt.Sprintf("@%o", mode)
		}
		words = append(words, word)
		return nil
	}))
	return words
}

// files lists all files below a directory, with when they were written.
func files(ts *testscript.TestScript, dir string) []string {
	var all []string
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return err
	}))
	return all
}
