package worktree

import (
	"context"
	"errors"
	"syscall"
	"time"

	"ensync/engine/replica"
	"ensync/engine/worktree/journal"
)

// Status tells what waits in a tree.
type Status struct {
	Names    int       // that the reconciler has not settled, with those that are gone
	Bytes    uint64    // in files among them
	Since    time.Time // the oldest change among them that is still there; zero if there is none
	Buffered int64     // bytes that wait in memory for the log
	Inodes   int       // in memory
	Log      journal.Stats
	Err      error // why the tree takes no more changes
}

// Status looks only into directories with something to tell.
func (t *Tree) Status(ctx context.Context) (Status, error) {
	t.mu.Lock()
	s := Status{Buffered: t.ram, Inodes: len(t.inodes), Log: t.log.Stats(), Err: t.broken}
	t.mu.Unlock()
	queue := []Ino{RootIno}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		below, err := t.statusOf(queue[0], &s)
		if err != nil && !errors.Is(err, syscall.ESTALE) {
			return s, err
		}
		queue = append(queue[1:], below...)
	}
	return s, nil
}

func (t *Tree) statusOf(dir Ino, s *Status) (below []Ino, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	d, err := t.getDir(dir)
	if err != nil || !d.isDirty() {
		return nil, err
	}
	if err := t.loadChildren(d); err != nil {
		return nil, err
	}
	for name, e := range d.dir.names {
		if replica.Reserved(name) {
			continue
		}
		dirty := e.dirty || d.stale
		s.Names += int(bit(dirty))
		if e.ino == 0 {
			continue
		}
		n, err := t.get(e.ino)
		if err != nil {
			return nil, err
		}
		if n.isDir() {
			below = append(below, n.ino)
		}
		if !dirty {
			continue
		}
		if n.isFile() {
			s.Bytes += n.size
		}
		if at := time.Unix(0, n.ctime); s.Since.IsZero() || at.Before(s.Since) {
			s.Since = at
		}
	}
	return below, nil
}
