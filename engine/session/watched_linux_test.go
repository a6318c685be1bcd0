package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/engine"
)

// watched is a directory with a watch, open for many syncs.
func watched(t *testing.T) (tree string, sync func() engine.Summary) {
	t.Helper()
	cfg := machine(t, newStore(t))
	p, err := Passphrase(t.Context(), cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenStore(t.Context(), cfg, p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.WatchDirectory(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return cfg.General.Path, func() engine.Summary {
		t.Helper()
		root, err := s.OpenRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum, err := s.Sync(t.Context(), r, root, Request{})
		if err = errors.Join(err, root.Close()); err != nil {
			t.Fatal(err)
		}
		return sum
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestOneEditInABigTree: with a watch, a sync opens no directory but those that lead to what changed.
func TestOneEditInABigTree(t *testing.T) {
	tree, sync := watched(t)
	const dirs = 300
	for i := range dirs {
		put(t, filepath.Join(tree, fmt.Sprint("d", i), "e/f"), "1")
	}
	sync()
	sync() // the echo: a look at what the first one only read is not needed, but allowed

	opened, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(opened)
	for i := 1; i < dirs; i++ {
		for _, dir := range []string{fmt.Sprint("d", i), fmt.Sprint("d", i, "/e")} {
			if _, err := unix.InotifyAddWatch(opened, filepath.Join(tree, dir), unix.IN_OPEN|unix.IN_ACCESS); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(t, filepath.Join(tree, "d0/e/f"), "22")
	if sum := sync(); sum.Out.Updated != 1 || sum.Examined > 8 {
		t.Errorf("%+v", sum)
	}
	if sum := sync(); sum.Examined > 8 {
		t.Errorf("nothing to do: %+v", sum)
	}
	var buf [4096]byte
	if n, err := unix.Read(opened, buf[:]); err != unix.EAGAIN {
		t.Errorf("other directories were opened: %d bytes of events, %v", n, err)
	}
}
