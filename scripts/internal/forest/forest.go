// Package forest grows directory trees that are the same on every machine and in every run, for measurements.
package forest

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Spec says what a tree is like.
type Spec struct {
	Name  string
	Files int
	Size  int  // bytes of a file in the middle: half are smaller
	Wide  bool // sizes vary as in source trees (log-normal); otherwise all files are of Size
	Text  bool // compresses like source code; otherwise not at all
}

// The trees that are measured.
var (
	Source = Spec{Name: "source", Files: 6000, Size: 4 << 10, Wide: true, Text: true}
	Media  = Spec{Name: "media", Files: 24, Size: 8 << 20}
	Tiny   = Spec{Name: "tiny", Files: 10000, Size: 300, Wide: true, Text: true}
	Large  = Spec{Name: "large", Files: 1, Size: 1 << 30}
)

const perDir = 25

// epoch is the modification time of the first file.
var epoch = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)

// Grow makes the tree in dir, which must not be there. It returns the sum of the sizes in bytes.
func (s Spec) Grow(dir string) (int64, error) {
	var seed [32]byte
	copy(seed[:], s.Name)
	src := rand.NewChaCha8(seed)
	g := grower{spec: s, src: src, rng: rand.New(src)}
	g.vocabulary()
	var total int64
	for i := range s.Files {
		path := filepath.Join(dir, g.path(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return 0, err
		}
		n, err := g.file(path)
		if err != nil {
			return 0, err
		}
		if err := os.Chtimes(path, time.Time{}, epoch.Add(time.Duration(i)*time.Second)); err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

type grower struct {
	spec  Spec
	src   *rand.ChaCha8
	rng   *rand.Rand
	words []string
	line  []byte
}

// path puts perDir files into a directory and perDir directories into the one above.
func (g *grower) path(i int) string {
	dir := i / perDir
	return filepath.Join(fmt.Sprintf("part-%02d", dir/perDir), fmt.Sprintf("chapter-%03d", dir), fmt.Sprintf("%s-%05d.dat", g.spec.Name, i))
}

func (g *grower) vocabulary() {
	for range 3000 {
		word := make([]byte, 3+g.rng.IntN(8))
		for i := range word {
			word[i] = byte('a' + g.rng.IntN(26))
		}
		g.words = append(g.words, string(word))
	}
}

func (g *grower) file(path string) (int64, error) {
	size := int64(g.spec.Size)
	if g.spec.Wide {
		size = min(int64(float64(size)*math.Exp(1.3*g.rng.NormFloat64())), 100*size)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var content io.Reader = g.src
	if g.spec.Text {
		content = g
	}
	if _, err := io.CopyN(f, content, size); err != nil {
		return 0, err
	}
	return size, f.Close()
}

// Read gives text: indented lines of words, common words more often than rare ones.
func (g *grower) Read(p []byte) (int, error) {
	if len(g.line) == 0 {
		g.line = append(g.line, "\t\t\t\t"[:g.rng.IntN(4)]...)
		for range 2 + g.rng.IntN(8) {
			f := g.rng.Float64()
			g.line = append(append(g.line, g.words[int(f*f*f*float64(len(g.words)))]...), " .(,"[g.rng.IntN(4)])
		}
		g.line = append(g.line, '\n')
	}
	n := copy(p, g.line)
	g.line = g.line[n:]
	return n, nil
}
