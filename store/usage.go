package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/object"
)

// Kind is how many objects of one kind lie in a store.
type Kind struct {
	Name           string
	Objects        int
	Bytes          int64
	Oldest, Newest time.Time // as the backend tells it
}

// kinds are the kinds of objects by what their names begin with. What fits none is somebody else's.
var kinds = []struct{ prefix, name string }{
	{formatObject, "format"}, {keysObject, "keys"}, {keysCopy, "copy of the keys"}, {rootPrefix, "heads"},
	{indexPrefix, "index"}, {packPrefix, "packs"}, {copyMark, "mark of an unfinished copy"}, {"", "others"},
}

// kindAt is the place in kinds of an object of that name.
func kindAt(name string) int {
	n := 0
	for !strings.HasPrefix(name, kinds[n].prefix) {
		n++
	}
	return n
}

// isForeign reports whether an object is none of a store's.
func isForeign(name string) bool { return kindAt(name) == len(kinds)-1 }

// Inventory counts what lies in a backend, by kind. It needs no passphrase. Kinds of which there is nothing are left out.
func Inventory(ctx context.Context, b backend.Backend) ([]Kind, error) {
	all := make([]Kind, len(kinds))
	err := b.List(ctx, "", func(i backend.Info) error {
		n := kindAt(i.Name)
		all[n].add(kinds[n].name, i)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", b.Location(), err)
	}
	found := all[:0]
	for _, k := range all {
		if k.Objects > 0 {
			found = append(found, k)
		}
	}
	return found, nil
}

func (k *Kind) add(name string, i backend.Info) {
	if k.Objects == 0 || i.ModTime.Before(k.Oldest) {
		k.Oldest = i.ModTime
	}
	if i.ModTime.After(k.Newest) {
		k.Newest = i.ModTime
	}
	k.Name = name
	k.Objects++
	k.Bytes += i.Size
}

// Usage is what one tree takes in the store: sealed blocks, each counted once, although another tree may have it, too.
type Usage struct {
	Root    string
	Current int64 // bytes that the newest state needs
	History int64 // bytes that only earlier states need
}

// Usage tells what each tree takes that this passphrase can read, and how many bytes of blocks there are that none of these
// trees needs: those of trees that others read, and what is not needed any more.
func (s *Store) Usage(ctx context.Context) (trees []Usage, rest int64, err error) {
	if err := s.refreshIndex(ctx); err != nil {
		return nil, 0, err
	}
	infos, err := s.Roots(ctx)
	if err != nil {
		return nil, 0, err
	}
	needed := &needs{ids: map[object.ID]bool{}}
	for _, info := range infos {
		u, err := s.usageOf(ctx, &Root{s: s, info: info}, needed)
		if errors.Is(err, ErrNoGroup) {
			continue // of others
		}
		if err != nil {
			return nil, 0, fmt.Errorf("tree %s: %w", info.Name, err)
		}
		trees = append(trees, u)
	}
	stored, err := s.index.Bytes(ctx)
	return trees, stored - needed.bytes, err
}

// usageOf adds up what the states of a root, and of those in it, need, and adds it to needed.
func (s *Store) usageOf(ctx context.Context, r *Root, needed *needs) (Usage, error) {
	w := &weigher{s: s, ctx: ctx, own: needs{ids: map[object.ID]bool{}}, all: needed, nested: map[object.RootID]bool{}}
	if err := w.newest(r); err != nil {
		return Usage{}, err
	}
	u := Usage{Root: r.info.Name, Current: w.own.bytes}
	for len(w.past) > 0 { // what was removed may be a root
		next := w.past[0]
		w.past = w.past[1:]
		if err := w.earlier(next.root, next.head); err != nil {
			return u, err
		}
	}
	u.History = w.own.bytes - u.Current
	return u, nil
}

// needs are blocks, and what they take.
type needs struct {
	ids   map[object.ID]bool
	bytes int64
}

func (n *needs) add(id object.ID, size int64) {
	if !n.ids[id] {
		n.ids[id] = true
		n.bytes += size
	}
}

// weigher adds up the blocks of one root, and of those in it that this passphrase can read.
type weigher struct {
	s      *Store
	ctx    context.Context
	own    needs
	all    *needs // of this root and others
	nested map[object.RootID]bool
	past   []weighed // whose parents are to be added
}

type weighed struct {
	root *Root
	head Head
}

// newest adds the newest state of a root.
func (w *weigher) newest(r *Root) error {
	h, err := r.Head(w.ctx)
	if err != nil || h.Seq == 0 {
		return err
	}
	w.past = append(w.past, weighed{r, h})
	return w.state(r, h)
}

// earlier adds the states before h.
func (w *weigher) earlier(r *Root, h Head) error {
	for {
		parent, ok, err := r.Parent(w.ctx, h)
		if err != nil || !ok {
			return err
		}
		if err := w.state(r, parent); err != nil {
			return err
		}
		h = parent
	}
}

func (w *weigher) state(r *Root, h Head) error {
	if err := w.block(h.Commit); err != nil || h.Ended() {
		return err
	}
	return w.tree(r, h.Tree)
}

func (w *weigher) seen(key object.Key) bool { return w.own.ids[block.ID(key)] }

func (w *weigher) block(key object.Key) error {
	id := block.ID(key)
	if w.own.ids[id] {
		return nil
	}
	found, err := w.s.index.Lookup(w.ctx, id)
	if err == nil && len(found) > 0 {
		w.own.add(id, found[0].Entry.Length)
		w.all.add(id, found[0].Entry.Length)
	}
	return err
}

func (w *weigher) tree(r *Root, t object.Tree) error {
	if w.seen(t.Key) {
		return nil
	}
	group, err := r.ReadGroup()
	if err != nil {
		return err
	}
	mac, err := w.s.mac(group)
	if err != nil {
		return err
	}
	if err := w.stream(mac, block.TreeList, t.Depth, t.Key, -1, maxBlocks); err != nil {
		return err
	}
	entries, err := w.s.ReadTree(w.ctx, group, t)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.Root != object.RootID{}:
			err = w.root(r, e)
		case e.Kind == object.Directory:
			err = w.tree(r, e.Tree)
		case e.Kind == object.File && e.Content.Size > object.InlineMax && !w.seen(e.Content.Key):
			limit := int(min(e.Content.Size/1024+object.ListMax, 1<<40))
			err = w.stream(w.s.data, block.DataList, e.Content.Depth, e.Content.Key, e.Content.Size, limit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// root adds a root in another. One with a name that makes no sense nobody enters.
func (w *weigher) root(up *Root, e object.Entry) error {
	r, err := up.below(e)
	if err != nil || w.nested[e.Root] {
		return nil
	}
	w.nested[e.Root] = true
	if err = w.newest(r); errors.Is(err, ErrNoGroup) {
		return nil
	}
	return err
}

// stream notes the blocks of a stream, its lists among them.
func (w *weigher) stream(mac *block.MAC, list block.Kind, depth uint8, key object.Key, size int64, limit int) error {
	for down := range depth + 1 {
		refs, err := w.s.level(w.ctx, mac, list, depth, down, key, size, limit)
		for _, r := range refs {
			if err == nil {
				err = w.block(r.Key)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
