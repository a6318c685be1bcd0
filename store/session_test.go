package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/object"
)

// TestZeros: a large file of zeros costs almost nothing.
func TestZeros(t *testing.T) {
	s := newPlace(t).create(Params{})
	w := begin(t, s)
	c, err := w.PutContent(t.Context(), io.LimitReader(zeros{}, 100<<20))
	must(t, err)
	must(t, w.Flush(t.Context()))
	if st := w.Stats(); st.BytesStored > 64<<10 || c.Size != 100<<20 {
		t.Errorf("%+v", st)
	}
	r := s.OpenContent(t.Context(), c)
	defer r.Close()
	n, err := io.Copy(struct{ io.Writer }{zeroWriter{t}}, r)
	if n != 100<<20 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type zeroWriter struct{ t *testing.T }

func (z zeroWriter) Write(p []byte) (int, error) {
	if len(bytes.Trim(p, "\x00")) > 0 {
		z.t.Error("not zeros")
	}
	return len(p), nil
}

// TestDedup: what is in the store is not stored again, by any client, also after a local index was lost.
func TestDedup(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{BlockSize: 8192})
	data := noise(1, 1<<20)
	w := begin(t, s)
	first := putFile(t, w, "f", data)
	if again := putFile(t, w, "f", data); !again.Content.Same(first.Content) {
		t.Error("identity differs")
	}
	must(t, w.Flush(t.Context()))
	stored := w.Stats()
	if stored.NewBlocks*2 > stored.Blocks {
		t.Errorf("in one session: %+v", stored)
	}
	for _, client := range []string{"maker", "other", "other"} {
		w := begin(t, p.open(client))
		putFile(t, w, "f", data)
		must(t, w.Flush(t.Context()))
		if st := w.Stats(); st.NewBlocks != 0 || st.Packs != 0 {
			t.Errorf("%s: %+v", client, st)
		}
	}
	// A pack that vanished is noticed before anything relies on it.
	must(t, p.b.List(t.Context(), packPrefix, func(i backend.Info) error { return p.b.Delete(t.Context(), i.Name) }))
	o := p.open("other")
	w = begin(t, o)
	e := putFile(t, w, "f", data)
	must(t, w.Flush(t.Context()))
	if !bytes.Equal(readAll(t, o, e.Content), data) {
		t.Error("content is wrong")
	}
}

// TestTreeLocality: one changed entry of 100,000 stores a few small blocks, and equal entries give equal trees.
func TestTreeLocality(t *testing.T) {
	s := newPlace(t).create(Params{})
	w := begin(t, s)
	g, err := s.group(keys.Everyone)
	must(t, err)
	entries := manyEntries(100_000)
	one, err := w.PutTree(t.Context(), g, entries)
	must(t, err)
	before := w.Stats()
	entries[40_000].Mode = 0o600
	two, err := w.PutTree(t.Context(), g, entries)
	must(t, err)
	must(t, w.Flush(t.Context()))
	if n := w.Stats().NewBlocks - before.NewBlocks; n > 4 || one == two {
		t.Errorf("%d new blocks, trees %v and %v", n, one, two)
	}
	entries[40_000].Mode = 0o644
	rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	if again, err := w.PutTree(t.Context(), g, entries); err != nil || again != one {
		t.Errorf("the same entries in another order: %v, %v", again, err)
	}
	got, err := s.ReadTree(t.Context(), g, two)
	must(t, err)
	if len(got) != 100_000 || got[40_000].Mode != 0o600 {
		t.Errorf("%d entries", len(got))
	}
	if _, err := w.PutTree(t.Context(), g, []object.Entry{entries[0], entries[0]}); !errors.Is(err, object.ErrMalformed) {
		t.Errorf("twice the same name: %v", err)
	}
}

// TestLargeEntries: entries as large as they may be, with all their extended attributes.
func TestLargeEntries(t *testing.T) {
	s := newPlace(t).create(Params{})
	w := begin(t, s)
	g, err := s.group(keys.Everyone)
	must(t, err)
	entries := manyEntries(20)
	for i := range entries {
		most := bytes.Repeat([]byte{byte(i)}, object.MaxXattrs-11)
		entries[i].Xattrs = object.MakeXattrs(map[string][]byte{"user.a": most})
		if len(entries[i].Xattrs) != object.MaxXattrs {
			t.Fatalf("%d bytes", len(entries[i].Xattrs))
		}
		entries[i].Content = object.Content{Known: true, Size: object.InlineMax, Data: make([]byte, object.InlineMax)}
		entries[i].Extra = append([]byte{40, 0x80, 0x78}, make([]byte, 0x3c00)...)
	}
	tree, err := w.PutTree(t.Context(), g, entries)
	must(t, err)
	must(t, w.Flush(t.Context()))
	got, err := s.ReadTree(t.Context(), g, tree)
	must(t, err)
	if len(got) != len(entries) {
		t.Fatalf("%d entries", len(got))
	}
	for i, e := range got {
		if e.Xattrs != entries[i].Xattrs || !bytes.Equal(e.Extra, entries[i].Extra) {
			t.Errorf("%q came back with %d bytes", e.Name, len(e.Xattrs))
		}
	}
}

