package engine

import "testing"

func TestGoTogether(t *testing.T) {
	for _, c := range []struct {
		one, next string
		want      bool
	}{
		{"x.db", "x.db-journal", true}, {"x.db", "x.db-shm", true}, {"x.db-shm", "x.db-wal", true}, {"x.db-journal", "x.db-wal", true},
		{"x.db", "x.db2", false}, {"x.db-wal", "y.db", false}, {"a", "b", false}, {"x", "x-", false},
	} {
		if got := goTogether(c.one, c.next); got != c.want {
			t.Errorf("%s, %s: %v", c.one, c.next, got)
		}
	}
}
