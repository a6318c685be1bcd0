package keys

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// TestRekey: everybody has the same entry, and all keys are new; who was removed before has nothing.
func TestRekey(t *testing.T) {
	old, id := [16]byte{1}, [16]byte{2}
	long := func(b byte) []byte { return bytes.Repeat([]byte{b}, 256) }
	f, root, err := Create(old, "root", long('r'), time.Now())
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	for _, name := range []string{"gone", "kept"} {
		f, err = f.Add(t.Context(), root, name, long(name[0]), nil, time.Now())
		check(err)
	}
	f, err = f.CreateGroups([]string{"team"}, root, root)
	check(err)
	gone, err := f.Unlock(long('g'), "")
	check(err)
	f, err = f.Remove("gone", root)
	check(err)
	f, err = f.Rotate(Root, root, root)
	check(err)
	root, err = f.Refresh(root)
	check(err)
	next, left, err := f.Rekey(id, root)
	check(err)
	if len(left) != 0 || !next.Continues(f) || next.StoreID() != id {
		t.Fatalf("left out %q, continues %v", left, next.Continues(f))
	}
	if next, err = Parse(next.Encode()); err != nil {
		t.Fatal(err)
	}
	followed, err := next.Follow(root)
	check(err)
	for _, pass := range [][]byte{long('r'), long('k')} {
		c, err := next.Unlock(pass, "")
		check(err)
		for _, name := range c.Groups() {
			g, _ := c.Group(name)
			was, _ := root.Group(name)
			first, ok := g.First()
			if !ok || first != g || g.secret() == was.secret() || len(g.older) > 0 {
				t.Errorf("group %s: first %v, older %d", name, ok, len(g.older))
			}
			same, ok := followed.Group(name)
			if ok && same.secret() != g.secret() {
				t.Errorf("group %s: not one key", name)
			}
		}
	}
	if _, err := next.Unlock(long('g'), ""); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("a removed passphrase: %v", err)
	}
	if _, err := next.Follow(gone); err == nil {
		t.Error("a removed key opens the new store")
	}
	if err := next.CheckPin(f.Pin()); !errors.Is(err, ErrForeign) {
		t.Errorf("the new key store in the old store: %v", err)
	}
	testAfterRekey(t, next, followed, long)
}

// testAfterRekey: the key store goes on like any other, and once more.
func testAfterRekey(t *testing.T, f *File, root *Chain, long func(byte) []byte) {
	next, err := f.Add(t.Context(), root, "later", long('l'), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if next, err = next.Rotate(Root, root, root); err != nil {
		t.Fatal(err)
	}
	if next, err = Parse(next.Encode()); err != nil {
		t.Fatal(err)
	}
	c, err := next.Unlock(long('l'), "")
	if err != nil {
		t.Fatal(err)
	}
	g, _ := c.Group(Root)
	was, _ := root.Group(Root)
	if first, ok := g.First(); !ok || first.secret() != was.secret() {
		t.Error("the first version of root is not the one that the store began with")
	}
	_, sheet, err := next.Export(t.Context(), c, "paper", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	rebuilt, err := sheet.Rebuild(t.Context(), "new", long('n'), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := rebuilt.Unlock(long('n'), ""); err != nil {
		t.Error(err)
	} else if g, _ := c.Group(Root); g.first != was.epoch {
		t.Errorf("rebuilt from a sheet, root begins with version %d instead of %d", g.first, was.epoch)
	}
	again, _, err := next.Rekey([16]byte{3}, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Unlock(long('k'), ""); err != nil {
		t.Error(err)
	}
}
