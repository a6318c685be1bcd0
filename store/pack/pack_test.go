package pack

import (
	"bytes"
	"testing"

	"ensync/store/block"
	"ensync/store/internal/wire"
	"ensync/store/object"
)

func table() []Entry {
	return []Entry{
		{ID: object.ID{1}, Type: block.Type{Kind: block.Data}, Offset: 8, Length: 100},
		{ID: object.ID{2}, Type: block.Type{Kind: block.TreeList, Depth: 3}, Offset: 108, Length: 29},
	}
}

func TestBuilder(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 70_000} {
		var b Builder
		b.Add(object.ID{2}, block.Type{Kind: block.Tree}, bytes.Repeat([]byte{7}, 40)) // comes last all the same
		b.Add(object.ID{1}, block.Type{Kind: block.Data}, make([]byte, 29+n))
		data, table, err := b.Finish(0, func(t []byte) ([]byte, error) { return t, nil })
		if err != nil || padded(len(data)) != len(data) {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
		length, err := ParseTail(data[len(data)-TailSize:], int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		end := len(data) - TailSize
		got, err := ParseTable(data[end-int(length) : end])
		if err != nil || len(got) != 2 || got[0].ID != (object.ID{1}) || got[0] != table[0] || got[1] != table[1] {
			t.Fatalf("%v, %v", got, err)
		}
		if e := got[1]; data[e.Offset] != 7 || data[e.Offset+e.Length-1] != 7 {
			t.Errorf("offset %d is wrong", e.Offset)
		}
	}
}

func TestPadme(t *testing.T) {
	// From the paper: at most 12 % more, and never less.
	for n := 1; n < 1<<20; n += 1 + n/100 {
		if p := padme(n); p < n || p > n+n*12/100+1 {
			t.Fatalf("%d becomes %d", n, p)
		}
	}
	if padme(9) != 10 || padme(1<<20+1) != 1<<20+1<<15 {
		t.Errorf("padme(9) = %d, padme(2^20+1) = %d", padme(9), padme(1<<20+1))
	}
}

func FuzzTable(f *testing.F) {
	f.Add(AppendTable(nil, table()))
	f.Add([]byte{0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewReader(b)
		got := ReadTable(r)
		if r.Err() == nil && !bytes.Equal(AppendTable(nil, got), b[:len(b)-r.Left()]) {
			t.Errorf("%x encodes to %x", b, AppendTable(nil, got))
		}
	})
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x10ENSYNCT1"), int64(100))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if n, err := ParseTail(b, size); err == nil && (n < 0 || n > size) {
			t.Errorf("table of %d bytes in a pack of %d", n, size)
		}
	})
}
