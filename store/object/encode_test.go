package object

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func samples() []Entry {
	key := Key{1, 2, 3}
	return []Entry{
		{Name: "a", Kind: File, Mode: 0o4755, ModTime: -1, Content: Content{Known: true, Data: []byte{}}},
		{Name: "b\xff", Kind: File, Mode: 0o644, ModTime: math.MaxInt64, Content: Content{Known: true, Size: 3, Data: []byte("abc")}},
		{Name: "c", Kind: File, Content: Content{Known: true, Size: InlineMax + 1, Depth: 2, Key: key}},
		{Name: "d", Kind: Directory, Mode: 0o1777, Tree: Tree{Depth: 1, Key: key}, Extra: []byte{40, 1, 'x', 41, 0}},
		{Name: "e", Kind: Symlink, Target: "../\xfe"},
		{Name: "f", Kind: Special, Extra: []byte{2, 1, 9, 3, 1, 7}},
	}
}

func TestEntryRoundTrip(t *testing.T) {
	var b []byte
	for _, e := range samples() {
		var err error
		if b, err = AppendEntry(b, e); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range samples() {
		e, rest, err := ParseEntry(b)
		if err != nil || !reflect.DeepEqual(e, want) {
			t.Fatalf("got %+v, %v, want %+v", e, err, want)
		}
		b = rest
	}
}

func TestEntryRefused(t *testing.T) {
	file := Content{Known: true, Data: []byte{}}
	for what, e := range map[string]Entry{
		"no name":       {Kind: File, Content: file},
		"dots":          {Name: "..", Kind: File, Content: file},
		"slash":         {Name: "a/b", Kind: File, Content: file},
		"long name":     {Name: strings.Repeat("n", 256), Kind: File, Content: file},
		"mode":          {Name: "a", Kind: File, Mode: 0o10000, Content: file},
		"unknown":       {Name: "a", Kind: File},
		"no data":       {Name: "a", Kind: File, Content: Content{Known: true, Size: 5}},
		"negative":      {Name: "a", Kind: File, Content: Content{Known: true, Size: -5}},
		"no tree":       {Name: "a", Kind: Directory},
		"no target":     {Name: "a", Kind: Symlink},
		"special":       {Name: "a", Kind: Special},
		"absent":        {Name: "a"},
		"extra reused":  {Name: "a", Kind: File, Content: file, Extra: []byte{5, 0}},
		"extra cut":     {Name: "a", Kind: File, Content: file, Extra: []byte{40, 9}},
		"extra unsound": {Name: "a", Kind: Special, Extra: []byte{2, 1, 1}},
	} {
		if b, err := AppendEntry(nil, e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: encoded to %x, %v", what, b, err)
		}
	}
}

func FuzzEntry(f *testing.F) {
	for _, e := range samples() {
		b, _ := AppendEntry(nil, e)
		f.Add(b)
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, rest, err := ParseEntry(b)
		if err != nil {
			return
		}
		again, err := AppendEntry(nil, e)
		if err != nil || !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Errorf("%x encodes to %x, %v", b[:len(b)-len(rest)], again, err)
		}
	})
}

func FuzzList(f *testing.F) {
	b := AppendRef(AppendRef(nil, Ref{Key{1}, 300}), Ref{Key{2}, 1})
	f.Add(b, int64(301))
	f.Add(b, int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, length int64) {
		refs, err := ParseList(b, length)
		if err != nil {
			return
		}
		var again []byte
		var total int64
		for _, r := range refs {
			again = AppendRef(again, r)
			total += r.Length
		}
		if !bytes.Equal(again, b) || length >= 0 && total != length {
			t.Errorf("%x encodes to %x of %d bytes", b, again, total)
		}
	})
}
