package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/internal/wire"
	"ensync/store/object"
	"ensync/store/pack"
)

const headMagic = "ENSYNCH1"

// Root is one tree in the store with its history. It may be used concurrently.
type Root struct {
	s      *Store
	info   RootInfo
	nested bool // a directory in another root names it, not the list of roots
}

// Head is one state of a root, usually the newest.
type Head struct {
	Seq    uint64      // number of the commit; 0: nothing was committed yet, and Tree is zero
	Commit object.Key  // names the commit
	Tree   object.Tree // the root directory; zero, with a Seq, if the root has ended: see Root.Nested
	Time   time.Time   // of the commit, by its client's clock
	Client string      // that committed

	root    [16]byte
	unborn  bool            // there is no head object yet
	stamp   uint64          // epoch of the last collection that passed
	witness *witness        // what its client had seen of the rest of the store; nil: it does not tell
	object  backend.Version // of the head object; empty in history
}

func headObject(id [16]byte) string { return fmt.Sprintf("%s%x", rootPrefix, id) }

// Info returns what the list of roots says.
func (r *Root) Info() RootInfo { return r.info }

// ReadGroup returns the group that trees of this root are for; ErrNoGroup if the passphrase is not in it.
func (r *Root) ReadGroup() (*keys.Group, error) { return r.s.group(r.info.Read) }

// Head reads the newest state: one request if nothing changed. It must be signed by the write group, belong to this store
// and root, and be or descend from the newest one that this client has seen: else ErrRollback, which names both.
func (r *Root) Head(ctx context.Context) (Head, error) {
	h, note, err := r.look(ctx)
	if err == nil && note != nil {
		err = r.s.opt.Memory.changeRoot(r.info.ID, note)
	}
	return h, err
}

// look is Head without remembering; it returns what is to be.
func (r *Root) look(ctx context.Context) (h Head, note func(*rootSeen), err error) {
	if h, note, ok, err := r.earlyHead(ctx); ok || err != nil {
		return h, note, err
	}
	version, err := r.s.loadKeyed(ctx, r.s.b.Load, headObject(r.info.ID), func(raw []byte) (err error) {
		h, err = r.parse(raw)
		return err
	})
	if err != nil {
		return Head{}, nil, err
	}
	h.object = version
	note, err = r.vet(ctx, h)
	return h, note, err
}

// earlyHead is Head with the answer to the early question, if there is one. What another process of this client has seen
// or committed meanwhile is known to the memory before it is known to anything that a caller compares a head with: an
// answer that is older than that is dropped, so that it is never taken for a state that the store went back to.
func (r *Root) earlyHead(ctx context.Context) (h Head, note func(*rootSeen), ok bool, err error) {
	a, ok := r.s.early.take(ctx, headObject(r.info.ID))
	if !ok || a.err != nil {
		return Head{}, nil, false, ctx.Err()
	}
	if h, err = r.parse(a.data); err != nil {
		return Head{}, nil, false, nil // it is asked for again, and what is wrong then counts
	}
	if err := r.s.opt.Memory.read(); err != nil {
		return Head{}, nil, false, err
	}
	if h.Seq < r.s.opt.Memory.root(r.info.ID).Seq {
		return Head{}, nil, false, nil
	}
	h.object = a.version
	note, err = r.vet(ctx, h)
	return h, note, true, err
}

// Moved reports whether the head is another one than h, which Head or Commit returned: one request, and no more if not.
func (r *Root) Moved(ctx context.Context, h Head) (bool, error) {
	raw, version, err := r.s.b.Load(ctx, headObject(r.info.ID))
	if err != nil {
		return false, got(headObject(r.info.ID), err)
	}
	if version == h.object {
		return false, nil
	}
	now, err := r.parseNow(ctx, raw) // a collection stamps a head without changing it
	if errors.Is(err, errOtherKey) {
		return true, nil // whoever reads it next finds out why
	}
	return now.Seq != h.Seq || now.Commit != h.Commit, err
}

// Notify returns what gets a value soon after the head was changed, and is closed when that can't be told any more.
// errors.ErrUnsupported if the store can't tell.
func (r *Root) Notify(ctx context.Context) (<-chan struct{}, error) {
	n, ok := r.s.b.(backend.Notifier)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return n.Notify(ctx, headObject(r.info.ID))
}

// parseNow is parse with the keys as they are by now, if those that are known do not do.
func (r *Root) parseNow(ctx context.Context, raw []byte) (h Head, err error) {
	err = r.s.withKeys(ctx, func() error {
		h, err = r.parse(raw)
		return err
	})
	return h, err
}

