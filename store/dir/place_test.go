package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
)

// every calls each method once, on objects that filled made, and gives the errors to check.
func every(t *testing.T, d *Dir, check func(what string, err error)) {
	t.Helper()
	ctx := t.Context()
	_, err := d.Get(ctx, "packs/ab/x", 0, -1)
	check("Get", err)
	_, err = d.Get(ctx, "packs/ab/none", 0, -1)
	check("Get of nothing", err)
	_, v, err := d.Load(ctx, "m")
	check("Load", err)
	_, _, err = d.Load(ctx, "none")
	check("Load of nothing", err)
	check("List", d.List(ctx, "", func(backend.Info) error { return nil }))
	check("List of a prefix", d.List(ctx, "packs/", func(backend.Info) error { return nil }))
	check("Put", d.Put(ctx, "packs/ac/new", []byte("new")))
	_, err = d.Swap(ctx, "m", v, []byte("new"))
	check("Swap", err)
	_, err = d.Swap(ctx, "new", "", []byte("new"))
	check("Swap that creates", err)
	check("Delete", d.Delete(ctx, "packs/ab/x"))
	check("Delete of a mutable object", d.Delete(ctx, "m"))
}

func filled(t *testing.T) *Dir {
	t.Helper()
	d := fresh(t, nil)
	if err := d.Put(t.Context(), "packs/ab/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	states(t, d, "m", 1)
	return d
}

// An unmounted drive leaves nothing, or an empty directory. Nothing there is absence, and nothing is made there.
func TestVanishedStore(t *testing.T) {
	for name, leave := range map[string]func(path string) error{
		"nothing":             func(string) error { return nil },
		"an empty mountpoint": func(path string) error { return os.Mkdir(path, 0o700) },
		"a file":              func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			d := filled(t)
			if err := os.Rename(d.path, d.path+".away"); err != nil {
				t.Fatal(err)
			}
			if err := leave(d.path); err != nil {
				t.Fatal(err)
			}
			every(t, d, func(what string, err error) {
				if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrNotExist) || !strings.Contains(err.Error(), d.path) {
					t.Errorf("%s: %v", what, err)
				}
			})
			if _, err := Open(d.path); !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("Open: %v", err)
			}
			if entries, _ := os.ReadDir(d.path); len(entries) != 0 {
				t.Errorf("made in the empty place: %v", entries)
			}
			os.Remove(d.path)
			if err := os.Rename(d.path+".away", d.path); err != nil {
				t.Fatal(err)
			}
			every(t, d, func(what string, err error) {
				if strings.HasSuffix(what, "nothing") != errors.Is(err, backend.ErrNotExist) || errors.Is(err, backend.ErrUnavailable) {
					t.Errorf("%s, mounted again: %v", what, err)
				}
			})
		})
	}
}

func TestPermissionDenied(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may do everything")
	}
	d := filled(t)
	for _, dir := range []string{tmpName, "packs/ab", "m@"} {
		path := filepath.Join(d.path, dir)
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(path, 0o700)
	}
	every(t, d, func(what string, err error) {
		if !errors.Is(err, backend.ErrDenied) && what != "Load of nothing" {
			t.Errorf("%s: %v", what, err)
		}
	})
}

