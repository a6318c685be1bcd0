package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"ensync/engine/worktree"
)

// mountStampName is the file beside a mount's state that holds the same stamp as its tree: a state from a backup, tree and
// record together, has an old one.
const mountStampName = "mount.stamp"

// mountStamp is the root of a mount's tree as one that holds stamps, both in the tree and beside it.
type mountStamp struct {
	tree *worktree.Tree
	path string
}

func (m mountStamp) attribute(owner string) string { return "user.ensync." + owner }

// Stamp implements stamped. What only one of both places has counts for nothing.
func (m mountStamp) Stamp(owner string) (string, error) {
	names, err := m.tree.ListXattr(context.Background(), worktree.RootIno)
	if err != nil || !slices.Contains(names, m.attribute(owner)) {
		return "", err
	}
	inside, err := m.tree.GetXattr(context.Background(), worktree.RootIno, m.attribute(owner))
	if err != nil {
		return "", err
	}
	beside, err := os.ReadFile(m.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	both := strings.Fields(string(inside))
	return strings.Join(slices.DeleteFunc(both, func(s string) bool {
		return !slices.Contains(strings.Fields(string(beside)), s)
	}), " "), nil
}

// SetStamp implements stamped. ok is false on a full disk, where a sync must go on.
func (m mountStamp) SetStamp(owner, stamp string) (ok bool, err error) {
	before, err := m.Stamp(owner)
	if err == nil {
		// DURABLE: the tree's becomes so with what the sync applies; until then it has those from before.
		err = writeDurably(m.path, []byte(stamp))
	}
	if err == nil {
		err = m.tree.SetXattr(context.Background(), worktree.RootIno, m.attribute(owner), []byte(stamp), 0)
	}
	if err == nil && shared(before, stamp) == "" {
		err = m.tree.Fsync(context.Background(), worktree.RootIno) // DURABLE: it has none that the record will have
	}
	if errors.Is(err, syscall.ENOSPC) {
		return false, nil
	}
	return err == nil, err
}

// writeDurably replaces a small private file: after a crash it has the old or the new content.
func writeDurably(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil { // DURABLE: before it has the name
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	return syncDir(filepath.Dir(path))
}
