package keys

import (
	"bytes"
	"context"
	"crypto/sha3"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sheet is what opens a store when every passphrase and every machine is gone: it is printed, and kept under lock. It has
// the passphrase of a key of its own, which gets new group keys like any other and can be removed; and the keys of the
// groups as they were, from which the key store can be made anew if that is lost too.
type Sheet struct {
	StoreID [16]byte
	Address string // of the store, for whoever finds the sheet
	Key     string // name of its key
	Made    time.Time
	Pin     Pin    // of the key store with that key in it; as far as it was known then
	Format  []byte // the store's format object

	secret [sheetSecret]byte
	groups []sheetKey // ascending by name and epoch; everyone and root are among them
}

// sheetKey is one version of a group's internal key.
type sheetKey struct {
	group string
	epoch uint32
	key   [32]byte
}

const (
	sheetSecret  = 32
	sheetVersion = 1
	sheetLine    = 20 // bytes on a line: 32 characters
	sheetCheck   = 16 // bytes at the end, over everything
	maxSheet     = 64 << 10
	sheetTitle   = "ensync sheet 1"
)

// What is wrong with a sheet. A line is named, never shown.
var (
	ErrSheet      = errors.New("not a recovery sheet of ensync")
	ErrSheetMixed = errors.New("each line is whole, but they do not belong together: they are of several sheets, or lines are missing at the end")
)

// sheetLetters is Crockford's base 32, in which no two letters look alike.
var sheetLetters = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// Export adds a key for a recovery sheet, in all groups of the key of with, which must be in root, and returns the sheet.
func (f *File) Export(ctx context.Context, with *Chain, name string, now time.Time) (*File, *Sheet, error) {
	s := &Sheet{StoreID: f.storeID, Key: name, Made: now}
	if !with.InRoot() {
		return nil, nil, fmt.Errorf("export a recovery sheet: key %s: %w", quote(with.name), ErrNotRoot)
	}
	if err := fill(s.secret[:]); err != nil {
		return nil, nil, err
	}
	next, err := f.Add(ctx, with, name, s.Passphrase(), nil, now)
	if err != nil {
		return nil, nil, err
	}
	fresh, err := next.refresh(with)
	if err != nil {
		return nil, nil, err
	}
	defer fresh.Close()
	for _, g := range fresh.sorted() {
		for _, v := range append(slices.Clone(g.older), g) {
			s.groups = append(s.groups, sheetKey{v.name, v.epoch, v.secret()})
		}
	}
	s.Pin = next.Pin()
	return next, s, nil
}

// Passphrase returns the passphrase of the sheet's key. It is random and long, so it is hardly stretched.
func (s *Sheet) Passphrase() []byte {
	return bytes.Repeat([]byte(hex.EncodeToString(s.secret[:])), 4)
}

// Rebuild makes a key store anew, with one key, in the groups of the sheet. What was stored with a group key that is not on
// the sheet stays closed. All other keys are gone.
func (s *Sheet) Rebuild(ctx context.Context, name string, pass []byte, now time.Time) (*File, error) {
	fail := func(err error) (*File, error) { return nil, fmt.Errorf("make the key store anew: %w", err) }
	if err := checkName(name); err != nil {
		return fail(err)
	}
	f := &File{format: formatNow, storeID: s.StoreID, origin: s.StoreID, version: s.Pin.Version + 1, previous: s.Pin.Hash}
	var open []*Group // the current version of each, with the older ones
	defer func() { closeGroups(open) }()
	for _, k := range s.groups {
		g := groupFrom(k.group, k.epoch, k.key)
		if n := len(open); n > 0 && open[n-1].name == k.group {
			last := open[n-1]
			g.older, last.older = append(last.older, last), nil
			open[n-1] = g
		} else {
			open = append(open, g)
		}
	}
	for _, g := range open {
		record := g.record()
		record.public = nil
		for _, v := range append(slices.Clone(g.older), g) {
			record.public = append(record.public, publicKey{v.epoch, [32]byte(v.public)})
		}
		f.groups = append(f.groups, record)
	}
	i := slices.IndexFunc(open, func(g *Group) bool { return g.name == Root })
	if f.group(Everyone) == nil || i < 0 {
		return fail(ErrSheet)
	}
	roots := append(slices.Clone(open[i].older), open[i])
	d := &draft{File: f, signer: roots[0]}
	for _, next := range roots[1:] {
		if err := d.succeed(next); err != nil {
			return fail(err)
		}
	}
	e, secret, err := f.newEntry(ctx, name, pass, open)
	if err != nil {
		return fail(err)
	}
	secret.close()
	e.created = stamp(now)
	f.entries = []entry{e}
	if err := f.sign(open[i]); err != nil {
		return fail(err)
	}
	return f, nil
}

// Close wipes the sheet's secrets.
func (s *Sheet) Close() {
	clear(s.secret[:])
	for i := range s.groups {
		clear(s.groups[i].key[:])
	}
}

// Text is the sheet for print. Every line has a check of its own, so that a mistake in typing it names the line.
func (s *Sheet) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# ensync recovery sheet of %s\n# store %x at %s\n# key %s\n#\n"+
		"# Whoever has this opens the store. Keep it under lock, on paper. To use it: ensync key import.\n"+
		"# To make it void: ensync key rm --rotate %s\n#\n",
		s.Made.UTC().Format("2006-01-02"), s.StoreID, quote(s.Address), quote(s.Key), quote(s.Key))
	body := s.encode()
	defer clear(body)
	for n := 1; len(body) > 0; n++ {
		line := body[:min(sheetLine, len(body))]
		body = body[len(line):]
		text := sheetLetters.EncodeToString(line)
		fmt.Fprintf(&b, "%02d ", n)
		for len(text) > 0 {
			cut := min(8, len(text))
			fmt.Fprintf(&b, " %s", text[:cut])
			text = text[cut:]
		}
		fmt.Fprintf(&b, "  %s\n", lineCheck(n, line))
	}
	return b.String()
}

