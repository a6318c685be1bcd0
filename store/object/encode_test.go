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
		{Name: "g", Kind: File, Content: Content{Known: true, Data: []byte{}}, User: "alice:1000", Group: ":0", Xattrs: NoXattrs},
		{Name: "h", Kind: Directory, Tree: Tree{Key: key}, Group: "staff:50", Extra: []byte{36, 0},
			Xattrs: MakeXattrs(map[string][]byte{"user.a": {}, "user.b\xff": []byte("1\x00")})},
		{Name: "i", Kind: Symlink, Target: "x", User: "root:0"},
		{Name: "j.ensync[r=g]", Kind: Directory, Mode: 0o750, Root: RootID{7}, Group: ":5", Extra: []byte{40, 1, 'x'}},
		{Name: "k", Kind: Directory, Tree: Tree{Key: key}, Roots: true, Xattrs: NoXattrs, Extra: []byte{48, 1, 'x'}},
	}
}

// TestEntryOfEarlierVersion: who wrote entries without owner and extended attributes, and kept what it did not know of
// others, wrote the same bytes.
func TestEntryOfEarlierVersion(t *testing.T) {
	old := []byte{20, 1, 1, 'l', 2, 1, 3, 7, 1, 'x', 32, 3, 'a', ':', '5', 40, 4, 'k', 'e', 'p', 't'}
	e, rest, err := ParseEntry(old)
	if err != nil || len(rest) != 0 || e.User != "a:5" || e.Group != "" || string(e.Extra) != "\x28\x04kept" {
		t.Fatalf("%+v, %v", e, err)
	}
	if b, err := AppendEntry(nil, e); err != nil || !bytes.Equal(b, old) {
		t.Errorf("encodes to %x, %v, not %x", b, err, old)
	}
	plain := Entry{Name: "l", Kind: Symlink, Target: "x"}
	if b, err := AppendEntry(nil, plain); err != nil || !bytes.Equal(b, []byte{9, 1, 1, 'l', 2, 1, 3, 7, 1, 'x'}) {
		t.Errorf("without attributes: %x, %v", b, err)
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
		"tree and root": {Name: "a", Kind: Directory, Tree: Tree{Key: Key{1}}, Root: RootID{1}},
		"no target":     {Name: "a", Kind: Symlink},
		"special":       {Name: "a", Kind: Special},
		"absent":        {Name: "a"},
		"extra reused":  {Name: "a", Kind: File, Content: file, Extra: []byte{5, 0}},
		"extra cut":     {Name: "a", Kind: File, Content: file, Extra: []byte{40, 9}},
		"user":          {Name: "a", Kind: File, Content: file, User: "alice"},
		"user -1":       {Name: "a", Kind: File, Content: file, User: "alice:4294967295"},
		"user's number": {Name: "a", Kind: File, Content: file, User: ":007"},
		"group's name":  {Name: "a", Kind: File, Content: file, Group: "a b:1"},
		"group's colon": {Name: "a", Kind: File, Content: file, Group: "a:b:1"},
		"xattrs":        {Name: "a", Kind: File, Content: file, Xattrs: "\x01"},
		"xattr's name":  {Name: "a", Kind: File, Content: file, Xattrs: "\x01\x13security.capability\x00"},
		"xattr of ours": {Name: "a", Kind: File, Content: file, Xattrs: "\x01\x0fuser.ensync.abc\x00"},
		"xattrs' order": {Name: "a", Kind: File, Content: file, Xattrs: "\x02\x06user.b\x00\x06user.a\x00"},
		"xattrs' end":   {Name: "a", Kind: File, Content: file, Xattrs: NoXattrs + "\x00"},
		"xattrs' size":  {Name: "a", Kind: File, Content: file, Xattrs: XattrsTooLarge},
		"link's xattrs": {Name: "a", Kind: Symlink, Target: "x", Xattrs: NoXattrs},
		"extra unsound": {Name: "a", Kind: Special, Extra: []byte{2, 1, 1}},
	} {
		if b, err := AppendEntry(nil, e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: encoded to %x, %v", what, b, err)
		}
	}
}

func TestXattrs(t *testing.T) {
	small := MakeXattrs(map[string][]byte{"user.b": []byte("2"), "user.a": nil})
	if got, err := small.Parse(); err != nil || len(got) != 2 || string(got["user.b"]) != "2" {
		t.Errorf("read back %q, %v", got, err)
	}
	if MakeXattrs(nil) != NoXattrs {
		t.Errorf("none is %q", MakeXattrs(nil))
	}
	most := MaxXattrs - len("\x01\x06user.a") - 3
	if x := MakeXattrs(map[string][]byte{"user.a": make([]byte, most)}); len(x) != MaxXattrs {
		t.Errorf("the most that can be stored is refused: %d bytes", len(x))
	}
	if x := MakeXattrs(map[string][]byte{"user.a": make([]byte, most+1)}); x != XattrsTooLarge {
		t.Errorf("%d bytes are not too large", len(x))
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

// TestAttack26Names: a member writes what no program of ours does: names that lead elsewhere, or are none.
func TestAttack26Names(t *testing.T) {
	for _, evil := range []string{".", "..", "/", "a/b", "../x", "a\x00b", "\x00"} {
		honest := strings.Repeat("n", len(evil))
		for _, e := range []Entry{{Name: honest, Kind: Symlink, Target: "x"}, {Name: honest, Kind: Directory, Tree: Tree{Key: Key{1}}},
			{Name: honest, Kind: File, Content: Content{Known: true, Data: []byte{}}}} {
			b, err := AppendEntry(nil, e)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := ParseEntry(b); err != nil {
				t.Fatalf("%q: %v", honest, err)
			}
			if e, _, err := ParseEntry(bytes.Replace(b, []byte(honest), []byte(evil), 1)); err == nil {
				t.Errorf("%q is read as %+v", evil, e)
			}
		}
	}
}
