package dir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ensync/store/backend"
)

func TestReadOnlyStore(t *testing.T) {
	d := filled(t)
	if err := syscall.Mount(d.path, d.path, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	defer syscall.Unmount(d.path, syscall.MNT_DETACH)
	if err := syscall.Mount("", d.path, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	reopened, err := Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	every(t, reopened, func(what string, err error) {
		var want error
		switch {
		case strings.HasSuffix(what, "nothing"):
			want = backend.ErrNotExist
		case strings.HasPrefix(what, "Put"), strings.HasPrefix(what, "Swap"), strings.HasPrefix(what, "Delete"):
			want = backend.ErrDenied
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v; want %v", what, err, want)
		}
	})
	if err := Create(filepath.Join(d.path, "below")); !errors.Is(err, backend.ErrDenied) {
		t.Errorf("Create: %v", err)
	}
	if err := Create(d.path); err != nil {
		t.Errorf("Create of what is there: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	path := t.TempDir()
	if err := syscall.Mount("ensync-test", path, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	defer syscall.Unmount(path, syscall.MNT_DETACH)
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	d := open(t, path, nil)
	v := states(t, d, "m", 1)
	err := d.Put(t.Context(), "packs/ab/big", make([]byte, 1<<20))
	if !errors.Is(err, backend.ErrFull) || !strings.Contains(err.Error(), "packs/ab/big") {
		t.Errorf("Put: %v", err)
	}
	if _, err := d.Swap(t.Context(), "m", v, make([]byte, 1<<20)); !errors.Is(err, backend.ErrFull) {
		t.Errorf("Swap: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(path, tmpName)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	wantLoad(t, d, "m", "state 1")
	if _, err := d.Get(t.Context(), "packs/ab/big", 0, -1); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("Get: %v", err)
	}
	if err := d.Put(t.Context(), "packs/ab/small", []byte("fits")); err != nil {
		t.Error(err)
	}
}
