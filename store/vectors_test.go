package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ensync/store/block"
	"ensync/store/chunk"
	"ensync/store/index"
	"ensync/store/object"
	"ensync/store/pack"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// vectorFile holds what docs/format.md describes, for other implementations and for later versions of this one.
const vectorFile = "../testdata/vectors/store.json"

// counter is a stand-in for random bytes.
type counter struct{ n byte }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = c.n
		c.n++
	}
	return len(p), nil
}

// TestVectors makes every record from fixed keys and compares it with what an earlier version made.
func TestVectors(t *testing.T) {
	defer func(r io.Reader) { block.Random = r }(block.Random)
	block.Random = &counter{}
	got := map[string]string{}
	add := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }

	store := [16]byte{1, 2, 3}
	f, err := newFormat(store, chunk.Params{Size: chunk.DefaultSize})
	must(t, err)
	got["format"] = string(f.encoded)
	mac := block.NewMAC([32]byte{4, 5, 6})
	sealer, err := block.NewSealer(store, None, 1)
	must(t, err)
	plain := bytes.Repeat([]byte("ensync"), 20)
	for name, typ := range map[string]block.Type{"data": {Kind: block.Data}, "list": {Kind: block.DataList, Depth: 2}, "tree": {Kind: block.Tree}} {
		key := mac.Sum(typ, plain)
		id := block.ID(key)
		add("block key "+name, key[:])
		add("block id "+name, id[:])
	}
	typ := block.Type{Kind: block.Data}
	sealed, err := sealer.Seal(typ, mac.Sum(typ, plain), plain)
	must(t, err)
	add("sealed block", sealed)

	var b pack.Builder
	b.Add(block.ID(mac.Sum(typ, plain)), typ, sealed)
	whole, table, err := b.Finish(0, func(t []byte) ([]byte, error) { return t, nil })
	must(t, err)
	add("pack with an open table", whole)
	add("index record", index.Record{Author: "root", Packs: []index.Pack{{Name: pack.Name{7}, Size: 1000, Table: table}}}.Encode())

	entries := []object.Entry{
		{Name: "a", Kind: object.File, Mode: 0o644, ModTime: -1, Content: object.Content{Known: true, Size: 3, Data: []byte("abc")}},
		{Name: "b", Kind: object.File, Mode: 0o4755, ModTime: 1e18, Content: object.Content{Known: true, Size: 5000, Depth: 1, Key: object.Key{8}}},
		{Name: "c", Kind: object.Directory, Mode: 0o700, Tree: object.Tree{Key: object.Key{9}}, Extra: []byte{40, 1, 'x'}},
		{Name: "d", Kind: object.Symlink, Target: "../x"},
	}
	must(t, cutEntries(mac, entries, func(b []byte) error { add("directory block", b); return nil }))
	for i := range entries {
		entries[i].User, entries[i].Group = "alice:1000", ":100"
		if entries[i].Kind != object.Symlink {
			entries[i].Xattrs = object.MakeXattrs(map[string][]byte{"user.b": {}, "user.a": []byte("1")})
		}
	}
	entries[1].Xattrs = object.NoXattrs
	must(t, cutEntries(mac, entries, func(b []byte) error { add("directory block with owners", b); return nil }))
	add("list of blocks", object.AppendRef(object.AppendRef(nil, object.Ref{Key: object.Key{1}, Length: 300}), object.Ref{Key: object.Key{2}, Length: 1}))
	c := commit{root: [16]byte{1}, seq: 9, parent: object.Key{2}, jumpSeq: 8, jump: object.Key{2}, packs: []pack.Name{{3}}, private: []byte("sealed")}
	add("commit", c.encode())
	add("private part of a commit", private{tree: object.Tree{Depth: 1, Key: object.Key{4}}, time: time.Unix(5, 6), client: "host"}.encode())
	w := &witness{keys: state{3, [32]byte{5}}, list: state{4, [32]byte{6}}, roots: []rootState{{[16]byte{7}, 300, object.ID{8}}}}
	add("private part of a commit with a witness", private{tree: object.Tree{Key: object.Key{4}}, client: "host", time: time.Unix(0, 0), witness: w}.encode())
	add("list of roots", (&rootList{version: 2, roots: []RootInfo{{ID: [16]byte{1}, Name: "home", Mode: 0o700, Read: "everyone", Write: "root"}}}).encode(f.digest()))
	add("cuts of 1 MiB of counted bytes at 65536", cuts(chunk.New(chunk.Params{Size: 65536}, [32]byte{7})))
	compareVectors(t, got)
}

// cuts returns where the blocks of a fixed stream (x = 1664525 x + 1013904223, byte x >> 24) end, as u24.
func cuts(c *chunk.Cutter) []byte {
	data := make([]byte, 1<<20)
	x := uint32(1)
	for i := range data {
		x = x*1664525 + 1013904223
		data[i] = byte(x >> 24)
	}
	var ends []byte
	for at := 0; at < len(data); {
		n := c.Cut(data[at:])
		at += n
		ends = append(ends, byte(at>>16), byte(at>>8), byte(at))
	}
	return ends
}

func compareVectors(t *testing.T, got map[string]string) {
	t.Helper()
	if *update {
		b, err := json.MarshalIndent(got, "", "\t")
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(vectorFile), 0o755))
		must(t, os.WriteFile(vectorFile, append(b, '\n'), 0o644))
	}
	b, err := os.ReadFile(vectorFile)
	must(t, err)
	want := map[string]string{}
	must(t, json.Unmarshal(b, &want))
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s is now\n%s\nwas\n%s", name, got[name], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d vectors instead of %d", len(got), len(want))
	}
}
