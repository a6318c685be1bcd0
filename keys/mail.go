package keys

import "crypto/hpke"

// A mailbox is a key pair of an entry, whose private half comes from its passphrase. Whoever rotates a group's key seals
// the new version to the mailboxes of those in the group whose passphrases are not at hand. This is HPKE (RFC 9180), with
// ML-KEM-768 and X25519 together: what lies in a store for years must not open to a quantum computer of then. It says
// nothing of who sealed; root's signature of the whole key store does.
//
// It is used for as long as it has to be: with the passphrase at hand, what was mailed is wrapped like the rest.
const (
	mailboxSize = 1216                // bytes of a public key
	mailedSize  = 1120 + 32 + tagSize // bytes of an internal key, sealed to a mailbox
)

var mailKEM = hpke.MLKEM768X25519()

// mail seals one version of a group's key to the mailbox of an entry.
func (e *entry) mail(storeID [16]byte, g *Group) (wrap, error) {
	w := wrap{group: g.name, epoch: g.epoch}
	box, err := mailKEM.NewPublicKey(e.mailbox)
	if err != nil {
		return w, ErrTampered
	}
	key := g.secret()
	defer clear(key[:])
	place := (&entrySecret{name: e.name}).placeOfWrap(storeID, g.name, g.epoch)
	w.mailed, err = hpke.Seal(box, hpke.HKDFSHA256(), hpke.AES256GCM(), place, key[:])
	return w, err
}

// fetch opens what mail sealed at the same place. Whatever is wrong, the error is ErrTampered.
func (s *entrySecret) fetch(mailed, place []byte) ([]byte, error) {
	key, err := hpke.Open(s.mailbox, hpke.HKDFSHA256(), hpke.AES256GCM(), place, mailed)
	if err != nil {
		return nil, ErrTampered
	}
	return key, nil
}
