package worktree_test

import (
	"ensync/engine/replica"
	"ensync/engine/worktree"
	"ensync/fusefs"
)

var (
	_ fusefs.Tree    = (*worktree.Tree)(nil)
	_ replica.Client = (*worktree.Tree)(nil)
)
