package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"ensync/store/backend"
	"ensync/store/object"
)

// A directory whose name carries .ensync[...] is a root of its own: its entry in the tree above names the root's id, and
// the name, with what it inherits, the groups. So a client writes there without any right to what is above, and whoever
// writes above can't make anything there show: the head is signed by the write group that the name tells, and its private
// part sealed for the read group.
//
// Such a root ends with a commit that has no tree. Nobody commits to it any more, so what another client has just stored
// there never vanishes with the entry above: one of the two loses the swap. Its head stays, for the history of the tree above.

// NewRootID returns the id of a root that is not there yet.
func NewRootID() object.RootID {
	var id object.RootID
	rand.Read(id[:]) // it never fails
	return id
}

// Nested returns a root that a directory names. The name in info is for messages only. Nothing is read.
func (s *Store) Nested(info RootInfo) *Root { return &Root{s: s, info: info, nested: true} }

// below returns the root that a directory in r names.
func (r *Root) below(e object.Entry) (*Root, error) {
	read, write, err := object.ParseGroups(e.Name, r.info.Read, r.info.Write)
	return r.s.Nested(RootInfo{ID: e.Root, Name: r.info.Name + "/" + e.Name, Mode: e.Mode, Read: read, Write: write}), err
}

// Unborn is what to commit on first.
func (r *Root) Unborn() Head { return Head{root: r.info.ID, unborn: true} }

// Ended reports whether a nested root was removed.
func (h Head) Ended() bool { return h.Seq > 0 && h.Tree.IsZero() }

// Member returns nil if the passphrase is in a group, or ErrNoGroup.
func (s *Store) Member(group string) error { _, err := s.group(group); return err }

// manyHeads is how many heads are asked for, or replaced, at once.
const manyHeads = 32

// together calls fn for 0 to n-1, several at once.
func (s *Store) together(n int, fn func(int)) {
	slots := make(chan struct{}, manyHeads)
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		all.Go(func() { defer func() { <-slots }(); fn(i) })
	}
	all.Wait()
}

// Heads is Head of several roots, asked for together. Each has an error of its own.
func (s *Store) Heads(ctx context.Context, roots []*Root) ([]Head, []error) {
	heads, notes, errs := make([]Head, len(roots)), make([]func(*rootSeen), len(roots)), make([]error, len(roots))
	s.together(len(roots), func(i int) { heads[i], notes[i], errs[i] = roots[i].look(ctx) })
	all := map[[16]byte]func(*rootSeen){}
	for i, note := range notes {
		if note != nil && errs[i] == nil {
			all[roots[i].info.ID] = note
		}
	}
	if len(all) == 0 {
		return heads, errs
	}
	if err := s.opt.Memory.changeRoots(all); err != nil {
		for i := range errs {
			errs[i] = errors.Join(errs[i], err)
		}
	}
	return heads, errs
}

// AnyMoved is Root.Moved of several roots, asked for together.
func (s *Store) AnyMoved(ctx context.Context, roots []*Root, heads []Head) (bool, error) {
	moved, errs := make([]bool, len(roots)), make([]error, len(roots))
	s.together(len(roots), func(i int) { moved[i], errs[i] = roots[i].Moved(ctx, heads[i]) })
	return slices.Contains(moved, true), errors.Join(errs...)
}

// maxHeads bounds how many heads a list of them has.
const maxHeads = 1 << 20

// everyRoot calls fn for all roots: those of the list, and those that directories name, as far as the groups of these can
// be told from their heads: whose signature it is, and which of this client's groups opens it. So none is left out whose
// directory lies in one that this client may not read.
func (s *Store) everyRoot(ctx context.Context, list *rootList, fn func(*Root) error) error {
	listed := map[string]bool{}
	for _, info := range list.roots {
		listed[headObject(info.ID)] = true
		if err := fn(&Root{s: s, info: info}); err != nil {
			return fmt.Errorf("root %q: %w", info.Name, err)
		}
	}
	var others []string
	err := s.b.List(ctx, rootPrefix, func(i backend.Info) error {
		if isHead(i.Name) && !listed[i.Name] {
			if others = append(others, i.Name); len(others) > maxHeads {
				return damaged(rootPrefix+"*", fmt.Errorf("the store lists more than %d heads", maxHeads))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list %s of %s: %w", rootPrefix, s.b.Location(), err)
	}
	for _, name := range others {
		raw, _, err := s.b.Load(ctx, name)
		if errors.Is(err, backend.ErrNotExist) {
			continue
		}
		if err != nil {
			return got(name, err)
		}
		r, _ := s.tellRoot(name, raw)
		if r == nil {
			continue // damaged, or of a group that is no more
		}
		if err := fn(r); err != nil {
			return fmt.Errorf("object %s: %w", name, err)
		}
	}
	return nil
}

// tellRoot returns the root that a head is of, with its groups, and of the head what everyone may know; nil if nobody signed
// it. A read group that this client is not in is "".
func (s *Store) tellRoot(name string, raw []byte) (*Root, Head) {
	r := s.Nested(RootInfo{ID: rootID(strings.TrimPrefix(name, rootPrefix)), Name: name})
	for _, group := range s.Keys().AllGroups() {
		r.info.Write = group
		h, seals, err := r.parseOpen(raw)
		if err != nil {
			continue
		}
		for _, mine := range s.Keys().Groups() {
			g, _ := s.Keys().Group(mine)
			if _, err := s.openPrivate(g, r.info.ID, h.Seq, seals.private); err == nil {
				r.info.Read = mine
			}
		}
		return r, h
	}
	return nil, Head{}
}
