package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"ensync/keys"
	"ensync/store/backend"
)

const (
	// copyMark is an object that lies in a copy until it is whole. It names the store, by all bytes of its format.
	copyMark     = "copying"
	copyMarkText = "An unfinished copy of an ensync store. Run ensync store copy again to finish it, or remove everything here.\n"

	copyWorkers = 4       // objects on their way at once
	copyRounds  = 10      // after so many, a store that never rests is copied as of the last one
	comparePart = 4 << 20 // bytes that are read back at once
)

// CopyProgress says how far a copy is. The totals grow when others write to the store meanwhile.
type CopyProgress struct {
	Objects, TotalObjects int
	Bytes, TotalBytes     int64
}

// Copied says what a copy did.
type Copied struct {
	CopyProgress
	Skipped int      // objects that an earlier run had copied
	Behind  bool     // the copy is whole, and older than the store is now: others wrote on and on
	Left    []string // objects that are none of a store's, and were left behind
}

// Copy copies a store to an empty place, or goes on with a copy of it that was cut short. Objects are copied as they lie
// there, so no key is needed and the history comes along; each is read back and compared. An object that is there with its size is
// from an earlier run, and skipped: backends never show a part of one.
//
// The store may be written to meanwhile. Heads are read before what they need is listed, and written when all that is in
// place; if they have changed by then, what is new is copied, too. Keys and format come last: until then the place is no
// store, and every client that looks there is told why. Once the keys are there, no head is written any more: a client
// may have followed it.
//
// Errors: ErrExists if anything but an unfinished copy of this store lies there, also a whole one; those of opening a
// store without a key, and those of both backends. report may be nil, and is called by one goroutine at a time.
func Copy(ctx context.Context, from, to backend.Backend, report func(CopyProgress)) (Copied, error) {
	f, err := loadFormat(ctx, from, nil)
	if err != nil {
		return Copied{}, err
	}
	c := &copier{from: from, to: to, format: f, report: report, copied: map[string]bool{}}
	if c.report == nil {
		c.report = func(CopyProgress) {}
	}
	if err := c.claim(ctx); err != nil {
		return c.done, err
	}
	if c.there, err = sizes(ctx, to, ""); err != nil {
		return c.done, err
	}
	if _, ok := c.there[keysObject]; ok {
		c.last, err = readHeads(ctx, to, f)
	} else {
		err = c.copyToKeys(ctx)
	}
	if err != nil {
		return c.done, err
	}
	return c.done, c.finish(ctx)
}

type copier struct {
	from, to backend.Backend
	format   *format
	report   func(CopyProgress)

	mu     sync.Mutex
	done   Copied
	there  map[string]int64 // objects that an earlier run left, with their sizes
	copied map[string]bool  // objects that need not be looked at again
	last   heads            // of the store, as they were copied
}

func copyMarkOf(f *format) []byte { return append([]byte(copyMarkText), f.encoded...) }

// unfinished returns what marks the copy that was begun at a place; nil if none was.
func unfinished(ctx context.Context, b backend.Backend) ([]byte, error) {
	mark, err := b.Get(ctx, copyMark, 0, -1)
	if errors.Is(err, backend.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read object %s of %s: %w", copyMark, b.Location(), err)
	}
	return mark, nil
}

// claim marks the place as that of a copy of this store.
func (c *copier) claim(ctx context.Context) error {
	mark, err := unfinished(ctx, c.to)
	if err != nil {
		return err
	}
	there, err := c.to.Get(ctx, formatObject, 0, -1)
	if err != nil && !errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("read object %s of %s: %w", formatObject, c.to.Location(), err)
	}
	refuse := func(object, why, next string) error {
		return &Fault{Kind: ErrExists, Object: object, Cause: errors.New(why), Next: next}
	}
	switch {
	case err == nil && bytes.Equal(there, c.format.encoded) && mark == nil:
		return refuse(formatObject, "a whole copy of the store lies there", "ensync store move changes over to it; to copy anew, choose an empty place")
	case err == nil && !bytes.Equal(there, c.format.encoded):
		return refuse(formatObject, "another store lies there", "choose an empty place")
	case mark != nil && !bytes.Equal(mark, copyMarkOf(c.format)):
		return refuse(copyMark, "a copy of another store was begun there", "choose an empty place")
	case mark != nil:
		return nil
	}
	name, err := anyObject(ctx, c.to)
	if err != nil {
		return fmt.Errorf("list %s: %w", c.to.Location(), err)
	}
	if name != "" {
		return refuse(name, "it is no copy of this store", "choose an empty place")
	}
	return putNew(ctx, c.to, copyMark, copyMarkOf(c.format))
}

