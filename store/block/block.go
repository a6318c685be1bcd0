// Package block turns plaintext into named, sealed blocks and back.
//
// A block's key is a keyed hash of its plaintext; its id names it in indexes and opens nothing; its sealed form is
// compressed and encrypted under a key that only the block's key yields. Equal plaintext of one type under one MAC
// key has one key for every client of a store, whatever compression each of them uses.
package block

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha3"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/xof/k12"

	"ensync/store/object"
)

// Type says what a block's plaintext is. It is part of the hash and of the seal, so that no block can stand in for
// one of another type.
type Type struct {
	Kind  Kind
	Depth uint8 // of lists: levels above the data; else 0
}

// Kind is the kind of a block's plaintext.
type Kind uint8

// The kinds of blocks.
const (
	Data     Kind = 1 // a piece of a file
	DataList Kind = 2 // a list of blocks of a file
	Tree     Kind = 3 // a run of directory entries
	TreeList Kind = 4 // a list of blocks of a directory
	Commit   Kind = 5 // a commit record
)

// Valid reports whether t is a type that this version writes.
func (t Type) Valid() bool {
	switch t.Kind {
	case Data, Tree, Commit:
		return t.Depth == 0
	case DataList, TreeList:
		return t.Depth > 0 && t.Depth <= object.MaxDepth
	}
	return false
}

// String names the type for messages.
func (t Type) String() string {
	switch t.Kind {
	case Data:
		return "data block"
	case DataList:
		return "list of data blocks"
	case Tree:
		return "directory block"
	case TreeList:
		return "list of directory blocks"
	case Commit:
		return "commit"
	}
	return "unknown block"
}

// Overhead is how many bytes a sealed block is longer than its stored plaintext: flags, nonce and tag.
const Overhead = 1 + nonceSize + tagSize

const (
	nonceSize = 12
	tagSize   = 16
	rate      = 168 // of TurboSHAKE128; the MAC key fills one round, as in KMAC

	flagStored = 0
	flagZstd   = 1
)

// Random is where nonces come from.
var Random io.Reader = rand.Reader

// The ways in which opening fails. Neither releases any plaintext.
var (
	// ErrSeal says that the bytes are not what was sealed for this store, type and key.
	ErrSeal = errors.New("authentication failed")
	// ErrContent says that the seal holds but what is inside is not the content that the key names: whoever sealed
	// it knew the key and lied.
	ErrContent = errors.New("content does not match its key")
)

// MAC computes keys of blocks for one group.
type MAC struct {
	prefix [rate]byte
}

// NewMAC returns the MAC under a group's block MAC key.
func NewMAC(key [32]byte) *MAC {
	m := new(MAC)
	copy(m.prefix[:], key[:])
	return m
}

// Sum is KT128 (RFC 9861) of the MAC key, padded with zeros to 168 bytes, and the plaintext; the customization
// string binds the type. It may be called concurrently.
func (m *MAC) Sum(t Type, plain []byte) object.Key {
	h := k12.NewDraft10([]byte{'e', 'n', 's', 'y', 'n', 'c', ' ', 'b', 'l', 'o', 'c', 'k', ' ', '1', byte(t.Kind), t.Depth})
	var key object.Key
	h.Write(m.prefix[:])
	h.Write(plain)
	h.Read(key[:])
	return key
}

// Score is the first eight bytes of KT128 over the MAC key and p, under a customization string of its own: a keyed
// hash for decisions that must not show in sizes what p is.
func (m *MAC) Score(p []byte) uint64 {
	h := k12.NewDraft10([]byte("ensync cut 1"))
	var out [8]byte
	h.Write(m.prefix[:])
	h.Write(p)
	h.Read(out[:])
	return binary.BigEndian.Uint64(out[:])
}

// ID returns the name of the block that key opens: SHA3-256("id" ‖ key).
func ID(key object.Key) object.ID {
	return sha3.Sum256(append([]byte("id"), key[:]...))
}

// Sealer seals and opens blocks of one store. It may be used concurrently.
type Sealer struct {
	store [16]byte
	comp  *compressor
}

// NewSealer returns a sealer for the store with the given id, for at most workers calls at once.
func NewSealer(store [16]byte, level Level, workers int) (*Sealer, error) {
	c, err := newCompressor(level, workers)
	if err != nil {
		return nil, err
	}
	return &Sealer{store: store, comp: c}, nil
}

// Seal returns flags ‖ nonce ‖ AES-256-GCM(compressed plain). The nonce is random because the same plaintext can be
// compressed in many ways: under one key those are different messages.
func (s *Sealer) Seal(t Type, key object.Key, plain []byte) ([]byte, error) {
	body, flags := s.comp.compress(plain)
	aead, err := s.aead(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 1+nonceSize, Overhead+len(body))
	out[0] = flags
	if _, err := io.ReadFull(Random, out[1:]); err != nil {
		return nil, fmt.Errorf("random nonce: %w", err)
	}
	out = aead.Seal(out, out[1:1+nonceSize], body, s.binding(t, key, flags))
	if flags == flagZstd {
		s.comp.release(body)
	}
	return out, nil
}

// Open returns the plaintext of a sealed block, which is at most limit bytes. In this order: the seal is verified,
// the length is bounded, the content decompressed, and its MAC under mac compared with key.
func (s *Sealer) Open(t Type, mac *MAC, key object.Key, sealed []byte, limit int) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] > flagZstd {
		return nil, ErrSeal
	}
	aead, err := s.aead(key)
	if err != nil {
		return nil, err
	}
	nonce, body := sealed[1:1+nonceSize], sealed[1+nonceSize:]
	plain, err := aead.Open(nil, nonce, body, s.binding(t, key, sealed[0]))
	if err != nil {
		return nil, ErrSeal
	}
	if sealed[0] == flagZstd {
		if plain, err = s.comp.decompress(plain, limit); err != nil {
			return nil, err
		}
	}
	if len(plain) > limit {
		return nil, fmt.Errorf("%w: %d bytes where at most %d can be", ErrContent, len(plain), limit)
	}
	if got := mac.Sum(t, plain); subtle.ConstantTimeCompare(got[:], key[:]) != 1 {
		return nil, ErrContent
	}
	return plain, nil
}

func (s *Sealer) aead(key object.Key) (cipher.AEAD, error) {
	in := append([]byte("ensync block seal 1"), s.store[:]...)
	k := sha3.Sum256(append(in, key[:]...))
	c, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(c)
}

// binding is the associated data of a block's seal.
func (s *Sealer) binding(t Type, key object.Key, flags byte) []byte {
	id := ID(key)
	ad := append([]byte("ensync block 1"), s.store[:]...)
	ad = append(ad, id[:]...)
	return append(ad, byte(t.Kind), t.Depth, flags)
}
