package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ensync/store/block"
)

// vet refuses a head that contradicts what this client has seen, or what the client that made it had. Of any other it
// returns what is to be remembered; nil: nothing.
func (r *Root) vet(ctx context.Context, h Head) (func(*rootSeen), error) {
	if r.s.opt.Memory == nil {
		return nil, nil
	}
	isNew, err := r.descends(ctx, h)
	if err == nil && isNew {
		err = r.compare(ctx, h)
	}
	if isRefusal(err) {
		return nil, errors.Join(err, r.refuse())
	}
	if err != nil {
		return nil, err
	}
	return func(s *rootSeen) {
		s.saw(h.Seq, block.ID(h.Commit))
		s.Refused, s.Told = time.Time{}, false
		if isNew && h.Seq > 0 && h.Client != r.s.opt.Client {
			s.Others = othersCommit{Made: h.Time.UTC(), Seen: now().UTC()}
		}
	}, nil
}

// refuse remembers that what the store shows of the root was refused.
func (r *Root) refuse() error {
	return r.s.opt.Memory.changeRoot(r.info.ID, func(s *rootSeen) {
		if s.Refused.IsZero() {
			s.Refused = now().UTC()
		}
	})
}

func isRefusal(err error) bool { return errors.Is(err, ErrRollback) || errors.Is(err, ErrFork) }

// descends refuses a head that is not the one this client has seen last, nor a successor of it: ErrRollback. isNew tells
// which of the two it is.
func (r *Root) descends(ctx context.Context, h Head) (isNew bool, err error) {
	seen := r.s.opt.Memory.root(r.info.ID)
	id := block.ID(h.Commit)
	refuse := func(why string) error {
		return &Fault{Kind: ErrRollback, Object: headObject(r.info.ID),
			Cause: fmt.Errorf("root %q shows commit %d (%x), this client has seen commit %d (%.16x): %s",
				r.info.Name, h.Seq, id[:8], seen.Seq, []byte(seen.Commit), why),
			Next: "nothing was changed; if the store was restored from a backup, run ensync store accept-rollback"}
	}
	switch {
	case len(seen.Commit) == 0:
	case h.Seq < seen.Seq:
		return false, refuse("it is older")
	case h.Seq == seen.Seq:
		if !bytes.Equal(id[:], seen.Commit) {
			return false, refuse("it is another one")
		}
		return false, nil
	case seen.Seq > 0:
		key, err := r.s.ancestor(ctx, r.info.ID, h.Seq, h.Commit, seen.Seq)
		if err != nil {
			return false, fmt.Errorf("root %q: does commit %d descend from commit %d, which this client has seen? %w",
				r.info.Name, h.Seq, seen.Seq, err)
		}
		if was := block.ID(key); !bytes.Equal(was[:], seen.Commit) {
			return false, refuse("it does not descend from that one")
		}
	}
	return true, nil
}

// rootID is the id that a name in the memory stands for.
func rootID(name string) (id [16]byte) {
	hex.Decode(id[:], []byte(name[:min(len(name), 32)]))
	return id
}

// pastStates are states of the key store and of the list of roots that were seen, by version.
type pastStates struct {
	Keys map[uint64]hexBytes `json:"keys,omitempty"`
	List map[uint64]hexBytes `json:"list,omitempty"`
}

// maxPast is how many of each are remembered.
const maxPast = 64

// note remembers one more state, in a map of its own.
func note(past map[uint64]hexBytes, version uint64, hash []byte) map[uint64]hexBytes {
	past = maps.Clone(past)
	if past == nil {
		past = map[uint64]hexBytes{}
	}
	past[version] = hash
	for len(past) > maxPast {
		delete(past, slices.Min(slices.Collect(maps.Keys(past))))
	}
	return past
}

func (m *Memory) past() pastStates { m.mu.Lock(); defer m.mu.Unlock(); return m.data.Past }

// waived reports whether a contradiction was accepted by the user.
func (m *Memory) waived(about string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.data.Waived, about)
}

func (m *Memory) waive(about []string) error {
	return m.update(func(d *memoryData) bool {
		for _, a := range about {
			if !slices.Contains(d.Waived, a) {
				d.Waived = append(slices.Clone(d.Waived), a)
			}
		}
		return true
	})
}

// Seen is what a client remembers of a root, for its user.
type Seen struct {
	Seq        uint64    // of the newest commit; 0: there was none
	Commit     []byte    // its ID; empty: nothing is remembered
	OthersMade time.Time // when the newest commit of another client was made, by its clock; zero: none was seen
	OthersSeen time.Time // and when it was seen here
	Refused    time.Time // since when the store shows what contradicts this memory, or other clients'; zero: it does not
}

// Keep notes that this client keeps the tree of this root, for Memory.Kept.
func (r *Root) Keep() error {
	if r.s.opt.Memory == nil {
		return nil
	}
	return r.s.opt.Memory.update(func(d *memoryData) bool {
		was := d.Kept
		d.Kept = r.info.ID[:]
		return !bytes.Equal(was, d.Kept)
	})
}

// Kept returns what is remembered of the root whose tree this client keeps. Refused is that of any root.
func (m *Memory) Kept() Seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := seenOf(m.data.Roots[fmt.Sprintf("%x", []byte(m.data.Kept))])
	for _, s := range m.data.Roots {
		if !s.Refused.IsZero() && (seen.Refused.IsZero() || s.Refused.Before(seen.Refused)) {
			seen.Refused = s.Refused
		}
	}
	return seen
}

// Seen returns what is remembered of a root.
func (m *Memory) Seen(root [16]byte) Seen { return seenOf(m.root(root)) }

func seenOf(s rootSeen) Seen {
	return Seen{Seq: s.Seq, Commit: s.Commit, OthersMade: s.Others.Made, OthersSeen: s.Others.Seen, Refused: s.Refused}
}

// Fingerprint is what two people read to each other, to find out whether they are shown the same state: 96 bits of the
// newest commit, which stands for the whole history. "" if there is none.
func (s Seen) Fingerprint() string {
	if s.Seq == 0 || len(s.Commit) < 12 {
		return ""
	}
	var groups []string
	for g := range slices.Chunk(s.Commit[:12], 2) {
		groups = append(groups, hex.EncodeToString(g))
	}
	return strings.Join(groups, "-")
}