// parseOpenNow is parseOpen with newer keys, if it takes those.
func (r *Root) parseOpenNow(ctx context.Context, raw []byte) (h Head, seals headSeals, err error) {
	err = r.s.withKeys(ctx, func() error {
		h, seals, err = r.parseOpen(raw)
		return err
	})
	return h, seals, err
}

func (r *Root) parse(raw []byte) (Head, error) {
	h, seals, err := r.parseOpen(raw)
	if err != nil {
		return Head{}, err
	}
	if err := r.openState(&h, seals.private); err != nil {
		if errors.Is(err, ErrNoGroup) {
			return Head{}, err
		}
		return Head{}, damaged(headObject(r.info.ID), err)
	}
	return h, nil
}

// headSeals is how a head is sealed and signed.
type headSeals struct {
	signer  uint32 // the version of the write group's key that signed it
	open    []byte // sealed for everyone
	private []byte // sealed for the read group
}

// parseOpen reads of a head what everyone may know.
func (r *Root) parseOpen(raw []byte) (h Head, seals headSeals, err error) {
	name := headObject(r.info.ID)
	bad := func(err error) (Head, headSeals, error) { return Head{}, seals, damaged(name, err) }
	rd := wire.NewReader(raw)
	rd.Magic(headMagic)
	h = Head{root: r.info.ID, stamp: rd.Uint64()}
	body := rd.Take(rd.Left() - ed25519.SignatureSize)
	sig := rd.Rest()
	if rd.Err() != nil || len(raw) > maxHead || len(body) < 32 {
		return bad(errors.Join(rd.Err(), errors.New("wrong length")))
	}
	if !bytes.Equal(body[:16], r.s.format.id[:]) || !bytes.Equal(body[16:32], r.info.ID[:]) {
		return Head{}, seals, &Fault{Kind: ErrForeign, Object: name, Cause: errors.New("head of another store or root"),
			Next: "it was copied here from somewhere else; put back the right one"}
	}
	var ok bool
	if seals.signer, ok = r.s.Keys().Verify(r.info.Write, headMessage(body), sig); !ok {
		return bad(fmt.Errorf("not signed by group %s, or %w", r.info.Write, errOtherKey))
	}
	rd = wire.NewReader(body[32:])
	seals.open, seals.private = rd.Bytes(maxHead), rd.Bytes(maxPrivate)
	if err := rd.End(); err != nil {
		return bad(err)
	}
	if err := r.openHead(&h, seals.open); err != nil {
		return bad(err)
	}
	return h, seals, nil
}

func headMessage(body []byte) []byte { return append([]byte("ensync head 1\x00"), body...) }

func (r *Root) openHead(h *Head, open []byte) error {
	everyone, err := r.s.group(keys.Everyone)
	if err != nil {
		return err
	}
	plain, err := r.s.unseal(everyone, sealHead, r.info.ID[:], open)
	if err != nil {
		return err
	}
	rd := wire.NewReader(plain)
	h.Seq = rd.Uvarint(1 << 62)
	rd.Copy(h.Commit[:])
	rd.Take(16)
	return rd.End()
}

// openState fills in what only the read group may know.
func (r *Root) openState(h *Head, priv []byte) error {
	g, err := r.ReadGroup()
	if err != nil {
		return err
	}
	p, err := r.s.openPrivate(g, r.info.ID, h.Seq, priv)
	if err != nil {
		return err
	}
	if h.Seq == 0 && !p.tree.IsZero() || h.Seq > 0 && p.tree.IsZero() && !r.nested {
		return errors.New("a commit has a tree, and a tree a commit")
	}
	h.Tree, h.Time, h.Client, h.witness = p.tree, p.time, p.client, p.witness
	return nil
}

// signers returns the groups that a head is sealed for and signed by, whoever may read what it names.
func (r *Root) signers() (everyone, write *keys.Group, err error) {
	if everyone, err = r.s.group(keys.Everyone); err != nil {
		return nil, nil, err
	}
	write, err = r.s.group(r.info.Write)
	return everyone, write, err
}

