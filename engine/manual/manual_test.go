package manual

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
	"ensync/store"
	"ensync/store/backend/memory"
)

// machines opens one store on several machines. The passphrase is long enough to be stretched quickly.
func machines(t *testing.T, n int) []*Store {
	t.Helper()
	pass := []byte(strings.Repeat("correct horse battery staple ", 10))
	b := memory.New()
	made, err := store.Create(t.Context(), b, store.Params{}, pass, "key", store.Options{Client: "maker"})
	must(t, err)
	_, err = made.CreateRoot(t.Context(), "root", 0o700)
	must(t, err)
	must(t, made.Close())
	var all []*Store
	for range n {
		st, err := store.Open(t.Context(), b, pass, store.Options{Client: "machine"})
		must(t, err)
		m := New(st, "root")
		t.Cleanup(func() { must(t, m.Close()); must(t, st.Close()) })
		all = append(all, m)
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// names lists a directory, as one line.
func names(t *testing.T, s *Store, path string) string {
	t.Helper()
	list, err := s.List(t.Context(), path)
	must(t, err)
	var all []string
	for _, e := range list {
		all = append(all, e.Name)
	}
	return strings.Join(all, " ")
}

func TestParse(t *testing.T) {
	s := New(nil, "root")
	for path, want := range map[string][]string{
		"": {"root"}, "/": nil, "a/b": {"root", "a", "b"}, "/a//b/": {"a", "b"}, "a/./b": {"root", "a", "b"},
		"./a": {"root", ".", "a"}, "/./a": {"a"}, "../a": {"root", "..", "a"}, "a/..": {"root", "a", ".."},
	} {
		if got := s.parse(path).parts; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// TestOvertaken changes a tree that another machine changed since it was opened: both changes hold.
func TestOvertaken(t *testing.T) {
	all := machines(t, 2)
	a, b := all[0], all[1]
	ctx := t.Context()
	if got := names(t, a, "") + names(t, b, ""); got != "" { // both have the tree open now
		t.Fatal(got)
	}
	must(t, b.Mkdir(ctx, "theirs", 0o700))
	must(t, a.Mkdir(ctx, "ours", 0o700))
	must(t, b.Mkdir(ctx, "ours/below", 0o700)) // which is made on what a just did
	if got := names(t, b, ""); got != "ours theirs" {
		t.Fatal(got)
	}
	src := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(src, []byte(strings.Repeat("content", 1000)), 0o600))
	must(t, a.Put(ctx, src, "ours/below", TransferOptions{}))
	if err := b.Rmdir(ctx, "ours/below"); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("a directory that was filled meanwhile: %v", err)
	}
	if got := names(t, b, "ours/below"); got != "f" {
		t.Fatal(got)
	}
	if err := a.Mkdir(ctx, "theirs", 0o700); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	gone, err := a.Remove(ctx, "ours", true)
	must(t, err)
	if want := []string{"ours/below/f", "ours/below", "ours"}; !reflect.DeepEqual(gone, want) {
		t.Fatalf("removed %q, want %q", gone, want)
	}
}

// TestPutIsOneStep puts a directory with something in it that can't be put: nothing of it arrives.
func TestPutIsOneStep(t *testing.T) {
	s := machines(t, 1)[0]
	dir := filepath.Join(t.TempDir(), "d")
	must(t, os.MkdirAll(filepath.Join(dir, "b.ensync[r=x]"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, replica.TempPrefix+"x"), nil, 0o600))
	if err := s.Put(t.Context(), dir, "", TransferOptions{}); err == nil {
		t.Fatal("put a directory with groups of its own, which would not be protected")
	}
	if got := names(t, s, ""); got != "" {
		t.Fatalf("there is %s", got)
	}
	must(t, os.Remove(filepath.Join(dir, "b.ensync[r=x]")))
	var left []string
	must(t, s.Put(t.Context(), dir, "", TransferOptions{Notice: func(path, _ string) { left = append(left, filepath.Base(path)) }}))
	if got := names(t, s, "d"); got != "a" || !reflect.DeepEqual(left, []string{replica.TempPrefix + "x"}) {
		t.Fatalf("put %q, left out %q", got, left)
	}
}

// TestGetStaysInside meets a symlink where a directory is to go: nothing is written through it.
func TestGetStaysInside(t *testing.T) {
	s := machines(t, 1)[0]
	tmp := t.TempDir()
	src, outside, dst := filepath.Join(tmp, "d"), filepath.Join(tmp, "outside"), filepath.Join(tmp, "dst")
	for _, d := range []string{filepath.Join(src, "sub"), outside, filepath.Join(dst, "d")} {
		must(t, os.MkdirAll(d, 0o700))
	}
	must(t, os.WriteFile(filepath.Join(src, "sub", "f"), []byte("x"), 0o600))
	must(t, s.Put(t.Context(), src, "", TransferOptions{}))
	must(t, os.Symlink(outside, filepath.Join(dst, "d", "sub")))
	if err := s.Get(t.Context(), "d", dst, TransferOptions{Force: true}); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("get through a symlink: %v", err)
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
		t.Fatalf("outside has %v, %v", list, err)
	}
}

// TestCancelled ends a context before a command: nothing is changed.
func TestCancelled(t *testing.T) {
	s := machines(t, 1)[0]
	must(t, s.Mkdir(t.Context(), "d", 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Remove(ctx, "d", true); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := names(t, s, ""); got != "d" {
		t.Fatal(got)
	}
}

// TestChangedWhileRead reads a file that is changed before its end is reached.
func TestChangedWhileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, []byte("before"), 0o600))
	for _, change := range []bool{false, true} {
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		r, err := openUnchanged(path, st)
		must(t, err)
		if change {
			must(t, os.WriteFile(path, []byte("after!"), 0o600))
		}
		if _, err := io.ReadAll(r); errors.Is(err, replica.ErrChanged) != change {
			t.Errorf("changed %v: %v", change, err)
		}
		must(t, r.Close())
	}
}
