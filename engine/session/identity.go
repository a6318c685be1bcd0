package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"ensync/engine"
)

// The record of the last sync speaks of one tree at one time. If either was exchanged for another, what the record calls
// deleted may never have been there. Two things tell: which directory the root is, and a random stamp that every sync
// with something to do leaves both on the root and in the record. A record from a backup has an old one; a record from
// another machine one that the root never had.
//
// Both sides hold the stamps from before and after the sync, so that a crash between one and the other is no exchange;
// when the sync is through, the root drops the one from before.

// stamped is a root that can hold a stamp for each of those who synchronise it.
type stamped interface {
	Stamp(owner string) (string, error)
	SetStamp(owner, stamp string) (ok bool, err error)
}

// checkIdentity is the half of the loss guard that looks at the root. With a root or a record that do not belong
// together, who confirms it gets a first sync: it merges and deletes nothing.
func (r *Replica) checkIdentity(ctx context.Context, confirmed bool) error {
	if r.Identity != nil {
		var err error
		if r.root, err = r.Identity(); err != nil {
			return err
		}
	}
	what, err := r.exchanged(ctx)
	if err != nil || what == "" {
		return err
	}
	if confirmed {
		return r.Ancestor.Forget(ctx)
	}
	return fmt.Errorf("%w: %s; nothing was changed. If a disk is not mounted, mount it; if the tree was moved, or the tree or "+
		"the state restored, sync with --confirm-loss: both sides are then merged, and nothing is deleted", engine.ErrLoss, what)
}

// exchanged tells what is not what it was at the last sync; "" if all is.
func (r *Replica) exchanged(ctx context.Context) (string, error) {
	was, err := r.Ancestor.Meta(ctx, metaIdentity)
	if err != nil {
		return "", err
	}
	if was != nil && r.root != "" && string(was) != r.root {
		return "the local tree is another directory, or on another file system, than at the last sync", nil
	}
	if r.stamp == nil {
		return "", nil
	}
	recorded, err := r.Ancestor.Meta(ctx, metaStamp)
	if err != nil || len(recorded) == 0 {
		return "", err
	}
	found, err := r.stamp.Stamp(r.owner)
	if err != nil {
		return "", err
	}
	if shared(found, string(recorded)) != "" {
		return "", nil
	}
	return "the local tree and the record of its last sync are not from the same time", nil
}

// shared returns the newest stamp that both sides hold; "" if there is none.
func shared(found, recorded string) (newest string) {
	for _, s := range strings.Fields(recorded) {
		if slices.Contains(strings.Fields(found), s) {
			newest = s
		}
	}
	return newest
}

// identify notes which directory the root is.
func (r *Replica) identify(ctx context.Context) error {
	if r.root == "" {
		return nil
	}
	return r.Ancestor.SetMeta(ctx, metaIdentity, []byte(r.root))
}

// begin stamps the root and the record anew, when a sync is about to record something.
func (r *Replica) begin(ctx context.Context) error {
	if err := r.identify(ctx); err != nil || r.stamp == nil {
		return err
	}
	recorded, err := r.Ancestor.Meta(ctx, metaStamp)
	if err != nil {
		return err
	}
	found, err := r.stamp.Stamp(r.owner)
	if err != nil {
		return err
	}
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	// Of those from before, the one that is on both sides: a sync that was killed may have left its own on one alone.
	both := strings.TrimSpace(shared(found, string(recorded)) + " " + hex.EncodeToString(random))
	// Not waited for: if a power cut takes back only this, the root has the stamp from before, and the record that, too.
	ok, err := r.stamp.SetStamp(r.owner, both)
	if err != nil || !ok && len(recorded) == 0 {
		return err
	}
	if !ok {
		both = "" // it could once
	}
	return r.Ancestor.SetMeta(ctx, metaStamp, []byte(both))
}

// end leaves the root with the last stamp alone.
func (r *Replica) end(ctx context.Context) error {
	recorded, err := r.Ancestor.Meta(ctx, metaStamp)
	if err != nil || len(recorded) == 0 || r.stamp == nil {
		return err
	}
	was := strings.Fields(string(recorded))
	last := was[len(was)-1]
	if found, err := r.stamp.Stamp(r.owner); err != nil || found == last {
		return err
	}
	_, err = r.stamp.SetStamp(r.owner, last)
	return err
}
