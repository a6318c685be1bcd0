package store

import (
	"strings"
	"testing"
)

// TestPackPutBack: a pack that is gone is named each time, also when the local index knew it, and once it is put back all
// is as before.
func TestPackPutBack(t *testing.T) {
	_, s, _ := small(t)
	all := snap(t, s.b)
	for _, name := range all.names() {
		if !strings.HasPrefix(name, packPrefix) {
			continue
		}
		b := all.backend(t, name, nil)
		c := reopen(t, s, b)
		if _, err := readSmall(t.Context(), c); err == nil {
			continue // nothing in it is in use any more
		}
		for range 2 {
			_, err := readSmall(t.Context(), c)
			wantErr(t, err, ErrMissing)
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%v does not name %s", err, name)
			}
		}
		must(t, b.Put(t.Context(), name, all[name]))
		if _, err := readSmall(t.Context(), c); err != nil {
			t.Errorf("put back: %v", err)
		}
	}
}
