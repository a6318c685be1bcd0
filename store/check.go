package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/index"
	"ensync/store/object"
	"ensync/store/pack"
)

// Problem is one thing that Check found.
type Problem struct {
	Root   string // the root it is about; empty: the store
	Path   string // in that root; empty: all of it
	Object string // in the backend; may be empty if Err names it
	Err    error
}

// String names path or object and the cause.
func (p Problem) String() string {
	where := p.Object
	if p.Root != "" {
		where = p.Root + ":/" + p.Path
	}
	return fmt.Sprintf("%s: %v", where, p.Err)
}

// Check compares everything that this passphrase can read: keys and their copy, every root with its history and trees,
// every block that those need, every index and the tables of all packs. With readData it opens every block of data, too.
// Each finding goes to report, which is called by one goroutine at a time; the error is why Check could not go on.
// It changes nothing.
func (s *Store) Check(ctx context.Context, readData bool, report func(Problem)) error {
	c := &checker{s: s, ctx: ctx, readData: readData, report: report, seen: map[blockName]bool{}, nested: map[object.RootID]bool{}}
	for _, step := range []func() error{c.keys, c.indexes, c.packs, c.roots, c.losses} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// maxPath bounds the paths of directories that are looked at, in bytes: no client enters one with a longer path.
const maxPath = 8192

type checker struct {
	s        *Store
	ctx      context.Context
	readData bool
	report   func(Problem)
	seen     map[blockName]bool     // trees and blocks that were checked
	nested   map[object.RootID]bool // that were checked
	root     string
	looked   bool // again and again for a block, in vain
}

// found reports what is wrong with the store, and passes on what keeps Check from going on.
func (c *checker) found(path, object string, err error) error {
	if err == nil {
		return nil
	}
	if c.ctx.Err() != nil || errors.Is(err, backend.ErrUnavailable) {
		return err
	}
	c.report(Problem{Root: c.root, Path: path, Object: object, Err: err})
	return nil
}

func (c *checker) keys() error {
	raw, _, err := c.s.b.Load(c.ctx, keysObject)
	if err != nil {
		return c.found("", keysObject, got(keysObject, err))
	}
	k, err := parseKeys(raw, c.s.format, c.s.opt.Memory)
	if err != nil {
		return c.found("", keysObject, err)
	}
	return c.found("", keysCopy, CheckKeysCopy(c.ctx, c.s.b, k))
}

func (c *checker) indexes() error {
	if err := c.s.refreshIndex(c.ctx); err != nil {
		return err
	}
	var names []string
	err := c.s.b.List(c.ctx, indexPrefix, func(i backend.Info) error {
		names = append(names, i.Name)
		return nil
	})
	if err != nil {
		return err
	}
	// Read again from the store: the local database may have what is damaged there.
	for _, name := range names {
		_, _, err := c.s.readIndex(c.ctx, name, -1)
		if errors.Is(err, ErrMissing) {
			continue // merged since it was listed: what it told is told elsewhere, or missed below
		}
		if err := c.found("", name, err); err != nil {
			return err
		}
	}
	return nil
}

// maxUntold bounds how many packs of which no index tells are passed over. What was begun and never finished leaves some.
const maxUntold = 1 << 22

// packs compares each pack that an index tells of with what the backend lists and with the pack's own table.
func (c *checker) packs() error {
	sizes := map[string]int64{} // of those that an index tells of: a list of others might have no end
	err := c.s.index.Packs(c.ctx, func(p index.Pack) error { sizes[p.Name.Object()] = -1; return nil })
	if err != nil {
		return err
	}
	others := 0
	err = c.s.b.List(c.ctx, packPrefix, func(i backend.Info) error {
		if _, ok := sizes[i.Name]; ok {
			sizes[i.Name] = i.Size
		} else if others++; others > maxUntold {
			return damaged(packPrefix+"*", fmt.Errorf("the store lists more than %d packs of which no index tells", maxUntold))
		}
		return nil
	})
	if err != nil {
		return err
	}
	last := index.Pack{}
	return c.s.index.Packs(c.ctx, func(p index.Pack) error {
		name := p.Name.Object()
		if p.Name == last.Name && p.Size == last.Size && slices.Equal(p.Table, last.Table) {
			return nil // two index objects tell the same
		}
		last = p
		size := sizes[name]
		if size < 0 {
			return c.found("", name, missing(name))
		}
		if size != p.Size {
			return c.found("", name, damaged(name, fmt.Errorf("it has %d bytes instead of %d", size, p.Size)))
		}
		table, err := c.s.readTable(c.ctx, p.Name, p.Size)
		if err == nil && !slices.Equal(table, p.Table) {
			err = damaged(name, errors.New("its table is not that of the index"))
		}
		return c.found("", name, err)
	})
}

// readTable reads the table of a pack of size bytes.
func (s *Store) readTable(ctx context.Context, n pack.Name, size int64) ([]pack.Entry, error) {
	name := n.Object()
	if size < int64(pack.HeadSize+pack.TailSize) || size > pack.MaxPack {
		return nil, damaged(name, fmt.Errorf("it has %d bytes", size))
	}
	if err := s.packExists(ctx, n); err != nil {
		return nil, err
	}
	tail, err := s.b.Get(ctx, name, size-int64(pack.TailSize), int64(pack.TailSize))
	if err != nil {
		return nil, got(name, err)
	}
	length, err := pack.ParseTail(tail, size)
	if err != nil {
		return nil, damaged(name, err)
	}
	sealed, err := s.b.Get(ctx, name, size-int64(pack.TailSize)-length, length)
	if err != nil {
		return nil, got(name, err)
	}
	everyone, err := s.group(keys.Everyone)
	if err != nil {
		return nil, err
	}
	plain, err := s.unseal(everyone, sealTable, n[:], sealed)
	if err != nil {
		return nil, damaged(name, fmt.Errorf("table: %w", err))
	}
	table, err := pack.ParseTable(plain)
	if err != nil {
		return nil, damaged(name, err)
	}
	return table, nil
}

func (c *checker) roots() error {
	infos, err := c.s.Roots(c.ctx)
	if err != nil {
		return c.found("", rootsObject, err)
	}
	for _, info := range infos {
		c.root = info.Name
		if err := c.checkRoot(&Root{s: c.s, info: info}, ""); err != nil {
			return err
		}
	}
	c.root = ""
	return nil
}

// checkRoot checks a root with its history; dir is where it is in its tree.
func (c *checker) checkRoot(r *Root, dir string) error {
	h, err := r.Head(c.ctx)
	if errors.Is(err, ErrNoGroup) {
		return nil // of others
	}
	if err != nil {
		return c.found(dir, headObject(r.info.ID), err)
	}
	g, err := r.ReadGroup()
	if err != nil {
		return err
	}
	for h.Seq > 0 {
		if !h.Ended() {
			if err := c.checkTree(r, g, h.Tree, dir); err != nil {
				return err
			}
		}
		parent, more, err := r.Parent(c.ctx, h)
		if err != nil || !more {
			return c.found(dir, headObject(r.info.ID), err)
		}
		h = parent
	}
	return nil
}

func (c *checker) checkTree(r *Root, g *keys.Group, t object.Tree, dir string) error {
	at := blockName{block.Type{Kind: block.Tree, Depth: t.Depth}, t.Key}
	if c.seen[at] {
		return nil
	}
	c.seen[at] = true
	if len(dir) > maxPath {
		return c.found(dir[:64]+"...", "", fmt.Errorf("its path has %d bytes; what is below is not looked at", len(dir)))
	}
	entries, err := c.s.ReadTree(c.ctx, g, t)
	if err != nil {
		return c.found(dir, "", err)
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name)
		switch {
		case e.Kind == object.File:
			err = c.found(p, "", c.checkContent(e.Content))
		case e.Root != object.RootID{}:
			err = c.checkNested(r, e, p)
		case e.Kind == object.Directory:
			err = c.checkTree(r, g, e.Tree, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkNested(up *Root, e object.Entry, dir string) error {
	r, err := up.below(e)
	if err != nil || c.nested[e.Root] {
		return c.found(dir, "", err)
	}
	c.nested[e.Root] = true
	return c.checkRoot(r, dir)
}

// isTold says with an error if no index tells where a block lies.
func (c *checker) isTold(t block.Type, id object.ID) error {
	for round := 0; ; round++ {
		found, err := c.s.index.Lookup(c.ctx, id)
		if err != nil || len(found) > 0 {
			return err
		}
		if c.looked || round == 2 { // as fetch does, but not for each of the blocks that are missing
			c.looked = true
			return c.s.unknownBlock(t, id)
		}
		if err := c.s.refreshIndex(c.ctx); err != nil {
			return err
		}
	}
}

// losses says of all that is missing together what it looks like.
func (c *checker) losses() error {
	loss, err := c.s.Lost(c.ctx)
	if err == nil && loss != nil {
		err = loss
	}
	return c.found("", c.s.b.Location(), err)
}

// checkContent looks whether all blocks of a content are where the indexes say, or opens them.
func (c *checker) checkContent(content object.Content) error {
	if content.Size <= object.InlineMax {
		return nil
	}
	limit := int(min(content.Size/1024+object.ListMax, 1<<40))
	refs, err := c.s.leaves(c.ctx, c.s.data, block.DataList, content.Depth, content.Key, content.Size, limit)
	if err != nil {
		return err
	}
	t := block.Type{Kind: block.Data}
	for _, ref := range refs {
		at := blockName{t, ref.Key}
		if c.seen[at] {
			continue
		}
		c.seen[at] = true
		if !c.readData {
			if err := c.isTold(t, block.ID(ref.Key)); err != nil {
				return err
			}
			continue
		}
		b, err := c.s.fetch(c.ctx, t, c.s.data, ref.Key, c.s.limit(t))
		if err == nil && int64(len(b)) != ref.Length {
			err = damaged(packPrefix+"*", fmt.Errorf("data block of %d bytes instead of %d", len(b), ref.Length))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
