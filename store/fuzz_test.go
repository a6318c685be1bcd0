package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"ensync/store/backend/memory"
	"ensync/store/internal/wire"
	"ensync/store/object"
	"ensync/store/pack"
)

// What parses must encode to the same bytes again: there is one encoding of everything.

func FuzzCommit(f *testing.F) {
	f.Add((&commit{seq: 1, private: []byte("x"), packs: make([]pack.Name, 2)}).encode())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCommit(b); err == nil && !bytes.Equal(c.encode(), b) {
			t.Errorf("%x encodes to %x", b, c.encode())
		}
	})
}

func FuzzPrivate(f *testing.F) {
	f.Add(private{tree: object.Tree{Depth: 1}, client: "c"}.encode())
	f.Add(private{client: "c", witness: &witness{keys: state{version: 1}, roots: []rootState{{seq: 1}, {root: [16]byte{1}, seq: 2}}}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePrivate(b); err == nil && !bytes.Equal(p.encode(), b) {
			t.Errorf("%x encodes to %x", b, p.encode())
		}
	})
}

func FuzzRootList(f *testing.F) {
	l := rootList{version: 3, roots: []RootInfo{{Name: "a", Read: "everyone", Write: "root"}, {Name: "b", Mode: 0o700}}}
	f.Add(l.encode([32]byte{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, format, err := parseRootList(b); err == nil && !bytes.Equal(l.encode(format), b) {
			t.Errorf("%x encodes to %x", b, l.encode(format))
		}
	})
}

func FuzzFormat(f *testing.F) {
	c, _ := Params{}.chunking()
	v, _ := newFormat([16]byte{1}, c)
	f.Add(v.encoded)
	f.Add([]byte("version = 2"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := parseFormat(b); err == nil && v.chunk.Validate() != nil {
			t.Errorf("%q gives %+v", b, v.chunk)
		}
	})
}

func FuzzParseGroups(f *testing.F) {
	for _, s := range []string{"plain", "x.ensync[r=a,w=b]", ".ensync[rw=c].ensync[,,]", ".ensync[", ".ensync[q=1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if r, w, err := object.ParseGroups(name, "everyone", "root"); err == nil && (r == "" || w == "") {
			t.Errorf("%q gives %q and %q", name, r, w)
		}
	})
}

func TestParseGroups(t *testing.T) {
	for name, want := range map[string][2]string{
		"plain":                       {"everyone", "root"},
		"a.ensync[r=x]":               {"x", "root"},
		"a.ensync[w=y]b":              {"everyone", "y"},
		"a.ensync[wr=z,,]":            {"z", "z"},
		"a.ensync[r=x].ensync[r=q]":   {"q", "root"},
		"a.ensync[]":                  {"everyone", "root"},
		"a.ensync[r=with space,w==e]": {"with space", "=e"},
		"a.ensync[r=":                 {},
		"a.ensync[r]":                 {},
		"a.ensync[R=x]":               {},
	} {
		r, w, err := object.ParseGroups(name, "everyone", "root")
		if r != want[0] || w != want[1] || (err != nil) != (want[0] == "") {
			t.Errorf("%s: %q, %q, %v", name, r, w, err)
		}
	}
}

// FuzzHead and FuzzRoots: nothing passes for signed but what was signed; stamps are not.
func FuzzHead(f *testing.F) {
	s, head := fuzzStore(f)
	r, err := s.Root(f.Context(), "home")
	must(f, err)
	f.Add(head)
	f.Add(head[:80])
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := r.parse(b); err == nil && (len(b) != len(head) || !bytes.Equal(b[16:], head[16:])) {
			t.Errorf("commit %d was read from what nobody signed", h.Seq)
		}
	})
}

func FuzzRoots(f *testing.F) {
	s, _ := fuzzStore(f)
	raw, _, err := s.b.Load(f.Context(), rootsObject)
	must(f, err)
	f.Add(raw)
	f.Add(raw[:90])
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, _, err := s.openList(b); err == nil && (len(b) != len(raw) || !bytes.Equal(b[16:], raw[16:])) {
			t.Errorf("%d roots were read from what nobody signed", len(l.roots))
		}
	})
}

// FuzzGuard: what a server lets pass is what a client takes.
func FuzzGuard(f *testing.F) {
	s, head := fuzzStore(f)
	r, err := s.Root(f.Context(), "home")
	must(f, err)
	name := headObject(r.info.ID)
	g := Guard(s.b).(*guard)
	f.Add(head)
	f.Fuzz(func(t *testing.T, b []byte) {
		served, err := g.check(t.Context(), name, b), error(nil)
		if _, err = r.parse(b); (err == nil) != (served == nil) {
			t.Errorf("server: %v, client: %v", served, err)
		}
	})
}

// FuzzMemory: whatever is in the file, it is read or refused, and what is read can be used.
func FuzzMemory(f *testing.F) {
	s, _ := fuzzStore(f)
	file, err := os.ReadFile(s.opt.Memory.path)
	must(f, err)
	f.Add(file)
	f.Add([]byte(`{"roots":{"":{"seq":3,"commit":"ab"}},"kept":"zz","past":{"keys":{"1":"00"}},"waived":["x"]}`))
	path := filepath.Join(f.TempDir(), "store.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		must(t, os.WriteFile(path, b, 0o600))
		m, err := OpenMemory(path)
		if err != nil {
			return
		}
		m.Kept().Fingerprint()
		m.rootIDs(100)
		m.formatIsFresh()
		c := &Store{opt: Options{Memory: m}}
		if w := c.witness([16]byte{}); w != nil {
			r := wire.NewReader(w.append(nil))
			readWitness(r)
			if r.End() != nil {
				t.Errorf("a witness of %q can't be read: %v", b, r.Err())
			}
		}
	})
}

// fuzzStore is a store with a commit in root home, and the bytes of the head.
func fuzzStore(f *testing.F) (*Store, []byte) {
	dir := f.TempDir()
	m, err := OpenMemory(filepath.Join(dir, "store.json"))
	must(f, err)
	s, err := Create(f.Context(), memory.New(), Params{}, pass, "key", Options{Memory: m, Client: "fuzz"})
	must(f, err)
	f.Cleanup(func() { s.Close() })
	r, err := s.CreateRoot(f.Context(), "home", 0o755)
	must(f, err)
	commitTree(f, r, begin(f, s))
	raw, _, err := s.b.Load(f.Context(), headObject(r.info.ID))
	must(f, err)
	return s, raw
}

// FuzzTree: the entries of a directory ascend, have names that can stand in a directory, and encode to the same bytes again.
func FuzzTree(f *testing.F) {
	s, _ := fuzzStore(f)
	var b []byte
	for _, e := range []object.Entry{{Name: "a", Kind: object.Symlink, Target: "x"}, {Name: "b", Kind: object.Directory, Root: object.RootID{1}},
		{Name: "c", Kind: object.File, Mode: 0o644, Content: object.Content{Known: true, Size: 2, Data: []byte("hi")}}} {
		b = must2(object.AppendEntry(b, e))
	}
	f.Add(b, 5)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x07}, 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = min(max(cut, 0), len(b))
		list, err := s.parseTree([][]byte{b[:cut], b[cut:]})
		if err != nil {
			return
		}
		var again []byte
		for i, e := range list {
			if !object.ValidName(e.Name) || i > 0 && e.Name <= list[i-1].Name {
				t.Fatalf("%q in a directory", e.Name)
			}
			again = must2(object.AppendEntry(again, e))
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x encodes to %x", b, again)
		}
	})
}
