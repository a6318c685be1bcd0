package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"ensync/keys"
	"ensync/store/block"
	"ensync/store/internal/wire"
	"ensync/store/object"
	"ensync/store/pack"
)

const (
	maxCommit  = 2 << 20
	maxPacks   = 1 << 16
	maxClient  = 255
	maxPrivate = 8192
)

// commit is one state of a root, as everyone may know it. It lies in a block of its own.
//
// jump is an earlier commit, chosen as in a skew-binary list (Myers, 1983), so that any ancestor is reached in a
// number of steps that grows with the logarithm of the distance.
type commit struct {
	root    [16]byte
	seq     uint64
	parent  object.Key // of seq-1; zero if seq is 1
	jumpSeq uint64     // 0: there is nothing to jump to
	jump    object.Key
	packs   []pack.Name // relied on beyond those of the parent, and those parent and its parents tell of
	private []byte      // sealed for the read group
}

// private is what only the read group of a root may know of a commit.
type private struct {
	tree    object.Tree
	time    time.Time
	client  string
	witness *witness // nil: it does not tell
}

func (c *commit) encode() []byte {
	b := append([]byte{1}, c.root[:]...)
	b = binary.AppendUvarint(b, c.seq)
	b = append(b, c.parent[:]...)
	b = binary.AppendUvarint(b, c.jumpSeq)
	b = append(b, c.jump[:]...)
	b = binary.AppendUvarint(b, uint64(len(c.packs)))
	for _, p := range c.packs {
		b = append(b, p[:]...)
	}
	return wire.AppendBytes(b, c.private)
}

func parseCommit(b []byte) (*commit, error) {
	var c commit
	r := wire.NewReader(b)
	if v := r.Byte(); v != 1 {
		r.Fail("commit of version %d", v)
	}
	r.Copy(c.root[:])
	c.seq = r.Uvarint(1 << 62)
	r.Copy(c.parent[:])
	c.jumpSeq = r.Uvarint(1 << 62)
	r.Copy(c.jump[:])
	if c.seq == 0 || c.jumpSeq >= c.seq {
		r.Fail("commit %d jumps to %d", c.seq, c.jumpSeq)
	}
	n := int(r.Uvarint(maxPacks))
	for i := 0; i < n && r.Err() == nil; i++ {
		var p pack.Name
		r.Copy(p[:])
		c.packs = append(c.packs, p)
	}
	c.private = r.Bytes(maxPrivate)
	return &c, r.End()
}

func (p private) encode() []byte {
	b := append([]byte{p.tree.Depth}, p.tree.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.time.UnixNano()))
	b = wire.AppendBytes(b, []byte(p.client))
	if p.witness != nil {
		b = p.witness.append(b)
	}
	return b
}

func parsePrivate(b []byte) (private, error) {
	var p private
	r := wire.NewReader(b)
	p.tree.Depth = r.Byte()
	r.Copy(p.tree.Key[:])
	p.time = time.Unix(0, int64(r.Uint64()))
	p.client = string(r.Bytes(maxClient))
	if r.Left() > 0 {
		p.witness = readWitness(r)
	}
	if p.tree.Depth > object.MaxDepth {
		r.Fail("tree of depth %d", p.tree.Depth)
	}
	return p, r.End()
}

func privateContext(root [16]byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(root[:], seq)
}

func (s *Store) sealPrivate(g *keys.Group, root [16]byte, seq uint64, p private) ([]byte, error) {
	return s.seal(g, sealCommit, privateContext(root, seq), p.encode())
}

func (s *Store) openPrivate(g *keys.Group, root [16]byte, seq uint64, sealed []byte) (private, error) {
	b, err := s.unseal(g, sealCommit, privateContext(root, seq), sealed)
	if err != nil {
		return private{}, err
	}
	return parsePrivate(b)
}

// commitCache keeps commits that were read, so that a walk of the history reads each once.
type commitCache struct {
	mu    sync.Mutex
	known map[object.Key]*commit
}

func (c *commitCache) get(k object.Key) *commit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[k]
}

func (c *commitCache) put(k object.Key, v *commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= 256 {
		c.known = map[object.Key]*commit{}
	}
	c.known[k] = v
}

// loadCommit reads a commit and checks that it is the one of that root and number.
func (s *Store) loadCommit(ctx context.Context, root [16]byte, seq uint64, key object.Key) (*commit, error) {
	c := s.commits.get(key)
	if c == nil {
		b, err := s.load(ctx, block.Type{Kind: block.Commit}, s.data, key, maxCommit)
		if err != nil {
			return nil, fmt.Errorf("commit %d: %w", seq, err)
		}
		if c, err = parseCommit(b); err != nil {
			return nil, damaged(packPrefix+"*", fmt.Errorf("commit %d: %w", seq, err))
		}
		s.commits.put(key, c)
	}
	if c.root != root || c.seq != seq {
		return nil, damaged(headObject(root), fmt.Errorf("commit %d of root %x stands for commit %d", c.seq, c.root, seq))
	}
	return c, nil
}

// jumpFrom returns what the successor of commit seq jumps to.
func (s *Store) jumpFrom(ctx context.Context, root [16]byte, seq uint64, key object.Key) (uint64, object.Key, error) {
	if seq == 0 {
		return 0, object.Key{}, nil
	}
	c, err := s.loadCommit(ctx, root, seq, key)
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
		return seq, key, nil // a shorter jump is right as well, only slower
	}
	if err != nil {
		return 0, object.Key{}, err
	}
	if c.jumpSeq == 0 {
		return seq, key, nil
	}
	j, err := s.loadCommit(ctx, root, c.jumpSeq, c.jump)
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
		return seq, key, nil
	}
	if err != nil {
		return 0, object.Key{}, err
	}
	if seq-c.jumpSeq == c.jumpSeq-j.jumpSeq && j.jumpSeq > 0 {
		return j.jumpSeq, j.jump, nil
	}
	return seq, key, nil
}

// ancestor returns the key of commit number want in the history of commit seq.
func (s *Store) ancestor(ctx context.Context, root [16]byte, seq uint64, key object.Key, want uint64) (object.Key, error) {
	for seq > want {
		c, err := s.loadCommit(ctx, root, seq, key)
		if err != nil {
			return object.Key{}, err
		}
		if c.jumpSeq >= want && c.jumpSeq > 0 {
			seq, key = c.jumpSeq, c.jump
		} else {
			seq, key = c.seq-1, c.parent
		}
	}
	return key, nil
}
