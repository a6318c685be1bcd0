package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
	"ensync/engine/worktree"
	"ensync/engine/worktree/journal"
	"ensync/keys"
	"ensync/store"
	"ensync/store/object"
)

// mountState is the directory of a mount's state, below the private directory.
const mountState = "mount"

// replicaFile, in it, holds the random number of this replica.
const replicaFile = "replica"

// Mounted is the tree of a mount as a replica.
type Mounted struct {
	*Replica
	Tree  *worktree.Tree
	store *Store
}

// OpenMounted opens the state of the configuration's mount, which is made if there is none. Nothing in it is in clear:
// its key is derived from the store's group everyone and a random number of this replica.
func (s *Store) OpenMounted(ctx context.Context, onError func(error)) (*Mounted, error) {
	state := filepath.Join(s.Config.PrivateDir(), mountState)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockState(s.Config.PrivateDir())
	if err != nil {
		return nil, err
	}
	m, err := s.openMounted(ctx, state, onError)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	m.close = slices.Insert(m.close, 0, unlock)
	if disk, err := m.Tree.StatFS(ctx); err == nil && disk.Available == 0 {
		s.notice("the disk that holds " + state + " is nearly full: nothing can be written to the mount until there is more room")
	}
	return m, nil
}

func (s *Store) openMounted(ctx context.Context, state string, onError func(error)) (*Mounted, error) {
	if err := errors.Join(checkCopied(state), checkMoving(s.Config.PrivateDir())); err != nil {
		return nil, err
	}
	if why := s.Assumed(); why != nil {
		if _, err := os.Stat(filepath.Join(state, replicaFile)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w; %w", why, errFirst)
		}
	}
	key, err := s.replicaKey(state)
	if err != nil {
		return nil, err
	}
	if err := s.cache.PinIn(ctx, filepath.Join(state, pinnedName)); err != nil {
		return nil, err
	}
	root := os.Geteuid() == 0
	if s.Config.Rules.SyncsOwner() && !root {
		s.notice("owners can't be set in a mount that is not root's: everything stays with you, and the store keeps the owners it has")
	}
	tree, err := worktree.Open(ctx, state, key, blocks{s.Store}, worktree.Options{
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), OnError: onError,
		Journal: journal.Options{SegmentSize: segmentSize(s.Config.Mount.Cache)}, Unsynced: uint64(s.Config.Mount.Unsynced), MakeRoom: s.makeRoom,
		Owner: s.Config.Rules.SyncsOwner(), Xattrs: s.Config.Rules.SyncsXattrs(), Chown: root, Access: s.access})
	if err != nil {
		return nil, err
	}
	last := context.WithoutCancel(ctx)
	past, err := ancestor.Open(filepath.Join(state, ancestorName), &key)
	if err == nil {
		err = errors.Join(markCopied(state), past.Start(ctx))
	}
	if err != nil {
		return nil, errors.Join(err, tree.Close(last))
	}
	m := &Mounted{store: s, Tree: tree, Replica: &Replica{Client: tree, Ancestor: past}}
	if _, number, ok := strings.Cut(Machine(s.Config), "#"); ok {
		m.stamp, m.owner = mountStamp{tree, filepath.Join(s.Config.PrivateDir(), mountStampName)}, number
	}
	m.close = []func() error{past.Close, func() error { // the last goes first
		if err := tree.Close(last); err != nil {
			return err // the next start does not rely on what the tree knows
		}
		return past.Stop(last)
	}}
	return m, nil
}

// segmentSize is how large a segment of the log may be, in bytes: it is given back as a whole, and what it holds may have gone
// to the cache by then, so it must be small beside that.
func segmentSize(cacheSize int64) int64 { return min(max(cacheSize/16, 4<<20), 64<<20) }

// makeRoom lets the cache give way to what is written to the mount. Both lie on one disk as a rule.
func (s *Store) makeRoom() {
	_ = s.cache.GiveWay(context.Background()) // then there is no room, and the writer hears of that
}

// access tells what the passphrase may do in a directory of the tree. The names tell that, also while the store is out of
// reach: that of a tree as those below.
func (s *Store) access(dir string) (read, write error) {
	r, w, err := object.ParseGroups(s.Config.General.ServerRoot, keys.Everyone, keys.Root)
	var d replica.Domain
	if err == nil {
		d, err = replica.DomainOf(replica.Domain{Read: r, Write: w}, dir)
	}
	if err != nil {
		return err, err
	}
	return s.Member(d.Read), s.Member(d.Write)
}

// replicaKey derives the key that seals what a mount keeps on this machine.
func (s *Store) replicaKey(state string) ([32]byte, error) {
	group, ok := s.Keys().Group(keys.Everyone)
	if !ok {
		return [32]byte{}, fmt.Errorf("open the mount's state: the passphrase is not in group %s", keys.Everyone)
	}
	path := filepath.Join(state, replicaFile)
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = makeReplicaID(path, group.Epoch())
	}
	if err != nil {
		return [32]byte{}, err
	}
	epoch := uint32(1)
	switch len(id) {
	case replicaIDSize: // from before keys could be rotated
	case replicaIDSize + 4, sealedKeySize:
		epoch = binary.BigEndian.Uint32(id[replicaIDSize:])
	default:
		return [32]byte{}, fmt.Errorf("read %s: %d bytes instead of %d; restore it, or remove %s if nothing in it is needed "+
			"that was not synced", path, len(id), replicaIDSize+4, state)
	}
	if group, ok = group.At(epoch); !ok {
		return [32]byte{}, fmt.Errorf("open the mount's state: the passphrase does not have version %d of the key of group %s, which %s "+
			"is sealed under; use another passphrase", epoch, keys.Everyone, state)
	}
	if len(id) == sealedKeySize {
		return openKey(group, id)
	}
	return group.Derive("replica", id[:replicaIDSize]), nil
}

const replicaIDSize = 32

// makeReplicaID makes the random number, and notes the version of the group's key that goes with it. It is durable before
// anything is sealed with what is derived from it.
func makeReplicaID(path string, epoch uint32) ([]byte, error) {
	id := make([]byte, replicaIDSize, replicaIDSize+4)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	id = binary.BigEndian.AppendUint32(id, epoch)
	return id, writeDurably(path, id) // DURABLE: without it the state never opens again
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// blocks gives a mounted tree the content of the store.
type blocks struct{ store *store.Store }

// Open implements worktree.Blocks.
func (b blocks) Open(ctx context.Context, c object.Content) (worktree.Content, error) {
	return b.store.OpenContent(context.WithoutCancel(ctx), c), nil
}

// Local implements worktree.Blocks.
func (b blocks) Local(ctx context.Context, c object.Content) (int64, error) {
	return b.store.Local(ctx, c)
}

// Hash implements worktree.Blocks.
func (b blocks) Hash(ctx context.Context, r io.Reader) (object.Content, error) {
	return b.store.Hash(ctx, r)
}
