package index

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"ensync/store/block"
	"ensync/store/object"
	"ensync/store/pack"
)

func record(n byte) Record {
	table := []pack.Entry{{ID: object.ID{n}, Type: block.Type{Kind: block.Data}, Offset: 8, Length: 100}}
	return Record{Author: "root", Packs: []Pack{{Name: pack.Name{n}, Size: 500, Table: table}}}
}

func FuzzRecord(f *testing.F) {
	f.Add(record(1).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Parse(b); err == nil && !bytes.Equal(r.Encode(), b) {
			t.Errorf("%x encodes to %x", b, r.Encode())
		}
	})
}

func lookup(t *testing.T, db *DB, n byte) int {
	t.Helper()
	found, err := db.Lookup(t.Context(), object.ID{n})
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDB(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		db, err := Open(t.Context(), dir, [16]byte{1})
		check(t, err)
		defer db.Close()
		check(t, db.Add(t.Context(), "index/a", 100, record(1)))
		check(t, db.Add(t.Context(), "index/a", 100, record(1)))
		check(t, db.Add(t.Context(), "index/b", 100, record(2)))
		check(t, db.Add(t.Context(), "index/c", 100, record(2)))
		if lookup(t, db, 1) != 1 || lookup(t, db, 2) != 2 || lookup(t, db, 3) != 0 {
			t.Fatal("wrong locations")
		}
		check(t, db.Forget(t.Context(), "index/c"))
		if lookup(t, db, 2) != 1 {
			t.Error("forgetting one of two index objects forgot both, or none")
		}
		names, err := db.Objects(t.Context())
		check(t, err)
		if len(names) != 2 {
			t.Errorf("objects %v", names)
		}
	}
}

// TestDamagedFile: a database that is no database is made anew.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(t.Context(), dir, [16]byte{1})
	check(t, err)
	check(t, db.Add(t.Context(), "index/a", 100, record(1)))
	check(t, db.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	check(t, err)
	check(t, os.WriteFile(files[0], bytes.Repeat([]byte("junk"), 3000), 0o600))
	db, err = Open(t.Context(), dir, [16]byte{1})
	check(t, err)
	defer db.Close()
	if lookup(t, db, 1) != 0 {
		t.Error("found in junk")
	}
}

// TestShared lets several handles on one file, as several processes have, write at once.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			db, err := Open(context.Background(), dir, [16]byte{1})
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			for i := range 20 {
				if err := db.Add(context.Background(), string(rune('a'+i)), 100, record(byte(i))); err != nil {
					t.Error(w, err)
				}
			}
		})
	}
	wg.Wait()
	db, err := Open(t.Context(), dir, [16]byte{1})
	check(t, err)
	defer db.Close()
	for i := range 20 {
		if lookup(t, db, byte(i)) != 1 {
			t.Errorf("block %d is there %d times", i, lookup(t, db, byte(i)))
		}
	}
}

// TestCleanedCache: a cache that is removed or can't be written while it is in use fails nobody.
func TestCleanedCache(t *testing.T) {
	for what, spoil := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"replaced by another": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "other"), nil, 0o600))
		},
		"can't be made": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		},
	} {
		dir := filepath.Join(t.TempDir(), "index")
		db, err := Open(t.Context(), dir, [16]byte{1})
		check(t, err)
		check(t, db.Add(t.Context(), "index/a", 100, record(1)))
		check(t, spoil(dir))
		before := db.Generation()
		names, err := db.Objects(t.Context())
		check(t, err)
		if len(names) == 0 && db.Generation() == before {
			t.Errorf("%s: emptied without telling", what)
		}
		check(t, db.Add(t.Context(), "index/a", 100, record(1)))
		if lookup(t, db, 1) != 1 {
			t.Errorf("%s: block is not found", what)
		}
		check(t, db.Close())
		db, err = Open(t.Context(), dir, [16]byte{1})
		check(t, err)
		check(t, db.Add(t.Context(), "index/a", 100, record(1)))
		check(t, db.Close())
	}
}
