package keys

import (
	"crypto/ed25519"
	"sync"
)

// Purposes of what is derived from a group's internal key.
const (
	purposeSign   = "ensync/group/1/sign"
	purposeDerive = "ensync/group/1/derive"
)

// Group is one version of an unlocked group: its internal key, and what comes of it. Safe for concurrent use.
// Using its secrets after its chain was closed panics; names, epochs and public keys stay readable.
type Group struct {
	name   string
	epoch  uint32
	older  []*Group // ascending by epoch; only the current version has them
	first  uint32   // the version that the store began with
	public ed25519.PublicKey

	mu      sync.RWMutex
	closed  bool
	key     [32]byte
	signing ed25519.PrivateKey
}

// newGroup makes a group with a random internal key, at epoch 1.
func newGroup(name string) (*Group, error) { return newVersion(name, 1) }

// newVersion makes a version of a group with a random internal key.
func newVersion(name string, epoch uint32) (*Group, error) {
	var key [32]byte
	defer clear(key[:])
	if err := fill(key[:]); err != nil {
		return nil, err
	}
	return groupFrom(name, epoch, key), nil
}

func groupFrom(name string, epoch uint32, key [32]byte) *Group {
	seed := derive(key[:], purposeSign)
	defer clear(seed[:])
	g := &Group{name: name, epoch: epoch, first: epoch, key: key, signing: ed25519.NewKeyFromSeed(seed[:])}
	g.public = append(ed25519.PublicKey(nil), g.signing[32:]...)
	return g
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Epoch returns the version of the internal key; the first is 1.
func (g *Group) Epoch() uint32 { return g.epoch }

// At returns an older version of the group, or g itself; false if the chain does not have that version.
func (g *Group) At(epoch uint32) (*Group, bool) {
	if epoch == g.epoch {
		return g, true
	}
	for _, o := range g.older {
		if o.epoch == epoch {
			return o, true
		}
	}
	return nil, false
}

// First returns the version that the group began with in this store; false if the chain does not have it.
func (g *Group) First() (*Group, bool) { return g.At(g.first) }

// Public returns the key that verifies what this version of the group signs. The caller must not change it.
func (g *Group) Public() ed25519.PublicKey { return g.public }

// Derive returns a sub-key of the internal key: HKDF-SHA3-256 of label and context, each with its length. Every purpose
// has its own label. The same arguments give the same key on all clients.
func (g *Group) Derive(label string, context ...[]byte) [32]byte {
	key := g.secret()
	defer clear(key[:])
	return derive(key[:], purposeDerive, append([][]byte{[]byte(label)}, context...)...)
}

// Sign signs a message as the group: plain Ed25519 (RFC 8032), for ed25519.Verify with the group's public key. The
// message must begin with something that says what it is. It can never pass for the signature of a key store.
func (g *Group) Sign(message []byte) []byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.mustBeOpen()
	return ed25519.Sign(g.signing, message)
}

func (g *Group) signKeyStore(body []byte) ([]byte, error) { return g.signWith(body, signatureOptions) }

// signWith signs what root alone signs, each under a context of its own.
func (g *Group) signWith(message []byte, options *ed25519.Options) ([]byte, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.mustBeOpen()
	return g.signing.Sign(nil, message, options)
}

func (g *Group) secret() [32]byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.mustBeOpen()
	return g.key
}

// mustBeOpen keeps a wiped key from being used as if it were one.
func (g *Group) mustBeOpen() {
	if g.closed {
		panic("keys: group " + g.name + " used after its chain was closed")
	}
}

func (g *Group) close() {
	for _, o := range g.older {
		o.close()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	clear(g.key[:])
	clear(g.signing)
}

func closeGroups(groups []*Group) {
	for _, g := range groups {
		g.close()
	}
}

// record is what the key store says in the open about a new group.
func (g *Group) record() group {
	return group{name: g.name, valid: g.epoch, public: []publicKey{{epoch: g.epoch, key: [32]byte(g.public)}}}
}
