package keys

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// Whoever is in a group gets its new key without a passphrase; who was taken out does not, whatever they kept.
func TestRotate(t *testing.T) {
	for _, group := range []string{Everyone, Root, "staff"} {
		w := newWorld(t)
		f := must[*File](t)(w.f.Rotate(group, w.a, nil))
		f = must[*File](t)(Parse(f.Encode()))
		checkSuccessor(t, w.f, f)
		if got, want := describe(f), describe(w.f); got != want {
			t.Errorf("%s: the key store is %s, was %s", group, got, want)
		}
		var made [32]byte
		for pass, before := range map[string]*Chain{"a": w.a, "b": w.b, "c": w.c} {
			for _, c := range []*Chain{unlock(t, f, long(pass)), must[*Chain](t)(f.Refresh(before))} {
				g, ok := c.Group(group)
				if _, was := before.Group(group); ok != was {
					t.Errorf("%s, key %s: in the group %v, before %v", group, pass, ok, was)
				}
				if !ok {
					continue
				}
				first, _ := g.At(1)
				if g.Epoch() != 2 || first == nil || first.key != before.groups[group].key || g.key == first.key {
					t.Errorf("%s, key %s: version %d", group, pass, g.Epoch())
				}
				if made != ([32]byte{}) && made != g.key {
					t.Errorf("%s: keys differ", group)
				}
				made = g.key
			}
		}
	}
}

// What was mailed becomes a wrap like the others as soon as the passphrase is used, and the passphrase then vouches for
// the new root.
func TestMailIsWrapped(t *testing.T) {
	w := newWorld(t)
	f := must[*File](t)(must[*File](t)(w.f.Rotate(Root, w.a, nil)).Rotate(Everyone, w.a, nil))
	mailed := func(f *File, key string) (n int) {
		for _, w := range f.entry(key).wraps {
			if w.mailed != nil {
				n++
			}
		}
		return n
	}
	if a, b := mailed(f, "a"), mailed(f, "b"); a != 0 || b != 2 {
		t.Errorf("%d of a and %d of b are mailed", a, b)
	}
	anchored, err := w.b.secret.openAnchor(&f.entry("b").anchor, f.storeID)
	if err != nil || anchored != w.f.rootKey() {
		t.Errorf("b vouches for %x, %v", anchored, err)
	}
	f = must[*File](t)(f.CreateGroups([]string{"new"}, w.b, nil))
	anchored, err = w.b.secret.openAnchor(&f.entry("b").anchor, f.storeID)
	if n := mailed(f, "b"); n != 0 || err != nil || anchored != f.rootKey() {
		t.Errorf("after an edit with it, %d of b are mailed; it vouches for %x, %v", n, anchored, err)
	}
	unlock(t, f, long("b"))
}

// A rotation is begun, and ended; until then both versions sign. What of it is pending is known.
func TestRetire(t *testing.T) {
	w := newWorld(t)
	state := func(f *File) GroupInfo {
		for _, g := range must[*File](t)(Parse(f.Encode())).GroupList() {
			if g.Name == "staff" {
				return g
			}
		}
		return GroupInfo{}
	}
	counts := func(f *File, g *Group) bool {
		_, ok := unlock(t, f, long("b")).Verify("staff", []byte("m"), g.Sign([]byte("m")))
		return ok
	}
	old := w.c.groups["staff"]
	begun := must[*File](t)(w.f.Rotate("staff", w.a, nil))
	if s := state(begun); !s.Rotating || s.Epoch != 2 || !counts(begun, old) {
		t.Errorf("begun: %+v", s)
	}
	again := must[*File](t)(begun.Rotate("staff", w.a, nil))
	if s := state(again); s.Epoch != 2 {
		t.Errorf("begun again: %+v", s)
	}
	ended := must[*File](t)(again.Retire("staff", 2, w.a))
	if s := state(ended); s.Rotating || counts(ended, old) || !counts(ended, must[*Chain](t)(ended.Refresh(w.a)).groups["staff"]) {
		t.Errorf("ended: %+v; the old key counts: %v", s, counts(ended, old))
	}
	// Who left while a rotation was pending has the pending key: it is no good.
	left := must[*File](t)(begun.Disassociate("c", []string{"staff"}, w.a))
	if s := state(left); !s.Left {
		t.Errorf("left: %+v", s)
	}
	anew := must[*File](t)(left.Rotate("staff", w.a, nil))
	if s := state(anew); s.Epoch != 3 || s.Left {
		t.Errorf("rotated after one has left: %+v", s)
	}
	// Whoever began the one before ends only that.
	if s := state(must[*File](t)(anew.Retire("staff", 2, w.a))); !s.Rotating {
		t.Errorf("the second rotation was ended by the first: %+v", s)
	}
}

