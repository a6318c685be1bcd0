//go:build linux

package fusefs_test

import (
	"context"
	"os"
	"testing"

	"ensync/engine/worktree"
	"ensync/fusefs"
)

var _ fusefs.Tree = (*worktree.Tree)(nil)

func init() { treeKinds["worktree"] = newWorktree }

func newWorktree(t *testing.T) fusefs.Tree {
	t.Helper()
	ctx := context.Background()
	tree, err := worktree.Open(ctx, t.TempDir(), [32]byte{1}, nil,
		worktree.Options{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
	must(t, err)
	t.Cleanup(func() {
		if err := tree.Close(ctx); err != nil {
			t.Errorf("closing the working tree: %v", err)
		}
	})
	return tree
}
