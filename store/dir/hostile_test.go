package dir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"ensync/store/backend"
)

// TestAttack25HugeFiles: in the place of objects, whoever holds the medium puts files of 1 EiB, pipes, and links to other places.
// Nothing waits, nothing is allocated, and nothing of the world outside is read.
func TestAttack25HugeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Put(t.Context(), "packs/aa/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Swap(t.Context(), "state", "", []byte("x")); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []string{filepath.Join(path, "packs/aa/x"), filepath.Join(path, numberPath("state", 1)), filepath.Join(path, layoutName)}
	for _, file := range files {
		if _, err := os.Lstat(file); err != nil {
			t.Fatal(err)
		}
		for what, put := range map[string]func() error{
			"huge": func() error {
				f, err := os.Create(file)
				if err != nil {
					return err
				}
				defer f.Close()
				if f.Truncate(1<<60) == nil {
					return nil
				}
				return f.Truncate(1 << 43)
			},
			"pipe": func() error { return syscall.Mkfifo(file, 0o600) },
			"link": func() error { return os.Symlink(outside, file) },
			"zero": func() error { return os.Symlink("/dev/zero", file) },
		} {
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			os.Remove(file)
			if err := put(); err != nil {
				t.Logf("%s can't be had here: %v", what, err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			began := time.Now()
			var errs [4]error
			_, errs[0] = d.Get(ctx, "packs/aa/x", 0, -1)
			_, _, errs[1] = d.Load(ctx, "state")
			errs[2] = d.Renew(ctx, "packs/aa/x", []byte("x"))
			var again *Dir
			if again, errs[3] = Open(path); errs[3] == nil {
				again.Close()
			}
			cancel()
			if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 64<<20 || time.Since(began) > 3*time.Second {
				t.Errorf("%s at %s: %d bytes, %v", what, file, after.TotalAlloc-before.TotalAlloc, time.Since(began))
			}
			failed := 0
			for _, err := range errs {
				if err != nil {
					failed++
				}
				if errors.Is(err, backend.ErrNotExist) {
					t.Errorf("%s at %s passes for absence: %v", what, file, err)
				}
			}
			if failed == 0 {
				t.Errorf("%s at %s: no error", what, file)
			}
			os.Remove(file)
			if err := os.WriteFile(file, was, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
