package localdir

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// Apply implements replica.Client. Files are first written under temporary names, several at once; one sync of the file
// system then makes all their bytes durable; and only then does each get its name, in the order of the changes. A change
// that fails costs no other one. Names are durable after the next Sync.
//
// A new directory is always open to its owner (mode | 0700), so that it can be filled.
func (d *Dir) Apply(ctx context.Context, dir string, changes []replica.Change) []replica.Result {
	results := make([]replica.Result, len(changes))
	h, err := d.open(dir)
	if err = errors.Join(ctx.Err(), err); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer h.close()
	d.touch(h.fs)
	batch := h.prepare(ctx, changes)
	for i, c := range changes {
		results[i] = h.finish(ctx, c, batch[i])
	}
	if perFileSync {
		if err := h.file.Sync(); err != nil { // DURABLE: the names
			for i := range results {
				results[i].Err = errors.Join(results[i].Err, err)
			}
		}
	}
	return results
}

// prepared is a change whose content lies under a temporary name.
type prepared struct {
	incoming
	filled bool
	err    error
}

// prepare fetches the content of all changes that need some, and makes it durable.
func (h *handle) prepare(ctx context.Context, changes []replica.Change) []prepared {
	batch := make([]prepared, len(changes))
	var writers sync.WaitGroup
	for i, c := range changes {
		p := &batch[i]
		if p.err = h.check(c); p.err != nil || !needsContent(c) {
			continue
		}
		select {
		case h.d.slots <- struct{}{}:
		case <-ctx.Done():
			p.err = ctx.Err()
			continue
		}
		writers.Go(func() {
			defer func() { <-h.d.slots }()
			p.incoming, p.err = h.fill(ctx, c)
			p.filled = p.err == nil
		})
	}
	writers.Wait()
	h.makeDurable(ctx, batch)
	return batch
}

// makeDurable syncs what was filled; if that fails, none of it is used.
func (h *handle) makeDurable(ctx context.Context, batch []prepared) {
	var err error
	synced := false
	for i := range batch {
		p := &batch[i]
		if !p.filled {
			continue
		}
		if !synced {
			err, synced = h.fs.sync(ctx), true // DURABLE: the bytes, before any name shows them
		}
		if err != nil {
			p.err = err
			unix.Unlinkat(h.fd(), p.name, 0)
		}
	}
}

// check refuses early what would be refused at last, so that nothing is fetched in vain.
func (h *handle) check(c replica.Change) error {
	if err := replica.CheckChange(c); err != nil {
		return err
	}
	if c.Old != nil {
		r, err := h.expected(c.Old)
		if err != nil {
			return err
		}
		return h.look(c.Old, r)
	}
	if _, err := statAt(h.fd(), c.New.Name); err == nil {
		return fmt.Errorf("something is there: %w", replica.ErrChanged)
	} else if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if c.New.Kind == object.File && c.Source == nil {
		return errors.New("there is nothing to read its content from")
	}
	return nil
}

// needsContent reports whether a change brings in bytes.
func needsContent(c replica.Change) bool {
	return c.New != nil && c.New.Kind == object.File && c.Source != nil && !contentStays(c)
}

// contentStays reports whether a change of a file leaves its bytes as they are.
func contentStays(c replica.Change) bool {
	if c.Old == nil || c.New == nil || c.Old.Kind != object.File || c.New.Kind != object.File {
		return false
	}
	return c.Source == nil || c.New.Content.Same(c.Old.Content)
}

// finish does what is left to do of a change.
func (h *handle) finish(ctx context.Context, c replica.Change, p prepared) replica.Result {
	e, err := (*object.Entry)(nil), p.err
	if err == nil {
		if err = ctx.Err(); err == nil {
			e, err = h.carryOut(ctx, c, &p)
		}
		if isNotDirectory(err) {
			err = fmt.Errorf("%w: %w", replica.ErrChanged, err) // it went between two of our steps
		}
		if err != nil && p.name != "" {
			if st, err := statAt(h.fd(), p.name); err == nil && st.ino == p.st.ino {
				h.discard(p.name, st)
			}
		}
	}
	if err != nil {
		return replica.Result{Err: fmt.Errorf("change %q: %w", h.path(c.Name()), err)}
	}
	return replica.Result{Entry: e}
}

func (h *handle) carryOut(ctx context.Context, c replica.Change, p *prepared) (*object.Entry, error) {
	var old row
	if c.Old != nil {
		var err error
		if old, err = h.expected(c.Old); err != nil {
			return nil, err
		}
		if err := h.look(c.Old, old); err != nil {
			return nil, err
		}
	}
	switch {
	case c.Rename != "":
		return h.rename(c, old)
	case c.New == nil:
		return nil, h.remove(ctx, c, old)
	case contentStays(c):
		return h.setMetadata(ctx, c, old)
	case c.Old != nil && c.Old.Kind == object.Directory && c.New.Kind == object.Directory:
		return h.updateDirectory(c, old)
	case c.New.Kind == object.File && !p.filled:
		return nil, errors.New("there is nothing to read its content from")
	}
	if !p.filled {
		var err error
		if p.incoming, err = h.build(h.inherit(c)); err != nil {
			return nil, err
		}
	}
	return h.place(ctx, c, old, p)
}

// look compares what is at a name with what was listed there.
func (h *handle) look(e *object.Entry, want row) error {
	st, err := statAt(h.fd(), e.Name)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("it is gone: %w", replica.ErrChanged)
	}
	if err != nil {
		return err
	}
	if !st.same(want.st) {
		return replica.ErrChanged
	}
	if err := h.sameOptional(e.Name, e, st); err != nil {
		return err
	}
	if e.Kind == object.Symlink {
		if target, err := readLink(h.fd(), e.Name); err != nil || target != e.Target {
			return fmt.Errorf("%w: %v", replica.ErrChanged, err)
		}
	}
	return nil
}
