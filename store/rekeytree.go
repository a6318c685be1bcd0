package store

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"ensync/store/object"
)

const (
	rekeyFiles = 8        // read side by side
	rekeyFlush = 64 << 20 // bytes of content after which what was stored is made known: a run that is cut short stores no more twice
)

// tally counts what a re-keying has done.
type tally struct {
	mu sync.Mutex
	RekeyProgress
	unflushed int64
}

// add counts a file, and reports whether it is time to flush.
func (t *tally) add(size int64, report func(RekeyProgress)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Files++
	t.Bytes += size
	t.unflushed += size
	report(t.RekeyProgress)
	if t.unflushed < rekeyFlush {
		return false
	}
	t.unflushed = 0
	return true
}

// copyTree stores a directory and all below it anew.
func (r *rekeying) copyTree(ctx context.Context, w *Session, root *Root, t object.Tree) (object.Tree, error) {
	if t.IsZero() {
		return t, nil // the root has ended
	}
	was, err := root.ReadGroup()
	if err != nil {
		return object.Tree{}, err
	}
	group, err := r.to.group(root.info.Read)
	if err != nil {
		return object.Tree{}, err
	}
	entries, err := r.from.ReadTree(ctx, was, t)
	if err != nil {
		return object.Tree{}, err
	}
	if err := r.copyFiles(ctx, w, entries); err != nil {
		return object.Tree{}, err
	}
	for i := range entries {
		e := &entries[i]
		if e.Kind != object.Directory || e.Root != (object.RootID{}) {
			continue
		}
		if e.Tree, err = r.copyTree(ctx, w, root, e.Tree); err != nil {
			return object.Tree{}, fmt.Errorf("%q: %w", e.Name, err)
		}
	}
	return w.PutTree(ctx, group, entries)
}

// copyFiles stores the content of the files among entries anew, several at once.
func (r *rekeying) copyFiles(ctx context.Context, w *Session, entries []object.Entry) error {
	all, each := errgroup.WithContext(ctx)
	all.SetLimit(rekeyFiles)
	for i := range entries {
		e := &entries[i]
		if e.Kind != object.File {
			continue
		}
		if each.Err() != nil {
			break
		}
		all.Go(func() error {
			if err := r.copyContent(each, w, e); err != nil {
				return fmt.Errorf("%q: %w", e.Name, err)
			}
			if r.tally.add(e.Content.Size, r.with.Report) {
				return w.Flush(each)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (r *rekeying) copyContent(ctx context.Context, w *Session, e *object.Entry) error {
	if e.Content.Size <= object.InlineMax {
		return nil // it lies in the entry
	}
	src := r.from.OpenContent(ctx, e.Content)
	defer src.Close()
	content, err := w.PutContent(ctx, src)
	if err == nil && content.Size != e.Content.Size {
		err = fmt.Errorf("%d bytes of it instead of %d", content.Size, e.Content.Size)
	}
	e.Content = content
	return err
}

// skipRoot counts a root that an earlier run has stored.
func (r *rekeying) skipRoot(ctx context.Context, of rekeyRoot) error {
	if of.head.Tree.IsZero() {
		return nil
	}
	return walkTree(ctx, of.root, of.head.Tree, func(e object.Entry) error {
		if e.Kind == object.File {
			r.tally.add(e.Content.Size, r.with.Report)
		}
		return nil
	})
}

// walkTree calls fn for all files of a root, and for those directories that are roots of their own, which it does not enter.
func walkTree(ctx context.Context, root *Root, t object.Tree, fn func(object.Entry) error) error {
	group, err := root.ReadGroup()
	if err != nil {
		return err
	}
	entries, err := root.s.ReadTree(ctx, group, t)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.Kind == object.File || e.Kind == object.Directory && e.Root != object.RootID{}:
			err = fn(e)
		case e.Kind == object.Directory:
			err = walkTree(ctx, root, e.Tree, fn)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Name, err)
		}
	}
	return nil
}
