package keys

import (
	"fmt"
	"slices"
)

// Pin is what a client remembers of a key store, so that an older or another one is noticed.
type Pin struct {
	StoreID [16]byte
	RootKey [32]byte // Ed25519 verification key of group root
	Version uint64
	Hash    [32]byte   // File.Hash
	Former  [][32]byte `json:",omitempty"` // root's keys before that one, so that an older file is known for what it is
}

// Pin returns what to remember of this file. It is worth something only once the file was unlocked or passed CheckPin.
func (f *File) Pin() Pin {
	p := Pin{StoreID: f.storeID, RootKey: f.rootKey(), Version: f.version, Hash: f.Hash()}
	root := f.group(Root).public
	for _, k := range root[:len(root)-1] {
		p.Former = append(p.Former, k.key)
	}
	return p
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
	if f.version < p.Version && f.storeID == p.StoreID && slices.Contains(p.Former, f.rootKey()) && f.verify() == nil {
		return ErrRollback
	}
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

// isOf checks that root of that store signed the file: the version of root that is known, or one that descends from it.
func (f *File) isOf(storeID [16]byte, rootKey [32]byte) error {
	switch {
	case f.storeID != storeID:
		return ErrForeign
	case !f.descendsFrom(rootKey):
		return ErrReplaced
	}
	return f.verify()
}
