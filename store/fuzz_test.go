package store

import (
	"bytes"
	"testing"

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