// TestConcurrentSession: many writers in one session, then everything is there.
func TestConcurrentSession(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{BlockSize: 4096})
	w := begin(t, s)
	contents := make([]object.Content, 60)
	var wg sync.WaitGroup
	for i := range contents {
		wg.Go(func() {
			var err error
			if contents[i], err = w.PutContent(context.Background(), bytes.NewReader(noise(uint64(i%20), 50_000+i%20))); err != nil {
				t.Error(err)
			}
			if i%10 == 0 {
				if err := w.Flush(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, w.Flush(t.Context()))
	o := p.open("other")
	for i, c := range contents {
		if !bytes.Equal(readAll(t, o, c), noise(uint64(i%20), 50_000+i%20)) {
			t.Errorf("content %d is wrong", i)
		}
	}
}

// failing lets no pack through.
type failing struct{ backend.Backend }

func (f failing) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, packPrefix) {
		return fmt.Errorf("write %s: %w", name, backend.ErrUnavailable)
	}
	return f.Backend.Put(ctx, name, data)
}

// TestFailedSession: nothing counts as flushed or committed when packs can't be written.
func TestFailedSession(t *testing.T) {
	p := newPlace(t)
	p.create(Params{}).CreateRoot(t.Context(), "home", 0o700)
	s, err := Open(t.Context(), failing{p.b}, pass, Options{})
	must(t, err)
	r, err := s.Root(t.Context(), "home")
	must(t, err)
	old, err := r.Head(t.Context())
	must(t, err)
	w := begin(t, s)
	g, _ := r.ReadGroup()
	tree, err := w.PutTree(t.Context(), g, nil)
	must(t, err)
	_, err = r.Commit(t.Context(), w, old, tree, nil)
	wantErr(t, err, backend.ErrUnavailable)
	wantErr(t, w.Flush(t.Context()), backend.ErrUnavailable)
	if h, err := r.Head(t.Context()); err != nil || h.Seq != 0 {
		t.Errorf("head %d, %v", h.Seq, err)
	}
	must(t, w.Close())
	wantErr(t, func() error { _, err := w.PutContent(t.Context(), bytes.NewReader(noise(1, 5000))); return err }(), backend.ErrUnavailable)
}

// TestPoisonedIndex: a member of everyone tells of a block that is garbage, before somebody else stores its content.
func TestPoisonedIndex(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	content := noise(7, 5000)
	typ := block.Type{Kind: block.Data}
	key := s.data.Sum(typ, content)
	w := begin(t, s)
	w.author, _ = s.group(keys.Everyone)
	sealed, err := s.sealer.Seal(typ, key, []byte("garbage"))
	must(t, err)
	must(t, w.room.Acquire(t.Context(), int64(len(sealed))))
	w.pack(block.ID(key), typ, sealed)
	must(t, w.Flush(t.Context()))

	o := p.open("honest")
	ow := begin(t, o)
	e := putFile(t, ow, "f", content)
	must(t, ow.Flush(t.Context()))
	if e.Content.Key != key || !bytes.Equal(readAll(t, o, e.Content), content) {
		t.Error("garbage was relied on")
	}
	if st := ow.Stats(); st.NewBlocks != 1 {
		t.Errorf("%+v", st)
	}
}

// TestReadAt compares random reads of a file with several levels of lists, also by readers side by side.
func TestReadAt(t *testing.T) {
	s := newPlace(t).create(Params{BlockSize: 4096, Chunking: "fixed"})
	data := noise(3, 6<<20+123)
	w := begin(t, s)
	c, err := w.PutContent(t.Context(), bytes.NewReader(data))
	must(t, err)
	must(t, w.Flush(t.Context()))
	if c.Depth < 2 {
		t.Fatalf("depth %d", c.Depth)
	}
	r := s.OpenContent(t.Context(), c)
	defer r.Close()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			for range 50 {
				off, n := rnd.IntN(len(data)), rnd.IntN(20_000)
				b := make([]byte, n)
				got, err := r.ReadAt(b, int64(off))
				want := data[off:min(len(data), off+n)]
				if !bytes.Equal(b[:got], want) || (err == io.EOF) != (got < n) {
					t.Errorf("%d bytes at %d: got %d, %v", n, off, got, err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := r.ReadAt(make([]byte, 1), c.Size); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// TestNothingRunsOn: sessions and readers leave no goroutine behind.
func TestNothingRunsOn(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{BlockSize: 4096})
	w := begin(t, s)
	c, err := w.PutContent(t.Context(), bytes.NewReader(noise(1, 1<<20)))
	must(t, err)
	must(t, w.Flush(t.Context()))
	before := runtime.NumGoroutine()
	for range 20 {
		w, err := s.Begin(t.Context())
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		_, err = w.PutContent(ctx, cancelAfter{bytes.NewReader(noise(2, 1<<20)), cancel})
		wantErr(t, err, context.Canceled)
		must(t, w.Close())
		r := s.OpenContent(t.Context(), c)
		r.Read(make([]byte, 10))
		r.Close()
	}
	after := runtime.NumGoroutine()
	for range 200 { // those of package sql end a moment after a query does
		if after <= before+2 {
			return
		}
		time.Sleep(10 * time.Millisecond)
		after = runtime.NumGoroutine()
	}
	t.Errorf("%d goroutines, %d before", after, before)
}

type cancelAfter struct {
	io.Reader
	cancel func()
}

func (c cancelAfter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p[:min(len(p), 100_000)])
	c.cancel()
	return n, err
}

// TestNothingReadable looks for names and contents in everything that was written, in the store and locally.
func TestNothingReadable(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "canary-root", 0o700)
	must(t, err)
	w := begin(t, s)
	commitTree(t, r, w, putFile(t, w, "canary-name", []byte("canary-inline")),
		putFile(t, w, "canary-long", bytes.Repeat([]byte("canary-content"), 5000)),
		object.Entry{Name: "l", Kind: object.Symlink, Target: "canary-target"})
	look := func(where string, b []byte) {
		if bytes.Contains(b, []byte("canary")) {
			t.Errorf("%s shows plaintext", where)
		}
	}
	for name, b := range snap(t, s.b) {
		look(name, b)
	}
	must(t, filepath.Walk(p.dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			b, _ := os.ReadFile(path)
			look(path, b)
		}
		return err
	}))
}
