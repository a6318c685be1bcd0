package localdir_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ensync/engine/localdir"
	"ensync/engine/replica/memory"
)

func TestWhatWasReadIsNotHashedAgain(t *testing.T) {
	root, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	for _, name := range []string{"read", "half", "changed"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, root, state, localdir.Options{})
	settle(t, root) // a change must be older than the clock's step to be told from a later one
	list, err := d.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		r, err := d.Open(t.Context(), "", e)
		if err != nil {
			t.Fatal(err)
		}
		if e.Name == "half" {
			r.Read(make([]byte, 4))
		} else if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if e.Name == "changed" {
			os.WriteFile(filepath.Join(root, e.Name), []byte("CONTENT OF "+e.Name), 0o600)
		}
		e.Content = memory.SHA256([]byte("content of " + e.Name))
		d.Learn("", e)
	}
	if err := d.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err = d.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if known := e.Content.Known; known != (e.Name == "read") {
			t.Errorf("%s: content known: %v", e.Name, known)
		}
	}
}

// settle waits until the file system says that a tenth of a second has passed: more than the step of any clock that a
// file system here has.
func settle(t *testing.T, dir string) {
	t.Helper()
	probe := filepath.Join(dir, "..", "probe")
	stamp := func() time.Time {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(probe)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	for first := stamp(); stamp().Sub(first) < 100*time.Millisecond; {
	}
}

func TestWhatWasHashedIsSavedAtTheEnd(t *testing.T) {
	root, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	settle(t, root)
	for run, want := range []bool{false, true} {
		d, err := localdir.Open(root, state, sha{new(int64)}, localdir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := d.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if list[0].Content.Known != want {
			t.Errorf("run %d: content known: %v", run, !want)
		}
		if _, err := d.Hash(t.Context(), "", list[0]); err != nil {
			t.Fatal(err)
		}
		if err := d.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
