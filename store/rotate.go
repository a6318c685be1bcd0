package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/index"
)

// Rotation is what Rotate needs besides the passphrase that the store was opened with, which must be in the group.
type Rotation struct {
	Group  string
	Root   *keys.Chain   // in group root; nil if the passphrase in use is
	Others []*keys.Chain // more keys of the group whose passphrases are at hand
	Report func(string)  // told of what a user should know; may be nil
}

// Rotate gives a group a new internal key, which all keys in the group get. What the heads of the group's roots, the list
// of roots and the index say is sealed and signed anew with it, and when all is, what older versions of the key signed
// does not count any more. Trees and the content of files stay as they are.
//
// Others may sync meanwhile. Each head is changed by Swap: whoever is about to commit with the old key is overtaken, reads
// the head, finds that it is signed with a key it does not know, and reads the key store. So from the moment in which a
// head was signed anew, nobody honest signs it with the old key.
//
// A rotation that was cut off at any point leaves a store in which both keys count, and the next one takes it up. Several
// may rotate at once. After an error that is not ctx's, another try is safe too.
func (s *Store) Rotate(ctx context.Context, r Rotation) error {
	if r.Report == nil {
		r.Report = func(string) {}
	}
	if err := s.EditKeys(ctx, func(f *keys.File) (*keys.File, error) {
		return f.Rotate(r.Group, s.Keys(), r.Root, r.Others...)
	}); err != nil {
		return err
	}
	g, err := s.group(r.Group)
	if err != nil {
		return err
	}
	f := &fence{s: s, group: g, report: r.Report}
	if err := f.put(ctx); err != nil {
		return fmt.Errorf("rotate group %q: %w; both the old and the new key count until ensync key rotate is run again", r.Group, err)
	}
	if err := s.EditKeys(ctx, func(f *keys.File) (*keys.File, error) {
		return f.Retire(r.Group, g.Epoch(), cmp.Or(r.Root, s.Keys()))
	}); err != nil {
		return fmt.Errorf("%w; both the old and the new key count until ensync key rotate is run again", err)
	}
	return f.hold(ctx)
}

// fence seals and signs with the new key of a group what the old one did.
type fence struct {
	s      *Store
	group  *keys.Group // the new version
	report func(string)
	heads  []signed // that the group signs
}

// signed is a head as it is with the new key.
type signed struct {
	root *Root
	raw  []byte
}

func (f *fence) put(ctx context.Context) error {
	name := f.group.Name()
	list, err := f.s.loadRoots(ctx, f.s.b.Load)
	if err != nil {
		return err
	}
	if name == keys.Everyone || name == keys.Root {
		if err := f.list(ctx); err != nil {
			return err
		}
	}
	err = f.s.everyRoot(ctx, list, func(r *Root) error {
		if name != keys.Everyone && name != r.info.Read && name != r.info.Write {
			return nil
		}
		return f.head(ctx, r)
	})
	if err != nil {
		return err
	}
	return f.index(ctx)
}

// list signs the list of roots anew.
func (f *fence) list(ctx context.Context) error {
	err := f.s.editList(ctx, func(*rootList) error { return nil })
	if errors.Is(err, ErrNoGroup) {
		f.report("the list of roots stays sealed as it is until a key in group root changes it")
		return nil
	}
	return err
}

// head seals and signs a head anew, as far as the passphrase is in the groups that this takes.
func (f *fence) head(ctx context.Context, r *Root) error {
	for range 16 {
		raw, version, err := f.s.b.Load(ctx, headObject(r.info.ID))
		if errors.Is(err, backend.ErrNotExist) {
			return f.removed(ctx, r)
		}
		if err != nil {
			return got(headObject(r.info.ID), err)
		}
		next, err := r.reseal(ctx, raw)
		if errors.Is(err, ErrNoGroup) {
			f.report(fmt.Sprintf("root %q stays sealed as it is until its next sync: the passphrase is not in group %s", r.info.Name, r.info.Write))
			return nil
		}
		if err == nil && next != nil {
			raw = next
			err = f.s.swap(ctx, headObject(r.info.ID), version, raw)
		}
		if errors.Is(err, ErrOvertaken) {
			continue
		}
		if err == nil && r.info.Write == f.group.Name() {
			f.heads = append(f.heads, signed{r, raw})
		}
		return err
	}
	return fmt.Errorf("%w 16 times; try again", ErrOvertaken)
}

