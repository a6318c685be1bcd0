package worktree

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ensync/engine/worktree/disktest"
)

var cutSeeds = flag.Int("seeds", 2, "how many random histories TestCutDisk makes")

func TestMain(m *testing.M) {
	disktest.Main()
	os.Exit(m.Run())
}

// moment is the model when so many things had been done to the disk, and whether all of it was durable by then.
type moment struct {
	events  int
	root    *node
	durable bool
}

// cutter runs the model on a disk whose power is cut.
type cutter struct {
	*model
	disk    *disktest.Disk
	moments []moment // after each step since the last start
	saves   [][2]int // from when to when a checkpoint was made
}

func (c *cutter) note(durable bool) {
	c.moments = append(c.moments, moment{c.disk.Len(), c.root.clone(map[*node]*node{}), durable})
}

// live does some steps.
func (c *cutter) live() {
	for range 2 + c.r.IntN(40) {
		c.act()
		durable := c.r.IntN(5) == 0
		if durable {
			c.ok(c.Sync(ctx))
		}
		c.note(durable)
		if c.r.IntN(8) == 0 {
			from := c.disk.Len()
			c.ok(c.checkpoint(ctx))
			c.ok(c.tidy(ctx))
			c.saves = append(c.saves, [2]int{from, c.disk.Len()})
		}
	}
}

// cut cuts the power at some moment since the last start, starts again, and goes on from what is there.
func (c *cutter) cut() {
	from, to := c.disk.Start, c.disk.Len()
	if len(c.saves) > 0 && c.r.IntN(2) == 0 { // where most orders matter
		save := c.saves[c.r.IntN(len(c.saves))]
		from, to = save[0], save[1]
	}
	n, how := from+c.r.IntN(to-from+1), disktest.Loss(c.r.IntN(int(disktest.Losses)))
	when := fmt.Sprintf("cut at %d of %d to %d, loss %d", n, from, to, how)
	c.disk = c.disk.Cut(c.r, n, how)
	c.Tree.Close(ctx)
	c.Tree, c.dir = nil, filepath.Join(c.disk.Path, "state")
	tree, err := Open(ctx, c.dir, c.key, c.blocks, c.opt)
	if err != nil {
		c.Fatalf("%s: %v", when, err)
	}
	c.Tree = tree
	if err := c.Check(ctx); err != nil {
		c.Fatalf("%s: %v", when, err)
	}
	var roots []*node
	for _, m := range c.moments {
		if m.durable && m.events <= n {
			roots = nil
		}
		if m.durable && m.events <= n || len(roots) > 0 {
			roots = append(roots, m.root)
		}
		if m.events >= n {
			break
		}
	}
	if len(roots) > 0 {
		c.holds(when, "", roots)
	}
	c.root, c.moments, c.saves = c.readModel(RootIno, map[Ino]*node{}), nil, nil
}

// readModel makes a model of what the tree is.
func (c *cutter) readModel(ino Ino, seen map[Ino]*node) *node {
	if n := seen[ino]; n != nil {
		return n
	}
	a, err := c.GetAttr(ctx, ino)
	c.ok(err)
	n := &node{mode: a.Mode, nlink: int(a.Nlink)}
	seen[ino] = n
	switch a.Mode & typeMask {
	case typeDir:
		n.dir, n.nlink = map[string]*node{}, 1
		list, err := c.ReadDir(ctx, ino)
		c.ok(err)
		for _, e := range list {
			n.dir[e.Name] = c.readModel(e.Attr.Ino, seen)
		}
	case typeSymlink:
		n.target, err = c.Readlink(ctx, ino)
		c.ok(err)
	default:
		n.data = []byte(c.readAll(ino))
	}
	return n
}

// holds checks that everything is there that was there at all of these moments, and did not change.
func (c *cutter) holds(when, p string, roots []*node) {
	for name, want := range roots[0].dir {
		q := filepath.Join(p, name)
		same, below := true, []*node{want}
		for _, r := range roots[1:] {
			n := r.dir[name]
			if same = n != nil && n.mode == want.mode && n.target == want.target && bytes.Equal(n.data, want.data); !same {
				break
			}
			below = append(below, n)
		}
		if !same {
			continue
		}
		ino, err := c.at(q)
		if err != nil {
			c.Fatalf("%s: %s is gone: %v", when, q, err)
		}
		if want.dir != nil {
			c.holds(when, q, below)
		} else if want.mode&typeMask == typeFile && c.readAll(ino) != string(want.data) {
			c.Fatalf("%s: %s lost what was synced", when, q)
		}
	}
}

// TestCutDisk: whatever a power cut leaves of what was not synced below the state directory, catalogue and names included,
// the tree opens, is whole, and has everything that was durable, also if the power is cut again while it opens.
func TestCutDisk(t *testing.T) {
	generations, seeds := 10, *cutSeeds
	if testing.Short() {
		generations, seeds = 5, 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			opt := testOptions()
			opt.Inodes, opt.Journal.SegmentSize = 8, 256<<10
			c := &cutter{disk: disktest.New(t)}
			b := &bench{TB: t, dir: filepath.Join(c.disk.Path, "state"), opt: opt, blocks: &memoryBlocks{}, key: [32]byte{1, 2, 3}}
			b.open()
			c.model = newModel(b, uint64(seed))
			c.sizes = 30_000
			for range generations {
				if c.r.IntN(4) > 0 {
					c.note(true)
					c.live()
				}
				c.cut()
			}
			c.close()
		})
	}
}
