package worktree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ensync/engine/worktree/journal"
)

// The names in the state directory.
const (
	catalogueName = "catalogue.sqlite"
	logName       = "log"
)

// recover opens catalogue and log, and brings memory to the state of the last record.
func (t *Tree) recover(ctx context.Context, dir string, key [32]byte) error {
	s, err := newSealer(key)
	if err != nil {
		return err
	}
	cat, at, fresh, err := openCatalogue(ctx, filepath.Join(dir, catalogueName), s)
	if err != nil {
		return fmt.Errorf("%w; move %s* away to have the catalogue built anew from the log, which works if the log is "+
			"whole from its beginning; otherwise restore the state directory", err, catalogueName)
	}
	t.cat = cat
	t.next, t.unsavedFrom = max(t.next, at.next), max(t.next, at.next)
	if has, err := cat.hasRows(ctx); err != nil || fresh && has {
		return fmt.Errorf("catalogue: rows without a state: %w; move %s* away", err, catalogueName)
	}
	logDir := filepath.Join(dir, logName)
	if _, err := os.Stat(logDir); err != nil && !fresh {
		return fmt.Errorf("the log is missing, and holds what the catalogue refers to: %w; restore it", err)
	}
	replay := func(lsn journal.LSN, b []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		ops, err := decode(b)
		if err != nil {
			return fmt.Errorf("record %d: %w", lsn, err)
		}
		t.apply(ops)
		return t.broken
	}
	log, err := journal.Open(logDir, key, at.lsn, t.opt.Journal, replay)
	if err != nil {
		if fresh {
			err = fmt.Errorf("%w (the catalogue is missing, so the log is needed from its first record on)", err)
		}
		return err
	}
	t.log = log
	if last := log.Last(); last < at.lsn {
		return fmt.Errorf("the log ends at record %d, the catalogue is at %d: the newest part of the log is missing; restore it",
			last, at.lsn)
	}
	// DURABLE: the names of catalogue and log, and that of the directory, before anything in them is promised.
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	return t.adopt(ctx)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// adopt counts what refers to data in the log, makes the root if the tree is new, and ends the life of inodes that
// only the kernel of another day knew.
func (t *Tree) adopt(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.adoptRows(ctx); err != nil {
		return err
	}
	for _, n := range t.inodes {
		t.notePins(n)
		if err := t.adoptExtents(n); err != nil {
			return err
		}
	}
	t.log.Ready()
	if t.log.Last() == 0 {
		now := nanos(t.opt.Now())
		if err := t.commit(op{code: opInode, ino: RootIno, mask: fMode | fTimes | fAtime | fNlink | fSize, state: &state{
			mode: typeDir | 0o755, uid: t.opt.UID, gid: t.opt.GID, nlink: 2, atime: now, mtime: now, ctime: now}}); err != nil {
			return err
		}
	}
	if _, err := t.getDir(RootIno); err != nil {
		return fmt.Errorf("the root directory: %w", err)
	}
	for ino := range t.orphans {
		if err := t.endOfLife(ino); err != nil {
			return err
		}
	}
	return nil
}

// adoptRows looks at the inodes in the catalogue that need something at start, and leaves them there.
func (t *Tree) adoptRows(ctx context.Context) error {
	rows, err := t.cat.db.QueryContext(ctx, "SELECT ino, flag, rec FROM inode WHERE flag != 0")
	if err != nil {
		return fmt.Errorf("catalogue: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var ino Ino
		var flag int
		var rec []byte
		if err := rows.Scan(&ino, &flag, &rec); err != nil {
			return fmt.Errorf("catalogue: %w", err)
		}
		if t.inodes[ino] != nil || t.gone[ino] {
			continue
		}
		if flag&rowOrphan != 0 {
			t.orphans[ino] = true
		}
		if flag&rowPins != 0 {
			t.pinned[ino] = true
		}
		if flag&rowLogged == 0 {
			continue
		}
		n, err := t.cat.decodeInode(ino, rec)
		if err != nil {
			return fmt.Errorf("catalogue: inode %d: %w", ino, err)
		}
		if err := t.adoptExtents(n); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *Tree) adoptExtents(n *inode) (err error) {
	n.ext.each(0, maxSize, func(e extent) bool {
		if e.kind == logged {
			err = t.log.Live(e.pos)
		}
		return err == nil
	})
	if err != nil {
		err = fmt.Errorf("inode %d: %w", n.ino, err)
	}
	return err
}
