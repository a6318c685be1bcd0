package worktree

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"ensync/engine/worktree/journal"
)

// inlineExtents is how many extents an inode's row holds; more lie in rows of their own.
const inlineExtents = 24

// row is one row to write. What it holds is encoded under Tree.mu and sealed outside of it.
type row struct {
	ino        Ino
	region     uint64
	flag       int
	pkey, nkey []byte
	rec        []byte // nil: delete the row
}

// batch is what one checkpoint writes.
type batch struct {
	progress
	inodes    []row
	extents   []row
	unpaged   []Ino // have no rows of extents any more
	names     []nameChange
	gone      []Ino
	saved     []*inode
	savedGone map[Ino]bool
}

type nameChange struct {
	dir  Ino
	name string
	entry
	present bool
}

// checkpoint brings the catalogue up to the log and lets the log forget. When it returns nil, the catalogue is durable.
func (t *Tree) checkpoint(ctx context.Context) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	if t.broken != nil {
		defer t.mu.Unlock()
		return t.broken
	}
	if err := t.flushAll(false); err != nil && !isNoSpace(err) {
		t.mu.Unlock()
		return err
	}
	b := t.collect(t.log.Last())
	t.logged, t.checkpointWanted, t.savedAt = 0, false, t.opt.Now()
	t.mu.Unlock()

	// DURABLE: the catalogue must never be ahead of the log.
	// Inodes whose flush failed for lack of space are in it with data frames after the last record, hence everything.
	err := t.log.Sync(ctx, 0)
	if err == nil {
		err = t.cat.write(ctx, b)
	}
	if isFull(err) && t.ballast.release() {
		err = t.cat.write(ctx, b)
	}
	if err == nil {
		err = t.log.Checkpoint(b.lsn)
	}
	if err == nil {
		t.weigh()
	}
	t.mu.Lock()
	t.finish(b, err)
	t.mu.Unlock()
	return err
}

// collect encodes everything that differs from the catalogue, as it is recorded. t.mu is held.
func (t *Tree) collect(lsn journal.LSN) *batch {
	b := &batch{progress: progress{lsn, t.next}, savedGone: t.gone}
	t.gone, t.savingGone, t.unsavedFrom = map[Ino]bool{}, b.savedGone, t.next
	for ino := range b.savedGone {
		b.gone = append(b.gone, ino)
	}
	slices.Sort(b.gone)
	for ino, n := range t.dirty {
		recorded := n.recorded()
		b.addInode(recorded)
		n.paged = recorded.paged
		if n.dir != nil {
			for name := range n.dir.changed {
				e, ok := n.dir.names[name]
				b.names = append(b.names, nameChange{ino, name, e, ok})
			}
			clear(n.dir.changed)
		}
		n.unsaved, n.saving = false, true
		b.saved = append(b.saved, n)
	}
	t.dirty = map[Ino]*inode{}
	slices.SortFunc(b.inodes, func(x, y row) int { return cmp.Compare(x.ino, y.ino) })
	return b
}

func (b *batch) addInode(n *inode) {
	o := op{code: opInode, ino: n.ino, state: &n.state, mask: fMode | fTimes | fAtime | fNlink | fSize | fLinks,
		links: n.links, dirtyNames: n.dirtyNames, dirtyDirs: n.dirtyDirs, flags: bit(n.stale)}
	for _, f := range []struct {
		bit  fields
		want bool
	}{
		{fTarget, n.target != ""}, {fXattrs, len(n.xattrs) > 0}, {fBase, n.base.Known}, {fHash, n.hash.Known},
		{fHeir, n.heir.dir != 0}, {fExtents, n.ext.count > 0 && n.ext.count <= inlineExtents},
	} {
		if f.want {
			o.mask |= f.bit
		}
	}
	r := row{ino: n.ino}
	if n.ext.anyLogged() {
		r.flag |= rowLogged
	}
	if n.isDir() && hasPins(n) {
		r.flag |= rowPins
	}
	if n.nlink == 0 {
		r.flag |= rowOrphan
	}
	switch {
	case o.mask&fExtents != 0:
		o.ext = n.ext.all()
		fallthrough
	case n.ext.count == 0:
		if n.paged {
			b.unpaged = append(b.unpaged, n.ino)
		}
		n.paged, n.ext.regions = false, nil
	default:
		o.flags |= 2
		r.flag |= rowPaged
		b.addPages(n)
	}
	r.rec = encode([]op{o})
	b.inodes = append(b.inodes, r)
}

