//go:build darwin || freebsd

package fusefs

import (
	"io"

	"ensync/engine/worktree"
)

// Elsewhere nobody watches with inotify.
type (
	reenactor struct{}
	change    struct{ worktree.Notice }
)

func newReenactor(Tree, *stage, string, []string) *reenactor { return nil }

func (*reenactor) note(n worktree.Notice) change { return change{n} }
func (*reenactor) add([]change)                  {}
func (*reenactor) pause() (resume func())        { return func() {} }
func (*reenactor) stop()                         {}

// Reenact has nothing to do here.
func Reenact(io.Reader, io.Writer) error { return ErrNotSupported }
