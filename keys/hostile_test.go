package keys

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// openAll is what a client does with key store bytes that it was handed: parse, compare with its pin, unlock.
func openAll(b []byte, pin *Pin, pass []byte, hint string) error {
	f, err := Parse(b)
	if err != nil {
		return err
	}
	if pin != nil {
		if err := f.CheckPin(*pin); err != nil {
			return err
		}
	}
	c, err := f.Unlock(pass, hint)
	c.Close()
	return err
}

// Every flipped bit is refused, as the same error wherever it is, and without stretching the passphrase: so a hostile
// store learns nothing from trying.
func TestEveryBitCounts(t *testing.T) {
	w := newWorld(t)
	good := w.f.Encode()
	if err := openAll(good, nil, long("c"), "c"); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			if i > 2048 && bit != i%8 {
				continue // it is all alike: two more entries, each with a long mailbox
			}
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			err := openAll(bad, nil, long("c"), "c")
			if !errors.Is(err, ErrTampered) || errors.Is(err, ErrWrongPassphrase) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	for n := range good {
		if err := openAll(good[:n], nil, long("c"), "c"); !errors.Is(err, ErrTampered) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if err := openAll(append(bytes.Clone(good), 0), nil, long("c"), "c"); !errors.Is(err, ErrTampered) {
		t.Fatalf("one byte more: %v", err)
	}
}

// A damaged key store is noticed before the passphrase is stretched: with a context that has ended, stretching would be
// the error.
func TestTamperedIsNotStretched(t *testing.T) {
	f, _ := newStore(t)
	f.encoded = bytes.Clone(f.encoded)
	f.encoded[100] ^= 1
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.UnlockContext(done, long("first"), ""); !errors.Is(err, ErrTampered) {
		t.Error(err)
	}
}

// The stretched passphrase is what a flipped bit inside a seal must not reach even if an enemy holds root and signs.
func TestSplicesSignedByRoot(t *testing.T) {
	w := newWorld(t)
	root := w.a.groups[Root]
	other, _, err := Create([16]byte{9}, "a", long("a"), aDay)
	if err != nil {
		t.Fatal(err)
	}
	find := func(f *File, key, group string) *wrap {
		e := f.entry(key)
		i := slices.IndexFunc(e.wraps, func(w wrap) bool { return w.group == group })
		return &e.wraps[i]
	}
	tests := []struct {
		name   string
		pass   []byte
		splice func(f *File)
		want   error
	}{
		{"wraps of two groups exchanged", long("a"), func(f *File) {
			x, y := find(f, "a", Root), find(f, "a", "staff")
			x.sealedKey, y.sealedKey = y.sealedKey, x.sealedKey
		}, ErrTampered},
		{"wrap of another entry", long("b"), func(f *File) {
			find(f, "b", Root).sealedKey = find(f, "a", Root).sealedKey
		}, ErrTampered},
		{"wrap of another epoch", long("c"), func(f *File) {
			g := f.group("staff")
			g.public, g.valid = []publicKey{{epoch: 2, key: g.public[0].key}}, 2
			for _, key := range []string{"a", "c"} {
				find(f, key, "staff").epoch = 2
			}
		}, ErrTampered},
		{"wrap of another store", long("a"), func(f *File) {
			find(f, "a", Root).sealedKey = find(other, "a", Root).sealedKey
		}, ErrTampered},
		{"wrap with a flipped bit", long("c"), func(f *File) { find(f, "c", "staff").sealed[3] ^= 1 }, ErrTampered},
		{"wrap with another nonce", long("c"), func(f *File) { find(f, "c", "staff").nonce[3] ^= 1 }, ErrTampered},
		{"anchor of another entry", long("b"), func(f *File) { f.entry("b").anchor = f.entry("a").anchor }, ErrTampered},
		{"anchor with a flipped bit", long("b"), func(f *File) { f.entry("b").anchor.sealed[0] ^= 1 }, ErrTampered},
		{"another public key", long("c"), func(f *File) { f.group("staff").public[0].key = f.group(Everyone).public[0].key }, ErrTampered},
		{"entry under another name", long("c"), func(f *File) { f.entry("c").name = "d" }, ErrWrongPassphrase},
		{"another salt", long("c"), func(f *File) { f.entry("c").salt[0] ^= 1 }, ErrWrongPassphrase},
		{"another cost", long("c"), func(f *File) { f.entry("c").kdf = kdf{13} }, ErrWrongPassphrase},
		{"whole entry of another store", long("a"), func(f *File) {
			e := other.entries[0]
			e.wraps = append(slices.Clone(e.wraps), *find(f, "a", "staff"))
			f.entries[0] = e
		}, ErrWrongPassphrase},
	}
	for _, test := range tests {
		f := must[*File](t)(Parse(w.f.Encode()))
		test.splice(f)
		if err := f.sign(root); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if err := openAll(f.Encode(), nil, test.pass, ""); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// A member without root who signs with a root key of his own making is unmasked by everybody else's passphrase.
func TestForgedRoot(t *testing.T) {
	w := newWorld(t)
	fake, err := newGroup(Root)
	if err != nil {
		t.Fatal(err)
	}
	f := must[*File](t)(Parse(w.f.Encode()))
	f.group(Root).public = fake.record().public
	if err := f.sign(fake); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "c"} { // c is not in root: only its anchor tells
		if err := openAll(f.Encode(), nil, long(key), ""); !errors.Is(err, ErrTampered) {
			t.Errorf("unlock %s: %v", key, err)
		}
	}
	pin := w.f.Pin()
	if err := openAll(f.Encode(), &pin, long("a"), ""); !errors.Is(err, ErrReplaced) {
		t.Errorf("pin: %v", err)
	}
	if _, err := f.Refresh(w.a); !errors.Is(err, ErrReplaced) {
		t.Errorf("refresh: %v", err)
	}
	if _, err := f.Add(ctx, w.a, "d", long("d"), nil, aDay); !errors.Is(err, ErrReplaced) {
		t.Errorf("edit: %v", err)
	}
}

func TestPin(t *testing.T) {
	w := newWorld(t)
	v1, c1 := newStore(t)
	replaced, _, err := Create(testID, "first", long("first"), aDay) // the same store id, name and passphrase
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := Create([16]byte{7}, "first", long("first"), aDay)
	if err != nil {
		t.Fatal(err)
	}
	v2 := must[*File](t)(v1.CreateGroups([]string{"x"}, c1, nil))
	fork := must[*File](t)(v1.CreateGroups([]string{"y"}, c1, nil))
	v3 := must[*File](t)(v2.CreateGroups([]string{"z"}, c1, nil))
	fork3 := must[*File](t)(fork.CreateGroups([]string{"z"}, c1, nil))
	tampered := *v3
	tampered.version = 9
	tampered.encoded = append(tampered.appendBody(nil), v3.signature[:]...)

	tests := []struct {
		name string
		seen *File
		pin  *File
		want error
	}{
		{"the same", v2, v2, nil},
		{"the next", v2, v1, nil},
		{"one later", v3, v1, nil},
		{"older", v1, v2, ErrRollback},
		{"much older", v1, v3, ErrRollback},
		{"same number, other content", fork, v2, ErrReplaced},
		{"next number, other parent", fork3, v2, ErrReplaced},
		{"made anew", replaced, v1, ErrReplaced},
		{"made anew, after an edit", replaced, v2, ErrReplaced},
		{"another store's", foreign, v1, ErrForeign},
		{"another world", w.f, v1, ErrReplaced},
		{"counter forged", must[*File](t)(Parse(tampered.encoded)), v2, ErrTampered},
	}
	for _, test := range tests {
		err := must[*File](t)(Parse(test.seen.Encode())).CheckPin(test.pin.Pin())
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	// The replacement opens with the passphrase: only what the client remembers tells it apart.
	if _, err := replaced.Unlock(long("first"), ""); err != nil {
		t.Error(err)
	}
}

// Who was taken out of a group and knows its old internal key learns nothing of a new one from the key store: no wrap
// is ever made with the same pad or nonce.
func TestRewrapsShareNothing(t *testing.T) {
	w := newWorld(t)
	seen := map[[nonceSize]byte]bool{}
	f := w.f
	for range 20 {
		f = must[*File](t)(f.Disassociate("c", []string{"staff"}, w.a))
		f = must[*File](t)(f.Associate([]string{"staff"}, w.a, w.c, nil))
		for _, wr := range f.entry("c").wraps {
			if wr.group == "staff" {
				if seen[wr.nonce] {
					t.Fatal("a nonce came twice under one key")
				}
				seen[wr.nonce] = true
			}
		}
	}
	// A group that is destroyed and made again has another internal key.
	before := w.c.groups["staff"].Derive("x")
	f = must[*File](t)(f.DestroyGroups([]string{"staff"}, w.a))
	f = must[*File](t)(f.CreateGroups([]string{"staff"}, w.c, w.a))
	if unlock(t, f, long("c")).groups["staff"].Derive("x") == before {
		t.Error("new group has the old internal key")
	}
}

// withEpochs is the world with a second version of group staff, whose keys are all at hand.
func withEpochs(t *testing.T, w world) *File {
	t.Helper()
	return must[*File](t)(w.f.Rotate("staff", w.a, nil, w.c))
}

// The format keeps older versions of internal keys, and edits carry them along.
func TestEpochs(t *testing.T) {
	w := newWorld(t)
	f := withEpochs(t, w)
	old := w.a.groups["staff"]
	check := func(c *Chain) {
		t.Helper()
		g, ok := c.Group("staff")
		if !ok || g.Epoch() != 2 {
			t.Fatalf("%s: current version %v", c.Name(), g)
		}
		first, ok := g.At(1)
		if !ok || first.Derive("x") != old.Derive("x") || g.Derive("x") == old.Derive("x") {
			t.Errorf("%s: version 1 is not the old key", c.Name())
		}
		for epoch, version := range map[uint32]*Group{1: first, 2: g} {
			if by, ok := c.Verify("staff", []byte("m"), version.Sign([]byte("m"))); !ok || by != epoch {
				t.Errorf("%s: signature of version %d is said to be of %d, %v", c.Name(), epoch, by, ok)
			}
		}
		c.Close()
		if !isZero(first.key[:]) {
			t.Error("Close leaves the older version")
		}
	}
	check(unlock(t, must[*File](t)(Parse(f.Encode())), long("c")))
	f = must[*File](t)(f.Change(ctx, "c", w.a, long("n"), true, nil, nextDay))
	f = must[*File](t)(f.Associate([]string{"staff"}, w.a, w.b, nil))
	f = must[*File](t)(f.Add(ctx, w.a, "d", long("d"), nil, nextDay))
	f = must[*File](t)(Parse(f.Encode()))
	for _, pass := range []string{"n", "b", "d"} {
		check(unlock(t, f, long(pass)))
	}
	// A key that lacks a version can't stand in for one that has it.
	e := f.entry("d")
	e.wraps = slices.DeleteFunc(e.wraps, func(w wrap) bool { return w.group == "staff" && w.epoch == 1 })
	if err := f.sign(w.a.groups[Root]); err != nil {
		t.Fatal(err)
	}
	d := unlock(t, f, long("d"))
	if _, err := f.Change(ctx, "a", d, long("x"), true, nil, nextDay); !errors.Is(err, ErrLacksGroups) {
		t.Errorf("change by one without the older version: %v", err)
	}
}

// What no honest client writes is refused even if root signed it.
func TestUnsoundFilesAreRefused(t *testing.T) {
	w := newWorld(t)
	root := w.a.groups[Root]
	tests := map[string]func(f *File){
		"zero store id":          func(f *File) { f.storeID = [16]byte{} },
		"zero salt":              func(f *File) { f.entries[1].salt = [32]byte{} },
		"zero check":             func(f *File) { f.entries[1].check = [32]byte{} },
		"zero nonce":             func(f *File) { f.entries[1].wraps[0].nonce = [12]byte{} },
		"zero wrap":              func(f *File) { f.entries[1].wraps[0].sealed = [48]byte{} },
		"zero anchor nonce":      func(f *File) { f.entries[1].anchor.nonce = [12]byte{} },
		"zero anchor":            func(f *File) { f.entries[1].anchor.sealed = [64]byte{} },
		"zero public key":        func(f *File) { f.group("staff").public[0].key = [32]byte{} },
		"version 0":              func(f *File) { f.version = 0 },
		"version 1 with parent":  func(f *File) { f.version = 1 },
		"no parent":              func(f *File) { f.previous = [32]byte{} },
		"no keys":                func(f *File) { f.entries = nil },
		"keys out of order":      func(f *File) { slices.Reverse(f.entries) },
		"key twice":              func(f *File) { f.entries[1] = f.entries[0] },
		"groups out of order":    func(f *File) { slices.Reverse(f.groups) },
		"wraps out of order":     func(f *File) { slices.Reverse(f.entries[0].wraps) },
		"wrap twice":             func(f *File) { f.entries[1].wraps[1] = f.entries[1].wraps[0] },
		"key not in everyone":    func(f *File) { f.entries[0].wraps = f.entries[0].wraps[1:] },
		"key in no group":        func(f *File) { f.entries[0].wraps = nil },
		"group nobody knows":     func(f *File) { f.entries[2].wraps[1].group = "zoo" },
		"epoch nobody knows":     func(f *File) { f.entries[2].wraps[1].epoch = 7 },
		"epoch 0":                func(f *File) { f.group("staff").public[0].epoch = 0 },
		"epoch 0 with its wraps": func(f *File) { f.group("staff").public[0].epoch = 0; f.entries[2].wraps[1].epoch = 0 },
		"group without key":      func(f *File) { f.entries[2].drop("staff"); f.entries[0].drop("staff") },
		"group without versions": func(f *File) { f.group("staff").public = nil },
		"current version lacks":  func(f *File) { g := f.group("staff"); g.public = append(g.public, publicKey{2, [32]byte{1}}) },
		"bad key name":           func(f *File) { f.entries[2].name = "c\x00" },
		"bad group name":         func(f *File) { f.group("staff").name = "staff]" },
		"created never":          func(f *File) { f.entries[0].created = 0 },
		"changed before 1970":    func(f *File) { f.entries[0].changed = -1 },
		"zero mailbox":           func(f *File) { f.entries[1].mailbox = make([]byte, mailboxSize) },
		"zero mail":              func(f *File) { f.entries[1].wraps[0].mailed = make([]byte, mailedSize) },
		"valid from nowhere":     func(f *File) { f.group("staff").valid = 2 },
		"valid from 0":           func(f *File) { f.group("staff").valid = 0 },
		"left what is to come":   func(f *File) { f.group("staff").left = 2 },
		"succession of none":     func(f *File) { f.succession = []endorsement{{1}} },
		"too cheap":              func(f *File) { f.entries[0].kdf = kdf{11} },
		"too dear":               func(f *File) { f.entries[0].kdf = kdf{40} },
	}
	for name, spoil := range tests {
		f := must[*File](t)(Parse(w.f.Encode()))
		spoil(f)
		if err := f.check(); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: check says %v", name, err)
		}
		body := f.appendBody(nil)
		signature, err := root.signKeyStore(body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(append(body, signature...)); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: Parse says %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	f, c := newStore(t)
	names := make([]string, MaxGroups-2)
	for i := range names {
		names[i] = strings.Repeat("g", 200) + string(rune('a'+i/26/26)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26))
	}
	full := must[*File](t)(f.CreateGroups(names, c, nil))
	if _, err := full.CreateGroups([]string{"one more"}, c, nil); !errors.Is(err, ErrTooMany) {
		t.Errorf("too many groups: %v", err)
	}
	if _, err := Parse(must[*File](t)(Parse(full.Encode())).Encode()); err != nil {
		t.Error(err)
	}
	// Each key in all these groups takes 270 kB.
	for i := 0; ; i++ {
		next := full.next()
		e := full.entries[0]
		for j := range i {
			e.name = "first" + string(rune('a'+j))
			next.entries = append(next.entries, e)
		}
		err := next.sign(c.groups[Root])
		if errors.Is(err, ErrTooMany) {
			break
		}
		if err != nil || len(next.Encode()) > MaxSize {
			t.Fatalf("%d keys: %d bytes, %v", i, len(next.Encode()), err)
		}
	}
	if _, err := Parse(make([]byte, MaxSize+1)); !errors.Is(err, ErrTampered) {
		t.Errorf("too large: %v", err)
	}
}

func TestNewerFormat(t *testing.T) {
	f, _ := newStore(t)
	for _, version := range []byte{0, formatRekeyed + 1, 255} {
		b := bytes.Clone(f.Encode())
		b[len(magic)] = version
		if _, err := Parse(b); !errors.Is(err, ErrUnsupported) || !errors.Is(err, ErrTampered) {
			t.Errorf("format %d: %v", version, err)
		}
	}
}

// Errors about what is sealed are the same text for every place, too.
func TestErrorsTellNoPlace(t *testing.T) {
	w := newWorld(t)
	texts := map[string]bool{}
	for _, spoil := range []func(f *File){
		func(f *File) { f.entry("c").wraps[0].sealed[0] ^= 1 },
		func(f *File) { f.entry("c").wraps[1].sealed[40] ^= 1 },
		func(f *File) { f.entry("c").anchor.sealed[0] ^= 1 },
		func(f *File) { f.signature[0] ^= 1 },
	} {
		f := must[*File](t)(Parse(w.f.Encode()))
		signature := f.signature
		spoil(f)
		if f.signature == signature {
			if err := f.sign(w.a.groups[Root]); err != nil {
				t.Fatal(err)
			}
		}
		err := openAll(append(f.appendBody(nil), f.signature[:]...), nil, long("c"), "c")
		if !errors.Is(err, ErrTampered) {
			t.Fatal(err)
		}
		texts[err.Error()] = true
	}
	if len(texts) != 1 {
		t.Errorf("texts: %v", texts)
	}
}

func FuzzParse(f *testing.F) {
	seed(f, "fuzz")
	w := newWorld(f)
	f.Add(w.f.Encode())
	one, _ := newStore(f)
	f.Add(one.Encode())
	f.Add([]byte(magic + "\x02"))
	for _, group := range []string{Everyone, Root, "staff"} {
		rotated := must[*File](f)(w.f.Rotate(group, w.a, nil))
		f.Add(rotated.Encode())
	}
	rekeyed, _, err := w.f.Rekey([16]byte{7: 1}, w.a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rekeyed.Encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrTampered) {
				t.Errorf("error of no kind: %v", err)
			}
			return
		}
		if again := append(file.appendBody(nil), file.signature[:]...); !bytes.Equal(again, b) {
			t.Error("two encodings of one key store")
		}
		file.List()
		// The rotated ones are random, and so others in each process that takes part.
		if err := file.CheckPin(w.f.Pin()); err == nil && file.Version() == w.f.Version() && file.Hash() != w.f.Hash() {
			t.Error("forged a key store")
		}
	})
}

// FuzzLabels: of labels of algorithms only ours within the bounds are taken, and no source of a passphrase is repeated in an error.
func FuzzLabels(f *testing.F) {
	for _, s := range []string{"scrypt-12-8-1", "scrypt-99-8-1", "scrypt-018-8-1", "string:x", "fd:3", "fd:-1", "keyring:\x00", "prompt"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := parseKDF(text); err == nil && (k.logN < minLogN || k.logN > maxLogN || k.String() != text) {
			t.Errorf("%q is %v", text, k)
		}
		if s, err := ParseSource(text, "/"); err != nil && len(text) > 24 && strings.Contains(err.Error(), text) {
			t.Errorf("%v repeats what may be a passphrase", err)
		} else if err == nil && strings.HasPrefix(text, "string:") && s.String() != "string:***" {
			t.Errorf("%v shows it", s)
		}
	})
}
