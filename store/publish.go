package store

import (
	"context"
	"errors"
	"fmt"

	"ensync/store/object"
)

// Commit makes tree the newest state, on top of old, which must come from Head or Commit of this root. Everything put
// in w before is durable, and the new state shows to everyone, when it returns nil.
//
// ErrOvertaken: another client, or a collection, changed the head since; nothing shows. Read the head again, look whether
// the tree still fits, and commit again. After any other error it is not known whether the commit happened: the next
// Head tells.
//
// Right before the step that makes it show, when all else is durable, prepare is called with the key of the commit, so
// that a caller can tell after a crash, by Contains, whether that step was made; nil is allowed.
func (r *Root) Commit(ctx context.Context, w *Session, old Head, tree object.Tree, prepare func(Head) error) (Head, error) {
	n, err := r.Stage(ctx, w, old, tree)
	if err != nil {
		return Head{}, err
	}
	if err := w.Flush(ctx); err != nil {
		return Head{}, err
	}
	if prepare != nil {
		if err := prepare(n.Head); err != nil {
			return Head{}, err
		}
	}
	return n.Publish(ctx)
}

// Next is a commit that nobody sees before Publish: so those of several roots can be made together.
type Next struct {
	Head Head // as it will be
	r    *Root
	w    *Session
	old  Head
	raw  []byte // of the head object
	told int
}

// Stage puts a commit in w; see Commit. A zero tree ends a nested root.
func (r *Root) Stage(ctx context.Context, w *Session, old Head, tree object.Tree) (*Next, error) {
	if old.root != r.info.ID || (old.object == "") != old.unborn || tree.IsZero() && !r.nested {
		return nil, fmt.Errorf("commit to root %q: the old head is not of this root, or there is no tree", r.info.Name)
	}
	if old.Seq > 0 && old.Tree.IsZero() {
		return nil, fmt.Errorf("commit to root %q: it has ended", r.info.Name)
	}
	h := Head{Seq: old.Seq + 1, Tree: tree, Time: now(), Client: r.s.opt.Client, root: r.info.ID, stamp: old.stamp,
		witness: r.s.witness(r.info.ID)}
	priv, err := r.seal(h)
	if err != nil {
		return nil, err
	}
	n := &Next{r: r, w: w, old: old}
	if n.told, err = r.putCommit(ctx, w, old, &h, priv); err != nil {
		return nil, err
	}
	if n.raw, err = r.encode(h, priv); err != nil {
		return nil, err
	}
	n.Head = h
	return n, nil
}

// Publish makes a staged commit show. The session must have been flushed since Stage.
func (n *Next) Publish(ctx context.Context) (Head, error) {
	h, err := n.swap(ctx)
	if err != nil || n.r.s.opt.Memory == nil {
		return h, err
	}
	return h, n.r.s.opt.Memory.changeRoot(h.root, saw(h))
}

// swap is Publish without remembering.
func (n *Next) swap(ctx context.Context) (Head, error) {
	name := headObject(n.r.info.ID)
	// DURABLE: packs and index are; from here on the new state is what others see.
	version, err := swapVersion(ctx, n.r.s.b, name, n.old.object, n.raw)
	if err != nil {
		return Head{}, err
	}
	n.Head.object = version
	n.w.tell(n.r.info.ID, n.told)
	return n.Head, nil
}

// PublishAll publishes commits of several roots, one rank after the other, and those of one rank together. After an error
// those of later ranks are not begun.
func (s *Store) PublishAll(ctx context.Context, ranks [][]*Next) (err error) {
	seen := map[[16]byte]func(*rootSeen){}
	for _, rank := range ranks {
		errs := make([]error, len(rank))
		s.together(len(rank), func(i int) { _, errs[i] = rank[i].swap(ctx) })
		for i, n := range rank {
			if errs[i] == nil {
				seen[n.Head.root] = saw(n.Head)
			}
		}
		if err = errors.Join(errs...); err != nil {
			break
		}
	}
	if s.opt.Memory != nil {
		err = errors.Join(err, s.opt.Memory.changeRoots(seen))
	}
	return err
}
