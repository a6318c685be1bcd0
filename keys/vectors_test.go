package keys

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors anew; only for a new version of the format")

// What this version writes; and what it only reads: the first format, and keys that were mailed, which takes randomness
// that no test can fix.
const (
	vectorFile  = "../testdata/vectors/keys.json"
	vectorFirst = "../testdata/vectors/keys-1.json"
	vectorMail  = "../testdata/vectors/keys-mailed.json"
)

// vector is one key store with all that comes of it, for whoever writes another implementation. Bytes are in hex.
type vector struct {
	About      string      `json:"about"`
	Randomness string      `json:"randomness,omitempty"` // all random bytes, in the order in which they were drawn
	File       string      `json:"file"`
	Version    uint64      `json:"version"`
	Hash       string      `json:"hash"`
	RootKey    string      `json:"root_key"`
	Keys       []vectorKey `json:"keys"`
}

type vectorKey struct {
	Name       string        `json:"name"`
	Passphrase string        `json:"passphrase"`
	Groups     []vectorGroup `json:"groups"`
}

type vectorGroup struct {
	Name   string `json:"name"`
	Epoch  uint32 `json:"epoch"`
	Key    string `json:"internal_key"`
	Public string `json:"public_key"`
	Derive string `json:"derive"`         // Derive("label", "one", "")
	Signed string `json:"signed_message"` // Sign("message")
}

func makeVector(t *testing.T) vector {
	label := "ensync keys vector 2"
	seed(t, label)
	w := newWorld(t)
	f := must[*File](t)(w.f.Change(ctx, "c", w.c, long("changed"), false, w.a, nextDay))
	f = withEpochs(t, world{f, w.a, w.b, unlock(t, f, long("changed"))})
	v := vectorOf(t, f)
	v.Randomness = fmt.Sprintf("SHAKE256(%q)", label)
	return v
}

// makeMailVector rotates all groups with one passphrase at hand.
func makeMailVector(t *testing.T) vector {
	w := newWorld(t)
	f := must[*File](t)(w.f.Change(ctx, "c", w.c, long("changed"), false, w.a, nextDay))
	for _, group := range []string{Everyone, Root, "staff"} {
		f = must[*File](t)(f.Rotate(group, w.a, nil))
		f = must[*File](t)(f.Retire(group, 2, w.a))
	}
	return vectorOf(t, f)
}

func vectorOf(t *testing.T, f *File) vector {
	pin := f.Pin()
	v := vector{
		About: "a key store in format 2; docs/format-keys.md describes it",
		File:  hex.EncodeToString(f.Encode()), Version: f.Version(),
		Hash: hex.EncodeToString(pin.Hash[:]), RootKey: hex.EncodeToString(pin.RootKey[:]),
	}
	for name, pass := range map[string]string{"a": "a", "b": "b", "c": "changed"} {
		v.Keys = append(v.Keys, vectorKey{Name: name, Passphrase: string(long(pass))})
	}
	slices.SortFunc(v.Keys, func(a, b vectorKey) int { return strings.Compare(a.Name, b.Name) })
	for i := range v.Keys {
		v.Keys[i].Groups = vectorGroups(unlock(t, f, []byte(v.Keys[i].Passphrase)))
	}
	return v
}

func vectorGroups(c *Chain) (groups []vectorGroup) {
	for _, current := range c.sorted() {
		for _, g := range append(append([]*Group(nil), current.older...), current) {
			sub := g.Derive("label", []byte("one"), nil)
			groups = append(groups, vectorGroup{
				Name: g.name, Epoch: g.epoch, Key: hex.EncodeToString(g.key[:]), Public: hex.EncodeToString(g.public),
				Derive: hex.EncodeToString(sub[:]), Signed: hex.EncodeToString(g.Sign([]byte("message"))),
			})
		}
	}
	return groups
}

// The bytes of the format are frozen: what this version writes and reads, every later one reads.
func TestVectors(t *testing.T) {
	made := encodeVector(t, makeVector(t))
	if *update {
		writeVector(t, vectorFile, made)
		writeVector(t, vectorMail, encodeVector(t, makeMailVector(t)))
	}
	kept, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, kept) {
		t.Error("the key store that fixed randomness makes is not the one in " + vectorFile)
	}
	for _, path := range []string{vectorFile, vectorFirst, vectorMail} {
		checkVector(t, path)
	}
}

func encodeVector(t *testing.T, v vector) []byte {
	made, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(made, '\n')
}

func writeVector(t *testing.T, path string, made []byte) {
	if err := os.WriteFile(path, made, 0o644); err != nil {
		t.Fatal(err)
	}
}

func checkVector(t *testing.T, path string) {
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(kept, &v); err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(v.File)
	if err != nil {
		t.Fatal(err)
	}
	f := must[*File](t)(Parse(b))
	for _, k := range v.Keys {
		c := unlock(t, f, []byte(k.Passphrase))
		if c.Name() != k.Name || fmt.Sprint(vectorGroups(c)) != fmt.Sprint(k.Groups) {
			t.Errorf("%s: key %s opens %s with %v", path, k.Name, c.Name(), vectorGroups(c))
		}
	}
}

// What scrypt makes of three passphrases: computed once with Python and OpenSSL from the description of the original
// (reference 7.6). The salt is 00 01 … 1f.
func TestStretchVectors(t *testing.T) {
	salt := make([]byte, 32)
	for i := range salt {
		salt[i] = byte(i)
	}
	for pass, want := range map[string]string{
		"hunter2":                "ca27ebb4e37b6728b6b864bd3647d8846d258ae6424b7ff170a26a43a8f9c13e",
		strings.Repeat("x", 64):  "dbb4a4b93cd12aaf2a183a02c4f5cb43a7b492d94332a1bf5be514f09dfc518c",
		strings.Repeat("x", 256): "3128f26b961809a9ff7abeda4602b121d11dcc65ef515cbc413fd2a6c86b4071",
	} {
		if testing.Short() && len(pass) < 64 {
			continue
		}
		key, err := kdfFor([]byte(pass)).key(ctx, []byte(pass), salt)
		if err != nil || hex.EncodeToString(key) != want {
			t.Errorf("%d bytes: %x, %v", len(pass), key, err)
		}
	}
}
