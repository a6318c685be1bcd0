package memory_test

import (
	"context"
	"errors"
	"testing"

	"ensync/engine/replica/memory"
	"ensync/engine/replica/replicatest"
	"ensync/store/object"
)

func TestConformance(t *testing.T) {
	replicatest.Run(t, func(t *testing.T) replicatest.Subject {
		tree := memory.New(nil)
		tree.Owner = "me:1000"
		return replicatest.Subject{Client: tree, User: tree, Hash: memory.SHA256}
	})
}

func TestNotation(t *testing.T) {
	for _, text := range []string{"", "f=1", "d/f=1 d/g=2 l->f", "d/", "d/@700 d/f=@755", "s!", "a%20b=x%0ay", "%ff/%25=%40",
		"f=a->b", "l->a=b/c", "deep/er/f=1"} {
		if got := memory.Must(text).String(); got != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	if got := memory.Must("f=1@755#12").StringWithTimes(); got != "f=1@755#12" {
		t.Errorf("with mode and time: %q", got)
	}
	for _, text := range []string{"f", "f=1 f/g=1", "a//b=1", "../x=1", "f=1@999", "f=1#x", "=1"} {
		if tree, err := memory.Parse(text, nil); err == nil {
			t.Errorf("%q was read as %q", text, tree)
		}
	}
}

func FuzzNotation(f *testing.F) {
	f.Add("d/f=1 d/g=2@755 l->f s! d/@700")
	f.Add("%ff=%zz%0")
	f.Fuzz(func(t *testing.T, text string) {
		tree, err := memory.Parse(text, nil)
		if err != nil {
			return
		}
		once := tree.StringWithTimes()
		again, err := memory.Parse(once, nil)
		if err != nil || again.StringWithTimes() != once {
			t.Errorf("%q is written as %q, read as %v, error %v", text, once, again, err)
		}
	})
}

func TestFaults(t *testing.T) {
	broken := errors.New("broken disk")
	tree := memory.Must("d/f=1 d/g=2")
	tree.Before = func(op memory.Op, path string) error {
		if op == memory.OpHash && path == "d/f" {
			return broken
		}
		return nil
	}
	entries, err := tree.List(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Hash(t.Context(), "d", entries[0]); !errors.Is(err, broken) {
		t.Errorf("f: %v", err)
	}
	if e, err := tree.Hash(t.Context(), "d", entries[1]); err != nil || !e.Content.Known {
		t.Errorf("g: %+v, %v", e, err)
	}
}

func TestCrash(t *testing.T) {
	tree := memory.Must("d/f=1 g=1 keep=1")
	check := func(want string) {
		t.Helper()
		if got := tree.String(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	edit := func() {
		for _, err := range []error{tree.Write("d/f", "2"), tree.Write("new", "2"), tree.Remove("g"), tree.Write("d/h", "2")} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	edit()
	tree.Crash(nil)
	check("d/f=1 g=1 keep=1")
	edit()
	tree.Crash(func(path string) bool { return path == "d/f" || path == "g" })
	check("d/f=2 keep=1")
	edit2 := tree.Write("new", "3")
	if err := errors.Join(edit2, tree.Sync(context.Background())); err != nil {
		t.Fatal(err)
	}
	tree.Crash(nil)
	check("d/f=2 keep=1 new=3")
}

func TestDirtyIsExact(t *testing.T) {
	tree := memory.Must("d/f=1")
	settle := func(dir string) {
		entries, err := tree.List(t.Context(), dir)
		for i := range entries {
			if entries[i].Kind == object.File && err == nil {
				entries[i], err = tree.Hash(t.Context(), dir, entries[i])
			}
		}
		if err = errors.Join(err, tree.Settle(t.Context(), dir, entries)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want bool) {
		t.Helper()
		if got, err := tree.Dirty(t.Context(), ""); err != nil || got != want {
			t.Errorf("dirty is %v, error %v", got, err)
		}
	}
	settle("d")
	settle("")
	is(false)
	for _, edit := range []func() error{
		func() error { return tree.Write("d/f", "2") },
		func() error { return tree.Chmod("d/f", 0o600) },
		func() error { return tree.Mkdir("d/e") },
	} {
		if err := edit(); err != nil {
			t.Fatal(err)
		}
		is(true)
		settle("d")
		if _, err := tree.List(t.Context(), "d/e"); err == nil {
			settle("d/e")
		}
		is(false)
	}
	if err := tree.Remove("d/f"); err != nil {
		t.Fatal(err)
	}
	is(true)
	if err := tree.Settle(t.Context(), "d", []object.Entry{{Name: "f"}}); err != nil {
		t.Fatal(err)
	}
	is(false)
}
