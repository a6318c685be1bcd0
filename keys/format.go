package keys

import (
	"crypto"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
)

// magic begins every key store; the version of the format follows, in one byte.
const magic = "ensyncK"

// The versions of the format. In the first, entries have no mailbox, every signature counts, and root has one version.
const (
	formatFirst   = 1
	formatNow     = 2
	formatRekeyed = 3 // of a store that was re-keyed from another: entries are as they were made there
)

// maxWraps is how many wraps of one entry can be counted in 2 bytes.
const maxWraps = 1<<16 - 1

// signatureContext is the context of Ed25519ctx (RFC 8032, 5.1): what root signs elsewhere with the same key can't be
// passed off as a key store, nor the other way round.
const signatureContext = "ensync/keys/1"

var signatureOptions = &ed25519.Options{Hash: crypto.Hash(0), Context: signatureContext}

// sign seals the file with root's key. It is the last step of making a version.
func (f *File) sign(root *Group) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("write key store: %w", err)
	}
	body := f.appendBody(nil)
	if len(body)+len(f.signature) > MaxSize {
		return fmt.Errorf("write key store: more than %d bytes; %w", MaxSize, ErrTooMany)
	}
	signature, err := root.signKeyStore(body)
	if err != nil {
		return err
	}
	f.signature = [ed25519.SignatureSize]byte(signature)
	f.encoded = append(body, signature...)
	return f.verify()
}

// verify checks the signature against the root key that the file itself names.
func (f *File) verify() error {
	key := f.rootKey()
	body := f.encoded[:len(f.encoded)-len(f.signature)]
	if ed25519.VerifyWithOptions(key[:], body, f.signature[:], signatureOptions) != nil {
		return ErrTampered
	}
	return f.verifySuccession()
}

func (f *File) appendBody(b []byte) []byte {
	b = append(append(b, magic...), f.format)
	b = append(b, f.storeID[:]...)
	if f.format >= formatRekeyed {
		b = append(b, f.origin[:]...)
		b = binary.BigEndian.AppendUint32(b, f.rootBase)
	}
	b = binary.BigEndian.AppendUint64(b, f.version)
	b = append(b, f.previous[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.groups)))
	for _, g := range f.groups {
		b = appendText(b, g.name)
		if f.format > formatFirst {
			b = binary.BigEndian.AppendUint32(b, g.valid)
			b = binary.BigEndian.AppendUint32(b, g.left)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(g.public)))
		for _, p := range g.public {
			b = binary.BigEndian.AppendUint32(b, p.epoch)
			b = append(b, p.key[:]...)
		}
	}
	if f.format > formatFirst {
		b = binary.BigEndian.AppendUint16(b, uint16(len(f.succession)))
		for _, s := range f.succession {
			b = append(b, s[:]...)
		}
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.entries)))
	for i := range f.entries {
		b = f.entries[i].append(b, f.format)
	}
	return b
}

func (e *entry) append(b []byte, format byte) []byte {
	b = appendText(b, e.name)
	b = binary.BigEndian.AppendUint64(b, uint64(e.created))
	b = binary.BigEndian.AppendUint64(b, uint64(e.changed))
	b = appendText(b, e.kdf.String())
	b = append(b, e.salt[:]...)
	b = append(b, e.check[:]...)
	if format > formatFirst {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.mailbox)))
		b = append(b, e.mailbox...)
	}
	b = append(b, e.anchor.nonce[:]...)
	b = append(b, e.anchor.sealed[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.wraps)))
	for _, w := range e.wraps {
		b = appendText(b, w.group)
		b = binary.BigEndian.AppendUint32(b, w.epoch)
		if format > formatFirst {
			b = binary.BigEndian.AppendUint16(b, uint16(len(w.mailed)))
		}
		if w.mailed != nil {
			b = append(b, w.mailed...)
			continue
		}
		b = append(b, w.nonce[:]...)
		b = append(b, w.sealed[:]...)
	}
	return b
}