// heads are the mutable objects of a store, by name. What is missing is not in it.
type heads map[string][]byte

func (h heads) equal(other heads) bool { return maps.EqualFunc(h, other, bytes.Equal) }

// copyToKeys copies all but the format: rounds of immutable objects until all is there that the heads need, and
// then these heads.
func (c *copier) copyToKeys(ctx context.Context) error {
	now, err := readHeads(ctx, c.from, c.format)
	for round := 1; err == nil; round++ {
		c.last = now
		if err := c.immutables(ctx); err != nil {
			return err
		}
		if now, err = readHeads(ctx, c.from, c.format); err != nil || now.equal(c.last) || round == copyRounds {
			break
		}
	}
	if err != nil {
		return err
	}
	return c.writeHeads(ctx)
}

// readHeads reads the mutable objects: the list of roots before the heads that it names, and the keys after all that they
// open. A head that vanishes meanwhile is one that the list does not name any more.
func readHeads(ctx context.Context, b backend.Backend, f *format) (heads, error) {
	h := heads{}
	load := func(name string) error {
		data, _, err := b.Load(ctx, name)
		if errors.Is(err, backend.ErrNotExist) && isHead(name) {
			return nil
		}
		if err != nil {
			return got(name, err)
		}
		h[name] = data
		return nil
	}
	if err := load(rootsObject); err != nil {
		return nil, err
	}
	var names []string
	err := b.List(ctx, rootPrefix, func(i backend.Info) error {
		if i.Name != rootsObject {
			names = append(names, i.Name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", b.Location(), err)
	}
	for _, name := range append(names, keysObject, keysCopy) {
		if err := load(name); err != nil {
			return nil, err
		}
	}
	if k, err := keys.Parse(h[keysObject]); err != nil || k.StoreID() != f.id {
		return nil, damaged(keysObject, errors.Join(err, errors.New("it is not the key store of this store")))
	}
	return h, nil
}

// immutables copies what is not there yet. Packs are listed after the indexes that tell of them.
func (c *copier) immutables(ctx context.Context) error {
	var last map[string]int64
	for range 3 {
		// A list is not read at one instant: while clients merge index objects, it may show neither the old nor the new.
		listed, err := sizes(ctx, c.from, indexPrefix)
		if err != nil {
			return err
		}
		if last != nil && maps.Equal(last, listed) {
			break
		}
		last = listed
		if err := c.copyAll(ctx, listed); err != nil {
			return err
		}
	}
	all, err := sizes(ctx, c.from, "")
	if err != nil {
		return err
	}
	c.done.Left = nil
	maps.DeleteFunc(all, func(name string, _ int64) bool {
		if isForeign(name) {
			c.done.Left = append(c.done.Left, name)
		}
		return !strings.HasPrefix(name, packPrefix)
	})
	return c.copyAll(ctx, all)
}

// sizes lists the objects whose names start with prefix.
func sizes(ctx context.Context, b backend.Backend, prefix string) (map[string]int64, error) {
	found := map[string]int64{}
	err := b.List(ctx, prefix, func(i backend.Info) error { found[i.Name] = i.Size; return nil })
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", b.Location(), err)
	}
	return found, nil
}

// copyAll copies those of the objects that are not there, several at once.
func (c *copier) copyAll(ctx context.Context, all map[string]int64) error {
	var names []string
	for name, size := range all {
		if c.copied[name] {
			continue
		}
		was, ok := c.there[name]
		if ok && was == size {
			c.copied[name] = true
			c.done.Skipped++
			continue
		}
		if ok { // nobody uses the place yet, and no backend shows a part of what we wrote: somebody damaged it
			if err := c.to.Delete(ctx, name); err != nil {
				return fmt.Errorf("replace object %s of %s, which has %d bytes instead of %d: %w", name, c.to.Location(), was, size, err)
			}
		}
		names = append(names, name)
		c.done.TotalObjects++
		c.done.TotalBytes += size
	}
	slices.Sort(names)
	c.report(c.done.CopyProgress)
	return each(ctx, copyWorkers, names, func(ctx context.Context, name string) error {
		n, err := c.copyOne(ctx, name)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.copied[name] = true
		c.done.Objects++
		c.done.Bytes += n
		c.report(c.done.CopyProgress)
		return nil
	})
}

// each calls fn for all names, by so many workers. The first error ends all, and is returned.
func each(ctx context.Context, workers int, names []string, fn func(context.Context, string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan string)
	var all sync.WaitGroup
	for range min(workers, len(names)) {
		all.Go(func() {
			for name := range next {
				if err := fn(ctx, name); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for _, name := range names {
		select {
		case next <- name:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

// copyOne copies an immutable object, reads it back, and returns its length. An index object that vanished was merged.
func (c *copier) copyOne(ctx context.Context, name string) (int64, error) {
	data, err := c.from.Get(ctx, name, 0, -1)
	if errors.Is(err, backend.ErrNotExist) && strings.HasPrefix(name, indexPrefix) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.from.Location(), got(name, err))
	}
	if err := putNew(ctx, c.to, name, data); err != nil {
		return 0, fmt.Errorf("%s: %w", c.to.Location(), err)
	}
	return int64(len(data)), c.compare(ctx, name, data)
}

// compare reads an object of the copy back.
func (c *copier) compare(ctx context.Context, name string, data []byte) error {
	for at := 0; at < len(data); at += comparePart {
		part := data[at:min(at+comparePart, len(data))]
		back, err := c.to.Get(ctx, name, int64(at), int64(len(part)))
		if err != nil {
			return fmt.Errorf("read back object %s of %s: %w", name, c.to.Location(), err)
		}
		if !bytes.Equal(back, part) {
			return &Fault{Kind: ErrDamaged, Object: name,
				Cause: fmt.Errorf("%s gives back something else than was written", c.to.Location()),
				Next:  "the copy is not finished, and the store was not touched; do not trust that place, choose another one"}
		}
	}
	return nil
}

// writeHeads writes all mutable objects, the keys last.
func (c *copier) writeHeads(ctx context.Context) error {
	for name := range c.there {
		if _, keep := c.last[name]; isHead(name) && !keep { // of a root that was removed since an earlier run
			if err := c.to.Delete(ctx, name); err != nil {
				return fmt.Errorf("delete object %s of %s: %w", name, c.to.Location(), err)
			}
		}
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(c.last)), func(name string) bool { return name == keysObject })
	for _, name := range append(names, keysObject) {
		if err := c.writeHead(ctx, name, c.last[name]); err != nil {
			return fmt.Errorf("%s: %w", c.to.Location(), err)
		}
	}
	return nil
}

// finish makes the place a store, when all else is there, and looks whether the store has gone on.
func (c *copier) finish(ctx context.Context) error {
	if err := putNew(ctx, c.to, formatObject, c.format.encoded); err != nil {
		return fmt.Errorf("%s: %w", c.to.Location(), err)
	}
	if err := c.compare(ctx, formatObject, c.format.encoded); err != nil {
		return err
	}
	// A server that deletes nothing keeps the mark: with a format object the copy is whole all the same.
	if err := c.to.Delete(ctx, copyMark); err != nil && !errors.Is(err, backend.ErrDenied) {
		return fmt.Errorf("delete object %s of %s: %w", copyMark, c.to.Location(), err)
	}
	now, err := readHeads(ctx, c.from, c.format)
	c.done.Behind = err == nil && !now.equal(c.last)
	return err
}

// writeHead makes a mutable object of the copy what it is in the store.
func (c *copier) writeHead(ctx context.Context, name string, data []byte) error {
	now, version, err := c.to.Load(ctx, name)
	if err != nil && !errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("read object %s: %w", name, err)
	}
	if err == nil && bytes.Equal(now, data) {
		return nil
	}
	if err := swap(ctx, c.to, name, version, data); err != nil {
		return err
	}
	if now, _, err = c.to.Load(ctx, name); err != nil || !bytes.Equal(now, data) {
		return errors.Join(fmt.Errorf("object %s: %w; if nobody else copies to this place, do not trust it", name, ErrOvertaken), err)
	}
	return nil
}
