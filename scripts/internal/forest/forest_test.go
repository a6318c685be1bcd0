package forest

import (
	"crypto/sha3"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestSame holds the trees fixed: a measurement of today must be comparable with one of last year.
func TestSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	small := Source
	small.Files = 60
	total, err := small.Grow(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := sha3.New256()
	files := 0
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(p)
		h.Write([]byte(p[len(dir):]))
		h.Write(content)
		return err
	})
	const want = "a2479d9724090ce4"
	if got := hex.EncodeToString(h.Sum(nil)[:8]); err != nil || files != 60 || got != want {
		t.Errorf("%d files, %d bytes, hash %s, %v; want hash %s", files, total, got, err, want)
	}
}
