//go:build darwin || freebsd

package fusefs

import "io"

// Elsewhere nobody watches with inotify.
type reenactor struct{}

func newReenactor(Tree, *stage, string, []string) *reenactor { return nil }

func (*reenactor) add([]change)           {}
func (*reenactor) pause() (resume func()) { return func() {} }
func (*reenactor) stop()                  {}

// Reenact has nothing to do here.
func Reenact(io.Reader, io.Writer) error { return ErrNotSupported }
