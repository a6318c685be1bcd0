package faulty

import (
	"context"
	"errors"
	"fmt"

	"ensync/store/backend"
)

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	err = b.do(ctx, Call{Op: Get, Name: name, Offset: offset, Length: length}, func(rule Rule) (int, error) {
		from := name
		if rule.Fault == Exchange {
			from = rule.With
		}
		data, err = b.inner.Get(ctx, from, offset, length)
		data = b.spoil(data, rule)
		return len(data), err
	})
	return answer(data, err)
}

// Load implements backend.Backend.
func (b *Backend) Load(ctx context.Context, name string) (data []byte, version backend.Version, err error) {
	err = b.do(ctx, Call{Op: Load, Name: name}, func(rule Rule) (int, error) {
		if data, version, err = b.inner.Load(ctx, name); err != nil {
			return 0, err
		}
		b.remember(name, version, data)
		switch rule.Fault {
		case Replay, Splice:
			if p, ok := b.older(name, version, rule.Back); ok {
				data = p.data
				if rule.Fault == Replay {
					version = p.version
				}
			}
		case Exchange:
			data, _, err = b.inner.Load(ctx, rule.With)
		}
		data = b.spoil(data, rule)
		return len(data), err
	})
	if err != nil {
		version = ""
	}
	data, err = answer(data, err)
	return data, version, err
}

// Put implements backend.Backend.
func (b *Backend) Put(ctx context.Context, name string, data []byte) error {
	return b.do(ctx, Call{Op: Put, Name: name, Size: len(data)}, func(Rule) (int, error) {
		return 0, b.inner.Put(ctx, name, data)
	})
}

// Swap implements backend.Backend. A dropped Swap returns a version that nothing ever has.
func (b *Backend) Swap(ctx context.Context, name string, old backend.Version, data []byte) (version backend.Version, err error) {
	err = b.do(ctx, Call{Op: Swap, Name: name, Size: len(data)}, func(Rule) (int, error) {
		if version, err = b.inner.Swap(ctx, name, old, data); err == nil {
			b.remember(name, version, data)
		}
		return 0, err
	})
	if err != nil {
		return "", err
	}
	if version == "" {
		version = "dropped"
	}
	return version, nil
}

// List implements backend.Backend. A lost answer is lost at the end: fn has been called.
func (b *Backend) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	return b.do(ctx, Call{Op: List, Name: prefix}, func(Rule) (int, error) {
		return 0, b.inner.List(ctx, prefix, func(i backend.Info) error {
			if b.hidden(i.Name) {
				return nil
			}
			return fn(i)
		})
	})
}

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, name string) error {
	return b.do(ctx, Call{Op: Delete, Name: name}, func(Rule) (int, error) {
		return 0, b.inner.Delete(ctx, name)
	})
}

// Restore puts back an older state of a mutable object behind everyone's back, as an operator who restores a backup
// does: from then on it is the current state, under a new version.
func (b *Backend) Restore(ctx context.Context, name string, back int) error {
	_, version, err := b.inner.Load(ctx, name)
	if err != nil {
		return err
	}
	p, ok := b.older(name, version, back)
	if !ok {
		return fmt.Errorf("restore %s: %w: no older state of it went through here", name, errors.ErrUnsupported)
	}
	version, err = b.inner.Swap(ctx, name, version, p.data)
	if err == nil {
		b.remember(name, version, p.data)
	}
	return err
}

func answer(data []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return data, nil
}