// lineCheck is four letters that a line with a mistake has by an accident of one in a million.
func lineCheck(n int, line []byte) string {
	sum := sha3.Sum256(appendPart(appendPart([]byte(sheetTitle), []byte(strconv.Itoa(n))), line))
	return sheetLetters.EncodeToString(sum[:3])[:4]
}

func (s *Sheet) encode() []byte {
	b := append([]byte{sheetVersion}, s.StoreID[:]...)
	b = append(b, s.secret[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Made.Unix()))
	b = binary.BigEndian.AppendUint64(b, s.Pin.Version)
	b = append(b, s.Pin.Hash[:]...)
	for _, part := range [][]byte{[]byte(s.Key), []byte(s.Address), s.Format} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.groups)))
	for _, g := range s.groups {
		b = appendText(b, g.group)
		b = binary.BigEndian.AppendUint32(b, g.epoch)
		b = append(b, g.key[:]...)
	}
	sum := sha3.Sum256(append([]byte(sheetTitle), b...))
	return append(b, sum[:sheetCheck]...)
}

// ParseSheet reads a sheet as it was typed or scanned: small letters, O for 0 and I or L for 1 are understood, as are lines in
// another order, empty ones, and those that begin with '#'.
func ParseSheet(text []byte) (*Sheet, error) {
	if len(text) > maxSheet {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrSheet, maxSheet)
	}
	lines := map[int][]byte{}
	for _, text := range strings.Split(string(text), "\n") {
		fields := strings.Fields(text)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil || n < 1 || n > maxSheet/sheetLine || len(fields) < 3 {
			return nil, fmt.Errorf("%w: a line does not begin with its number, letters and a check", ErrSheet)
		}
		line, err := parseLine(n, fields[1:])
		if err != nil {
			return nil, fmt.Errorf("line %02d of the recovery sheet: %w; compare it with the paper, letter by letter", n, err)
		}
		if lines[n] != nil && !bytes.Equal(lines[n], line) {
			return nil, fmt.Errorf("line %02d of the recovery sheet is there twice", n)
		}
		lines[n] = line
	}
	var body []byte
	for n := 1; n <= len(lines); n++ {
		if lines[n] == nil {
			return nil, fmt.Errorf("line %02d of the recovery sheet is missing", n)
		}
		body = append(body, lines[n]...)
	}
	defer clear(body)
	return decodeSheet(body)
}

func parseLine(n int, fields []string) ([]byte, error) {
	fix := strings.NewReplacer("O", "0", "I", "1", "L", "1", "-", "")
	check := fix.Replace(strings.ToUpper(fields[len(fields)-1]))
	text := fix.Replace(strings.ToUpper(strings.Join(fields[:len(fields)-1], "")))
	line, err := sheetLetters.DecodeString(text)
	if err != nil || len(line) > sheetLine || sheetLetters.EncodeToString(line) != text {
		return nil, errors.New("it has a letter too many, too few, or one that is not used here")
	}
	if subtle.ConstantTimeCompare([]byte(check), []byte(lineCheck(n, line))) != 1 {
		return nil, errors.New("it does not match its check, the last four letters")
	}
	return line, nil
}

func decodeSheet(b []byte) (*Sheet, error) {
	if len(b) < sheetCheck+1 {
		return nil, ErrSheet
	}
	body := b[:len(b)-sheetCheck]
	sum := sha3.Sum256(append([]byte(sheetTitle), body...))
	if subtle.ConstantTimeCompare(sum[:sheetCheck], b[len(body):]) != 1 {
		return nil, ErrSheetMixed
	}
	if body[0] != sheetVersion {
		return nil, fmt.Errorf("%w: version %d; update ensync", ErrSheet, body[0])
	}
	s := &Sheet{}
	r := &reader{rest: body[1:]}
	r.fill(s.StoreID[:])
	r.fill(s.secret[:])
	s.Made = time.Unix(int64(r.uint(8)), 0)
	s.Pin.Version = r.uint(8)
	r.fill(s.Pin.Hash[:])
	for _, part := range []*string{&s.Key, &s.Address} {
		*part = string(r.bytes(r.count(4096)))
	}
	s.Format = bytes.Clone(r.bytes(r.count(8192)))
	for i, n := 0, r.count(MaxGroups*4); r.more(i, n); i++ {
		k := sheetKey{group: r.text(), epoch: uint32(r.uint(4))}
		r.fill(k.key[:])
		s.groups = append(s.groups, k)
	}
	ordered := ascending(s.groups, func(a, b sheetKey) bool {
		return a.group < b.group || a.group == b.group && a.epoch < b.epoch
	})
	if r.err != nil || len(r.rest) != 0 || !ordered || checkName(s.Key) != nil || s.Pin.Version == 0 || s.Pin.Version > 1<<62 {
		return nil, ErrSheet
	}
	return s, s.pinRoot()
}

// pinRoot fills in root's public keys.
func (s *Sheet) pinRoot() error {
	s.Pin.StoreID = s.StoreID
	for _, k := range s.groups {
		if k.group != Root {
			continue
		}
		g := groupFrom(k.group, k.epoch, k.key)
		if s.Pin.RootKey != ([32]byte{}) {
			s.Pin.Former = append(s.Pin.Former, s.Pin.RootKey)
		}
		s.Pin.RootKey = [32]byte(g.public)
		g.close()
	}
	if s.Pin.RootKey == ([32]byte{}) {
		return ErrSheet
	}
	return nil
}
