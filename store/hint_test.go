package store

import (
	"fmt"
	"testing"
	"time"

	"ensync/keys"
)

// TestTheKeyThatWorkedIsTriedFirst: of eight keys, the one that this client used last is the one that is stretched.
func TestTheKeyThatWorkedIsTriedFirst(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	for i := range 7 {
		must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
			return f.Add(t.Context(), s.Keys(), fmt.Sprintf("k%02d", i), phrase(fmt.Sprint(i)), nil, time.Now())
		}))
	}
	open := func() time.Duration {
		began := time.Now()
		s, err := Open(t.Context(), p.b, phrase("6"), p.options("client"))
		must(t, err)
		took := time.Since(began)
		must(t, s.Close())
		return took
	}
	first := open()
	again := min(open(), open(), open())
	t.Logf("eight keys: %v at first, then %v", first, again)
	if again > first/2 {
		t.Errorf("the key that worked is not tried first: %v at first, then %v", first, again)
	}
}