func TestForeignFilesAreNotListed(t *testing.T) {
	d := filled(t)
	for _, name := range []string{
		".DS_Store", "._x", "packs/.DS_Store", "packs/ab/._x", "packs/ab/.nfs0000012", "packs/ab/.syncthing.x.tmp", "packs/ab/x~",
		"packs/ab/x (Anna's conflicted copy 2026-01-01)", "packs/ab/x.sync-conflict-20260101-120000-ABCDEFG", "Thumbs.db",
		"packs/ab/y@claim", tmpName + "/0123", "m@/stray",
	} {
		if err := os.WriteFile(filepath.Join(d.path, name), []byte("foreign"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"lost+found", "System Volume Information", ".Trash-1000/files", "packs/ab/empty", "empty@"} {
		if err := os.MkdirAll(filepath.Join(d.path, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("x", filepath.Join(d.path, "packs/ab/link")); err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := d.List(t.Context(), "", func(i backend.Info) error { names = append(names, i.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, " "); got != "m packs/ab/x" {
		t.Errorf("List: %s", got)
	}
}

func TestSymlinksDoNotLeadOut(t *testing.T) {
	d := filled(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"packs/zz", "roots", "evil@"} {
		if err := os.Symlink(outside, filepath.Join(d.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := d.Get(t.Context(), "packs/zz/secret", 0, -1); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Get: %q, %v", data, err)
	}
	for what, err := range map[string]error{
		"Put": d.Put(t.Context(), "packs/zz/new", nil), "Delete": d.Delete(t.Context(), "packs/zz/secret"),
		"Swap": second(d.Swap(t.Context(), "roots/x", "", nil)), "Swap in a series": second(d.Swap(t.Context(), "evil", "", nil)),
	} {
		if err == nil {
			t.Errorf("%s led out", what)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}

func second[T any](_ T, err error) error { return err }

// A read that hangs in the kernel ends with its context, as on a network file system that does not answer. (A pipe, which
// would hang, is not opened.)
func TestHangingFileSystem(t *testing.T) {
	d := filled(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	answer := make(chan struct{})
	_, err := call(ctx, d, "read", "packs/ab/hangs", func(*lease, *os.Root) ([]byte, error) { <-answer; return nil, nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	close(answer)
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// Once the caller has left, its bytes are not read, and nothing gets a name.
func TestAbandonedPut(t *testing.T) {
	d := fresh(t, nil)
	r, err := d.root()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := &lease{}
	l.abandon()
	if err := d.create(l, r, "p/x", []byte("x")); err == nil {
		t.Error("an abandoned Put goes on")
	}
	if _, err := d.Get(t.Context(), "p/x", 0, -1); !errors.Is(err, backend.ErrNotExist) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(d.path, tmpName)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestOldTemporariesAreRemovedAtOpen(t *testing.T) {
	d := fresh(t, nil)
	for name, age := range map[string]time.Duration{"old": tmpMaxAge + time.Hour, "young": tmpMaxAge - time.Hour} {
		path := filepath.Join(d.path, tmpName, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		stamp := time.Now().Add(-age)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	open(t, d.path, nil)
	left, err := os.ReadDir(filepath.Join(d.path, tmpName))
	if err != nil || len(left) != 1 || left[0].Name() != "young" {
		t.Errorf("%v, %v", left, err)
	}
}

func TestCreate(t *testing.T) {
	top := t.TempDir()
	path := filepath.Join(top, "a", "b")
	if _, err := Open(path); !errors.Is(err, backend.ErrNoPlace) || !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Open of nothing: %v", err)
	}
	done := make(chan error)
	for range 8 {
		go func() { done <- Create(path) }()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Errorf("racing Create: %v", err)
		}
	}
	d := open(t, path, nil)
	if err := d.Put(t.Context(), "packs/ab/x", nil); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(filepath.Join(top, "a"), func(path string, e fs.DirEntry, err error) error {
		if st, statErr := e.Info(); err == nil && (statErr != nil || st.Mode().Perm()&0o077 != 0) {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	used := filepath.Join(top, "used")
	if err := os.MkdirAll(filepath.Join(used, "Photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Create(used); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create in a directory that is in use: %v", err)
	}
	if _, err := Open(used); !errors.Is(err, backend.ErrNoPlace) {
		t.Errorf("Open of another directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(path, layoutName), []byte("ensync store in a directory, layout 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || errors.Is(err, backend.ErrNoPlace) || !strings.Contains(err.Error(), "layout 9") {
		t.Errorf("Open of a later layout: %v", err)
	}
}

func TestNameBelowAnObject(t *testing.T) {
	d := filled(t)
	if err := d.Put(t.Context(), "packs/ab/x/y", nil); !errors.Is(err, backend.ErrInvalid) {
		t.Error(err)
	}
	if err := d.Put(t.Context(), "packs/ab", nil); !errors.Is(err, backend.ErrInvalid) {
		t.Error(err)
	}
}

// Durability: content is synced before it gets its name, the name after, and the names of new directories up to the
// top; again when another process has made the directories but may not have lived to sync them.
func TestWhatIsSynced(t *testing.T) {
	d := fresh(t, nil)
	if err := d.Put(t.Context(), "probe", nil); err != nil {
		t.Fatal(err)
	}
	var synced []string
	fsync = func(f *os.File) error {
		name, err := filepath.Rel(d.path, f.Name())
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, tmpName) {
			name = "content"
		}
		var seen []string
		for _, object := range []string{"packs/ab/x", "packs/ab/y", numberPath("roots/m", 1), numberPath("roots/m", 2)} {
			if _, err := os.Lstat(filepath.Join(d.path, object)); err == nil {
				seen = append(seen, object)
			}
		}
		synced = append(synced, fmt.Sprintf("%s with %d", name, len(seen)))
		return f.Sync()
	}
	defer func() { fsync = (*os.File).Sync }()
	check := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil || !slices.Equal(synced, want) {
			t.Errorf("%s: %v, synced %q; want %q", what, err, synced, want)
		}
		synced = nil
	}
	ctx := t.Context()
	check("Put in new directories", d.Put(ctx, "packs/ab/x", nil), "content with 0", "packs/ab with 1", "packs with 1", ". with 1")
	check("Put again", d.Put(ctx, "packs/ab/y", nil), "content with 1", "packs/ab with 2")
	v, err := d.Swap(ctx, "roots/m", "", nil)
	check("Swap in new directories", err, "content with 2", "roots/m@ with 3", "roots with 3", ". with 3")
	other := open(t, d.path, byLink)
	_, err = other.Swap(ctx, "roots/m", v, nil)
	check("Swap by another process", err, "content with 3", "roots/m@ with 4", "roots with 4", ". with 4")
}
