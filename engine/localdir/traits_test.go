//go:build linux

package localdir_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ensync/engine/localdir"
	"ensync/engine/localdir/foldtest"
	"ensync/engine/replica"
)

func TestTraits(t *testing.T) {
	const earliest = 315532800e9 // 1980
	for _, test := range []struct {
		name string
		opt  foldtest.Options
		want localdir.Traits
	}{
		{"exact", foldtest.Options{}, localdir.Traits{}},
		{"vfat", foldtest.VFAT, localdir.Traits{FoldsCase: true, Respells: true, Refuses: true, NoSymlinks: true,
			Limits: replica.Limits{NoModes: true, Grain: 2e9, Earliest: earliest}}},
		{"apfs", foldtest.APFS, localdir.Traits{FoldsCase: true, FoldsForm: true}},
		{"hfs", foldtest.HFS, localdir.Traits{FoldsCase: true, FoldsForm: true, Respells: true, Limits: replica.Limits{Grain: 1e9}}},
		{"dos", foldtest.DOS, localdir.Traits{FoldsCase: true, LosesCase: true, Respells: true}},
		{"ntfs", foldtest.NTFS, localdir.Traits{FoldsCase: true, Respells: true, Refuses: true, Limits: replica.Limits{Grain: 100}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := foldtest.New(t, test.opt)
			d := open(t, root, "", localdir.Options{})
			got, err := d.Traits()
			if err != nil {
				t.Fatal(err)
			}
			if test.want.Grain == 0 {
				test.want.Grain = 1
			}
			// What lies below has bounds of its own.
			if test.want.Earliest == 0 {
				got.Earliest = 0
			}
			got.Latest = 0
			if got != test.want {
				t.Errorf("it is %+v, not %+v", got, test.want)
			}
			if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, error %v", left, err)
			}
		})
	}
}

// TestKeptTimes: what is predicted of a time is what is then seen of it.
func TestKeptTimes(t *testing.T) {
	root := foldtest.New(t, foldtest.VFAT)
	d := open(t, root, "", localdir.Options{})
	limits := d.Limits("")
	for _, at := range []int64{0, 1, 1_700_000_001_999_999_999, 1_700_000_002_000_000_000, -5e17, 315532801e9} {
		c := newFile("f", "content")
		c.New.ModTime = at
		r := d.Apply(t.Context(), "", []replica.Change{c})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if want := limits.Kept(at); r.Entry.ModTime != want {
			t.Errorf("%v becomes %v, not %v", time.Unix(0, at), time.Unix(0, r.Entry.ModTime), time.Unix(0, want))
		}
		if err := os.Remove(filepath.Join(root, "f")); err != nil {
			t.Fatal(err)
		}
	}
	if (replica.Limits{}).Kept(math.MinInt64) != math.MinInt64 {
		t.Error("a file system without limits changes a time")
	}
}

func TestSpell(t *testing.T) {
	names := []string{"plain", "caf\u00e9", "cafe\u0301", "dot.", "what?", "..."}
	for _, test := range []struct {
		opt  foldtest.Options
		want []string
	}{
		{foldtest.Options{}, names},
		{foldtest.HFS, []string{"plain", "cafe\u0301", "cafe\u0301", "dot.", "what?", "..."}},
		{foldtest.Drive, []string{"plain", "", "cafe\u0301", "dot.", "", "..."}},
		{foldtest.VFAT, []string{"plain", "caf\u00e9", "cafe\u0301", "dot", "", ""}},
	} {
		root := foldtest.New(t, test.opt)
		d := open(t, root, "", localdir.Options{})
		if got, err := d.Spell("", names); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%+v spells %q, error %v; not %q", test.opt, got, err, test.want)
		}
		if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, error %v", left, err)
		}
	}
}

func TestSpelling(t *testing.T) {
	root := foldtest.New(t, foldtest.APFS)
	d, u := open(t, root, "", localdir.Options{}), user{root}
	if err := errors.Join(u.Write("File", "1"), u.Write("caf\u00e9", "2"), u.Mkdir("Dir")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"File": "File", "fILE": "File", "CAFE\u0301": "caf\u00e9", "dir": "Dir"} {
		if got, err := d.Spelling("", name); err != nil || got != want {
			t.Errorf("%q is spelled %q, error %v; not %q", name, got, err, want)
		}
	}
	if _, err := d.Spelling("", "other"); !errors.Is(err, replica.ErrNotExist) {
		t.Errorf("nothing is there, and yet: %v", err)
	}
}

// TestTrialsAreCleared: what a probe leaves when it is killed goes with the next look.
func TestTrialsAreCleared(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{".ensync-tmp.n.1-gone.0123456789abcdef.aB.", ".ensync-tmp.n.1-gone.0123456789abcdef",
		".ensync-tmp.n.1-gone.0123456789abcdef.a\\:*?\"<>|"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, root, "", localdir.Options{})
	if list, err := d.List(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("listed %v, error %v", list, err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

func TestSentences(t *testing.T) {
	if odd := (localdir.Traits{Limits: replica.Limits{Grain: 1}}).Sentences(); len(odd) > 0 {
		t.Errorf("nothing is odd, and yet: %q", odd)
	}
	odd := localdir.Traits{FoldsCase: true, Limits: replica.Limits{Grain: 2e9, NoModes: true}}.Sentences()
	if len(odd) != 3 || !strings.Contains(odd[2], "to 2 s only") {
		t.Errorf("%q", odd)
	}
}