// removed passes over a root that was removed since the list was read.
func (f *fence) removed(ctx context.Context, r *Root) error {
	list, err := f.s.loadRoots(ctx, f.s.b.Load)
	if err == nil && slices.ContainsFunc(list.roots, func(i RootInfo) bool { return i.ID == r.info.ID }) {
		err = missing(headObject(r.info.ID))
	}
	return err
}

// reseal returns a head as it is with the current keys of its groups; nil if it is so already. To sign is to vouch: it must
// be a state that this client may take for the newest. ErrNoGroup: it takes a key of the write group to change a head.
func (r *Root) reseal(ctx context.Context, raw []byte) ([]byte, error) {
	h, seals, err := r.parseOpenNow(ctx, raw)
	if err != nil {
		return nil, err
	}
	if r.s.opt.Memory != nil {
		if _, err := r.descends(ctx, h); err != nil {
			return nil, err
		}
	}
	everyone, write, err := r.signers()
	if err != nil {
		return nil, err
	}
	private := seals.private
	if read, ok := r.s.Keys().Group(r.info.Read); ok && sealEpoch(private) != read.Epoch() {
		if err := r.openState(&h, private); err != nil {
			return nil, err
		}
		if private, err = r.seal(h); err != nil {
			return nil, err
		}
	} else if seals.signer == write.Epoch() && sealEpoch(seals.open) == everyone.Epoch() {
		return nil, nil
	}
	return r.encode(h, private)
}

// index writes the index objects of the group, and those that this client may speak for, anew: what an old key signed is
// not believed any more, and would be read once by everybody before they rely on it. A merge does the same in the long run.
func (f *fence) index(ctx context.Context) error {
	if err := f.s.refreshIndex(ctx); err != nil {
		return err
	}
	author, err := f.s.author()
	if err != nil {
		return err
	}
	authors := []*keys.Group{f.group}
	if f.group.Name() == keys.Everyone && author.Name() != keys.Everyone {
		authors = append(authors, author)
	}
	for _, author := range authors {
		objects, err := f.s.index.By(ctx, author.Name())
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := f.s.rewriteIndex(ctx, o.Name, author.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewriteIndex puts what an index object tells into a new one, and deletes it. A store that lets nobody delete keeps both.
func (s *Store) rewriteIndex(ctx context.Context, name, author string) error {
	packs, err := s.index.Told(ctx, name)
	if err != nil || len(packs) == 0 {
		return err
	}
	if err := s.addIndex(ctx, packs, author); err != nil {
		return err
	}
	err = s.b.Delete(ctx, name)
	if errors.Is(err, backend.ErrDenied) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete index object %s: %w", name, err)
	}
	return s.index.Forget(ctx, name)
}

// addIndex writes an index object that tells of packs, here and in the store, signed with the author's key of now.
func (s *Store) addIndex(ctx context.Context, packs []index.Pack, author string) error {
	signer, err := s.group(author)
	if err != nil {
		return err
	}
	var random [16]byte
	if _, err := io.ReadFull(block.Random, random[:]); err != nil {
		return fmt.Errorf("random name: %w", err)
	}
	name := fmt.Sprintf("%s%x", indexPrefix, random)
	rec := index.Record{Author: author, Packs: packs}
	sealed, err := s.sealIndexRecord(name, rec, signer)
	if err != nil {
		return err
	}
	if err := putNew(ctx, s.b, name, sealed); err != nil {
		return err
	}
	return s.index.Add(ctx, name, int64(len(sealed)), rec)
}

// hold looks, when the old key does not count any more, whether every head is still one that counts. Nobody honest has
// signed one with the old key since it was signed with the new one: what someone who kept the old key made of it in the
// last moment is put back to what was signed then.
func (f *fence) hold(ctx context.Context) error {
	for _, h := range f.heads {
		if err := f.holdHead(ctx, h.root, h.raw); err != nil {
			return fmt.Errorf("root %q: %w", h.root.info.Name, err)
		}
	}
	return nil
}

func (f *fence) holdHead(ctx context.Context, r *Root, kept []byte) error {
	raw, version, err := f.s.b.Load(ctx, headObject(r.info.ID))
	if errors.Is(err, backend.ErrNotExist) {
		return f.removed(ctx, r)
	}
	if err != nil {
		return got(headObject(r.info.ID), err)
	}
	_, _, err = r.parseOpenNow(ctx, raw)
	if !errors.Is(err, errOtherKey) {
		return err
	}
	err = f.s.swap(ctx, headObject(r.info.ID), version, kept)
	if err == nil {
		f.report(fmt.Sprintf("root %q had been changed with the old key while it was rotated: put back the state from before that", r.info.Name))
	}
	return err
}
