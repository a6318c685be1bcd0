package worktree

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha3"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/chacha20poly1305"
)

// sealer seals the rows of the catalogue and derives the keys under which it finds them. Rows are sealed with
// XChaCha20-Poly1305 under a random nonce (24 bytes, so that any number of rows is safe), bound to table and key, and
// padded, so that neither a name nor its exact length shows.
type sealer struct {
	aead cipher.AEAD
	prf  [32]byte
}

var errSeal = errors.New("does not open with this replica's key: damaged, or of another replica")

func newSealer(key [32]byte) (*sealer, error) {
	sub, err := hkdf.Key(sha3.New256, key[:], nil, "ensync worktree catalogue rows", 32)
	if err != nil {
		return nil, fmt.Errorf("catalogue: derive key: %w", err)
	}
	prf, err := hkdf.Key(sha3.New256, key[:], nil, "ensync worktree catalogue names", 32)
	if err != nil {
		return nil, fmt.Errorf("catalogue: derive key: %w", err)
	}
	aead, err := chacha20poly1305.NewX(sub)
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	return &sealer{aead: aead, prf: [32]byte(prf)}, nil
}

const rowPad = 32

// seal returns the row for plain, in the place that ad says.
func (s *sealer) seal(plain, ad []byte) []byte {
	size := s.aead.NonceSize() + binary.MaxVarintLen32 + len(plain) + rowPad + s.aead.Overhead()
	out := make([]byte, s.aead.NonceSize(), size)
	rand.Read(out) // never fails
	p := binary.AppendUvarint(make([]byte, 0, len(plain)+rowPad+binary.MaxVarintLen32), uint64(len(plain)))
	p = append(p, plain...)
	if n := len(p) % rowPad; n > 0 {
		p = append(p, make([]byte, rowPad-n)...)
	}
	return s.aead.Seal(out, out, p, ad)
}

func (s *sealer) open(row, ad []byte) ([]byte, error) {
	if len(row) < s.aead.NonceSize() {
		return nil, errSeal
	}
	p, err := s.aead.Open(nil, row[:s.aead.NonceSize()], row[s.aead.NonceSize():], ad)
	if err != nil {
		return nil, errSeal
	}
	size, n := binary.Uvarint(p)
	if n <= 0 || size > uint64(len(p)-n) {
		return nil, errSeal
	}
	return p[n : n+int(size)], nil
}

// dirKey and nameKey are what the catalogue calls a directory and a name in it.
func (s *sealer) dirKey(dir Ino) []byte { return s.pseudonym('d', dir, "") }

func (s *sealer) nameKey(dir Ino, name string) []byte { return s.pseudonym('n', dir, name) }

func (s *sealer) pseudonym(kind byte, dir Ino, name string) []byte {
	h, err := blake2b.New(16, s.prf[:])
	if err != nil {
		panic(err) // only for a wrong size
	}
	b := make([]byte, 0, 9+len(name))
	b = binary.BigEndian.AppendUint64(append(b, kind), uint64(dir))
	h.Write(append(b, name...))
	return h.Sum(nil)
}

func rowAD(table byte, keys ...uint64) []byte {
	b := []byte{table}
	for _, k := range keys {
		b = binary.BigEndian.AppendUint64(b, k)
	}
	return b
}
