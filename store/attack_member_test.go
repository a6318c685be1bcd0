package store

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"ensync/keys"
	"ensync/store/block"
	"ensync/store/object"
)

// What someone can do who has a passphrase of the store, and the store itself in hand.

// memberOf opens the store with a new key that is in the groups given and no others.
func memberOf(t *testing.T, p *place, root *Store, name string, groups ...string) *Store {
	t.Helper()
	secret := append([]byte(name), pass...)
	must(t, root.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
		return f.Add(t.Context(), root.Keys(), name, secret, nil, now())
	}))
	for _, g := range root.Keys().Groups() {
		keep := g == keys.Everyone
		for _, want := range groups {
			keep = keep || g == want
		}
		if !keep {
			must(t, root.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
				return f.Disassociate(name, []string{g}, root.Keys())
			}))
		}
	}
	s, err := Open(t.Context(), p.b, secret, p.options(name))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// TestAttack24ReaderWrites: who may read a root but not write it makes, with the whole store in hand, a head of their own, an older
// one, one of another root and one signed by another group; nobody accepts any.
func TestAttack24ReaderWrites(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	w := begin(t, s)
	first := commitTree(t, r, w, putFile(t, w, "f", []byte("one")))
	reader := memberOf(t, p, s, "reader")
	rr, err := reader.Root(t.Context(), "home")
	must(t, err)
	h, err := rr.Head(t.Context())
	must(t, err)
	if h.Commit != first.Commit {
		t.Fatal("the reader sees another head")
	}
	rw := begin(t, reader)
	tree, err := rw.PutTree(t.Context(), must2(rr.ReadGroup()), nil)
	must(t, err)
	if _, err := rr.Commit(t.Context(), rw, h, tree, nil); !errors.Is(err, ErrNoGroup) {
		t.Errorf("an honest program commits: %v", err)
	}
	forged := *rr
	forged.info.Write = keys.Everyone // of which the reader has the key
	if _, err := forged.Commit(t.Context(), rw, h, tree, nil); err != nil {
		t.Fatalf("the forgery was not made: %v", err)
	}
	for _, client := range []*Store{s, p.open("new client"), memberOf(t, p, s, "second reader")} {
		cr, err := client.Root(t.Context(), "home")
		must(t, err)
		_, err = cr.Head(t.Context())
		wantErr(t, err, ErrDamaged)
		if !strings.Contains(err.Error(), "not signed by group root") {
			t.Error(err)
		}
	}
	// The list of roots: everyone could change its own write group there, if everyone could sign it.
	l, err := reader.loadRoots(t.Context(), reader.b.Load)
	must(t, err)
	l.version++
	if err := reader.writeList(t.Context(), l.object, l); !errors.Is(err, ErrNoGroup) {
		t.Errorf("the list of roots: %v", err)
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// putList puts a list of blocks and returns its key.
func putList(t *testing.T, w *Session, mac *block.MAC, kind block.Kind, depth uint8, refs ...object.Ref) object.Key {
	t.Helper()
	var b []byte
	for _, r := range refs {
		b = object.AppendRef(b, r)
	}
	key, err := w.put(t.Context(), block.Type{Kind: kind, Depth: depth}, mac, b)
	must(t, err)
	return key
}

// TestAttack25Bombs: a member makes a small store that unfolds to more than any machine has. Whoever reads it gets an error, soon,
// and needs little memory for it.
func TestAttack25Bombs(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	g, err := r.ReadGroup()
	must(t, err)
	mac, err := s.mac(g)
	must(t, err)
	w := begin(t, s)

	zeros := make([]byte, 1<<20)
	zeroKey, err := w.put(t.Context(), block.Type{Kind: block.Data}, s.data, zeros)
	must(t, err)
	// A list of depth 8 in which every item is the same: 2048^8 blocks.
	ref := object.Ref{Key: zeroKey, Length: 1 << 20}
	for depth := uint8(1); depth <= object.MaxDepth; depth++ {
		n := 2048
		for ref.Length > 0 && int64(n) > object.MaxSize/ref.Length {
			n /= 2
		}
		refs := make([]object.Ref, max(n, 1))
		for i := range refs {
			refs[i] = ref
		}
		ref = object.Ref{Key: putList(t, w, s.data, block.DataList, depth, refs...), Length: ref.Length * int64(len(refs))}
	}
	treeLeaf := must2(w.put(t.Context(), block.Type{Kind: block.Tree}, mac, must2(object.AppendEntry(nil, object.Entry{Name: "a", Kind: object.Symlink, Target: "x"}))))
	deep := object.Ref{Key: treeLeaf, Length: 1}
	for depth := uint8(1); depth <= 4; depth++ {
		refs := make([]object.Ref, 2048)
		for i := range refs {
			refs[i] = deep
		}
		deep = object.Ref{Key: putList(t, w, mac, block.TreeList, depth, refs...), Length: deep.Length * 2048}
	}
	must(t, w.Flush(t.Context()))

	limit := uint64(256 << 20)
	measure := func(what string, do func() error) {
		t.Helper()
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		peak := watchHeap()
		err := do()
		most := peak()
		if err == nil {
			t.Errorf("%s: no error", what)
		}
		if most > before.HeapAlloc+limit {
			t.Errorf("%s: %d MiB of memory", what, (most-before.HeapAlloc)>>20)
		}
		t.Logf("%s: %d MiB at most, %.200v", what, (max(most, before.HeapAlloc)-before.HeapAlloc)>>20, err)
	}
	o := p.open("reader")
	measure("2048^4 entries", func() error {
		_, err := o.ReadTree(t.Context(), g, object.Tree{Depth: 4, Key: deep.Key})
		return err
	})
	measure("a list as deep as the number says", func() error {
		_, err := o.ReadTree(t.Context(), g, object.Tree{Depth: 255, Key: deep.Key})
		return err
	})
	measure("a list that is a list of itself by type", func() error {
		_, err := o.ReadTree(t.Context(), g, object.Tree{Depth: 1, Key: treeLeaf})
		return err
	})
	measure("a file that claims to be longer than it is", func() error {
		c := o.OpenContent(t.Context(), object.Content{Known: true, Size: object.MaxSize, Depth: 0, Key: zeroKey})
		defer c.Close()
		_, err := c.ReadAt(make([]byte, 1<<20), object.MaxSize-(1<<20))
		return err
	})
	if !testing.Short() {
		key := putList(t, w, mac, block.TreeList, 1, crowd(t, w, mac, maxEntries+1)...)
		must(t, w.Flush(t.Context()))
		measure("more entries than a directory has", func() error {
			_, err := o.ReadTree(t.Context(), g, object.Tree{Depth: 1, Key: key})
			return err
		})
	}
	// A file of 2048^8 blocks is as good as any: to read a part of it costs what is read.
	c := o.OpenContent(t.Context(), object.Content{Known: true, Size: ref.Length, Depth: object.MaxDepth, Key: ref.Key})
	defer c.Close()
	b := make([]byte, 1<<20)
	if _, err := c.ReadAt(b, ref.Length/2); err != nil || !bytes.Equal(b, zeros) {
		t.Errorf("the middle of a large file: %v", err)
	}
	// Hashes make a cycle impossible: to name itself, a tree would have to hold its own key.
}

// crowd puts blocks of a directory of n entries.
func crowd(t *testing.T, w *Session, mac *block.MAC, n int) (refs []object.Ref) {
	t.Helper()
	var b []byte
	for i := range n {
		b = must2(object.AppendEntry(b, object.Entry{Name: fmt.Sprintf("%07d", i), Kind: object.Symlink, Target: "x"}))
		if len(b) > maxTreeBlock-100 || i == n-1 {
			key := must2(w.put(t.Context(), block.Type{Kind: block.Tree}, mac, b))
			refs = append(refs, object.Ref{Key: key, Length: int64(len(b))})
			b = b[:0]
		}
	}
	return refs
}

// watchHeap looks at the heap again and again; what it returns ends that, and tells the most that there was.
func watchHeap() func() uint64 {
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		var peak uint64
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-most }
}