// addPages adds the regions of a large map that changed since the last checkpoint; all of them the first time.
func (b *batch) addPages(n *inode) {
	regions := n.ext.regions
	if !n.paged || regions == nil {
		b.unpaged = append(b.unpaged, n.ino) // whatever an unfinished attempt left
		regions = map[uint64]bool{}
		n.ext.each(0, maxSize, func(e extent) bool { regions[e.off>>regionBits] = true; return true })
	}
	for region := range regions {
		var in []extent
		start, end := region<<regionBits, (region+1)<<regionBits
		leaf, i := n.ext.find(start)
		for ; leaf < len(n.ext.leaves); leaf, i = leaf+1, 0 {
			l := n.ext.leaves[leaf]
			for ; i < len(l) && l[i].off < end; i++ {
				if l[i].off >= start {
					in = append(in, l[i])
				}
			}
			if i < len(l) {
				break
			}
		}
		r := row{ino: n.ino, region: region}
		if len(in) > 0 {
			r.rec = appendExtents(nil, in)
		}
		b.extents = append(b.extents, r)
	}
	n.paged, n.ext.regions = true, map[uint64]bool{}
}

// finish notes what became of a batch. After a failure everything in it is still to be saved. t.mu is held.
func (t *Tree) finish(b *batch, err error) {
	t.savingGone = nil
	for _, n := range b.saved {
		n.saving = false
	}
	if err == nil {
		t.evict()
		return
	}
	for ino := range b.savedGone {
		t.gone[ino] = true
	}
	for _, n := range b.saved {
		if t.inodes[n.ino] != n {
			continue
		}
		t.change(n)
		n.recorded().ext.regions, n.ext.regions = nil, nil // all of them
	}
	for _, c := range b.names {
		if n := t.inodes[c.dir]; n != nil && n.dir != nil {
			n.dir.changed[c.name] = true
		}
	}
}

// write seals a batch and commits it in one transaction. It is durable, and the file's WAL empty, when write returns.
func (c *catalogue) write(ctx context.Context, b *batch) error {
	if err := c.transact(ctx, b); err != nil {
		return fmt.Errorf("catalogue %s: %w", c.path, err)
	}
	// DURABLE: with synchronous=NORMAL a commit is durable once the WAL has been synced and copied.
	var busy, log, done int
	err := c.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(FULL)").Scan(&busy, &log, &done)
	if err == nil && (busy != 0 || log != done) {
		err = fmt.Errorf("%d of %d pages written", done, log)
	}
	if err != nil {
		return fmt.Errorf("catalogue %s: checkpoint: %w", c.path, err)
	}
	return nil
}

func (c *catalogue) transact(ctx context.Context, b *batch) (err error) {
	tx, err := c.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	exec := func(query string) func(args ...any) {
		stmt, e := tx.PrepareContext(ctx, query)
		if err == nil {
			err = e
		}
		return func(args ...any) {
			if err == nil {
				_, err = stmt.ExecContext(ctx, args...)
			}
		}
	}
	putInode := exec("INSERT OR REPLACE INTO inode(ino, flag, rec) VALUES(?, ?, ?)")
	putExtent := exec("INSERT OR REPLACE INTO extent(ino, region, rec) VALUES(?, ?, ?)")
	putName := exec("INSERT OR REPLACE INTO dentry(pkey, nkey, rec) VALUES(?, ?, ?)")
	dropName := exec("DELETE FROM dentry WHERE pkey = ? AND nkey = ?")
	dropInode := exec("DELETE FROM inode WHERE ino = ?")
	dropDir := exec("DELETE FROM dentry WHERE pkey = ?")
	dropExtents := exec("DELETE FROM extent WHERE ino = ?")
	dropRegion := exec("DELETE FROM extent WHERE ino = ? AND region = ?")
	for _, ino := range b.gone {
		dropInode(int64(ino))
		dropDir(c.dirKey(ino))
		dropExtents(int64(ino))
	}
	for _, ino := range b.unpaged {
		dropExtents(int64(ino))
	}
	for _, r := range b.inodes {
		putInode(int64(r.ino), r.flag, c.seal(r.rec, rowAD('i', uint64(r.ino))))
	}
	for _, r := range b.extents {
		if r.rec == nil {
			dropRegion(int64(r.ino), int64(r.region))
		} else {
			putExtent(int64(r.ino), int64(r.region), c.seal(r.rec, rowAD('e', uint64(r.ino), r.region)))
		}
	}
	for _, n := range b.names {
		if !n.present {
			dropName(c.dirKey(n.dir), c.nameKey(n.dir, n.name))
			continue
		}
		r := c.nameRow(n.dir, n.name, n.entry)
		putName(r.pkey, r.nkey, r.rec)
	}
	if err != nil {
		return err
	}
	plain := binary.BigEndian.AppendUint64(nil, uint64(b.lsn))
	plain = binary.BigEndian.AppendUint64(plain, uint64(b.next))
	exec("INSERT OR REPLACE INTO meta(key, rec) VALUES(1, ?)")(c.seal(plain, rowAD('m', 1)))
	if err != nil {
		return err
	}
	return tx.Commit()
}
