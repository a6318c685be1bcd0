package store

import (
	"bytes"
	"errors"
	"testing"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/enemy"
	"ensync/store/backend/memory"
)

// TestGuardLetsClientsWork: all that clients do goes through a guard: creating, committing, editing keys and roots, copying.
func TestGuardLetsClientsWork(t *testing.T) {
	f := newForked(t)
	f.lineA.Lead(Guard(f.storeA))
	f.lineB.Lead(Guard(f.storeA))
	for range 3 {
		must(t, f.commit(f.alice, "home"))
		must(t, f.commit(f.bob, "side"))
		must(t, f.commit(f.bob, "home"))
	}
	must(t, f.group(f.alice, "team"))
	must(t, f.root(f.alice, "x.ensync[rw=team]"))
	must(t, f.commit(f.alice, "x.ensync[rw=team]"))
	must(t, f.alice.RemoveRoot(t.Context(), "x.ensync[rw=team]"))
	must(t, f.alice.Renew(t.Context()))
	p := &place{t: t, b: Guard(memory.New()), dir: t.TempDir()}
	p.create(Params{})
	to := Guard(memory.New())
	_, err := Copy(t.Context(), f.lineA, to, nil)
	must(t, err)
	p.b = to
	must(t, p.open("copier").Check(t.Context(), true, func(p Problem) { t.Error(p) }))
}

// TestGuardRefuses: what nobody signed who may is not written, whoever asks.
func TestGuardRefuses(t *testing.T) {
	f := newForked(t)
	ctx := t.Context()
	whole := f.take(f.storeA)
	other := newForked(t)
	foreign := other.take(other.storeA)
	fake, chain, err := keys.Create(f.alice.ID(), "key", pass, now())
	must(t, err)
	chain.Close()
	flip := func(b []byte, at int) []byte { b = bytes.Clone(b); b[at] ^= 1; return b }
	head := whole[f.homeID].Data
	must(t, f.group(f.alice, "team"))
	// A reader of home signs a head by a group that home's heads were never signed by.
	reader := memberOf(t, &place{t: t, b: f.storeA, dir: t.TempDir()}, f.alice, "reader")
	r, err := reader.Root(ctx, "home")
	must(t, err)
	h, err := r.Head(ctx)
	must(t, err)
	r.info.Write = keys.Everyone
	signed := must2(r.encode(h, must2(r.seal(h))))

	g := Guard(f.storeA)
	for _, c := range []struct {
		what, name string
		data       []byte
	}{
		{"a flipped byte", f.homeID, flip(head, 40)},
		{"a flipped signature", f.homeID, flip(head, len(head)-1)},
		{"a cut head", f.homeID, head[:60]},
		{"nothing", f.homeID, nil},
		{"a head of another root", f.homeID, whole[f.sideID].Data},
		{"a head of another store", f.homeID, foreign[other.homeID].Data},
		{"a head that a reader signed", f.homeID, signed},
		{"a list for a head", f.homeID, whole[rootsObject].Data},
		{"a head for the list", rootsObject, head},
		{"a flipped list", rootsObject, flip(whole[rootsObject].Data, 30)},
		{"an older key store", keysObject, whole[keysObject].Data},
		{"another key store", keysObject, fake.Encode()},
		{"another copy of the keys", keysCopy, fake.Encode()},
		{"keys of another store", keysObject, foreign[keysObject].Data},
		{"rubbish for keys", keysObject, []byte("rubbish")},
		{"a pack that is replaced", "packs/aa/x", []byte("x")},
	} {
		before := f.take(f.storeA)
		_, version, err := f.storeA.Load(ctx, c.name)
		if err != nil && !errors.Is(err, backend.ErrNotExist) {
			t.Fatal(err)
		}
		if _, err := g.Swap(ctx, c.name, version, c.data); !errors.Is(err, backend.ErrDenied) {
			t.Errorf("%s: %v", c.what, err)
		}
		same(t, snapshotOf(before), snapshotOf(f.take(f.storeA)))
	}
	for _, name := range []string{formatObject, keysObject, keysCopy, rootsObject} {
		if err := g.Delete(ctx, name); !errors.Is(err, backend.ErrDenied) {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	if err := g.Put(ctx, headObject([16]byte{1}), head); !errors.Is(err, backend.ErrDenied) {
		t.Errorf("put of a head: %v", err)
	}
	// What is missing or damaged may be put back.
	now := f.take(f.storeA)
	for _, name := range []string{keysObject, keysCopy} {
		must(t, f.storeA.Delete(ctx, name))
		_, err := g.Swap(ctx, name, "", fake.Encode())
		wantErr(t, err, backend.ErrDenied)
		must2(g.Swap(ctx, name, "", now[name].Data))
	}
}

func snapshotOf(s enemy.State) snapshot {
	out := snapshot{}
	for n, o := range s {
		out[n] = o.Data
	}
	return out
}
