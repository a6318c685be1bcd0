package worktree_test

import (
	"ensync/engine/replica"
	"ensync/engine/worktree"
	"ensync/fusefs"
)

// Both faces of a tree.
var (
	_ fusefs.Tree    = (*worktree.Tree)(nil)
	_ replica.Client = (*worktree.Tree)(nil)
)
