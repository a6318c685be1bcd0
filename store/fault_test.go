package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/memory"
	"ensync/store/object"
)

// snapshot is every object of a backend.
type snapshot map[string][]byte

func snap(t testing.TB, b backend.Backend) snapshot {
	t.Helper()
	s := snapshot{}
	must(t, b.List(t.Context(), "", func(i backend.Info) error {
		s[i.Name] = nil
		return nil
	}))
	for name := range s {
		data, _, err := b.Load(t.Context(), name)
		if !mutable(name) {
			data, err = b.Get(t.Context(), name, 0, -1)
		}
		must(t, err)
		s[name] = data
	}
	return s
}

func mutable(name string) bool {
	return name == keysObject || name == keysCopy || strings.HasPrefix(name, rootPrefix)
}

// backend returns a new backend that holds the snapshot, with one object other than it was; nil deletes it.
func (s snapshot) backend(t testing.TB, name string, data []byte) backend.Backend {
	t.Helper()
	b := memory.New()
	for n, d := range s {
		if n == name {
			d = data
		}
		if d == nil {
			continue
		}
		if mutable(n) {
			_, err := b.Swap(t.Context(), n, "", d)
			must(t, err)
		} else {
			must(t, b.Put(t.Context(), n, d))
		}
	}
	return b
}

