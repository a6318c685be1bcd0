package worktree

import (
	"context"
	"errors"
	"fmt"

	"ensync/store/object"
)

// ContentNames tells what content is called in another store, and settles that it is there.
type ContentNames struct {
	Look   func(ctx context.Context, c object.Content) (object.Content, error)
	Settle func(ctx context.Context) error
}

// RenameContent changes what the tree of a state directory, which nobody has open, calls the content that the store has: for
// a store that has all of it under other names. Stopped anywhere, it can be done again. A state directory without a tree
// stays as it is.
func RenameContent(ctx context.Context, stateDir string, key [32]byte, blocks Blocks, to ContentNames) error {
	t, err := Open(ctx, stateDir, key, blocks, Options{NoTimer: true})
	if err != nil {
		return err
	}
	last := context.WithoutCancel(ctx)
	err = t.checkpoint(ctx) // what the log says of content is in the catalogue then
	if err == nil {
		err = t.renameRows(ctx, to)
	}
	// The inodes in memory are those of before; as nothing was changed since, none of them is written.
	t.stop()
	t.done.Wait()
	return errors.Join(err, t.closeFiles(last))
}

func (t *Tree) renameRows(ctx context.Context, to ContentNames) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	at, _, err := t.cat.progress(ctx)
	if err != nil {
		return err
	}
	for last := Ino(0); ; {
		inodes, err := t.cat.after(ctx, last)
		if err != nil {
			return fmt.Errorf("catalogue %s: %w", t.cat.path, err)
		}
		b := &batch{progress: at}
		for _, n := range inodes {
			last = n.ino
			changed, err := n.renameContent(ctx, to)
			if err != nil {
				return fmt.Errorf("inode %d: %w", n.ino, err)
			}
			if changed {
				b.addInode(n)
			}
		}
		if len(b.inodes) > 0 {
			if err := to.Settle(ctx); err != nil {
				return err
			}
			if err := t.cat.write(ctx, b); err != nil {
				return err
			}
		}
		if len(inodes) < eachStep {
			return nil
		}
	}
}

// renameContent renames what a file stands on; the hash of what was written here is computed again when it is asked for.
func (n *inode) renameContent(ctx context.Context, to ContentNames) (changed bool, err error) {
	if !n.base.Known && !n.hash.Known {
		return false, nil
	}
	n.hash, n.hashGen = object.Content{}, 0
	if n.base.Known {
		data := n.base.Data
		if n.base, err = to.Look(ctx, n.base); err == nil && len(n.base.Data) == 0 {
			n.base.Data = data
		}
	}
	return true, err
}
