package localdir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ensync/engine/replica"
)

// TestRecover finds what a process left that died between two steps of a change of the entry n.
func TestRecover(t *testing.T) {
	gone := owner("1-another boot")
	for _, test := range []struct {
		what  string
		there bool // something is at the name
		temp  func(left stat) string
		want  []string
	}{
		{"being written", true, func(stat) string { return gone.tempName() }, []string{"n=name"}},
		{"not exchanged yet", true, func(s stat) string { return gone.transitName(exchanged, s.ino, stat{}, "n") }, []string{"n=name"}},
		{"exchanged", true, func(s stat) string { return gone.transitName(exchanged, 1, s, "n") }, []string{"n=name"}},
		{"exchanged with an unseen version", true, func(s stat) string { s.size++; return gone.transitName(exchanged, 1, s, "n") },
			[]string{"n=name", "n~1=left"}},
		{"taken aside", false, func(s stat) string { return gone.transitName(aside, 0, s, "n") }, []string{"n=left"}},
		{"taken aside, replaced", true, func(s stat) string { return gone.transitName(aside, 0, s, "n") }, []string{"n=name"}},
		{"unseen version taken aside, replaced", true, func(s stat) string { s.mtime++; return gone.transitName(aside, 0, s, "n") },
			[]string{"n=name", "n~1=left"}},
	} {
		root := t.TempDir()
		left := filepath.Join(root, "left")
		check(t, os.WriteFile(left, []byte("left"), 0o600))
		if test.there {
			check(t, os.WriteFile(filepath.Join(root, "n"), []byte("name"), 0o600))
		}
		d, err := Open(root, "", nil, Options{})
		check(t, err)
		st, err := statAt(int(d.root.Fd()), "left")
		check(t, err)
		check(t, os.Rename(left, filepath.Join(root, test.temp(st))))
		_, err = d.List(t.Context(), "")
		check(t, err)
		check(t, d.Close())
		var got []string
		names, err := os.ReadDir(root)
		check(t, err)
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(root, name.Name()))
			check(t, err)
			got = append(got, name.Name()+"="+string(data))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: there is %q, not %q", test.what, got, test.want)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestListRemoved: a directory that goes between being opened and being read is not there, and no failure.
func TestListRemoved(t *testing.T) {
	root := t.TempDir()
	check(t, os.Mkdir(filepath.Join(root, "d"), 0o700))
	d, err := Open(root, "", nil, Options{})
	check(t, err)
	defer d.Close()
	h, err := d.open("d")
	check(t, err)
	defer h.close()
	check(t, os.Remove(filepath.Join(root, "d")))
	if names, err := h.names(); !errors.Is(err, replica.ErrNotExist) {
		t.Errorf("listed as %q, %v", names, err)
	}
}
