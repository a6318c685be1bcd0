// Package keys is the key store: which passphrases open a store, and which groups each of them is in.
//
// A group is a random 32-byte internal key. Each passphrase is an entry ("key") of the key store, and has the internal
// keys of its groups wrapped under what scrypt makes of it. Group everyone contains every key; group root may
// change the key store, which it signs as a whole. Each entry seals the store's id and root's verification key, so that
// whoever knows one passphrase can authenticate everything else; whoever knows none can read names, groups and times.
//
// The package does no I/O but for reading passphrases (Source). A File never changes: each edit makes a new one,
// numbered one higher and naming its predecessor's hash. The bytes are described in docs/format-keys.md.
package keys

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha3"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The two groups that every store has.
const (
	Everyone = "everyone"
	Root     = "root"
)

// Bounds of a key store. A hostile store can make a client read and try no more than this.
const (
	MaxSize    = 4 << 20 // bytes of an encoded File
	MaxKeys    = 1024
	MaxGroups  = 1024
	MaxEpochs  = 256 // kept versions of one group's internal key
	MaxNameLen = 255 // bytes of the name of a key or group
)

// random is where salts, nonces and internal keys come from; only tests set it.
var random io.Reader = rand.Reader

// File is one version of a key store. It is immutable and safe for concurrent use.
type File struct {
	format     byte // of the bytes
	storeID    [16]byte
	origin     [16]byte // the id of the store that the entries were made in; storeID unless the store was re-keyed
	rootBase   uint32   // format 3: the version of root that the store began with; older ones vouch for it, and open nothing
	version    uint64
	previous   [32]byte      // Hash of version-1; zero in version 1
	groups     []group       // ascending by name
	succession []endorsement // of each version of root but the first, by the one before
	entries    []entry       // ascending by name
	signature  [ed25519.SignatureSize]byte
	encoded    []byte
}

// group is what the key store says in the open about a group.
type group struct {
	name   string
	public []publicKey // ascending by epoch; the last is the current one
	valid  uint32      // the oldest epoch whose signatures count
	left   uint32      // the newest epoch that a key has which is not in the group any more; 0: there is none
}

type publicKey struct {
	epoch uint32
	key   [ed25519.PublicKeySize]byte
}

// entry is one passphrase.
type entry struct {
	name    string
	created int64 // ns since 1970, at least 1
	changed int64 // ns since 1970; 0: never
	kdf     kdf
	salt    [32]byte
	check   [32]byte // derived from the stretched passphrase, which it commits to
	mailbox []byte   // public key that new versions of group keys can be sealed to; nil in entries of format 1
	anchor  sealedAnchor
	wraps   []wrap // ascending by group, then epoch
}

// wrap is one version of a group's internal key, sealed for one entry.
type wrap struct {
	group string
	epoch uint32
	sealedKey
	mailed []byte // sealed to the entry's mailbox instead, by one who did not have its passphrase; nil: it is not
}

// Create makes the key store of a new store, with one key in groups everyone and root, and unlocks it.
// It stretches the passphrase, which takes 1 to 2 s and 256 MiB for one of less than 64 bytes.
func Create(storeID [16]byte, keyName string, pass []byte, now time.Time) (*File, *Chain, error) {
	return CreateContext(context.Background(), storeID, keyName, pass, now)
}

// CreateContext is Create with a context.
func CreateContext(ctx context.Context, storeID [16]byte, keyName string, pass []byte, now time.Time) (*File, *Chain, error) {
	if isZero(storeID[:]) {
		return nil, nil, fmt.Errorf("create key store: store id is all zero; %w", ErrTampered)
	}
	if err := checkName(keyName); err != nil {
		return nil, nil, fmt.Errorf("create key %q: %w", keyName, err)
	}
	var internal []*Group
	defer func() { closeGroups(internal) }()
	f := &File{format: formatNow, storeID: storeID, origin: storeID, version: 1}
	for _, name := range []string{Everyone, Root} {
		g, err := newGroup(name)
		if err != nil {
			return nil, nil, err
		}
		internal = append(internal, g)
		f.groups = append(f.groups, g.record())
	}
	e, secret, err := f.newEntry(ctx, keyName, pass, internal)
	if err != nil {
		return nil, nil, fmt.Errorf("create key %q: %w", keyName, err)
	}
	defer secret.close()
	e.created = stamp(now)
	f.entries = []entry{e}
	if err := f.sign(internal[1]); err != nil {
		return nil, nil, err
	}
	chain, err := f.open(&f.entries[0], secret)
	return f, chain, err
}

