package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha3"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/internal/wire"
	"ensync/store/object"
)

const (
	rootsMagic = "ENSYNCR1"
	maxRoots   = 1 << 16
	maxHead    = 1 << 20
	maxListObj = 64 << 20
)

// RootInfo is what the list of roots tells of one root. All who have a passphrase of the store can read it.
type RootInfo struct {
	ID    [16]byte
	Name  string
	Mode  uint32 // of the directory; the low 12 bits of st_mode
	Read  string // the group whose members can read it
	Write string // the group whose members can change it
}

// rootList is the signed list of the roots that are live.
type rootList struct {
	version uint64
	roots   []RootInfo
	stamp   uint64 // epoch of the last collection that passed; not signed
	object  backend.Version
}

// Roots returns the roots of the store, sorted by name.
func (s *Store) Roots(ctx context.Context) ([]RootInfo, error) {
	l, err := s.knownRoots(ctx)
	if err != nil {
		return nil, err
	}
	return l.roots, nil
}

// Root returns the root of that name; ErrNoRoot if there is none.
func (s *Store) Root(ctx context.Context, name string) (*Root, error) {
	l, err := s.knownRoots(ctx)
	if err == nil && l.find(name) < 0 {
		l, err = s.loadRoots(ctx, s.b.Load) // absence must be as of now
	}
	if err != nil {
		return nil, err
	}
	i := l.find(name)
	if i < 0 {
		return nil, fmt.Errorf("root %q: %w; ensync mkdir creates it", name, ErrNoRoot)
	}
	return &Root{s: s, info: l.roots[i]}, nil
}

func (l *rootList) find(name string) int {
	return slices.IndexFunc(l.roots, func(r RootInfo) bool { return r.Name == name })
}

