package service

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestFoundFromAnywhere asks a mount from another environment than the one it was started in, of which the runtime directory
// has gone meanwhile, by a path that is too long for a socket.
func TestFoundFromAnywhere(t *testing.T) {
	place := newStore(t)
	deep := filepath.Join(t.TempDir(), "d")
	if runtime.GOOS == "linux" {
		deep += strings.Repeat("d", 120)
	}
	cfg := newConfig(t, place)
	must(t, os.Rename(cfg.Dir, deep))
	cfg.Dir = deep
	r := run(t, cfg)
	must(t, os.RemoveAll(os.Getenv("XDG_RUNTIME_DIR")))
	t.Setenv("XDG_RUNTIME_DIR", "/proc/none")
	c, err := Dial(t.Context(), cfg.Dir)
	must(t, err)
	if st, err := c.Status(t.Context()); err != nil || !st.Mounted {
		t.Errorf("%+v, %v", st, err)
	}
	info, err := os.Stat(r.socket.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	// What is a copy of a configuration is not mounted, and neither is one that was.
	copied := t.TempDir()
	must(t, os.Mkdir(filepath.Join(copied, "internal.ensync"), 0o700))
	l, err := listen(copied)
	must(t, err)
	must(t, l.Close()) // like cp -a, and like kill -9, this leaves a socket that nobody listens on
	if _, err := Dial(t.Context(), copied); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dead socket: %v", err)
	}
	_, _, err = c.Unmount(t.Context(), true, nil)
	must(t, err)
	if _, err := Dial(t.Context(), cfg.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("unmounted: %v", err)
	}
}

// TestWithoutSockets has a file system that takes no socket beside the state.
func TestWithoutSockets(t *testing.T) {
	place := newStore(t)
	cfg := newConfig(t, place)
	must(t, os.MkdirAll(filepath.Join(socketPath(cfg.Dir), "full"), 0o700))
	r := run(t, cfg)
	if st, err := r.client.Status(t.Context()); err != nil || !st.Mounted {
		t.Errorf("%+v, %v", st, err)
	}
}
