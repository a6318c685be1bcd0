package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"ensync/store/backend"
	"ensync/store/object"
)

// discard takes packs and forgets them: what is measured is the client.
type discard struct{ backend.Backend }

func (d discard) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, packPrefix) {
		return nil
	}
	return d.Backend.Put(ctx, name, data)
}

func text(n int) []byte {
	var b bytes.Buffer
	r := noise(9, 1<<16)
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "func word%d(a%d int) string { return lines[%d] + %q }\n", r[i%len(r)], r[(i*7)%len(r)], i%1000, r[i%4096:i%4096+3])
	}
	return b.Bytes()[:n]
}

func benchStore(b *testing.B, level Level) *Store {
	s, err := Create(b.Context(), discard{newPlaceB()}, Params{}, pass, "key", Options{Compression: level})
	must(b, err)
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkPutContent(b *testing.B) {
	const size = 64 << 20
	for _, level := range []Level{Fast, Default} {
		for _, kind := range []string{"random", "text"} {
			b.Run(fmt.Sprintf("%s/level%d", kind, level), func(b *testing.B) {
				s := benchStore(b, level)
				data := noise(1, size)
				if kind == "text" {
					data = text(size)
				}
				b.SetBytes(size)
				for b.Loop() {
					w, err := s.Begin(b.Context())
					must(b, err)
					_, err = w.PutContent(b.Context(), bytes.NewReader(data))
					must(b, err)
					w.gate.Lock() // what is on its way into a pack arrives
					//lint:ignore SA2001 nothing is to be done but to wait
					w.gate.Unlock()
					must(b, w.Close())
				}
			})
		}
	}
}

func BenchmarkHash(b *testing.B) {
	s := benchStore(b, Fast)
	data := noise(1, 64<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		_, err := s.Hash(b.Context(), bytes.NewReader(data))
		must(b, err)
	}
}

func BenchmarkRead(b *testing.B) {
	s, err := Create(b.Context(), newPlaceB(), Params{}, pass, "key", Options{Compression: Fast})
	must(b, err)
	defer s.Close()
	w := begin(b, s)
	data := noise(1, 64<<20)
	c, err := w.PutContent(b.Context(), bytes.NewReader(data))
	must(b, err)
	must(b, w.Flush(b.Context()))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r := s.OpenContent(b.Context(), c)
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 128<<10))
		must(b, err)
		r.Close()
	}
}

// BenchmarkManyBlocks is a first sync of 100,000 files of one small block each, and the same again.
func BenchmarkManyBlocks(b *testing.B) {
	for b.Loop() {
		s := benchStore(b, Fast)
		for _, round := range []string{"first", "again"} {
			w := begin(b, s)
			start := now()
			buf := noise(3, 3000)
			for i := range 100_000 {
				copy(buf, fmt.Sprint(i, "\n"))
				_, err := w.PutContent(b.Context(), bytes.NewReader(buf))
				must(b, err)
			}
			must(b, w.Flush(b.Context()))
			b.ReportMetric(now().Sub(start).Seconds(), "s/"+round)
		}
	}
}

func BenchmarkPutTree(b *testing.B) {
	s := benchStore(b, Fast)
	w := begin(b, s)
	g, err := s.group("everyone")
	must(b, err)
	entries := manyEntries(100_000)
	for i := 0; b.Loop(); i++ {
		entries[5000].ModTime = int64(i)
		_, err := w.PutTree(b.Context(), g, entries)
		must(b, err)
	}
}

func manyEntries(n int) []object.Entry {
	var entries []object.Entry
	for i := range n {
		c := object.Content{Known: true, Size: 100_000, Key: object.Key(noise(uint64(i), 32))}
		entries = append(entries, object.Entry{Name: fmt.Sprintf("file-%08d", i), Kind: object.File, Mode: 0o644, Content: c})
	}
	return entries
}