func TestRotateRefuses(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name string
		edit func() (*File, error)
		want error
	}{
		{"no such group", func() (*File, error) { return w.f.Rotate("x", w.a, nil) }, ErrNoGroup},
		{"not in the group", func() (*File, error) { return w.f.Rotate("staff", w.b, nil) }, ErrLacksGroups},
		{"not in root", func() (*File, error) { return w.f.Rotate("staff", w.c, nil) }, ErrNotRoot},
		{"retire, not in root", func() (*File, error) { return w.f.Retire("staff", 1, w.c) }, ErrNotRoot},
		{"retire, no such group", func() (*File, error) { return w.f.Retire("x", 1, w.a) }, ErrNoGroup},
	} {
		if _, err := test.edit(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// Someone who was in root signs a key store with the key they kept. Nobody who has seen the rotation takes it, nor does a
// passphrase that was used since.
func TestFormerRootIsRefused(t *testing.T) {
	w := newWorld(t)
	before := must[*File](t)(w.f.Disassociate("b", []string{Root}, w.a))
	now := must[*File](t)(before.Rotate(Root, w.a, nil))
	now = must[*File](t)(now.Retire(Root, 2, w.a))
	forged := before // by b, who kept the chain w.b of before
	for forged.version <= now.version+1 {
		d := &draft{File: forged.next()}
		if err := d.sign(w.b.groups[Root]); err != nil {
			t.Fatal(err)
		}
		forged = d.File
	}
	if err := forged.CheckPin(now.Pin()); !errors.Is(err, ErrReplaced) {
		t.Errorf("a client that has seen the rotation: %v", err)
	}
	if err := before.CheckPin(now.Pin()); !errors.Is(err, ErrRollback) {
		t.Errorf("the state before it: %v", err)
	}
	if err := now.CheckPin(before.Pin()); err != nil {
		t.Errorf("a client that has not seen it sees it: %v", err)
	}
	// With the entry of a from now, whose passphrase vouches for the new root, but root's key of before.
	d := &draft{File: forged.next()}
	*d.entry("a") = *now.entry("a")
	e := d.entry("a")
	kept := e.wraps
	e.wraps = nil
	for _, w := range kept {
		if w.epoch == 1 {
			e.put(w)
		}
	}
	if err := d.sign(w.b.groups[Root]); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Unlock(long("a"), "a"); !errors.Is(err, ErrTampered) {
		t.Errorf("a passphrase that vouches for the new root: %v", err)
	}
}

// The succession of roots holds only if each endorsed the next.
func TestSuccession(t *testing.T) {
	w := newWorld(t)
	fake, err := newVersion(Root, 2)
	if err != nil {
		t.Fatal(err)
	}
	d := &draft{File: w.f.next(), signer: fake} // endorsed by itself
	d.group(Root).public = append(d.group(Root).public[:1:1], publicKey{2, [32]byte(fake.public)})
	if err := d.succeed(fake); err != nil {
		t.Fatal(err)
	}
	for i := range d.entries {
		if d.entries[i].in(Root) {
			d.entries[i].put(wrap{group: Root, epoch: 2, sealedKey: sealedKey{nonce: [12]byte{1}, sealed: [48]byte{1}}})
		}
	}
	if err := d.sign(fake); !errors.Is(err, ErrTampered) {
		t.Errorf("a root that nobody endorsed: %v", err)
	}
}

// A key store of the first format is read, and each edit makes one of the second; an entry without a mailbox can be given
// a new key by its passphrase only.
func TestFirstFormat(t *testing.T) {
	text, err := os.ReadFile(vectorFirst)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(v.File)
	if err != nil {
		t.Fatal(err)
	}
	f := must[*File](t)(Parse(raw))
	a, b, c := unlock(t, f, long("a")), unlock(t, f, long("b")), unlock(t, f, long("changed"))
	if _, err := f.Rotate(Everyone, a, nil, b); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("without the passphrase of c: %v", err)
	}
	rotated := must[*File](t)(f.Rotate(Everyone, a, nil, b, c))
	checkSuccessor(t, f, rotated)
	if err := must[*File](t)(Parse(rotated.Encode())).CheckPin(f.Pin()); err != nil {
		t.Error(err)
	}
	again := must[*File](t)(rotated.Rotate(Everyone, a, nil))
	again = must[*File](t)(again.Retire(Everyone, 2, a))
	must[*File](t)(again.Rotate(Everyone, a, nil)) // all have mailboxes now
}
