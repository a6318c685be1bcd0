package worktree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"ensync/engine/worktree/journal"
)

// Check walks the whole tree, in memory and catalogue, and reads what the log holds of it. The error names everything
// that does not fit, up to a limit. Requests wait while it looks at the structure, not while it reads data.
func (t *Tree) Check(ctx context.Context) error {
	c := &checker{t: t, nlink: map[Ino]uint32{}, subdirs: map[Ino]uint32{}, frames: map[journal.Pos]bool{}}
	t.mu.Lock()
	err := t.broken
	if err == nil {
		err = c.structure(ctx)
	}
	for pos := range c.frames {
		c.must(t.log.Live(pos), "data frame %v", pos)
	}
	t.mu.Unlock()
	buf := make([]byte, journal.MaxData)
	for pos := range c.frames {
		if ctx.Err() == nil {
			n, e := t.log.ReadData(pos, buf[:pos.Length], 0)
			if e == nil && n != int(pos.Length) {
				e = fmt.Errorf("%d bytes", n)
			}
			c.must(e, "data frame %v", pos)
		}
		t.log.Release(pos)
	}
	return errors.Join(err, ctx.Err(), errors.Join(c.problems...))
}

type checker struct {
	t        *Tree
	problems []error
	nlink    map[Ino]uint32 // names found
	subdirs  map[Ino]uint32
	frames   map[journal.Pos]bool
}

const maxProblems = 100

func (c *checker) bad(format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Errorf(format, args...))
	}
}

func (c *checker) must(err error, format string, args ...any) {
	if err != nil {
		c.bad("%s: %w", fmt.Sprintf(format, args...), err)
	}
}

func (c *checker) structure(ctx context.Context) error {
	c.nlink[RootIno] = 1
	queue := []Ino{RootIno}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := c.t.getDir(queue[0])
		if err != nil {
			c.must(err, "directory %d", queue[0])
		} else {
			queue = append(queue, c.directory(d)...)
		}
		queue = queue[1:]
		c.t.trim()
	}
	for ino := range c.t.orphans {
		n, err := c.t.get(ino)
		if c.must(err, "inode %d without a name", ino); err == nil {
			c.inode(n)
			if n.nlink != 0 {
				c.bad("inode %d has %d links and is listed as having none", ino, n.nlink)
			}
			if c.t.refs[ino] == 0 {
				c.bad("inode %d has neither name nor reference", ino)
			}
			c.nlink[ino] += 0
		}
	}
	for ino, names := range c.nlink {
		n, err := c.t.get(ino)
		if c.must(err, "inode %d", ino); err != nil {
			continue
		}
		want := names
		if n.isDir() && n.nlink > 0 {
			want = 2 + c.subdirs[ino]
			if names != 1 {
				c.bad("directory %d has %d names", ino, names)
			}
		}
		if n.nlink != want {
			c.bad("inode %d says %d links, has %d", ino, n.nlink, want)
		}
		c.t.trim()
	}
	return c.unreachable(ctx)
}

// unreachable looks for inodes in memory or catalogue that no directory names.
func (c *checker) unreachable(ctx context.Context) error {
	seen := func(ino Ino) {
		if _, ok := c.nlink[ino]; !ok {
			c.bad("inode %d is in no directory", ino)
		}
	}
	for ino := range c.t.inodes {
		seen(ino)
	}
	rows, err := c.t.cat.db.QueryContext(ctx, "SELECT ino FROM inode")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var ino Ino
		if err := rows.Scan(&ino); err != nil {
			return err
		}
		if !c.t.gone[ino] && !c.t.savingGone[ino] && c.t.inodes[ino] == nil {
			seen(ino)
		}
	}
	return rows.Err()
}

// directory checks a directory's entries and counts, and returns the directories in it.
func (c *checker) directory(d *inode) (below []Ino) {
	var live int
	var dirtyNames, dirtyDirs uint32
	if d.ino == RootIno {
		c.inode(d)
	}
	for name, e := range d.dir.names {
		dirtyNames += uint32(bit(e.dirty))
		if e.ino == 0 {
			if !e.dirty || e.fresh {
				c.bad("directory %d: a name that is gone is kept for nothing", d.ino)
			}
			continue
		}
		live++
		n, err := c.t.get(e.ino)
		if err != nil {
			c.must(err, "directory %d: an entry's inode %d", d.ino, e.ino)
			continue
		}
		if !slices.Contains(n.links, place{d.ino, name}) {
			c.bad("inode %d does not know its name in directory %d", n.ino, d.ino)
		}
		if c.nlink[n.ino]++; c.nlink[n.ino] == 1 {
			c.inode(n)
		}
		if n.isDir() {
			c.subdirs[d.ino]++
			dirtyDirs += uint32(bit(n.isDirty()))
			if c.nlink[n.ino] == 1 {
				below = append(below, n.ino)
			}
		}
	}
	if live != d.dir.live {
		c.bad("directory %d counts %d entries, has %d", d.ino, d.dir.live, live)
	}
	if dirtyNames != d.dirtyNames || dirtyDirs != d.dirtyDirs {
		c.bad("directory %d counts %d dirty names and %d dirty directories, has %d and %d", d.ino, d.dirtyNames,
			d.dirtyDirs, dirtyNames, dirtyDirs)
	}
	return below
}

// inode checks one inode by itself.
func (c *checker) inode(n *inode) {
	if n.ino >= c.t.next {
		c.bad("inode %d is from the future: the next is %d", n.ino, c.t.next)
	}
	if len(n.links) != int(n.nlink) && !n.isDir() {
		c.bad("inode %d has %d links and knows %d names", n.ino, n.nlink, len(n.links))
	}
	if !n.isFile() && (n.ext.count > 0 || n.base.Known) {
		c.bad("inode %d is no file and has content", n.ino)
	}
	if n.kind() == 0 {
		c.bad("inode %d: %w", n.ino, syscall.EINVAL)
	}
	c.extents(n)
}

func (c *checker) extents(n *inode) {
	var last, data uint64
	var dirty int64
	count := 0
	for _, e := range n.ext.all() {
		count++
		if e.off < last || e.len == 0 {
			c.bad("inode %d: extents overlap at %d", n.ino, e.off)
		}
		last = e.end()
		switch e.kind {
		case hole:
			if !n.base.Known || last > uint64(n.base.Size) {
				c.bad("inode %d: a hole at %d hides nothing", n.ino, e.off)
			}
			continue
		case logged:
			c.frames[e.pos] = true
		case held:
			if uint64(len(e.data)) != e.len {
				c.bad("inode %d: %d bytes for an extent of %d at %d", n.ino, len(e.data), e.len, e.off)
			}
			if e.dirty {
				dirty += int64(e.len)
			}
		}
		data += e.len
		if last > n.size {
			c.bad("inode %d: data at %d after the end at %d", n.ino, e.off, n.size)
		}
	}
	if count != n.ext.count || data != n.ext.data || dirty != n.ext.dirty {
		c.bad("inode %d: totals of extents are wrong", n.ino)
	}
	if dirty > 0 && !n.pend.waits {
		c.bad("inode %d: written bytes wait for nothing", n.ino)
	}
}
