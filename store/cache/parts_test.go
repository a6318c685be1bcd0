package cache

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestParts: what a directory has of each store is told and trimmed by when it was used last; nothing of others is touched.
func TestParts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if parts, err := Parts(t.Context(), dir); err != nil || len(parts) != 0 {
		t.Errorf("of no directory: %v, %v", parts, err)
	}
	one, two := "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
	used := map[string]time.Time{one: time.Now().Add(-40 * 24 * time.Hour).Truncate(time.Second), two: time.Now().Add(-time.Hour).Truncate(time.Second)}
	for store, when := range used {
		c := New(dir, store, 1<<20)
		defer c.Close()
		want(t, c, "x", 0, 1000)
		want(t, c, "y", 0, 1000)
		if err := os.WriteFile(filepath.Join(c.IndexDir(), "index.db"), make([]byte, 500), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range append(files(t, c), c.Dir()+indexSuffix) {
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := time.Now().Add(-30 * 24 * time.Hour)
	os.Chtimes(files(t, New(dir, two, 1))[0], old, old)
	for _, other := range []string{"mine", "0011", one + ".tar", "00112233445566778899AABBCCDDEEFF"} {
		if err := os.MkdirAll(filepath.Join(dir, other, "ab"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, other, "ab", "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := Parts(t.Context(), dir)
	if err != nil || len(parts) != 2 {
		t.Fatalf("%+v, %v", parts, err)
	}
	for i, store := range []string{one, two} {
		if p := parts[i]; p.Store != store || p.Pieces != 2 || p.Bytes != 2*onDisk(1000+headerSize)+500 || !p.Used.Equal(used[store]) {
			t.Errorf("%+v", p)
		}
	}
	left := map[string]int{}
	for _, store := range []string{one, two} {
		freed, err := Trim(t.Context(), dir, store, time.Now().Add(-20*24*time.Hour))
		if want := parts[0].Bytes; err != nil || store == one && freed != want || store == two && freed != onDisk(1000+headerSize) {
			t.Errorf("%s: %d bytes, %v", store, freed, err)
		}
		left[store] = len(files(t, New(dir, store, 1)))
	}
	if left[one] != 0 || left[two] != 1 {
		t.Errorf("left: %v", left)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2+4+1 { // a store and its index, four of others, the tag
		t.Errorf("%v, %v", entries, err)
	}
}