func (s snapshot) names() []string {
	var names []string
	for n := range s {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// small is a store with one file of several blocks, a directory in a directory, and two commits.
func small(t *testing.T) (*place, *Store, map[string][]byte) {
	p := newPlace(t)
	s := p.create(Params{BlockSize: 4096, Chunking: "fixed"})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	w := begin(t, s)
	files := map[string][]byte{"one": []byte("small content"), "two": noise(5, 4800)}
	g, err := r.ReadGroup()
	must(t, err)
	sub, err := w.PutTree(t.Context(), g, []object.Entry{putFile(t, w, "two", files["two"])})
	must(t, err)
	dir := object.Entry{Name: "dir", Kind: object.Directory, Mode: 0o700, Tree: sub}
	commitTree(t, r, w, dir)
	commitTree(t, r, w, dir, putFile(t, w, "one", files["one"]))
	return p, s, files
}

// readSmall reads everything of a small store and says what it got.
func readSmall(ctx context.Context, s *Store) (map[string][]byte, error) {
	r, err := s.Root(ctx, "home")
	if err != nil {
		return nil, err
	}
	h, err := r.Head(ctx)
	if err != nil {
		return nil, err
	}
	return readBelow(ctx, s, r, h)
}

// readBelow is readSmall for whoever knows the head already.
func readBelow(ctx context.Context, s *Store, r *Root, h Head) (map[string][]byte, error) {
	g, err := r.ReadGroup()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	return files, readDir(ctx, s, h.Tree, func(e object.Entry, b []byte) { files[e.Name] = b }, func(t object.Tree) ([]object.Entry, error) {
		return s.ReadTree(ctx, g, t)
	})
}

func readDir(ctx context.Context, s *Store, t object.Tree, file func(object.Entry, []byte), list func(object.Tree) ([]object.Entry, error)) error {
	entries, err := list(t)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Kind == object.Directory {
			if err := readDir(ctx, s, e.Tree, file, list); err != nil {
				return err
			}
			continue
		}
		r := s.OpenContent(ctx, e.Content)
		var b bytes.Buffer
		_, err := b.ReadFrom(r)
		r.Close()
		if err != nil {
			return err
		}
		file(e, b.Bytes())
	}
	return nil
}

// TestFormatIsSigned: a format object that was changed is refused even by a client that has never seen the store.
func TestFormatIsSigned(t *testing.T) {
	_, s, _ := small(t)
	all := snap(t, s.b)
	bad := bytes.Replace(all[formatObject], []byte("block-size = 4096"), []byte("block-size = 8192"), 1) // "4096" may be in the id, too
	c, err := Open(t.Context(), all.backend(t, formatObject, bad), pass, Options{})
	must(t, err)
	_, err = c.Roots(t.Context())
	wantErr(t, err, ErrDamaged)
	if !strings.Contains(err.Error(), "object format") {
		t.Errorf("%v does not name the object", err)
	}
}

// TestMissingObject deletes each object in turn: the error names it, or what is missing does not matter to a reader and
// Check names it.
func TestMissingObject(t *testing.T) {
	_, s, _ := small(t)
	all := snap(t, s.b)
	for _, name := range all.names() {
		b := all.backend(t, name, nil)
		c, err := Open(t.Context(), b, pass, Options{})
		if err == nil {
			if _, err = readSmall(t.Context(), c); err == nil {
				must(t, c.Check(t.Context(), true, func(p Problem) { err = errors.Join(err, p.Err) }))
			}
		}
		wantErr(t, err, ErrMissing)
		if !strings.Contains(err.Error(), name) && !strings.HasPrefix(name, indexPrefix) {
			t.Errorf("deleted %s: %v does not name it", name, err)
		}
		next := "from a backup of the store"
		if name == formatObject || name == keysObject || name == keysCopy {
			next = "ensync repair puts this object back"
		}
		if !strings.Contains(err.Error(), next) {
			t.Errorf("%v does not say what to do", err)
		}
	}
}

// TestSwappedAndTruncated puts each object in the place of each other, and cuts each short.
func TestSwappedAndTruncated(t *testing.T) {
	_, s, files := small(t)
	all := snap(t, s.b)
	try := func(what string, b backend.Backend) {
		c := reopen(t, s, b)
		got, err := readSmall(t.Context(), c)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrForeign) {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		for n, want := range files {
			if !bytes.Equal(got[n], want) {
				t.Errorf("%s: %s is wrong", what, n)
			}
		}
	}
	for _, name := range all.names() {
		for _, other := range all.names() {
			if mutable(name) == mutable(other) && name != other {
				try(other+" for "+name, all.backend(t, name, all[other]))
			}
		}
		for _, n := range []int{1, len(all[name]) / 2, len(all[name]) - 1} {
			try("cut "+name, all.backend(t, name, all[name][:n]))
		}
		try("random "+name, all.backend(t, name, randomBytes(len(all[name]))))
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// TestReplay shows older states to a client that has seen newer ones.
func TestReplay(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	w := begin(t, s)
	old := snapshot{}
	for i := range 12 {
		old = snap(t, s.b)
		commitTree(t, r, w, putFile(t, w, "f", []byte{byte(i)}))
	}
	h, err := r.Head(t.Context())
	must(t, err)

	p.b = old.backend(t, "", nil)
	behind := p.open("maker")
	br, err := behind.Root(t.Context(), "home")
	must(t, err)
	_, err = br.Head(t.Context())
	wantErr(t, err, ErrRollback)
	for _, want := range []string{"commit 11", "commit 12", "home"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	// Another history that overtakes the remembered one by number is refused as well.
	p2 := &place{t: t, b: p.b, dir: t.TempDir()}
	fork := p2.open("forker")
	fr, err := fork.Root(t.Context(), "home")
	must(t, err)
	fw := begin(t, fork)
	for i := range 3 {
		commitTree(t, fr, fw, putFile(t, fw, "f", []byte{200, byte(i)}))
	}
	_, err = br.Head(t.Context())
	wantErr(t, err, ErrRollback)
	if seen := behind.opt.Memory.root(r.info.ID).Seq; seen != h.Seq {
		t.Errorf("memory went from %d to %d", h.Seq, seen)
	}
	must(t, behind.opt.Memory.forget(&r.info.ID, nil))
	_, err = br.Head(t.Context())
	must(t, err)
}

// TestDescentAcrossManyCommits lets a client be away for long.
func TestDescentAcrossManyCommits(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	w := begin(t, s)
	away := p.open("away")
	for i := range 70 {
		commitTree(t, r, w, putFile(t, w, "f", []byte{byte(i)}))
		if i == 4 {
			ar, err := away.Root(t.Context(), "home")
			must(t, err)
			_, err = ar.Head(t.Context())
			must(t, err)
		}
	}
	back := p.open("away")
	br, err := back.Root(t.Context(), "home")
	must(t, err)
	h, err := br.Head(t.Context())
	must(t, err)
	if h.Seq != 70 || len(back.commits.known) > 20 {
		t.Fatalf("commit %d after reading %d commits", h.Seq, len(back.commits.known))
	}
	n := 1
	for more := true; ; n++ {
		if h, more, err = br.Parent(t.Context(), h); !more {
			break
		}
		must(t, err)
	}
	if n != 70 {
		t.Errorf("history of %d commits", n)
	}
}

// TestOvertaken: of two clients on one head the second is told, and its data is not lost to it.
func TestOvertaken(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	old, err := r.Head(t.Context())
	must(t, err)
	w := begin(t, s)
	g, _ := r.ReadGroup()
	tree, err := w.PutTree(t.Context(), g, []object.Entry{putFile(t, w, "mine", noise(1, 5000))})
	must(t, err)
	o := p.open("other")
	or, err := o.Root(t.Context(), "home")
	must(t, err)
	ow := begin(t, o)
	commitTree(t, or, ow, putFile(t, ow, "theirs", noise(2, 5000)))
	_, err = r.Commit(t.Context(), w, old, tree, nil)
	wantErr(t, err, ErrOvertaken)
	wantErr(t, err, backend.ErrChanged)
	newer, err := r.Head(t.Context())
	must(t, err)
	_, err = r.Commit(t.Context(), w, newer, tree, nil)
	must(t, err)
}
