package remote

import (
	"cmp"
	"context"
	"crypto/sha3"
	"errors"
	"fmt"
	"slices"

	"ensync/engine/replica"
	"ensync/store/object"
)

// A realm is a root of the store as part of a tree.
type realm struct {
	root  Root
	head  Head
	err   error       // why it can't be shown
	base  object.Tree // as it is shown: what was committed, or what was put since
	ended bool        // it is to end with the next commit
}

// A ref is a directory that is a root, found in a realm.
type ref struct {
	dir, name string // dir is relative to where it was looked for
	id        object.RootID
}

var _ replica.Divided = (*Tree)(nil)

// Domain implements replica.Divided: names tell, from the top down.
func (t *Tree) Domain(dir string) (replica.Domain, error) {
	top := t.store.Top()
	return replica.DomainOf(replica.Domain{Read: top.Read, Write: top.Write}, dir)
}

// MayRead implements replica.Divided.
func (t *Tree) MayRead(d replica.Domain) error { return t.member(d.Read, "read") }

// MayWrite implements replica.Divided.
func (t *Tree) MayWrite(d replica.Domain) error { return t.member(d.Write, "change") }

func (t *Tree) member(group, what string) error {
	if err := t.store.Member(group); err != nil {
		return &outside{group, what, err}
	}
	return nil
}

// outside says what this client may not do because it is not in a group.
type outside struct {
	group, what string
	cause       error
}

func (o *outside) Error() string {
	return fmt.Sprintf("only group %s may %s it, and this passphrase is not in it; use another, or ensync key group assoc", o.group, o.what)
}

func (o *outside) Unwrap() []error { return []error{replica.ErrNotAllowed, o.cause} }

// rootAt returns the root that an entry names, in a directory of a realm.
func rootAt(up Root, dir, name string, id object.RootID) (Root, error) {
	d, err := replica.Domain{Read: up.Read, Write: up.Write}.Below(dir, name)
	return Root{ID: id, Path: d.Top, Read: d.Read, Write: d.Write}, err
}

// enterRealm makes n, whose entry is e, part of its realm. What the store says is a root has a name that says so, and the
// other way round: else whoever may write above could have put it there.
func (t *Tree) enterRealm(ctx context.Context, n *node, e object.Entry) error {
	isRoot := e.Root != object.RootID{}
	switch {
	case !isRoot && (t.unsealed || !object.HasGroups(e.Name)):
		return nil
	case !isRoot:
		return fmt.Errorf("%w: its name tells groups, and it is not stored for them but with the directory above", replica.ErrNotAllowed)
	case !object.HasGroups(e.Name):
		return fmt.Errorf("%w: it is stored for groups that its name does not tell", replica.ErrNotAllowed)
	}
	root, err := rootAt(n.realm.root, replica.Parent(n.path), e.Name, e.Root)
	if err != nil {
		return fmt.Errorf("%w: %w", replica.ErrNotAllowed, err)
	}
	r := t.getRealms(ctx, []Root{root})[0]
	if err := cmp.Or(r.err, t.isOnce(ctx, n, r), t.moveRealm(r, n.path)); err != nil {
		return err
	}
	n.realm, n.base, n.hasRoots = r, r.base, true
	return nil
}

// moveRealm notes where a realm is. Two directories can't be the same root: a change of one would be one of the other.
func (t *Tree) moveRealm(r *realm, path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.root.Path != path && t.nodes[r.root.Path] != nil {
		return &twin{of: r.root.Path}
	}
	r.root.Path = path
	return nil
}

// getRealms returns realms, and asks for the heads of those that are not known, together.
func (t *Tree) getRealms(ctx context.Context, roots []Root) []*realm {
	var ask []Root
	t.mu.Lock()
	for _, r := range roots {
		if known := t.realms[r.ID]; known != nil {
			continue
		}
		if t.member(r.Read, "read") == nil {
			ask = append(ask, r)
		}
	}
	t.mu.Unlock()
	heads, errs := t.store.Heads(ctx, ask)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, r := range ask {
		if t.realms[r.ID] == nil && ctx.Err() == nil {
			t.realms[r.ID] = &realm{root: r, head: heads[i], base: heads[i].Tree, err: errs[i]}
		}
	}
	all := make([]*realm, len(roots))
	for i, r := range roots {
		switch known := t.realms[r.ID]; {
		case known != nil && known.root.Read == r.Read && known.root.Write == r.Write:
			all[i] = known
		case known != nil:
			all[i] = &realm{root: r, err: &twin{of: known.root.Path}}
		default:
			all[i] = &realm{root: r, err: cmp.Or(ctx.Err(), t.member(r.Read, "read"))}
		}
	}
	return all
}

// withoutEnded leaves out the entries of a directory whose roots have ended: whoever removed them did not come to that.
func (t *Tree) withoutEnded(ctx context.Context, n *node, list []object.Entry) ([]object.Entry, error) {
	var roots []Root
	for _, e := range list {
		if (e.Root == object.RootID{}) {
			continue
		}
		if r, err := rootAt(n.realm.root, n.path, e.Name, e.Root); err == nil {
			roots = append(roots, r)
		}
	}
	if len(roots) == 0 {
		return list, nil
	}
	ended := map[object.RootID]bool{}
	for _, r := range t.getRealms(ctx, roots) {
		ended[r.root.ID] = r.head.Ended
	}
	return slices.DeleteFunc(slices.Clone(list), func(e object.Entry) bool { return ended[e.Root] }), ctx.Err()
}

