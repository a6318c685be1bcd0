package dir

import (
	"path/filepath"
	"testing"
	"time"

	"ensync/engine/localdir/foldtest"
	"ensync/store/backend"
	"ensync/store/backend/backendtest"
)

// A store keeps its promises on the file systems that drives and networks have.
func TestOddFileSystems(t *testing.T) {
	for name, opt := range map[string]foldtest.Options{"vfat": foldtest.VFAT, "plain": foldtest.Plain, "nfs": foldtest.NFS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backendtest.Run(t, func(t *testing.T) backend.Backend {
				path := filepath.Join(foldtest.New(t, opt), "store")
				if err := Create(path); err != nil {
					t.Fatal(err)
				}
				return open(t, path, nil)
			}, backendtest.Options{
				Again:   func(t *testing.T, b backend.Backend) backend.Backend { return open(t, b.(*Dir).path, nil) },
				Writers: 4, Rounds: 3,
			})
		})
	}
}

// Another machine changes an object, and the listing here is an old one: what counts is found all the same, at once if
// the numbers go on from the listing, and otherwise when that is a new one.
func TestOldListing(t *testing.T) {
	if !foldtest.Available() {
		t.Skip("mounting needs root and /dev/fuse")
	}
	below, at := t.TempDir(), t.TempDir()
	const stale = 400 * time.Millisecond
	unmount, err := foldtest.Mount(below, at, foldtest.Options{StaleList: stale})
	if err != nil {
		t.Fatal(err)
	}
	defer unmount()
	if err := Create(filepath.Join(below, "store")); err != nil {
		t.Fatal(err)
	}
	there, here := open(t, filepath.Join(below, "store"), nil), open(t, filepath.Join(at, "store"), nil)
	var v backend.Version
	swap := func(text string) {
		if v, err = there.Swap(t.Context(), "m", v, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	look := func(text string, within time.Duration) {
		t.Helper()
		start := time.Now()
		data, _, err := here.Load(t.Context(), "m")
		if took := time.Since(start); err != nil || string(data) != text || took > within {
			t.Errorf("%q after %v, %v; want %q", data, took, err, text)
		}
	}
	swap("one")
	look("one", stale)
	swap("two")
	swap("three")
	look("three", stale/2)
	for range 2 * keepNumbers {
		swap("more")
	}
	look("more", 2*stale)
}
