package keys

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"crypto/subtle"
	"encoding/binary"
	"slices"
	"strings"
)

// Purposes of what is derived from a stretched passphrase; they and the associated data bind each seal to its place.
const (
	purposeCheck = "ensync/keys/1/check"
	purposeSeal  = "ensync/keys/1/seal"
	purposeMail  = "ensync/keys/2/mailbox"
	sealAnchor   = "anchor"
	sealWrap     = "wrap"
)

const (
	nonceSize = 12
	tagSize   = 16
)

// sealedKey is a group's internal key under AES-256-GCM with a fresh random nonce.
type sealedKey struct {
	nonce  [nonceSize]byte
	sealed [32 + tagSize]byte
}

// sealedAnchor is the store's id and root's verification key: what a passphrase vouches for.
type sealedAnchor struct {
	nonce  [nonceSize]byte
	sealed [16 + 32 + tagSize]byte
}

// entrySecret is what a passphrase amounts to for one entry of one store.
type entrySecret struct {
	name  string
	check [32]byte // stands in the key store; AES-GCM commits to no key, this does
	seal  [32]byte

	mailbox hpke.PrivateKey // opens what was sealed for this entry without its passphrase
}

// stretch computes the secret of an entry from a passphrase that may or may not be the entry's.
func (f *File) stretch(ctx context.Context, e *entry, pass []byte) (*entrySecret, error) {
	if len(pass) == 0 {
		return nil, ErrEmptyPassphrase
	}
	key, err := e.kdf.key(ctx, pass, e.salt[:])
	if err != nil {
		return nil, err
	}
	defer clear(key)
	name := []byte(e.name)
	s := &entrySecret{
		name:  e.name,
		check: derive(key, purposeCheck, f.origin[:], name),
		seal:  derive(key, purposeSeal, f.origin[:], name),
	}
	mail := derive(key, purposeMail, f.origin[:], name)
	defer clear(mail[:])
	s.mailbox, err = mailKEM.NewPrivateKey(mail[:])
	return s, err
}

// opens reports whether the secret is that of e, in constant time.
func (s *entrySecret) opens(e *entry) bool {
	return s.name == e.name && subtle.ConstantTimeCompare(s.check[:], e.check[:]) == 1
}

func (s *entrySecret) clone() *entrySecret {
	c := *s
	return &c
}

func (s *entrySecret) close() {
	clear(s.check[:])
	clear(s.seal[:])
	s.mailbox = nil // Go keeps its bytes to itself; they go with the next collection
}

func (s *entrySecret) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.seal[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// put seals plain into sealed under a fresh nonce.
func (s *entrySecret) put(nonce, sealed, plain, place []byte) error {
	aead, err := s.aead()
	if err != nil {
		return err
	}
	if err := fill(nonce); err != nil {
		return err
	}
	aead.Seal(sealed[:0], nonce, plain, place)
	return nil
}

// take opens what put sealed at the same place. Whatever is wrong, the error is ErrTampered.
func (s *entrySecret) take(nonce, sealed, place []byte) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce, sealed, place)
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// place is the associated data of a seal.
func (s *entrySecret) place(kind string, storeID [16]byte, more ...[]byte) []byte {
	b := appendPart(nil, []byte(kind))
	b = appendPart(b, storeID[:])
	b = appendPart(b, []byte(s.name))
	for _, m := range more {
		b = appendPart(b, m)
	}
	return b
}

func (s *entrySecret) sealAnchor(storeID [16]byte, rootKey [32]byte) (a sealedAnchor, err error) {
	plain := slices.Concat(storeID[:], rootKey[:])
	err = s.put(a.nonce[:], a.sealed[:], plain, s.place(sealAnchor, storeID))
	return a, err
}

// openAnchor checks that the passphrase vouches for this store, and returns the root key that it vouches for.
func (s *entrySecret) openAnchor(a *sealedAnchor, storeID [16]byte) (rootKey [32]byte, err error) {
	plain, err := s.take(a.nonce[:], a.sealed[:], s.place(sealAnchor, storeID))
	if err != nil {
		return rootKey, err
	}
	if subtle.ConstantTimeCompare(plain[:16], storeID[:]) != 1 {
		return rootKey, ErrTampered
	}
	return [32]byte(plain[16:]), nil
}

func (s *entrySecret) placeOfWrap(storeID [16]byte, group string, epoch uint32) []byte {
	return s.place(sealWrap, storeID, []byte(group), binary.BigEndian.AppendUint32(nil, epoch))
}

func (s *entrySecret) wrap(storeID [16]byte, g *Group) (wrap, error) {
	w := wrap{group: g.name, epoch: g.epoch}
	key := g.secret()
	defer clear(key[:])
	err := s.put(w.nonce[:], w.sealed[:], key[:], s.placeOfWrap(storeID, g.name, g.epoch))
	return w, err
}

// unwrap opens one group key, and checks it against the public key that root signed.
func (s *entrySecret) unwrap(storeID [16]byte, w *wrap, public publicKey) (*Group, error) {
	var key []byte
	var err error
	if w.mailed != nil {
		key, err = s.fetch(w.mailed, s.placeOfWrap(storeID, w.group, w.epoch))
	} else {
		key, err = s.take(w.nonce[:], w.sealed[:], s.placeOfWrap(storeID, w.group, w.epoch))
	}
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if len(key) != 32 || isZero(key) {
		return nil, ErrTampered
	}
	g := groupFrom(w.group, w.epoch, [32]byte(key))
	if subtle.ConstantTimeCompare(g.Public(), public.key[:]) != 1 {
		g.close()
		return nil, ErrTampered
	}
	return g, nil
}

// put adds or replaces a wrap. The entry's own slice is replaced, never changed: other versions of the file share it.
func (e *entry) put(w wrap) {
	wraps := slices.DeleteFunc(slices.Clone(e.wraps), func(o wrap) bool { return compareWraps(o, w) == 0 })
	e.wraps = append(wraps, w)
	slices.SortFunc(e.wraps, compareWraps)
}

// addWraps gives an entry all versions of the groups, newest and older.
func (e *entry) addWraps(s *entrySecret, storeID [16]byte, groups []*Group) error {
	for _, g := range groups {
		for _, version := range append(slices.Clone(g.older), g) {
			w, err := s.wrap(storeID, version)
			if err != nil {
				return err
			}
			e.put(w)
		}
	}
	return nil
}

func compareWraps(a, b wrap) int {
	if c := strings.Compare(a.group, b.group); c != 0 {
		return c
	}
	return int(int64(a.epoch) - int64(b.epoch))
}
