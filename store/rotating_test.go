package store

import (
	"context"
	"sync"
	"testing"

	"ensync/store/backend"
)

// slowly is a backend with something that happens once after an object was loaded, before the answer is there.
type slowly struct {
	backend.Backend
	name  string
	once  sync.Once
	after func()
}

func (s *slowly) Load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	raw, version, err := s.Backend.Load(ctx, name)
	if name == s.name {
		s.once.Do(s.after)
	}
	return raw, version, err
}

// TestReadWhileRotated: a head or the list of roots that was asked for before a rotation, and is read with the keys from after
// it, is asked for again; and keys that another goroutine has renewed meanwhile are used.
func TestReadWhileRotated(t *testing.T) {
	c := newClub(t, nil)
	r, err := c.boss.Root(t.Context(), clubRoot)
	must(t, err)
	head := headObject(r.info.ID)
	for name, group := range map[string]string{head: "staff", rootsObject: "root"} {
		s := c.member("reader of " + group)
		l := &slowly{Backend: s.b, name: name}
		s.b = l
		l.after = func() {
			must(t, c.boss.Rotate(t.Context(), Rotation{Group: group}))
			_, err := s.refreshKeys(t.Context())
			must(t, err)
		}
		mine, err := s.Root(t.Context(), clubRoot)
		if err == nil {
			_, err = mine.Head(t.Context())
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := c.member("several")
	must(t, c.boss.Rotate(t.Context(), Rotation{Group: "staff"}))
	tries := 0
	must(t, s.withKeys(t.Context(), func() error {
		if tries++; tries > 1 {
			return nil
		}
		_, err := s.refreshKeys(t.Context())
		must(t, err)
		return errOtherKey
	}))
}
