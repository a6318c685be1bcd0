package keys

import (
	"context"
	"crypto/hkdf"
	"crypto/sha3"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// kdf is how an entry's passphrase is stretched: scrypt (RFC 7914) with N = 2^logN, r = 8, p = 1. The PBKDF2 within
// scrypt uses SHA-256, as the RFC says and as the original has it; all keys below it come from HKDF-SHA3-256.
type kdf struct{ logN uint8 }

// What an entry may ask for. 2^21 takes 2 GiB; less than 2^12 is no stretching at all.
const (
	minLogN = 12
	maxLogN = 21
)

// kdfFor is the cost for a passphrase, by its length in bytes (reference 7.1): a long one is a random key already.
func kdfFor(pass []byte) kdf {
	switch {
	case len(pass) < 64:
		return kdf{18}
	case len(pass) < 256:
		return kdf{14}
	}
	return kdf{12}
}

// String is the label in the key store.
func (k kdf) String() string { return "scrypt-" + strconv.Itoa(int(k.logN)) + "-8-1" }

// parseKDF accepts exactly the labels that String makes within the bounds, before anything is computed or allocated.
func parseKDF(label string) (kdf, error) {
	rest, scrypt := strings.CutPrefix(label, "scrypt-")
	text, ok := strings.CutSuffix(rest, "-8-1")
	n, err := strconv.ParseUint(text, 10, 8)
	if !scrypt || !ok || err != nil || n < minLogN || n > maxLogN || label != (kdf{uint8(n)}).String() {
		return kdf{}, fmt.Errorf("algorithm %q: %w, %w", label, ErrUnsupported, ErrTampered)
	}
	return kdf{uint8(n)}, nil
}

// key stretches a passphrase to 32 bytes. It returns at once when ctx ends; what was begun ends by itself.
func (k kdf) key(ctx context.Context, pass, salt []byte) ([]byte, error) {
	type result struct {
		key []byte
		err error
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	done := make(chan result, 1)
	pass = append([]byte(nil), pass...) // the caller may wipe its own while an abandoned scrypt still runs
	go func() {
		defer clear(pass)
		key, err := scrypt.Key(pass, salt, 1<<k.logN, 8, 1, 32)
		if ctx.Err() != nil {
			clear(key)
			err = ctx.Err()
		}
		done <- result{key, err}
	}()
	select {
	case r := <-done:
		return r.key, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// derive is HKDF-SHA3-256 (RFC 5869) without salt. Purpose and context are told apart by their lengths, so no two
// different lists give the same key.
func derive(secret []byte, purpose string, context ...[]byte) [32]byte {
	info := appendPart(nil, []byte(purpose))
	for _, c := range context {
		info = appendPart(info, c)
	}
	key, err := hkdf.Key(sha3.New256, secret, nil, string(info), 32)
	if err != nil {
		panic("keys: " + err.Error()) // only for a length beyond 255 hashes, or a secret below 14 bytes in FIPS mode
	}
	defer clear(key)
	return [32]byte(key)
}

// appendPart adds bytes with their length before them, in 4 bytes, big-endian.
func appendPart(to, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(to, uint32(len(part))), part...)
}