func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// Parse reads a key store. It checks structure and bounds only: nothing in the result is authentic before Unlock or
// CheckPin says so. Everything that is wrong is ErrTampered.
func Parse(b []byte) (*File, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("read key store: %d bytes are too many: %w", len(b), ErrTampered)
	}
	if len(b) < len(magic)+1+ed25519.SignatureSize || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("read key store: %w", ErrTampered)
	}
	format := b[len(magic)]
	if format < formatFirst || format > formatRekeyed {
		return nil, fmt.Errorf("read key store: format %d: %w, %w", format, ErrUnsupported, ErrTampered)
	}
	f := &File{format: format, encoded: append([]byte(nil), b...)}
	body := f.encoded[:len(b)-ed25519.SignatureSize]
	copy(f.signature[:], f.encoded[len(body):])
	r := &reader{format: format, rest: body[len(magic)+1:]}
	r.file(f)
	if r.err == nil && len(r.rest) != 0 {
		r.fail()
	}
	if r.err == nil {
		r.err = f.check()
	}
	if r.err != nil {
		return nil, fmt.Errorf("read key store: %w", r.err)
	}
	return f, nil
}

// reader takes fields off the front; after the first error everything is zero.
type reader struct {
	format byte
	rest   []byte
	err    error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = ErrTampered
	}
	r.rest = nil
}

// bytes takes n bytes, without copying; nil if there are fewer.
func (r *reader) bytes(n int) []byte {
	if len(r.rest) < n {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) fill(to []byte) { copy(to, r.bytes(len(to))) }

func (r *reader) uint(size int) (n uint64) {
	for _, b := range r.bytes(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

// count takes the length of a list and refuses one beyond most.
func (r *reader) count(most int) int {
	n := int(r.uint(2))
	if n > most {
		r.fail()
		return 0
	}
	return n
}

// either takes a field of 2 bytes of length that has size bytes, or none: nil.
func (r *reader) either(size int) []byte {
	n := r.count(size)
	if n != 0 && n != size {
		r.fail()
	}
	if n == 0 || r.err != nil {
		return nil
	}
	return r.bytes(size)
}

func (r *reader) text() string { return string(r.bytes(int(r.uint(1)))) }

// more reports whether element i of a list of n is to be read.
func (r *reader) more(i, n int) bool { return i < n && r.err == nil }

func (r *reader) file(f *File) {
	r.fill(f.storeID[:])
	f.origin = f.storeID
	if r.format >= formatRekeyed {
		r.fill(f.origin[:])
		f.rootBase = uint32(r.uint(4))
	}
	f.version = r.uint(8)
	r.fill(f.previous[:])
	for i, n := 0, r.count(MaxGroups); r.more(i, n); i++ {
		f.groups = append(f.groups, r.group())
	}
	if r.format > formatFirst {
		for i, n := 0, r.count(MaxEpochs-1); r.more(i, n); i++ {
			var s endorsement
			r.fill(s[:])
			f.succession = append(f.succession, s)
		}
	}
	for i, n := 0, r.count(MaxKeys); r.more(i, n); i++ {
		f.entries = append(f.entries, r.entry())
	}
}

func (r *reader) group() (g group) {
	g.name = r.text()
	if r.format > formatFirst {
		g.valid, g.left = uint32(r.uint(4)), uint32(r.uint(4))
	}
	for i, n := 0, r.count(MaxEpochs); r.more(i, n); i++ {
		var p publicKey
		p.epoch = uint32(r.uint(4))
		r.fill(p.key[:])
		g.public = append(g.public, p)
	}
	if r.format == formatFirst && len(g.public) > 0 {
		g.valid = g.public[0].epoch
	}
	return g
}

func (r *reader) entry() (e entry) {
	e.name = r.text()
	e.created = int64(r.uint(8))
	e.changed = int64(r.uint(8))
	var err error
	if e.kdf, err = parseKDF(r.text()); err != nil && r.err == nil {
		r.err = err
	}
	r.fill(e.salt[:])
	r.fill(e.check[:])
	if r.format > formatFirst {
		e.mailbox = r.either(mailboxSize)
	}
	r.fill(e.anchor.nonce[:])
	r.fill(e.anchor.sealed[:])
	for i, n := 0, r.count(maxWraps); r.more(i, n); i++ {
		var w wrap
		w.group = r.text()
		w.epoch = uint32(r.uint(4))
		if r.format > formatFirst {
			w.mailed = r.either(mailedSize)
		}
		if w.mailed == nil {
			r.fill(w.nonce[:])
			r.fill(w.sealed[:])
		}
		e.wraps = append(e.wraps, w)
	}
	return e
}
