package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ensync/engine/config"
	"ensync/engine/localdir/foldtest"
	"ensync/store/backend"
)

// A drive is pulled out at any moment of a sync, and comes back: the sync ends soon with an error that fits, and the next
// one goes on; the second machine gets all, and nothing is lost.
func TestDriveIsPulledOut(t *testing.T) {
	if !foldtest.Available() {
		t.Skip("mounting needs root and /dev/fuse")
	}
	below := filepath.Dir(newStore(t))
	at := t.TempDir()
	var left atomic.Int64
	var why atomic.Uint32
	left.Store(1 << 40)
	opt := foldtest.VFAT
	opt.Fault = func() syscall.Errno {
		if left.Add(-1) < 0 {
			return syscall.Errno(why.Load())
		}
		return 0
	}
	unmount, err := foldtest.Mount(below, at, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer unmount()
	one, two := machine(t, filepath.Join(at, "store")), machine(t, filepath.Join(at, "store"))
	trees := []string{one.General.Path, two.General.Path}
	random := rand.New(rand.NewPCG(1, 2))
	cut := 0
	for round := range 24 {
		file := filepath.Join(trees[0], fmt.Sprintf("d%d", round%3), "f")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		content := make([]byte, 30000)
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		why.Store([]uint32{uint32(syscall.EIO), uint32(syscall.ENODEV), uint32(syscall.ENOTCONN), uint32(syscall.ENOENT)}[round%4])
		left.Store(int64(round * 8))
		start := time.Now()
		if _, err := trySync(t, one, Request{}); err != nil {
			cut++
			if !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("round %d took %v", round, took)
		}
		left.Store(1 << 40)
		for i, c := range []*config.Config{one, two} {
			if s, err := trySync(t, c, Request{}); err != nil || !s.Clean() {
				t.Fatalf("round %d, machine %d, plugged in again: %+v, %v", round, i, s, err)
			}
		}
		for _, tree := range trees {
			got, err := os.ReadFile(filepath.Join(tree, fmt.Sprintf("d%d", round%3), "f"))
			if err != nil || string(got) != string(content) {
				t.Fatalf("round %d: %s has other content: %v", round, tree, err)
			}
		}
	}
	if cut < 10 {
		t.Errorf("only %d of 24 syncs met the fault", cut)
	}
}
