package session

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"

	"ensync/keys"
)

// sealedKeySize is how long the file of a replica is whose key comes from elsewhere.
const sealedKeySize = replicaIDSize + 4 + 12 + 32 + 16

// sealKey returns id ‖ epoch ‖ AES-256-GCM of key, under a key that comes from the group and id.
func sealKey(group *keys.Group, id []byte, key [32]byte) ([]byte, error) {
	head := binary.BigEndian.AppendUint32(append([]byte{}, id...), group.Epoch())
	aead, err := keySeal(group, id)
	if err != nil {
		return nil, err
	}
	return append(head, aead.Seal(nil, nil, key[:], head)...), nil
}

// openKey opens what sealKey made with this version of the group.
func openKey(group *keys.Group, sealed []byte) (key [32]byte, err error) {
	aead, err := keySeal(group, sealed[:replicaIDSize])
	if err != nil {
		return key, err
	}
	head := sealed[:replicaIDSize+4]
	plain, err := aead.Open(nil, nil, sealed[len(head):], head)
	if err != nil || len(plain) != len(key) {
		return key, errors.New("the key of the mount's state does not open: it is damaged, or of another store")
	}
	return [32]byte(plain), nil
}

func keySeal(group *keys.Group, id []byte) (cipher.AEAD, error) {
	under := group.Derive("replica seal", id)
	defer clear(under[:])
	c, err := aes.NewCipher(under[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(c)
}
