package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/object"
)

// rekeyMarkText begins the object copyMark of a place where a store is being re-keyed to. The id of the store that it comes
// from follows, in hexadecimal and with a newline, and then all bytes of the format that the new store will have.
const rekeyMarkText = "An unfinished ensync store. Run ensync store rekey again to finish it, or remove everything here.\n"

// Rekeying is what Rekey needs besides the store, which must be open with a key in group root.
type Rekeying struct {
	Others []*keys.Chain // more keys whose passphrases are at hand
	Report func(RekeyProgress)
	Begin  func(left []string) // told, before anything is written, which keys are left out; may be nil
}

// RekeyProgress says how far a re-keying is.
type RekeyProgress struct {
	Files, TotalFiles int
	Bytes, TotalBytes int64 // of content
}

// Rekey makes a new store in an empty place, with a new id and new keys for all groups, and stores there anew what the newest
// commit of each root of s has, or goes on with that where it was cut short. Keys of s open nothing in it. All entries of the
// key store are taken along but those that have no mailbox and no passphrase at hand; the history is not.
//
// Whoever is not in the read and the write group of each root is refused with ErrNoGroup, before anything is written. The
// format comes last: until then the place is no store, and every client that looks there is told why. Others may sync with
// s meanwhile; what they commit after a root was looked at is not in the new store.
//
// Errors: ErrExists if anything but an unfinished re-keying of this store lies there, also one from before its keys were
// edited.
func (s *Store) Rekey(ctx context.Context, to backend.Backend, with Rekeying) error {
	r := &rekeying{from: s, b: to, with: with}
	if r.with.Report == nil {
		r.with.Report = func(RekeyProgress) {}
	}
	if _, err := s.refreshKeys(ctx); err != nil {
		return err
	}
	if err := r.rootIsOurs(); err != nil {
		return err
	}
	if err := r.survey(ctx); err != nil {
		return err
	}
	if err := r.claim(ctx); err != nil {
		return err
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	return errors.Join(r.write(ctx), r.to.Close())
}

type rekeying struct {
	from *Store
	to   *Store
	b    backend.Backend
	with Rekeying

	listed []RootInfo
	roots  []rekeyRoot // those that directories name before those that these are in
	format *format     // of the new store
	file   *keys.File
	chain  *keys.Chain
	tally  tally
}

// rekeyRoot is a root as it is stored anew.
type rekeyRoot struct {
	root *Root
	head Head
}

// rootIsOurs refuses while somebody who left group root has its key of now: they could begin a re-keying to keys of their own
// at the place, and endorse it.
func (r *rekeying) rootIsOurs() error {
	for _, g := range r.from.file.GroupList() {
		if g.Name == keys.Root && (g.Left || g.Rotating) {
			return fmt.Errorf("re-key %s: a key that is not in group %s any more may have kept its key, and could forge the new store; "+
				"nothing was written; run ensync key rotate %s first", r.from.Location(), keys.Root, keys.Root)
		}
	}
	return nil
}

// survey finds all roots, refuses who can't read or sign one of them, and adds up what there is to do.
func (r *rekeying) survey(ctx context.Context) error {
	list, err := r.from.loadRoots(ctx, r.from.b.Load)
	if err != nil {
		return err
	}
	r.listed = list.roots
	var refused []string
	for _, info := range list.roots {
		if err := r.surveyRoot(ctx, &Root{s: r.from, info: info}, &refused); err != nil {
			return fmt.Errorf("root %q: %w", info.Name, err)
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("re-key %s: %w, which it takes to store these anew: %s; nothing was written; use a passphrase that is "+
			"in these groups, or ensync key group assoc", r.from.Location(), ErrNoGroup, strings.Join(refused, ", "))
	}
	return nil
}

func (r *rekeying) surveyRoot(ctx context.Context, root *Root, refused *[]string) error {
	lacks := ""
	for _, group := range []string{root.info.Read, root.info.Write} {
		if r.from.Member(group) != nil {
			lacks = group
		}
	}
	if lacks != "" {
		*refused = append(*refused, fmt.Sprintf("%q (group %s)", root.info.Name, lacks))
		return nil
	}
	h, err := root.Head(ctx)
	if err != nil {
		return err
	}
	if !h.Tree.IsZero() {
		if err := r.surveyTree(ctx, root, h.Tree, refused); err != nil {
			return err
		}
	}
	r.roots = append(r.roots, rekeyRoot{root, h})
	return nil
}

func (r *rekeying) surveyTree(ctx context.Context, root *Root, t object.Tree, refused *[]string) error {
	return walkTree(ctx, root, t, func(e object.Entry) error {
		if e.Kind == object.File {
			r.tally.TotalFiles++
			r.tally.TotalBytes += e.Content.Size
			return nil
		}
		below, err := root.below(e)
		if err != nil {
			return err
		}
		return r.surveyRoot(ctx, below, refused)
	})
}

func (r *rekeying) mark() []byte {
	return append(fmt.Appendf([]byte(rekeyMarkText), "%x\n", r.from.format.id), r.format.encoded...)
}

// claim marks the place as that of a re-keying of this store, or takes up the one that was begun there.
func (r *rekeying) claim(ctx context.Context) error {
	mark, err := unfinished(ctx, r.b)
	if err != nil {
		return err
	}
	if mark == nil {
		return r.claimEmpty(ctx)
	}
	rest, ok := bytes.CutPrefix(mark, fmt.Appendf([]byte(rekeyMarkText), "%x\n", r.from.format.id))
	if !ok {
		return rekeyRefused(copyMark, "something else was begun there")
	}
	if r.format, err = parseFormat(rest); err != nil {
		return rekeyRefused(copyMark, "what was begun there can't be read")
	}
	return r.resumeKeys(ctx)
}

const keysEdited = "the keys of the store were edited since the re-keying was begun there"

const wholeRekeyed = "the re-keyed store there is whole; ensync store move changes over to it"

func rekeyRefused(object, why string) error {
	return &Fault{Kind: ErrExists, Object: object, Cause: errors.New(why), Next: "choose an empty place"}
}

func (r *rekeying) claimEmpty(ctx context.Context) error {
	name, err := anyObject(ctx, r.b)
	if err != nil {
		return fmt.Errorf("list %s: %w", r.b.Location(), err)
	}
	if name != "" {
		if k, err := ReadKeys(ctx, r.b, nil); err == nil && k.RekeyedFrom(r.from.file) {
			return rekeyRefused(formatObject, wholeRekeyed)
		}
		return rekeyRefused(name, "the place is not empty, and no unfinished re-keying")
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	if r.format, err = newFormat(id, r.from.format.chunk); err != nil {
		return err
	}
	if err := r.makeKeys(); err != nil {
		return err
	}
	if err := putNew(ctx, r.b, copyMark, r.mark()); err != nil {
		return err
	}
	return r.writeKeys(ctx)
}

func (r *rekeying) makeKeys() error {
	file, left, err := r.from.file.Rekey(r.format.id, r.from.Keys(), r.with.Others...)
	if err != nil {
		return err
	}
	if r.with.Begin != nil {
		r.with.Begin(left)
	}
	r.file = file
	r.chain, err = file.Follow(r.from.Keys())
	return err
}

func (r *rekeying) writeKeys(ctx context.Context) error {
	return swap(ctx, r.b, keysObject, "", r.file.Encode())
}

// resumeKeys takes up the keys that an earlier run made. They must come from the keys of now: who was removed since would
// have been given them.
func (r *rekeying) resumeKeys(ctx context.Context) error {
	if raw, err := r.b.Get(ctx, formatObject, 0, -1); err == nil && bytes.Equal(raw, r.format.encoded) {
		return rekeyRefused(formatObject, wholeRekeyed)
	} else if err != nil && !errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("read object %s of %s: %w", formatObject, r.b.Location(), err)
	}
	raw, _, err := r.b.Load(ctx, keysObject)
	if errors.Is(err, backend.ErrNotExist) {
		if err := r.makeKeys(); err != nil {
			return err
		}
		return r.writeKeys(ctx)
	}
	if err != nil {
		return got(keysObject, err)
	}
	if r.file, err = keys.Parse(raw); err != nil {
		return rekeyRefused(keysObject, err.Error())
	}
	if r.file.StoreID() != r.format.id || !r.file.Continues(r.from.file) {
		return rekeyRefused(keysObject, keysEdited)
	}
	r.chain, err = r.file.Follow(r.from.Keys())
	return err
}

// open opens what will be the new store.
func (r *rekeying) open(ctx context.Context) (err error) {
	opt := r.from.opt
	opt.Memory, opt.Cache, opt.IndexDir, opt.Local = nil, nil, "", nil
	r.to, err = open(ctx, askEarly(ctx, r.b, nil), r.format, r.file, r.chain, opt)
	return err
}

// write stores all roots, then the list of them, and makes the place a store.
func (r *rekeying) write(ctx context.Context) error {
	w, err := r.to.Begin(ctx)
	if err != nil {
		return err
	}
	for _, of := range r.roots {
		if err := r.writeRoot(ctx, w, of); err != nil {
			return errors.Join(fmt.Errorf("root %q: %w", of.root.info.Name, err), w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return r.finish(ctx)
}

func (r *rekeying) finish(ctx context.Context) error {
	_, version, err := r.b.Load(ctx, rootsObject)
	if err != nil && !errors.Is(err, backend.ErrNotExist) {
		return got(rootsObject, err)
	}
	if err := r.to.writeList(ctx, version, &rootList{version: 1, roots: r.listed}); err != nil {
		return err
	}
	if err := r.to.copyKeys(ctx, r.file); err != nil {
		return err
	}
	if _, err := r.from.refreshKeys(ctx); err != nil {
		return err
	}
	if !r.file.Continues(r.from.file) { // RACE: who is removed from here on is in the new store, too; its key ls shows them
		return rekeyRefused(keysObject, keysEdited)
	}
	if err := putNew(ctx, r.b, formatObject, r.format.encoded); err != nil {
		return err
	}
	// A server that deletes nothing keeps the mark: with a format object the store is whole all the same.
	if err := r.b.Delete(ctx, copyMark); err != nil && !errors.Is(err, backend.ErrDenied) {
		return fmt.Errorf("delete object %s of %s: %w", copyMark, r.b.Location(), err)
	}
	return nil
}

// writeRoot stores a root as its only commit, which tells from which one it comes.
func (r *rekeying) writeRoot(ctx context.Context, w *Session, of rekeyRoot) error {
	root := &Root{s: r.to, info: of.root.info, nested: of.root.nested}
	raw, version, err := r.b.Load(ctx, headObject(root.info.ID))
	old := root.Unborn()
	switch {
	case err == nil:
		h, err := root.parse(raw)
		if err != nil {
			return err
		}
		if h.Seq == min(1, of.head.Seq) && (h.Seq == 0 || h.Client == of.head.origin()) {
			return r.skipRoot(ctx, of)
		}
		old.unborn, old.object = false, version // of an earlier run, that looked at an earlier commit
	case !errors.Is(err, backend.ErrNotExist):
		return got(headObject(root.info.ID), err)
	case of.head.Seq == 0:
		return root.writeFirst(ctx)
	}
	tree, err := r.copyTree(ctx, w, of.root, of.head.Tree)
	if err != nil {
		return err
	}
	r.to.opt.Client = of.head.origin()
	_, err = root.Commit(ctx, w, old, tree, nil)
	return err
}

const originText = "ensync store rekey, of commit "

// origin is the client that a commit has which stores h anew.
func (h Head) origin() string { return fmt.Sprintf("%s%d %x", originText, h.Seq, block.ID(h.Commit)) }

// Origin tells which commit of the store before a commit is that a re-keying made.
func (h Head) Origin() (seq uint64, id object.ID, ok bool) {
	var hex []byte
	rest, ok := strings.CutPrefix(h.Client, originText)
	if !ok || h.Seq != 1 {
		return 0, id, false
	}
	if _, err := fmt.Sscanf(rest, "%d %x", &seq, &hex); err != nil || len(hex) != len(id) {
		return 0, id, false
	}
	return seq, object.ID(hex), true
}