// encode returns the bytes of a head object.
func (r *Root) encode(h Head, priv []byte) ([]byte, error) {
	everyone, write, err := r.signers()
	if err != nil {
		return nil, err
	}
	plain := binary.AppendUvarint(nil, h.Seq)
	plain = append(plain, h.Commit[:]...)
	nonce := make([]byte, 16)
	if _, err := io.ReadFull(block.Random, nonce); err != nil {
		return nil, fmt.Errorf("random nonce: %w", err)
	}
	open, err := r.s.seal(everyone, sealHead, r.info.ID[:], append(plain, nonce...))
	if err != nil {
		return nil, err
	}
	body := append(bytes.Clone(r.s.format.id[:]), r.info.ID[:]...)
	body = wire.AppendBytes(wire.AppendBytes(body, open), priv)
	out := binary.BigEndian.AppendUint64([]byte(headMagic), h.stamp)
	return append(append(out, body...), write.Sign(headMessage(body))...), nil
}

// writeFirst makes the head of a new root.
func (r *Root) writeFirst(ctx context.Context) error {
	h := Head{root: r.info.ID}
	priv, err := r.seal(h)
	if err != nil {
		return err
	}
	raw, err := r.encode(h, priv)
	if err != nil {
		return err
	}
	return r.s.swap(ctx, headObject(r.info.ID), "", raw)
}

func (r *Root) seal(h Head) ([]byte, error) {
	g, err := r.ReadGroup()
	if err != nil {
		return nil, err
	}
	client := h.Client[:min(len(h.Client), maxClient)]
	return r.s.sealPrivate(g, r.info.ID, h.Seq, private{tree: h.Tree, time: h.Time, client: client, witness: h.witness})
}

// putCommit stores the commit record of h and sets its key. It returns how many of the session's packs are told of.
func (r *Root) putCommit(ctx context.Context, w *Session, old Head, h *Head, priv []byte) (int, error) {
	c := &commit{root: r.info.ID, seq: h.Seq, parent: old.Commit, private: priv}
	var err error
	if c.jumpSeq, c.jump, err = r.s.jumpFrom(ctx, r.info.ID, old.Seq, old.Commit); err != nil {
		return 0, err
	}
	var told int
	if c.packs, told = w.untold(r.info.ID); len(c.packs) > maxPacks {
		return 0, fmt.Errorf("commit to root %q: it needs %d packs; commit more often", r.info.Name, len(c.packs))
	}
	if h.Commit, err = w.put(ctx, block.Type{Kind: block.Commit}, r.s.data, c.encode()); err != nil {
		return 0, err
	}
	r.s.commits.put(h.Commit, c)
	return told, nil
}

// Contains reports whether the history up to h has the commit of that number and key.
func (r *Root) Contains(ctx context.Context, h Head, seq uint64, commit object.Key) (bool, error) {
	if seq == 0 || seq > h.Seq {
		return false, nil
	}
	key, err := r.s.ancestor(ctx, r.info.ID, h.Seq, h.Commit, seq)
	return key == commit, err
}

// Happened is Contains for the history up to now, also for who may not read the root. A nested root of which there is no
// head was never published.
func (r *Root) Happened(ctx context.Context, seq uint64, commit object.Key) (bool, error) {
	h, err := r.openHeadOnly(ctx)
	if r.nested && errors.Is(err, ErrMissing) {
		return false, nil
	}
	if err == nil && r.s.opt.Memory != nil {
		_, err = r.descends(ctx, h)
	}
	if err != nil {
		return false, err
	}
	return r.Contains(ctx, h, seq, commit)
}

// Parent returns the state before h; ok is false if h is the first.
func (r *Root) Parent(ctx context.Context, h Head) (parent Head, ok bool, err error) {
	if h.Seq <= 1 {
		return Head{}, false, nil
	}
	c, err := r.s.loadCommit(ctx, r.info.ID, h.Seq, h.Commit)
	if err != nil {
		return Head{}, false, err
	}
	p, err := r.s.loadCommit(ctx, r.info.ID, h.Seq-1, c.parent)
	if err != nil {
		return Head{}, false, err
	}
	parent = Head{Seq: p.seq, Commit: c.parent, root: r.info.ID}
	if err := r.openState(&parent, p.private); err != nil {
		return Head{}, false, err
	}
	return parent, true, nil
}

// untold returns the packs that commits of a root do not tell of yet, and the mark for tell.
func (w *Session) untold(root [16]byte) ([]pack.Name, int) {
	w.gate.Lock() // a block that somebody was told is stored already may still be on its way into a pack
	defer w.gate.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.used[w.told[root]:]), len(w.used)
}

// tell notes that a commit of root was made that tells of everything up to the mark.
func (w *Session) tell(root [16]byte, mark int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[root] = max(w.told[root], mark)
}
