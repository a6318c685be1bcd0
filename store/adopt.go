package store

import (
	"context"
	"errors"

	"ensync/store/block"
	"ensync/store/object"
)

// Adopt reports whether every block of a content is in the store and can be relied on, so that it need not be put. What
// is committed afterwards then relies on them. Lists are read, data is not. Content that lies in its entry, and content
// nobody has hashed, is never adopted.
func (w *Session) Adopt(ctx context.Context, c object.Content) (bool, error) {
	if !c.Known || c.Size <= object.InlineMax || c.Depth > object.MaxDepth {
		return false, nil
	}
	ok, err := w.adopt(ctx, object.Ref{Key: c.Key, Length: c.Size}, c.Depth)
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
		return false, nil
	}
	return ok, err
}

func (w *Session) adopt(ctx context.Context, ref object.Ref, depth uint8) (bool, error) {
	t := block.Type{Kind: block.Data}
	if depth > 0 {
		t = block.Type{Kind: block.DataList, Depth: depth}
	}
	known, err := w.known(ctx, t, w.s.data, ref.Key, block.ID(ref.Key))
	if err != nil || !known || depth == 0 {
		return known, err
	}
	refs, err := w.s.loadList(ctx, w.s.data, t, ref)
	if err != nil {
		return false, err
	}
	for _, r := range refs {
		if known, err := w.adopt(ctx, r, depth-1); err != nil || !known {
			return known, err
		}
	}
	return true, nil
}
