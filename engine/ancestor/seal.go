package ancestor

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha3"
	"errors"
	"hash"
)

// A sealer hides row keys and bodies, or leaves them as they are.
type sealer struct {
	aead    cipher.AEAD // nil: in clear
	nameKey []byte
}

func newSealer(key *[32]byte) sealer {
	if key == nil {
		return sealer{}
	}
	block, err := aes.NewCipher(subkey(key, "ancestor body"))
	if err != nil {
		panic("ancestor: " + err.Error()) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("ancestor: " + err.Error())
	}
	return sealer{aead: aead, nameKey: subkey(key, "ancestor name")}
}

func subkey(key *[32]byte, label string) []byte { return mac(key[:], label) }

func mac(key []byte, text string) []byte {
	h := hmac.New(func() hash.Hash { return sha3.New256() }, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// name returns the row key of a path.
func (s sealer) name(path string) []byte {
	if s.aead == nil {
		return []byte(path)
	}
	return mac(s.nameKey, path)
}

// seal binds a body to the path or name it stands under.
func (s sealer) seal(plain []byte, path string) []byte {
	if s.aead == nil {
		return plain
	}
	return s.aead.Seal(nil, nil, plain, []byte(path))
}

var errSeal = errors.New("does not open with this replica's key")

func (s sealer) open(body []byte, path string) ([]byte, error) {
	if s.aead == nil {
		return body, nil
	}
	plain, err := s.aead.Open(nil, nil, body, []byte(path))
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}
