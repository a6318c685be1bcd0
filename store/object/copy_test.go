package object

import (
	"bytes"
	"testing"
)

func TestCopyTravelsInExtra(t *testing.T) {
	other := appendField(appendField(nil, 40, []byte("forty")), 60, []byte("sixty"))
	e := Entry{Name: "f~1", Kind: Symlink, Target: "x", Extra: other}
	if c, ok := e.Copy(); ok {
		t.Fatalf("no copy: %v", c)
	}
	want := Copy{Of: "f", Author: Author{"here", -5}, Other: Author{"there", 7}}
	e = e.WithCopy(want)
	raw, err := AppendEntry(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := ParseEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := back.Copy(); !ok || got != want {
		t.Errorf("read back %v, %v", got, ok)
	}
	want.Of = "g"
	if got, _ := back.WithCopy(want).Copy(); got != want {
		t.Errorf("replaced: %v", got)
	}
	if none := back.WithCopy(Copy{}); !bytes.Equal(none.Extra, other) {
		t.Errorf("without: %x, want %x", none.Extra, other)
	}
}

func TestCopiesOf(t *testing.T) {
	copy := func(name, of string) Entry { return Entry{Name: name}.WithCopy(Copy{Of: of}) }
	list := []Entry{{Name: "f"}, copy("f~1", "f"), copy("g~1", "g"), {Name: "h"}}
	got := CopiesOf(list, func(name string) bool { return name == "f" })
	if len(got) != 1 || got[0].Name != "f~1" {
		t.Errorf("got %v", got)
	}
}

// FuzzCopy reads what any client may have written: no panic, and one encoding for what is understood.
func FuzzCopy(f *testing.F) {
	f.Add(Copy{Of: "f", Author: Author{"a", 1}, Other: Author{"b", 2}}.encode())
	f.Add(Copy{Of: "notes.txt"}.encode())
	f.Add([]byte{})
	f.Add([]byte{1, 'f', 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := parseCopy(b)
		if ok && !bytes.Equal(c.encode(), b) {
			t.Errorf("%x reads as %v, which is %x", b, c, c.encode())
		}
		Entry{Extra: b}.Copy()
	})
}

// FuzzXattrs: there is one encoding of a set of attributes.
func FuzzXattrs(f *testing.F) {
	f.Add(string(MakeXattrs(map[string][]byte{"user.a": []byte("x"), "user.b": nil})), "u:1")
	f.Add(string(NoXattrs), ":0")
	f.Add("\x01\xff\xff\xff\xff\x07user.a", "name:-1")
	f.Fuzz(func(t *testing.T, text, owner string) {
		if set, err := Xattrs(text).Parse(); err == nil && MakeXattrs(set) != Xattrs(text) {
			t.Errorf("%q becomes %q", text, MakeXattrs(set))
		}
		if o := Owner(owner); o.Check() == nil {
			o.Split()
			_ = o.String()
		}
	})
}
