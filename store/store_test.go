package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/memory"
	"ensync/store/object"
)

// pass is long enough to be stretched quickly.
var pass = []byte(strings.Repeat("correct horse battery staple ", 10))

// place is a backend with a store, and a client's memory of it.
type place struct {
	t   *testing.T
	b   backend.Backend
	dir string
}

func newPlace(t *testing.T) *place {
	return &place{t: t, b: memory.New(), dir: t.TempDir()}
}

// options returns those of one client; equal names share memory and index.
func (p *place) options(client string) Options {
	m, err := OpenMemory(filepath.Join(p.dir, client+".json"))
	must(p.t, err)
	return Options{Memory: m, IndexDir: filepath.Join(p.dir, client), Client: client, Compression: Fast}
}

func (p *place) create(params Params) *Store {
	p.t.Helper()
	s, err := Create(p.t.Context(), p.b, params, pass, "key", p.options("maker"))
	must(p.t, err)
	p.t.Cleanup(func() { s.Close() })
	return s
}

func (p *place) open(client string) *Store {
	p.t.Helper()
	s, err := Open(p.t.Context(), p.b, pass, p.options(client))
	must(p.t, err)
	p.t.Cleanup(func() { s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	c.Read(b)
	return b
}

func begin(t testing.TB, s *Store) *Session {
	t.Helper()
	w, err := s.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

func putFile(t testing.TB, w *Session, name string, b []byte) object.Entry {
	t.Helper()
	c, err := w.PutContent(t.Context(), bytes.NewReader(b))
	must(t, err)
	return object.Entry{Name: name, Kind: object.File, Mode: 0o644, ModTime: 12345, Content: c}
}

func commitTree(t testing.TB, r *Root, w *Session, entries ...object.Entry) Head {
	t.Helper()
	g, err := r.ReadGroup()
	must(t, err)
	tree, err := w.PutTree(t.Context(), g, entries)
	must(t, err)
	old, err := r.Head(t.Context())
	must(t, err)
	h, err := r.Commit(t.Context(), w, old, tree, nil)
	must(t, err)
	return h
}

func readAll(t testing.TB, s *Store, c object.Content) []byte {
	t.Helper()
	r := s.OpenContent(t.Context(), c)
	defer r.Close()
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}

func TestSecondClientReads(t *testing.T) {
	for _, params := range []Params{{}, {BlockSize: 8192}, {BlockSize: 4096, Chunking: "fixed"}} {
		t.Run(fmt.Sprint(params), func(t *testing.T) {
			p := newPlace(t)
			a := p.create(params)
			root, err := a.CreateRoot(t.Context(), "home", 0o700)
			must(t, err)
			w := begin(t, a)
			files := map[string][]byte{"a": nil, "b": []byte("hello"), "c": noise(1, 2049), "d": noise(2, 3<<20),
				"e": bytes.Repeat([]byte("text and more text\n"), 50000), "z": make([]byte, 1<<20)}
			var entries []object.Entry
			for name, b := range files {
				entries = append(entries, putFile(t, w, name, b))
			}
			entries = append(entries, object.Entry{Name: "l", Kind: object.Symlink, Target: "a\xff"})
			h := commitTree(t, root, w, entries...)

			s := p.open("other")
			other, err := s.Root(t.Context(), "home")
			must(t, err)
			got, err := other.Head(t.Context())
			must(t, err)
			if got.Tree != h.Tree || got.Seq != 1 || got.Client != "maker" {
				t.Fatalf("head %+v", got)
			}
			g, err := other.ReadGroup()
			must(t, err)
			list, err := s.ReadTree(t.Context(), g, got.Tree)
			must(t, err)
			if len(list) != len(files)+1 {
				t.Fatalf("%d entries", len(list))
			}
			for _, e := range list {
				if e.Kind != object.File {
					continue
				}
				if b := readAll(t, s, e.Content); !bytes.Equal(b, files[e.Name]) {
					t.Errorf("%s: %d bytes differ", e.Name, len(b))
				}
				c, err := s.Hash(context.Background(), bytes.NewReader(files[e.Name]))
				must(t, err)
				if !c.Same(e.Content) {
					t.Errorf("%s: identity differs: %v", e.Name, e.Content)
				}
			}
		})
	}
}

func newPlaceB() backend.Backend { return memory.New() }
