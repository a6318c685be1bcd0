//go:build linux

package fusefs_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
	"ensync/engine/worktree"
	"ensync/fusefs"
	"ensync/store/object"
)

// late is a working tree whose notices come when the test lets them.
type late struct {
	*worktree.Tree
	notices chan worktree.Notice
}

func (l late) Notices() <-chan worktree.Notice {
	l.Tree.Notices()
	return l.notices
}

// TestRenameOvertakesNotice: a program renames a name that a sync has just given to another file, before the kernel knows:
// what it finds under the new name is the file that it moved, and not the one that the kernel remembers. A program that
// takes a file away to look at it before it deletes it would delete what it never saw.
func TestRenameOvertakesNotice(t *testing.T) {
	for what, flags := range map[string]uint{"rename": unix.RENAME_NOREPLACE, "exchange": unix.RENAME_EXCHANGE} {
		t.Run(what, func(t *testing.T) {
			tree := late{newWorktree(t).(*worktree.Tree), make(chan worktree.Notice)}
			dir := mount(t, tree, fusefs.Options{}).MountPoint()
			f, aside := filepath.Join(dir, "f"), filepath.Join(dir, "aside")
			mustFile(t, f, "old")
			if what == "exchange" {
				mustFile(t, aside, "mine")
			}
			content(f)
			list, err := tree.List(t.Context(), "")
			must(t, err)
			old := list[len(list)-1]
			theirs := object.Entry{Name: "f", Kind: object.File, Mode: 0o644,
				Content: object.Content{Known: true, Size: 4, Data: []byte("them")}}
			for _, r := range tree.Apply(t.Context(), "", []replica.Change{{Old: &old, New: &theirs}}) {
				must(t, r.Err)
			}
			if got := content(f); got != "old" {
				t.Fatalf("the kernel knows already: %q", got)
			}
			from, to := f, aside
			if what == "exchange" { // the other way round, for the name that is not the first
				from, to = aside, f
			}
			must(t, unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags))
			if got := content(aside); got != "them" {
				t.Errorf("renamed: %q", got)
			}
			if what == "exchange" && content(f) != "mine" {
				t.Errorf("exchanged: %q", content(f))
			}
			must(t, os.Rename(aside, f+"2")) // nothing is in the way of what comes after
			if got := content(f + "2"); got != "them" {
				t.Errorf("renamed again: %q", got)
			}
		})
	}
}