// newEntry makes the entry of a passphrase in the given groups, created and changed left open.
func (f *File) newEntry(ctx context.Context, name string, pass []byte, groups []*Group) (entry, *entrySecret, error) {
	e := entry{name: name, kdf: kdfFor(pass)}
	if err := fill(e.salt[:]); err != nil {
		return entry{}, nil, err
	}
	secret, err := f.stretch(ctx, &e, pass)
	if err != nil {
		return entry{}, nil, err
	}
	e.check, e.mailbox = secret.check, secret.mailbox.PublicKey().Bytes()
	if e.anchor, err = secret.sealAnchor(f.origin, f.rootKey()); err == nil {
		err = e.addWraps(secret, f.origin, groups)
	}
	if err != nil {
		secret.close()
		return entry{}, nil, err
	}
	return e, secret, nil
}

// Encode returns the key store's bytes. The caller must not change them.
func (f *File) Encode() []byte { return f.encoded }

// StoreID returns the id of the store that this is the key store of.
func (f *File) StoreID() [16]byte { return f.storeID }

// Version counts the edits; the first version is 1.
func (f *File) Version() uint64 { return f.version }

// Hash returns the SHA3-256 of the encoded key store.
func (f *File) Hash() [32]byte { return sha3.Sum256(f.encoded) }

// Info is what a key store says in the open about one key. It is only authentic after an Unlock.
type Info struct {
	Name      string
	Groups    []string  // in order
	Algorithm string    // how the passphrase is stretched, as in "scrypt-18-8-1"
	Created   time.Time // local clock of who created it
	Changed   time.Time // zero: never
}

// List returns the keys in the order of their names. It needs no passphrase.
func (f *File) List() []Info {
	list := make([]Info, 0, len(f.entries))
	for _, e := range f.entries {
		i := Info{Name: e.name, Groups: e.groups(), Algorithm: e.kdf.String(), Created: time.Unix(0, e.created)}
		if e.changed != 0 {
			i.Changed = time.Unix(0, e.changed)
		}
		list = append(list, i)
	}
	return list
}

// groups returns the names of the groups that an entry is in, in order.
func (e *entry) groups() []string {
	var names []string
	for _, w := range e.wraps {
		if len(names) == 0 || names[len(names)-1] != w.group {
			names = append(names, w.group)
		}
	}
	return names
}

func (e *entry) in(group string) bool {
	return slices.ContainsFunc(e.wraps, func(w wrap) bool { return w.group == group })
}

// entry finds a key by name; nil if there is none.
func (f *File) entry(name string) *entry {
	i, ok := slices.BinarySearchFunc(f.entries, name, func(e entry, n string) int { return strings.Compare(e.name, n) })
	if !ok {
		return nil
	}
	return &f.entries[i]
}

// group finds a group by name; nil if there is none.
func (f *File) group(name string) *group {
	i, ok := slices.BinarySearchFunc(f.groups, name, func(g group, n string) int { return strings.Compare(g.name, n) })
	if !ok {
		return nil
	}
	return &f.groups[i]
}

// members counts the keys in a group.
func (f *File) members(group string) int {
	n := 0
	for i := range f.entries {
		if f.entries[i].in(group) {
			n++
		}
	}
	return n
}

// rootKey is the verification key that the file claims; only an entry's anchor proves it.
func (f *File) rootKey() [32]byte { return f.group(Root).current().key }

func (g *group) current() publicKey { return g.public[len(g.public)-1] }

// at returns the public key of one epoch.
func (g *group) at(epoch uint32) (publicKey, bool) {
	for _, p := range g.public {
		if p.epoch == epoch {
			return p, true
		}
	}
	return publicKey{}, false
}

// checkName keeps names printable: they come from the store, and a terminal shows them before anything is authenticated.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrBadName)
	case len(name) > MaxNameLen:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrBadName, MaxNameLen)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrBadName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: it has characters that can't be printed", ErrBadName)
	}
	return nil
}

// checkGroupName adds what a name needs to stand in a directory's ".ensync[r=GROUP]" (reference 6.10).
func checkGroupName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.ContainsAny(name, ",]/") {
		return fmt.Errorf("%w: a group's name has none of , ] /", ErrBadName)
	}
	return nil
}

// stamp is a time as the key store holds it; 0 is kept for "never".
func stamp(t time.Time) int64 {
	if t.Year() < 1970 || t.Year() > 2200 {
		return 1
	}
	return max(1, t.UnixNano())
}

func fill(b []byte) error {
	if _, err := io.ReadFull(random, b); err != nil {
		return fmt.Errorf("read random bytes: %w", err)
	}
	return nil
}

func isZero(b []byte) bool {
	var or byte
	for _, c := range b {
		or |= c
	}
	return or == 0
}
