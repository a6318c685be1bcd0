// Package worktree is the mounted tree: a journal, a catalogue and the store's blocks make up a file system that
// survives power cuts, and that the reconciler reads and changes as a replica.
package worktree
