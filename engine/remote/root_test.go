package remote_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"ensync/engine/remote"
	"ensync/engine/replica"
	"ensync/store"
	"ensync/store/backend/memory"
	"ensync/store/object"
)

// TestListedRootIsNotNested: somebody who may write a tree names there, as a directory, another tree of the store, or the tree itself.
// Nobody enters, and to remove the directory is to remove no tree.
func TestListedRootIsNotNested(t *testing.T) {
	m, err := store.OpenMemory(filepath.Join(t.TempDir(), "store.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Create(t.Context(), memory.New(), store.Params{}, bytes.Repeat([]byte("long "), 60), "key", store.Options{Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entries := make([]object.Entry, 2)
	for i, name := range []string{"side", "home"} {
		r, err := s.CreateRoot(t.Context(), name, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		entries[i] = object.Entry{Name: name + ".ensync[]", Kind: object.Directory, Mode: 0o755, Root: r.Info().ID}
	}
	home, err := remote.OpenRoot(t.Context(), s, "home")
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	heads, errs := home.Heads(t.Context(), []remote.Root{home.Top()})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	tree, err := home.PutTree(t.Context(), home.Top(), object.Tree{}, entries)
	if err != nil {
		t.Fatal(err)
	}
	if err := home.Commit(t.Context(), [][]*remote.Change{{{Root: home.Top(), Old: heads[0], Tree: tree}}}, func([]string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	open, err := remote.Open(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := open.List(t.Context(), e.Name); !errors.Is(err, replica.ErrNotAllowed) || !strings.Contains(err.Error(), "the same root") {
			t.Errorf("%s: %v", e.Name, err)
		}
		if r := open.Apply(t.Context(), "", []replica.Change{{Old: &e}}); r[0].Err != nil {
			t.Errorf("%s: %v", e.Name, r[0].Err)
		}
	}
	if err := open.Commit(t.Context(), func([]replica.Part) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"home", "side"} {
		r, err := s.Root(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := r.Head(t.Context()); err != nil || h.Ended() {
			t.Errorf("root %s has ended with the directory that named it: %v", name, err)
		}
	}
}
