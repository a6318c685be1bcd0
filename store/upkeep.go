package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ensync/store/backend"
)

const (
	// upkeepEvery is how often a client does what Upkeep does.
	upkeepEvery = 24 * time.Hour
	// renewAge is how old an object may get before it is written anew: rules that delete by age count in weeks.
	renewAge = 7 * 24 * time.Hour
	// renewMost bounds how many objects one Renew writes.
	renewMost = 64
)

// keptPrefixes are where the objects lie that are small, old, and that a store can't do without.
var keptPrefixes = []string{formatObject, keysObject, keysCopy, rootPrefix}

// Loss says that objects are gone although nobody of us deletes such objects. It is an ErrMissing.
type Loss struct {
	Objects []string  // their names, in order
	Known   int       // of how many that must be there
	Oldest  time.Time // when the oldest pack that is left was written, as the backend tells it; zero: none is left
}

// Error says what is gone, and what may be the cause.
func (l *Loss) Error() string {
	s := fmt.Sprintf("something else deletes objects here: %d of %d are gone, the first is %s", len(l.Objects), l.Known, l.Objects[0])
	if days := int(now().Sub(l.Oldest) / (24 * time.Hour)); !l.Oldest.IsZero() && days > 0 {
		s += fmt.Sprintf("; the oldest pack that is left is %d days old: likely a rule deletes what gets older", days)
	}
	return s + "; find it and stop it: an expiry rule of the bucket, which ensync doctor names, another program, or a partial " +
		"copy; then ensync repair puts back format and keys, and ensync check lists the files that are affected"
}

// Unwrap makes it an ErrMissing.
func (l *Loss) Unwrap() error { return ErrMissing }

// Upkeep looks whether all is there that must be, and no root is older than it was seen, and renews what gets old, once a day for all who share the memory; the
// other times it does nothing. Its error may be a *Loss, and an ErrRollback. No error says that anything was changed.
func (s *Store) Upkeep(ctx context.Context) error {
	if due, err := s.opt.Memory.claimUpkeep(); err != nil || !due {
		return err
	}
	loss, err := s.Lost(ctx)
	if loss != nil {
		err = errors.Join(err, loss)
	}
	return errors.Join(err, s.lookAround(ctx), s.Renew(ctx))
}

// claimUpkeep reports whether upkeep is due, and takes it from all others.
func (m *Memory) claimUpkeep() (due bool, err error) {
	if m == nil {
		return false, nil
	}
	err = m.update(func(d *memoryData) bool {
		if due = now().Sub(d.Upkeep).Abs() >= upkeepEvery; due {
			d.Upkeep = now().UTC()
		}
		return due
	})
	return due && err == nil, err
}

// Lost looks for objects that are gone although none of us deletes them: format, keys, their copy, heads of live roots,
// and packs that an index tells of. It returns nil if all are there. It reads lists and what is new in the index; a pack
// that is there may still be damaged, which Check finds.
func (s *Store) Lost(ctx context.Context) (*Loss, error) {
	roots, err := s.loadRoots(ctx, s.b.Load)
	if err != nil && !errors.Is(err, ErrMissing) {
		return nil, err
	}
	must := map[string]bool{formatObject: true, keysObject: true, keysCopy: true, rootsObject: true}
	if roots != nil {
		for _, r := range roots.roots {
			must[headObject(r.ID)] = true
		}
	}
	// A pack is put before the index object that tells of it: a list that begins now shows all of which is known by now.
	if err := s.refreshIndex(ctx); err != nil {
		return nil, err
	}
	packs, err := s.index.PackNames(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range packs {
		must[n.Object()] = true
	}
	loss := &Loss{Known: len(must)}
	for _, prefix := range append([]string{packPrefix}, keptPrefixes...) {
		err := s.b.List(ctx, prefix, func(i backend.Info) error {
			delete(must, i.Name)
			if prefix == packPrefix && (loss.Oldest.IsZero() || i.ModTime.Before(loss.Oldest)) {
				loss.Oldest = i.ModTime
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list %s of %s: %w", prefix, s.b.Location(), err)
		}
	}
	for name := range must {
		loss.Objects = append(loss.Objects, name)
	}
	if len(loss.Objects) == 0 {
		return nil, nil
	}
	slices.Sort(loss.Objects)
	return s.confirm(ctx, loss)
}

// confirm takes out the heads of roots that were removed while Lost was looking.
func (s *Store) confirm(ctx context.Context, loss *Loss) (*Loss, error) {
	roots, err := s.loadRoots(ctx, s.b.Load)
	if errors.Is(err, ErrMissing) {
		return loss, nil
	}
	if err != nil {
		return nil, err
	}
	live := map[string]bool{}
	for _, r := range roots.roots {
		live[headObject(r.ID)] = true
	}
	loss.Objects = slices.DeleteFunc(loss.Objects, func(name string) bool { return isHead(name) && !live[name] })
	if len(loss.Objects) == 0 {
		return nil, nil
	}
	return loss, nil
}

func isHead(name string) bool {
	return len(name) == len(headObject([16]byte{})) && name[:len(rootPrefix)] == rootPrefix
}

// Renew writes format, keys, their copy, the list of roots and all heads anew, with the content that they have, where they
// were not written for a week, so that no rule that deletes by age reaches them. It judges nothing: what is damaged stays
// so. Where a backend has no way to renew an object that never changes, format is left as it is: every client has a copy.
func (s *Store) Renew(ctx context.Context) error {
	var old []string
	for _, prefix := range keptPrefixes {
		err := s.b.List(ctx, prefix, func(i backend.Info) error {
			if now().Sub(i.ModTime) > renewAge && len(old) < renewMost {
				old = append(old, i.Name)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("list %s of %s: %w", prefix, s.b.Location(), err)
		}
	}
	var failed error
	for _, name := range old {
		if err := s.renew(ctx, name); err != nil {
			failed = errors.Join(failed, fmt.Errorf("renew object %s: %w", name, err))
		}
	}
	return failed
}

func (s *Store) renew(ctx context.Context, name string) error {
	if name == formatObject {
		if r, ok := s.b.(backend.Renewer); ok {
			if err := r.Renew(ctx, name, s.format.encoded); !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
		}
		return nil
	}
	data, version, err := s.b.Load(ctx, name)
	if err == nil {
		_, err = s.b.Swap(ctx, name, version, data)
	}
	if errors.Is(err, backend.ErrChanged) || errors.Is(err, backend.ErrNotExist) {
		return nil // somebody else has just written or removed it
	}
	return err
}
