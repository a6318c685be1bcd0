package store

import (
	"context"
	"errors"
	"fmt"

	"ensync/keys"
	"ensync/store/backend"
)

// openPatiently is openObjects, and for who can't wait for a store that is out of reach what is remembered of it; then
// assumed is the reason. What is remembered was checked when it came from the store.
func (e *early) openPatiently(ctx context.Context, mem *Memory) (f *format, k *keys.File, assumed error, err error) {
	r := e.reach
	if _, known := mem.known(); !known || r.wait <= 0 {
		o, err := within(ctx, r, func(ctx context.Context) (o opened, err error) {
			o.f, o.k, err = e.openObjects(ctx, mem)
			return o, err
		})
		return o.f, o.k, nil, err
	}
	short, cancel := context.WithTimeout(ctx, min(openWait, r.wait))
	defer cancel()
	f, k, err = e.openObjects(short, mem)
	switch {
	case err == nil || isWrong(err) || errors.Is(err, ErrNoStore) || ctx.Err() != nil:
		return f, k, nil, err
	case short.Err() != nil:
		err = fmt.Errorf("%w: %s does not answer", backend.ErrUnavailable, e.b.Location())
	}
	r.note(err)
	if f, k, wrong := recalled(mem); wrong == nil {
		return f, k, err, nil
	}
	return nil, nil, nil, err
}

type opened struct {
	f *format
	k *keys.File
}

func recalled(mem *Memory) (*format, *keys.File, error) {
	f, err := parseFormat(mem.Format())
	if err != nil {
		return nil, nil, err
	}
	k, err := parseKeys(mem.Keys(), f, mem)
	return f, k, err
}

// Confirm looks at what was only remembered when the store was opened, if it was, with the checks of Open. Until it has
// returned nil once, nothing may be told to the store or believed of it but what proves itself.
func (s *Store) Confirm(ctx context.Context) error {
	if s.Assumed() == nil {
		return nil
	}
	f, err := loadFormat(ctx, s.b, s.opt.Memory)
	if err != nil {
		return err
	}
	if _, err = s.refreshKeys(ctx); errors.Is(err, keys.ErrStale) {
		return fmt.Errorf("object %s of %s: %w: it was taken out or changed since this machine was last in touch with the store; "+
			"unmount, and mount with another one", keysObject, s.b.Location(), ErrWrongPassphrase)
	}
	if err != nil {
		return err
	}
	if err := s.opt.Memory.sawFormat(f); err != nil {
		return err
	}
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	s.assumed = nil
	return nil
}

// Assumed is why the store was opened by what this client remembers of it; nil: it was not, or Confirm has looked since.
func (s *Store) Assumed() error {
	s.keysMu.RLock()
	defer s.keysMu.RUnlock()
	return s.assumed
}
