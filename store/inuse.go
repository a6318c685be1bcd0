package store

import (
	"context"
	"slices"

	"ensync/keys"
	"ensync/store/object"
)

// InUse returns what groups are needed for: the trees and directories that they read or write, each as TREE:/PATH or, where
// this client can't read the way there, as the object of its head. Whom a directory is for that this client may not read, its
// head does not tell: if it may be for one of the groups, it is among them. What nobody can read any more is not.
func (s *Store) InUse(ctx context.Context, groups []string) ([]string, error) {
	list, err := s.loadRoots(ctx, s.b.Load)
	if err != nil {
		return nil, err
	}
	stranger := slices.ContainsFunc(groups, func(g string) bool { return s.Member(g) != nil })
	var used []string
	nested := map[object.RootID]string{}
	err = s.everyRoot(ctx, list, func(r *Root) error {
		if r.info.Read == "" && s.InEveryGroup() {
			return nil // it was for a group that is gone
		}
		uses := slices.Contains(groups, r.info.Read) || slices.Contains(groups, r.info.Write) || r.info.Read == "" && stranger
		if !uses {
			return nil
		}
		if !r.nested {
			used = append(used, r.info.Name+":/")
			return nil
		}
		if r.info.Read != "" {
			if h, err := r.Head(ctx); err == nil && h.Ended() {
				return nil
			}
		}
		nested[r.info.ID] = headObject(r.info.ID)
		return nil
	})
	if err == nil && len(nested) > 0 {
		err = (&finder{s: s, ctx: ctx, wanted: nested, seen: map[object.Key]bool{}, entered: map[object.RootID]bool{}}).roots(list)
	}
	for _, where := range nested {
		used = append(used, where)
	}
	slices.Sort(used)
	return used, err
}

// finder looks in the trees of now for directories that name certain roots.
type finder struct {
	s       *Store
	ctx     context.Context
	wanted  map[object.RootID]string // where each is, as far as that was found
	seen    map[object.Key]bool
	entered map[object.RootID]bool
}

func (f *finder) roots(list *rootList) error {
	for _, info := range list.roots {
		if err := f.root(&Root{s: f.s, info: info}, info.Name+":/"); err != nil {
			return err
		}
	}
	return nil
}

// root passes over what can't be read: that is said elsewhere.
func (f *finder) root(r *Root, where string) error {
	h, err := r.Head(f.ctx)
	if err != nil || h.Seq == 0 || h.Ended() {
		return f.ctx.Err()
	}
	g, err := r.ReadGroup()
	if err != nil {
		return nil
	}
	return f.tree(r, g, h.Tree, where)
}

func (f *finder) tree(r *Root, g *keys.Group, t object.Tree, where string) error {
	if f.seen[t.Key] {
		return nil
	}
	f.seen[t.Key] = true
	entries, err := f.s.ReadTree(f.ctx, g, t)
	if err != nil {
		return f.ctx.Err()
	}
	for _, e := range entries {
		at := where + e.Name
		switch {
		case e.Root != object.RootID{}:
			if _, ok := f.wanted[e.Root]; ok {
				f.wanted[e.Root] = at
			}
			below, err := r.below(e)
			if err != nil || f.entered[e.Root] {
				continue
			}
			f.entered[e.Root] = true
			if err := f.root(below, at+"/"); err != nil {
				return err
			}
		case e.Kind == object.Directory:
			if err := f.tree(r, g, e.Tree, at+"/"); err != nil {
				return err
			}
		}
	}
	return nil
}
