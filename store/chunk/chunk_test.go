package chunk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func cut(t *testing.T, c *Cutter, r io.Reader) [][]byte {
	t.Helper()
	cr := c.NewReader(r, nil)
	var all [][]byte
	for {
		b, err := cr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(b))
	}
}

func TestCut(t *testing.T) {
	for _, p := range []Params{{Size: MinSize}, {Size: 10000}, {Size: 65536}, {Size: 5000, Fixed: true}} {
		c := New(p, [32]byte{1})
		data := noise(200 * p.Size)
		blocks := cut(t, c, bytes.NewReader(data))
		if !bytes.Equal(bytes.Join(blocks, nil), data) {
			t.Fatal("bytes were lost")
		}
		for i, b := range blocks {
			if len(b) > p.Max() || len(b) < p.Min() && i < len(blocks)-1 {
				t.Errorf("%+v: block of %d bytes", p, len(b))
			}
		}
		if mean := len(data) / len(blocks); mean < p.Size*85/100 || mean > p.Size*115/100 {
			t.Errorf("%+v: mean of %d bytes", p, mean)
		}
		// How the bytes arrive makes no difference.
		for _, r := range []io.Reader{iotest.HalfReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
			again := cut(t, c, r)
			if len(again) != len(blocks) || !bytes.Equal(again[3], blocks[3]) {
				t.Error("cut depends on how the bytes arrive")
			}
		}
	}
}

// TestInsertion: a byte inserted near the front changes few blocks, and equal stretches give equal blocks.
func TestInsertion(t *testing.T) {
	c := New(Params{Size: 8192}, [32]byte{1})
	data := noise(1 << 20)
	known := map[string]bool{}
	for _, b := range cut(t, c, bytes.NewReader(data)) {
		known[string(b)] = true
	}
	fresh := 0
	for _, b := range cut(t, c, io.MultiReader(bytes.NewReader(data[:1000]), bytes.NewReader([]byte("!")), bytes.NewReader(data[1000:]))) {
		if !known[string(b)] {
			fresh++
		}
	}
	if fresh > 4 {
		t.Errorf("%d new blocks after the insertion of a byte", fresh)
	}
	kinds := map[string]bool{}
	for _, b := range cut(t, c, bytes.NewReader(make([]byte, 1<<20))) {
		kinds[string(b)] = true
	}
	if len(kinds) > 2 {
		t.Errorf("zeros were cut into %d different blocks", len(kinds))
	}
}

func TestReaderErrors(t *testing.T) {
	c := New(Params{Size: MinSize}, [32]byte{1})
	broken := errors.New("broken")
	if _, err := c.NewReader(iotest.ErrReader(broken), nil).Next(); err != broken {
		t.Errorf("got %v", err)
	}
	if _, err := c.NewReader(idle{}, nil).Next(); err != io.ErrNoProgress {
		t.Errorf("got %v", err)
	}
	if _, err := c.NewReader(bytes.NewReader(nil), nil).Next(); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }
