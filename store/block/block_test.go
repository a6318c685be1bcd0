package block

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"runtime"
	"testing"

	"github.com/cloudflare/circl/xof/k12"
	"github.com/klauspost/compress/zstd"

	"ensync/store/object"
)

func sealer(t testing.TB, level Level) *Sealer {
	s, err := NewSealer([16]byte{1}, level, 2)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestKT128 checks the library against RFC 9861, section 5: empty message, and 17 bytes, no customization.
func TestKT128(t *testing.T) {
	ptn := make([]byte, 17)
	for i := range ptn {
		ptn[i] = byte(i)
	}
	for want, msg := range map[string][]byte{
		"1ac2d450fc3b4205d19da7bfca1b37513c0803577ac7167f06fe2ce1f0ef39e5": nil,
		"6bf75fa2239198db4772e36478f8e19b0f371205f6a9a93a273f51df37122888": ptn,
	} {
		out := make([]byte, 32)
		k12.Draft10Sum(out, msg, nil)
		if hex.EncodeToString(out) != want {
			t.Errorf("KT128 of %x is %x", msg, out)
		}
	}
}

func TestSealAndOpen(t *testing.T) {
	mac := NewMAC([32]byte{5})
	typ := Type{Kind: Data}
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("abc "), 30000), make([]byte, 4<<20)} {
		key := mac.Sum(typ, plain)
		for level := None; level <= Best; level++ {
			s := sealer(t, level)
			a, err := s.Seal(typ, key, plain)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := s.Seal(typ, key, plain)
			if bytes.Equal(a, b) {
				t.Fatal("a nonce came twice")
			}
			got, err := sealer(t, None).Open(typ, mac, key, a, len(plain))
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("level %d, %d bytes: %v", level, len(plain), err)
			}
			if level > None && len(plain) > 1000 && len(a) > len(plain)/10 {
				t.Errorf("level %d: %d bytes became %d", level, len(plain), len(a))
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	mac, typ, plain := NewMAC([32]byte{5}), Type{Kind: Data}, bytes.Repeat([]byte("content "), 100)
	key := mac.Sum(typ, plain)
	s := sealer(t, Fast)
	sealed, _ := s.Seal(typ, key, plain)
	other, _ := NewSealer([16]byte{2}, Fast, 1)
	for what, try := range map[string]func() ([]byte, error){
		"other type":  func() ([]byte, error) { return s.Open(Type{Kind: Tree}, mac, key, sealed, 1<<20) },
		"other depth": func() ([]byte, error) { return s.Open(Type{Kind: Data, Depth: 1}, mac, key, sealed, 1<<20) },
		"other store": func() ([]byte, error) { return other.Open(typ, mac, key, sealed, 1<<20) },
		"other key":   func() ([]byte, error) { return s.Open(typ, mac, object.Key{1}, sealed, 1<<20) },
		"other group": func() ([]byte, error) { return s.Open(typ, NewMAC([32]byte{6}), key, sealed, 1<<20) },
		"too long":    func() ([]byte, error) { return s.Open(typ, mac, key, sealed, len(plain)-1) },
		"nothing":     func() ([]byte, error) { return s.Open(typ, mac, key, nil, 1<<20) },
		"cut":         func() ([]byte, error) { return s.Open(typ, mac, key, sealed[:len(sealed)-1], 1<<20) },
	} {
		if b, err := try(); b != nil || !errors.Is(err, ErrSeal) && !errors.Is(err, ErrContent) {
			t.Errorf("%s: %d bytes, %v", what, len(b), err)
		}
	}
}

// TestAttack25Bombs: an insider can seal anything under a key; what it unpacks to is bounded, in memory too, and never passed on.
func TestAttack25Bombs(t *testing.T) {
	mac, typ := NewMAC([32]byte{5}), Type{Kind: Data}
	enc, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	frame := enc.EncodeAll(make([]byte, 256<<20), nil)
	// A window of 2 GiB, which a frame may ask for in its header, and one block that repeats a byte.
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x03, 0xff, 0xff, 0}
	// A content of 2^62 bytes, says the header.
	content := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x03, 0xff, 0xff, 0)
	s := sealer(t, Fast)
	key := object.Key{9}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, frame := range [][]byte{frame, window, content, {}, frame[:10]} {
		for _, claim := range []uint64{1 << 63, 1 << 62, 256 << 20, 4 << 20, 1 << 20, 10, 0} {
			body := append(binary.AppendUvarint(nil, claim), frame...)
			aead, _ := s.aead(key)
			out := make([]byte, 1+nonceSize)
			out[0] = flagZstd
			out = aead.Seal(out, out[1:], body, s.binding(typ, key, flagZstd))
			if b, err := s.Open(typ, mac, key, out, 4<<20); b != nil || !errors.Is(err, ErrContent) {
				t.Errorf("claim of %d: %d bytes, %v", claim, len(b), err)
			}
		}
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 256<<20 {
		t.Errorf("%d MiB were allocated", (after.TotalAlloc-before.TotalAlloc)>>20)
	}
}

func FuzzOpen(f *testing.F) {
	mac, typ, plain := NewMAC([32]byte{5}), Type{Kind: Data}, bytes.Repeat([]byte("content "), 100)
	key := mac.Sum(typ, plain)
	s := sealer(f, Fast)
	sealed, _ := s.Seal(typ, key, plain)
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := s.Open(typ, mac, key, b, 4096); err == nil && !bytes.Equal(got, plain) {
			t.Error("other content under the key")
		}
	})
}

func FuzzDecompress(f *testing.F) {
	s := sealer(f, Fast)
	out, _ := s.comp.compress(bytes.Repeat([]byte("content "), 100))
	f.Add(bytes.Clone(out))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := s.comp.decompress(b, 4096); err == nil && len(got) > 4096 {
			t.Errorf("%d bytes", len(got))
		}
	})
}
