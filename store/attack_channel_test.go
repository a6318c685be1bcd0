package store

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"ensync/keys"
	"ensync/store/backend/enemy"
	"ensync/store/block"
)

// What sizes, nonces and ciphertexts tell to whoever keeps the store.

// TestAttack19Nonces: no nonce or salt comes twice.
func TestAttack19Nonces(t *testing.T) {
	seen := map[string]bool{}
	plain := []byte(strings.Repeat("the same block ", 20))
	mac := block.NewMAC([32]byte{1})
	typ := block.Type{Kind: block.Data}
	key := mac.Sum(typ, plain)
	n := 0
	for _, level := range []Level{None, Fast, Default, Best} {
		s, err := block.NewSealer([16]byte{1}, level, 1)
		must(t, err)
		for range 5000 {
			b, err := s.Seal(typ, key, plain)
			must(t, err)
			seen[string(b[1:13])] = true
			n++
		}
	}
	v := newVictim(t)
	g, err := v.s.group(keys.Everyone)
	must(t, err)
	for range 1000 {
		b, err := v.s.seal(g, sealIndex, nil, plain)
		must(t, err)
		seen[string(b[4:36])] = true
		n++
	}
	if len(seen) != n {
		t.Errorf("%d of %d nonces and salts came again", n-len(seen), n)
	}
}

// TestAttack20Compression (CRIME; Injection attacks against E2EE applications): who can put text beside a secret sees by the size
// of what is stored whether it compressed well, in at most one trial of a hundred.
func TestAttack20Compression(t *testing.T) {
	if testing.Short() {
		t.Skip("one thread does it all, so the race detector would only make it slow")
	}
	p := newPlace(t)
	s := p.create(Params{})
	random := rand.New(rand.NewPCG(1, 2))
	const secret = "4f9a01c7d2e3b586"
	size := func(filler, guess string) int64 {
		w := begin(t, s)
		defer w.Close()
		at := len(filler) / 2
		putFile(t, w, "f", fmt.Appendf(nil, "%s token=%s %s token=%s", filler[:at], secret, filler[at:], guess))
		must(t, w.Flush(t.Context()))
		return w.Stats().BytesStored
	}
	differ, trials := 0, 200
	for range trials {
		filler := make([]byte, 2500+random.IntN(20_000))
		for i := range filler {
			filler[i] = "abcdefghijklmnopqrstuvwxyz      \n"[random.IntN(33)]
		}
		if size(string(filler), secret) != size(string(filler), "0c5d1e88f7a2936b") {
			differ++
		}
	}
	if differ*100 > trials {
		t.Errorf("in %d of %d trials the size tells a right guess", differ, trials)
	}
}

// TestAttack22Confirmation: without a key nothing in the store depends on the content in a way that can be tried out.
func TestAttack22Confirmation(t *testing.T) {
	var seen [2]map[[16]byte]bool
	for i := range seen {
		p := newPlace(t) // two stores, the same passphrase and file
		s := p.create(Params{BlockSize: 4096, Chunking: "fixed"})
		w := begin(t, s)
		putFile(t, w, "f", noise(9, 20_000))
		must(t, w.Flush(t.Context()))
		seen[i] = map[[16]byte]bool{}
		state, err := enemy.Take(t.Context(), p.b)
		must(t, err)
		for name, o := range state {
			if name == formatObject || strings.HasPrefix(name, "keys") || name == keysCopy {
				continue
			}
			j := 0
			if o.Mutable {
				j = 16 // a magic and a stamp
			}
			for ; j+16 <= len(o.Data); j++ {
				seen[i][[16]byte(o.Data[j:])] = true
			}
		}
	}
	for w := range seen[0] {
		if seen[1][w] && w != [16]byte{} {
			t.Fatalf("two stores of the same file have %x in common", w)
		}
	}
}
