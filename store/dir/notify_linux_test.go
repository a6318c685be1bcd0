package dir

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(Create(path))
	d, err := Open(path)
	must(err)
	version, err := d.Swap(t.Context(), "roots/a", "", []byte("1"))
	must(err)
	next := func(c <-chan struct{}) (open bool) {
		t.Helper()
		select {
		case _, open = <-c:
			return open
		case <-time.After(5 * time.Second):
			t.Fatal("nothing is told")
			return false
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ends, err := d.Notify(ctx, "roots/a")
	must(err)
	moves, err := d.Notify(t.Context(), "roots/a")
	must(err)
	_, _, err = d.Load(t.Context(), "roots/a")
	must(err)
	select {
	case <-ends:
		t.Error("a look was told as a change")
	case <-time.After(50 * time.Millisecond):
	}
	_, err = d.Swap(t.Context(), "roots/a", version, []byte("2"))
	must(err)
	if !next(ends) || !next(moves) {
		t.Error("closed by a change")
	}
	cancel()
	for next(ends) {
	}
	must(os.Rename(filepath.Join(path, "roots/a@"), filepath.Join(path, "roots/away")))
	for next(moves) {
	}
	must(d.Close())
}