// CreateRoot makes an empty root. The name says which groups may read and write it (object.ParseGroups). It needs group root, and
// the write group. It is durable when it returns; a crash before that leaves nothing that shows.
func (s *Store) CreateRoot(ctx context.Context, name string, mode uint32) (*Root, error) {
	read, write, err := object.ParseGroups(name, keys.Everyone, keys.Root)
	if err != nil {
		return nil, err
	}
	if !object.ValidName(name) || mode&^0o7777 != 0 {
		return nil, fmt.Errorf("create root %q with mode %o: name or mode can't be used", name, mode)
	}
	r := &Root{s: s, info: RootInfo{Name: name, Mode: mode, Read: read, Write: write}}
	if _, err := rand.Read(r.info.ID[:]); err != nil {
		return nil, err
	}
	if l, err := s.loadRoots(ctx, s.b.Load); err != nil {
		return nil, err
	} else if l.find(name) >= 0 {
		return nil, fmt.Errorf("create root %q: %w", name, ErrRootExists)
	}
	if err := r.writeFirst(ctx); err != nil {
		return nil, err
	}
	err = s.editList(ctx, func(l *rootList) error {
		if l.find(name) >= 0 {
			return fmt.Errorf("create root %q: %w", name, ErrRootExists)
		}
		l.roots = append(l.roots, r.info)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// RemoveRoot takes a root out of the list, and then deletes its head. What it held becomes garbage. It needs group root.
func (s *Store) RemoveRoot(ctx context.Context, name string) error {
	var gone RootInfo
	err := s.editList(ctx, func(l *rootList) error {
		i := l.find(name)
		if i < 0 {
			return fmt.Errorf("remove root %q: %w", name, ErrNoRoot)
		}
		gone = l.roots[i]
		l.roots = slices.Delete(l.roots, i, i+1)
		return nil
	})
	if err != nil {
		return err
	}
	return s.b.Delete(ctx, headObject(gone.ID))
}

// editList changes the list of roots, again and again while other clients are faster.
func (s *Store) editList(ctx context.Context, edit func(*rootList) error) error {
	for range 16 {
		l, err := s.loadRoots(ctx, s.b.Load)
		if err != nil {
			return err
		}
		if err := edit(l); err != nil {
			return err
		}
		l.version++
		if err = s.writeList(ctx, l.object, l); !errors.Is(err, ErrOvertaken) {
			return err
		}
	}
	return fmt.Errorf("object %s: %w 16 times; try again", rootsObject, ErrOvertaken)
}

func (s *Store) writeList(ctx context.Context, old backend.Version, l *rootList) error {
	root, err := s.group(keys.Root)
	if err != nil {
		return err
	}
	everyone, err := s.group(keys.Everyone)
	if err != nil {
		return err
	}
	slices.SortFunc(l.roots, func(a, b RootInfo) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	sealed, err := s.seal(everyone, sealRoots, nil, l.encode(s.format.digest()))
	if err != nil {
		return err
	}
	body := append(bytes.Clone(s.format.id[:]), sealed...)
	out := binary.BigEndian.AppendUint64([]byte(rootsMagic), l.stamp)
	out = append(append(out, body...), root.Sign(listMessage(body))...)
	if err := s.swap(ctx, rootsObject, old, out); err != nil {
		return err
	}
	return s.sawList(l.version, body)
}

func listMessage(body []byte) []byte { return append([]byte("ensync roots 1\x00"), body...) }

func (l *rootList) encode(format [32]byte) []byte {
	b := binary.AppendUvarint(nil, l.version)
	b = append(b, format[:]...)
	b = binary.AppendUvarint(b, uint64(len(l.roots)))
	for _, r := range l.roots {
		b = append(b, r.ID[:]...)
		b = wire.AppendBytes(b, []byte(r.Name))
		b = binary.AppendUvarint(b, uint64(r.Mode))
		b = wire.AppendBytes(b, []byte(r.Read))
		b = wire.AppendBytes(b, []byte(r.Write))
	}
	return b
}

// parseRootList reads what encode wrote.
func parseRootList(b []byte) (*rootList, [32]byte, error) {
	var format [32]byte
	r := wire.NewReader(b)
	l := &rootList{version: r.Uvarint(1 << 62)}
	r.Copy(format[:])
	n := int(r.Uvarint(maxRoots))
	for i := 0; i < n && r.Err() == nil; i++ {
		var info RootInfo
		r.Copy(info.ID[:])
		info.Name = string(r.Bytes(255))
		info.Mode = uint32(r.Uvarint(0o7777))
		info.Read, info.Write = string(r.Bytes(255)), string(r.Bytes(255))
		if !object.ValidName(info.Name) || i > 0 && info.Name <= l.roots[i-1].Name {
			r.Fail("names of roots are not in order")
		}
		l.roots = append(l.roots, info)
	}
	return l, format, r.End()
}

// knownRoots is loadRoots with the answer to the early question, if there is one. What was created since that was asked,
// here or by another process of this client, makes the answer look like one from before; then it is asked for again.
func (s *Store) knownRoots(ctx context.Context) (*rootList, error) {
	l, err := s.loadRoots(ctx, s.early.load)
	if isWrong(err) {
		l, err = s.loadRoots(ctx, s.b.Load)
	}
	return l, err
}

// loadRoots reads the list of roots and checks it against what this client remembers.
func (s *Store) loadRoots(ctx context.Context, load loader) (*rootList, error) {
	var l *rootList
	var body []byte
	version, err := s.loadKeyed(ctx, load, rootsObject, func(raw []byte) (err error) {
		l, body, err = s.openList(raw)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.object = version
	return l, s.sawList(l.version, body)
}

func (s *Store) openList(raw []byte) (*rootList, []byte, error) {
	bad := func(err error) (*rootList, []byte, error) { return nil, nil, damaged(rootsObject, err) }
	r := wire.NewReader(raw)
	r.Magic(rootsMagic)
	stamp := r.Uint64()
	body := r.Take(r.Left() - ed25519.SignatureSize)
	sig := r.Rest()
	if r.Err() != nil || len(raw) > maxListObj || len(body) < 16 {
		return bad(errors.Join(r.Err(), errors.New("wrong length")))
	}
	if !bytes.Equal(body[:16], s.format.id[:]) {
		return nil, nil, &Fault{Kind: ErrForeign, Object: rootsObject, Next: "it was copied here from another store; put back the right one"}
	}
	if _, ok := s.Keys().Verify(keys.Root, listMessage(body), sig); !ok {
		return bad(fmt.Errorf("not signed by group root, or %w", errOtherKey))
	}
	everyone, err := s.group(keys.Everyone)
	if err != nil {
		return nil, nil, err
	}
	plain, err := s.unseal(everyone, sealRoots, nil, body[16:])
	if err != nil {
		return bad(err)
	}
	l, format, err := parseRootList(plain)
	if err != nil {
		return bad(err)
	}
	if format != s.format.digest() {
		return nil, nil, damaged(formatObject, errors.New("it is not the one that group root signed"))
	}
	l.stamp = stamp
	return l, body, nil
}

// sawList refuses a list of roots that is older than, or another than, what this client has seen. A list vouches for the
// format object: from the first one on, the store is remembered.
func (s *Store) sawList(version uint64, body []byte) error {
	mem := s.opt.Memory
	if mem == nil {
		return nil
	}
	hash := sha3.Sum256(body)
	seen := mem.list()
	if version < seen.Version || version == seen.Version && len(seen.Hash) > 0 && !bytes.Equal(hash[:], seen.Hash) {
		return &Fault{Kind: ErrRollback, Object: rootsObject,
			Cause: fmt.Errorf("version %d where this client has seen version %d", version, seen.Version),
			Next:  "nothing was changed; if the store was restored from a backup, run ensync store accept-rollback"}
	}
	s.keysMu.RLock()
	file := s.file
	s.keysMu.RUnlock()
	_, known := mem.known()
	if err := mem.sawStore(s.format, file); err != nil {
		return err
	}
	if !known && s.early.sawFormat {
		if err := mem.sawFormat(s.format); err != nil {
			return err
		}
	}
	return mem.sawList(version, hash)
}
