package keys

import (
	"crypto/subtle"
	"fmt"
)

// Pin is what a client remembers of a key store, so that an older or another one is noticed.
type Pin struct {
	StoreID [16]byte
	RootKey [32]byte // Ed25519 verification key of group root
	Version uint64
	Hash    [32]byte // File.Hash
}

// Pin returns what to remember of this file. It is worth something only once the file was unlocked or passed CheckPin.
func (f *File) Pin() Pin {
	return Pin{StoreID: f.storeID, RootKey: f.rootKey(), Version: f.version, Hash: f.Hash()}
}

// CheckPin checks that this file is the pinned one or a successor of it, without a passphrase.
//
// ErrForeign: of another store. ErrReplaced: of another root, or a history that parts from the pinned one.
// ErrTampered: not what root signed. ErrRollback: older than the pin.
func (f *File) CheckPin(p Pin) error {
	if err := f.checkPin(p); err != nil {
		return fmt.Errorf("key store version %d, known version %d: %w", f.version, p.Version, err)
	}
	return nil
}

func (f *File) checkPin(p Pin) error {
	if err := f.isOf(p.StoreID, p.RootKey); err != nil {
		return err
	}
	switch {
	case f.version < p.Version:
		return ErrRollback
	case f.version == p.Version && f.Hash() != p.Hash,
		f.version-p.Version == 1 && f.previous != p.Hash:
		return ErrReplaced
	}
	return nil
}

// isOf checks that root of that store signed the file.
func (f *File) isOf(storeID [16]byte, rootKey [32]byte) error {
	own := f.rootKey()
	switch {
	case f.storeID != storeID:
		return ErrForeign
	case subtle.ConstantTimeCompare(own[:], rootKey[:]) != 1:
		return ErrReplaced
	}
	return f.verify()
}