// hasRoots reports whether in a directory, or below, there are roots.
func hasRoots(list []object.Entry) bool {
	return slices.ContainsFunc(list, func(e object.Entry) bool { return e.Roots || e.Root != object.RootID{} })
}

// markOf returns what identifies a directory with all below: its tree, and what the roots below it are. n.mu is held.
func (t *Tree) markOf(ctx context.Context, n *node) (string, error) {
	if !n.hasRoots {
		return mark(n.base), nil
	}
	return t.markBelow(ctx, n.realm, n.base)
}

// markBelow is markOf of a stored directory. A root that is met again adds nothing: that roots name each other in circles, or
// each the next one twice, must not make it endless.
func (t *Tree) markBelow(ctx context.Context, r *realm, tree object.Tree) (string, error) {
	return (&marker{t, map[object.RootID]bool{}}).mark(ctx, r, tree, 0)
}

type marker struct {
	*Tree
	seen map[object.RootID]bool
}

func (m *marker) mark(ctx context.Context, r *realm, tree object.Tree, deep int) (string, error) {
	refs, err := m.refsBelow(ctx, r, tree, 0)
	if errors.Is(err, errDeep) || deep > maxRootDepth {
		return "", nil // to be looked at again and again
	}
	if err != nil || len(refs) == 0 {
		return mark(tree), err
	}
	h := sha3.New256()
	for i, below := range m.getRealms(ctx, rootsAt(r, refs)) {
		part := "closed"
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case m.seen[refs[i].id]:
			part = "again"
		case below.err == nil && !below.head.Ended:
			m.seen[refs[i].id] = true
			if part, err = m.mark(ctx, below, below.base, deep+1); err != nil || part == "" {
				return "", err
			}
		case below.err != nil && !errors.Is(below.err, replica.ErrNotAllowed):
			return "", nil // what is wrong is met, and told, again and again
		}
		fmt.Fprintf(h, "%x %s\n", refs[i].id, part)
	}
	return fmt.Sprintf("%s+%x", mark(tree), h.Sum(nil)[:16]), nil
}

// rootsAt returns the roots that refs of a realm are. A name that makes no sense is of a root that nobody enters.
func rootsAt(r *realm, refs []ref) []Root {
	roots := make([]Root, len(refs))
	for i, f := range refs {
		roots[i], _ = rootAt(r.root, under(r.root.Path, f.dir), f.name, f.id)
	}
	return roots
}

// under returns the path of a directory that lies in another, or is that.
func under(dir, path string) string {
	if path == "" {
		return dir
	}
	return replica.Join(dir, path)
}

// maxRootDepth bounds below how many directories, and how many roots, roots are looked for ahead of time.
const maxRootDepth = 256

var errDeep = errors.New("directories that are roots lie too deep")

// refsBelow finds the roots in a realm below a stored directory. It looks only into directories that have some below, and
// only once into each.
func (t *Tree) refsBelow(ctx context.Context, r *realm, tree object.Tree, deep int) ([]ref, error) {
	t.mu.Lock()
	found, ok := t.refs[tree]
	t.mu.Unlock()
	if ok {
		return found, nil
	}
	if deep > maxRootDepth {
		return nil, errDeep
	}
	list, err := t.read(ctx, r, tree)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		switch {
		case e.Kind != object.Directory:
		case e.Root != object.RootID{}:
			found = append(found, ref{"", e.Name, e.Root})
		case e.Roots:
			below, err := t.refsBelow(ctx, r, e.Tree, deep+1)
			if err != nil {
				return nil, err
			}
			for _, f := range below {
				found = append(found, ref{under(e.Name, f.dir), f.name, f.id})
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refs[tree] = found
	return found, nil
}

// changedRealms returns what is to be committed, in ranks: what is below comes first, so that nothing is named before it
// is there; and what is new before what ends, so that a crash leaves both.
func (t *Tree) changedRealms() [][]*Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	type ranked struct {
		rank int
		*Change
	}
	var all []ranked
	for _, r := range t.realms {
		c := &Change{Root: r.root, Old: r.head, Tree: r.base}
		rank := -4 * depth(r.root.Path)
		switch {
		case r.err != nil:
			continue
		case r.ended:
			c.Tree, rank = object.Tree{}, rank+2
		case r.head.State == nil:
		case r.base == r.head.Tree:
			continue
		default:
			rank++
		}
		all = append(all, ranked{rank, c})
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.Root.Path, b.Root.Path))
	})
	var ranks [][]*Change
	for i, c := range all {
		if i == 0 || all[i-1].rank != c.rank {
			ranks = append(ranks, nil)
		}
		last := len(ranks) - 1
		ranks[last] = append(ranks[last], c.Change)
	}
	return ranks
}

// newRealm makes the root of a directory that is to be.
func (t *Tree) newRealm(ctx context.Context, up *realm, dir, name string) (*realm, error) {
	root, err := rootAt(up.root, dir, name, t.store.NewID())
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(t.member(root.Read, "read"), t.member(root.Write, "change")); err != nil {
		return nil, err
	}
	r := &realm{root: root}
	r.base, err = t.put(ctx, r, object.Tree{}, nil)
	return r, err
}

// endRealm notes that the root of a directory that is gone ends.
func (t *Tree) endRealm(id object.RootID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch r := t.realms[id]; {
	case r == nil:
	case r.head.State == nil:
		delete(t.realms, id)
	default:
		r.ended = true
	}
}
