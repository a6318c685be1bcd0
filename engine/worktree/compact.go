package worktree

import (
	"context"
	"fmt"
	"time"
)

// maxPieces is how many extents one unit of a file may be in before they are made one: it bounds what a read has to
// open, and what appending and fsyncing a few bytes at a time costs.
const maxPieces = 16

// merge joins the pieces of every unit within a span that is in too many. t.mu is held; the frames are local.
func (t *Tree) merge(n *inode, s span) error {
	for start := s.off / unit * unit; start < s.end; start += unit {
		e := n.ext.at(start)
		if e != nil && e.kind == logged && e.len == unit {
			continue // as most are
		}
		count := 0
		n.ext.each(start, start+unit, func(extent) bool { count++; return true })
		if count == 0 {
			leaf, i := n.ext.find(start)
			if leaf == len(n.ext.leaves) {
				return nil
			}
			start = n.ext.leaves[leaf][i].off/unit*unit - unit
			continue
		}
		if count > maxPieces {
			if err := t.mergeUnit(n, start); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Tree) mergeUnit(n *inode, start uint64) error {
	var runs []span
	n.ext.each(start, start+unit, func(e extent) bool {
		last := len(runs) - 1
		switch {
		case e.kind == hole:
		case last >= 0 && runs[last].end == e.off:
			runs[last].end = e.end()
		default:
			runs = append(runs, span{e.off, e.end()})
		}
		return true
	})
	for _, r := range runs {
		if err := t.rewrite(n, r); err != nil {
			return err
		}
	}
	n.pend.spans = append(n.pend.spans, span{start, start + unit})
	return nil
}

// rewrite puts the bytes of a range, which lie in extents without a gap, into one new frame.
func (t *Tree) rewrite(n *inode, s span) error {
	v := t.view(n, s.off, s.end)
	defer t.releaseView(v)
	buf := make([]byte, s.end-s.off)
	if err := t.fill(context.Background(), v, buf, s.off); err != nil {
		return err
	}
	return t.seal(n, s.off, buf)
}

// moveBatch is how many extents are moved before other requests get their turn.
const moveBatch = 32

// moveRest is how long to wait after a segment could not be emptied, because a snapshot holds what is in it.
const moveRest = 30 * time.Second

// tidy empties the sparsest segment of the log, so that the next checkpoint can delete it.
func (t *Tree) tidy(ctx context.Context) error {
	sparse := t.log.Sparse()
	if len(sparse) == 0 || t.opt.Now().Before(t.tidyAt) {
		return nil
	}
	t.saving.Lock()
	defer t.saving.Unlock()
	number := sparse[0].Number
	inos, err := t.usersOf(ctx, number)
	if err != nil {
		return err
	}
	moved := 0
	for _, ino := range inos {
		for {
			k, err := t.moveSome(ino, number)
			if err != nil {
				return fmt.Errorf("move inode %d in the log: %w", ino, err)
			}
			if moved += k; k < moveBatch || ctx.Err() != nil {
				break
			}
		}
	}
	if moved == 0 {
		t.tidyAt = t.opt.Now().Add(moveRest)
	}
	return ctx.Err()
}

// usersOf returns the inodes with extents in a segment.
func (t *Tree) usersOf(ctx context.Context, segment uint64) ([]Ino, error) {
	var inos []Ino
	uses := func(n *inode) (found bool) {
		n.ext.each(0, maxSize, func(e extent) bool {
			found = e.kind == logged && e.pos.Segment == segment
			return !found
		})
		return found
	}
	t.mu.Lock()
	seen := make(map[Ino]bool, len(t.inodes))
	for ino, n := range t.inodes {
		if seen[ino] = true; uses(n) {
			inos = append(inos, ino)
		}
	}
	t.mu.Unlock()
	rows, err := t.cat.db.QueryContext(ctx, "SELECT ino, rec FROM inode WHERE flag & 1 AND flag != 0")
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var ino Ino
		var rec []byte
		if err := rows.Scan(&ino, &rec); err != nil {
			return nil, fmt.Errorf("catalogue: %w", err)
		}
		if seen[ino] {
			continue
		}
		n, err := t.cat.decodeInode(ino, rec)
		if err != nil {
			return nil, fmt.Errorf("catalogue: inode %d: %w", ino, err)
		}
		if uses(n) {
			inos = append(inos, ino)
		}
	}
	return inos, rows.Err()
}

// moveSome copies some of an inode's extents out of a segment and tells how many. The content does not change.
func (t *Tree) moveSome(ino Ino, segment uint64) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.trim()
	n, err := t.get(ino)
	if err != nil || t.broken != nil || n.pend.old != nil {
		return 0, t.broken // gone meanwhile, or better left alone now
	}
	var old []span
	n.ext.each(0, maxSize, func(e extent) bool {
		if e.kind == logged && e.pos.Segment == segment {
			old = append(old, span{e.off, e.end()})
		}
		return len(old) < moveBatch
	})
	if len(old) == 0 {
		return 0, nil
	}
	for _, s := range old {
		if err := t.rewrite(n, s); err != nil {
			return 0, err
		}
	}
	t.touch(n, fSize)
	n.pend.spans = append(n.pend.spans, old...)
	return len(old), t.flush(n)
}
