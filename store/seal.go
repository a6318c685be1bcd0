package store

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"ensync/keys"
	"ensync/store/block"
)

// The purposes of seals. Store id, purpose and context go into the key and into the associated data, so that nothing
// sealed can stand in for anything else.
const (
	sealTable  = "pack table" // context: name of the pack
	sealIndex  = "index"      // context: name of the index object
	sealHead   = "head"       // context: root id
	sealCommit = "commit"     // context: root id, sequence number
	sealRoots  = "roots"      // no context
)

// sealOverhead is how many bytes a seal adds: epoch, salt, tag.
const sealOverhead = 4 + saltSize + 16

const saltSize = 32

var errSeal = errors.New("authentication failed")

// seal returns epoch ‖ salt ‖ AES-256-GCM. The key comes from the group's internal key of that epoch and a random
// salt, and is used for this one message, so the nonce is zero and there is no limit to the number of seals.
func (s *Store) seal(g *keys.Group, purpose string, context, plain []byte) ([]byte, error) {
	out := binary.BigEndian.AppendUint32(make([]byte, 0, sealOverhead+len(plain)), g.Epoch())
	out = out[:4+saltSize]
	if _, err := io.ReadFull(block.Random, out[4:]); err != nil {
		return nil, fmt.Errorf("random salt: %w", err)
	}
	aead, ad, err := s.sealKey(g, purpose, context, out[4:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, make([]byte, aead.NonceSize()), plain, ad), nil
}

// unseal opens what seal made, also under an older version of the group's key.
func (s *Store) unseal(g *keys.Group, purpose string, context, sealed []byte) ([]byte, error) {
	if len(sealed) < sealOverhead {
		return nil, errSeal
	}
	epoch := sealEpoch(sealed)
	version, ok := g.At(epoch)
	if !ok {
		return nil, fmt.Errorf("%w: sealed under version %d of group %s: %w", errSeal, epoch, g.Name(), errOtherKey)
	}
	salt := sealed[4 : 4+saltSize]
	aead, ad, err := s.sealKey(version, purpose, context, salt)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed[4+saltSize:], ad)
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}

func (s *Store) sealKey(g *keys.Group, purpose string, context, salt []byte) (cipher.AEAD, []byte, error) {
	id := s.format.id
	key := g.Derive("ensync/store/1/seal", []byte(purpose), id[:], context, salt)
	defer clear(key[:])
	c, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(c)
	ad := append([]byte("ensync "+purpose+" 1\x00"), id[:]...)
	return aead, append(ad, context...), err
}

// sealEpoch returns which version of its group's key something was sealed under.
func sealEpoch(sealed []byte) uint32 {
	if len(sealed) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(sealed)
}

// mac returns the block MAC of a group. It always comes from the first version of the group's key: what a content is
// called must not change when the key is rotated.
func (s *Store) mac(g *keys.Group) (*block.MAC, error) {
	s.macMu.Lock()
	defer s.macMu.Unlock()
	if m := s.macs[g.Name()]; m != nil {
		return m, nil
	}
	first, ok := g.First()
	if !ok {
		return nil, fmt.Errorf("group %s: %w: the first version of its key is missing; associate the group with this key again",
			g.Name(), ErrNoGroup)
	}
	id := s.format.id
	m := block.NewMAC(first.Derive("ensync/store/1/block mac", id[:]))
	s.macs[g.Name()] = m
	return m, nil
}
