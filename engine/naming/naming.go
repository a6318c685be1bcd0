// Package naming lets a client hold the names of a store on a file system that can't hold all of them: what would fall
// together there is kept aside under another name.
//
// The store's names are bytes. A Tree shows its caller the store's names, and gives those of this machine to the client
// below. It asks the file system what it takes for one name, and has no opinion of its own.
package naming

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
	"ensync/store/object"
)

// Client is the replica below: a directory on a file system with a mind of its own about names.
type Client interface {
	replica.Client
	replica.Learner
	replica.Peeker
	replica.Relocator
	replica.Tracker
	// Limits is that of replica.Limited.
	Limits(dir string) replica.Limits
	// Spell returns how entries that are given these names will be listed; "" for one that is refused.
	Spell(dir string, names []string) ([]string, error)
	// Spelling returns the name under which List shows what is found under a name; replica.ErrNotExist if nothing is.
	Spelling(dir, name string) (string, error)
	// DirectoryID tells a directory from others, wherever it is moved.
	DirectoryID(dir string) (string, error)
}

// Memory keeps names that differ from the store's durably. It is lost only together with the record of the last sync.
type Memory interface {
	LocalNames(ctx context.Context) ([]ancestor.LocalName, error)
	ChangeLocalNames(ctx context.Context, drop, set []ancestor.LocalName) error
}

// Tree implements replica.Client in the names of the store. Methods may be called concurrently.
type Tree struct {
	client Client
	memory Memory
	report func(string)

	mu   sync.Mutex
	dirs map[string]*names // by path in the store; only those with a name that differs
	byID map[string]string // the directories of dirs, by DirectoryID
}

var (
	_ replica.Client    = (*Tree)(nil)
	_ replica.Learner   = (*Tree)(nil)
	_ replica.Limited   = (*Tree)(nil)
	_ replica.Peeker    = (*Tree)(nil)
	_ replica.Relocator = (*Tree)(nil)
	_ replica.Tracker   = (*Tree)(nil)
)

// Open puts the store's names over a client. report is told of each name that is kept aside.
func Open(ctx context.Context, client Client, memory Memory, report func(string)) (*Tree, error) {
	t := &Tree{client: client, memory: memory, report: report, dirs: map[string]*names{}, byID: map[string]string{}}
	all, err := memory.LocalNames(ctx)
	t.replace(nil, all)
	return t, err
}

// change drops and then sets names: what is set holds on stable storage before anything has that name.
func (t *Tree) change(ctx context.Context, drop, set []ancestor.LocalName) error {
	if len(drop)+len(set) == 0 {
		return nil
	}
	// DURABLE: a name that is forgotten looks deleted.
	if err := t.memory.ChangeLocalNames(ctx, drop, set); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replace(drop, set)
	return nil
}

// replace is change in memory. The caller locks.
func (t *Tree) replace(drop, set []ancestor.LocalName) {
	cloned := map[string]*names{}
	in := func(dir string) *names {
		if cloned[dir] == nil {
			cloned[dir] = t.dirs[dir].clone()
		}
		return cloned[dir]
	}
	for _, n := range drop {
		in(n.Dir).drop(n.Store)
	}
	for _, n := range set {
		in(n.Dir).set(n)
		t.byID[n.DirID] = n.Dir
	}
	for dir, n := range cloned {
		if t.dirs[dir] = n; len(n.byStore) == 0 {
			delete(t.dirs, dir)
		}
	}
}

// of returns the names that differ in a directory; nil if none does.
func (t *Tree) of(dir string) *names {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dirs[dir]
}

// isPlain reports whether no name differs anywhere.
func (t *Tree) isPlain() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.dirs) == 0
}

// path is where a directory of the store lies on this machine.
func (t *Tree) path(dir string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.dirs) == 0 || dir == "" {
		return dir
	}
	at, local := "", ""
	for part := range strings.SplitSeq(dir, "/") {
		local = replica.Join(local, t.dirs[at].local(part))
		at = replica.Join(at, part)
	}
	return local
}

// List implements replica.Client.
func (t *Tree) List(ctx context.Context, dir string) ([]object.Entry, error) {
	entries, err := t.client.List(ctx, t.path(dir))
	if err != nil || t.isPlain() {
		return entries, err
	}
	if err := t.adopt(ctx, dir); err != nil {
		return nil, err
	}
	differ := t.of(dir)
	if differ == nil {
		return entries, nil
	}
	drop, set := differ.compare(dir, entries)
	if err := t.change(ctx, drop, set); err != nil {
		return nil, err
	}
	differ = t.of(dir)
	for i, e := range entries {
		entries[i].Name = differ.store(e.Name)
	}
	slices.SortFunc(entries, func(a, b object.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// adopt lets the names of a directory follow it to where its user moved it.
func (t *Tree) adopt(ctx context.Context, dir string) error {
	if t.of(dir) != nil {
		return nil
	}
	id, err := t.client.DirectoryID(t.path(dir))
	if err != nil {
		return nil // it went since it was listed
	}
	t.mu.Lock()
	was := t.byID[id]
	moved := t.dirs[was]
	t.mu.Unlock()
	if moved == nil || moved.id() != id {
		return nil
	}
	if now, err := t.client.DirectoryID(t.path(was)); err == nil && now == id {
		return nil
	}
	var drop, set []ancestor.LocalName
	for _, n := range moved.byStore {
		drop = append(drop, n)
		n.Dir = dir
		set = append(set, n)
	}
	return t.change(ctx, drop, set)
}

// LocalPath returns where the client below has what is at a path.
func (t *Tree) LocalPath(path string) string { return t.path(path) }

// Dirty implements replica.Client.
func (t *Tree) Dirty(ctx context.Context, dir string) (bool, error) {
	return t.client.Dirty(ctx, t.path(dir))
}

// Hash implements replica.Client.
func (t *Tree) Hash(ctx context.Context, dir string, e object.Entry) (object.Entry, error) {
	got, err := t.client.Hash(ctx, t.path(dir), *t.of(dir).entry(&e))
	got.Name = e.Name
	return got, err
}

// Open implements replica.Client.
func (t *Tree) Open(ctx context.Context, dir string, e object.Entry) (io.ReadCloser, error) {
	return t.client.Open(ctx, t.path(dir), *t.of(dir).entry(&e))
}

// Learn implements replica.Learner.
func (t *Tree) Learn(dir string, e object.Entry) { t.client.Learn(t.path(dir), *t.of(dir).entry(&e)) }

// Save implements replica.Learner. The sync is through: notes of directories that nobody found are dropped.
func (t *Tree) Save(ctx context.Context) error {
	var drop []ancestor.LocalName
	for _, n := range t.below("") {
		if n.IsOrphan() {
			drop = append(drop, n)
		}
	}
	if err := t.change(ctx, drop, nil); err != nil {
		return err
	}
	return t.client.Save(ctx)
}

// Peek implements replica.Peeker. Names that differ are shown as they are on this machine: it is only to see how much there is.
func (t *Tree) Peek(ctx context.Context, dir string, e object.Entry) ([]object.Entry, error) {
	return t.client.Peek(ctx, t.path(dir), e)
}

// Was implements replica.Tracker, and Relocate replica.Relocator, as long as all names are those of the store: where some
// differ, what was moved is made and deleted instead.
func (t *Tree) Was(ctx context.Context, dir string) (string, error) {
	if !t.isPlain() {
		return "", nil
	}
	return t.client.Was(ctx, dir)
}

// Relocate implements replica.Relocator; see Was.
func (t *Tree) Relocate(ctx context.Context, from, to string, e object.Entry) error {
	_, name := replica.Split(to)
	if spelled, err := t.client.Spell(replica.Parent(to), []string{name}); err != nil || !t.isPlain() || spelled[0] != name {
		return errors.ErrUnsupported
	}
	return t.client.Relocate(ctx, from, to, e)
}

// Limits implements replica.Limited.
func (t *Tree) Limits(dir string) replica.Limits { return t.client.Limits(t.path(dir)) }

// Taken implements replica.Limited.
func (t *Tree) Taken(dir, name string) bool {
	_, err := t.client.Spelling(t.path(dir), name)
	return err == nil
}

// Settle implements replica.Client. Names of what is gone are forgotten.
func (t *Tree) Settle(ctx context.Context, dir string, entries []object.Entry) error {
	differ := t.of(dir)
	there := make([]object.Entry, len(entries))
	for i := range entries {
		there[i] = *differ.entry(&entries[i])
	}
	if err := t.client.Settle(ctx, t.path(dir), there); err != nil || t.isPlain() {
		return err
	}
	var drop, set []ancestor.LocalName
	for i, e := range entries {
		if e.Kind != object.Absent {
			continue
		}
		now, err := t.client.Spelling(t.path(dir), there[i].Name)
		if err != nil && !errors.Is(err, replica.ErrNotExist) || err == nil && differ.store(now) == e.Name {
			continue // only the agreement is gone
		}
		if n, ok := differ.get(e.Name); ok {
			drop = append(drop, n)
		}
		was, orphaned := t.orphans(replica.Join(dir, e.Name))
		drop, set = append(drop, was...), append(set, orphaned...)
	}
	return t.change(ctx, drop, set)
}

// orphans returns the notes in a directory that is gone and in all below, and what becomes of them: until the sync is
// through, its user may turn out to have moved it.
func (t *Tree) orphans(dir string) (drop, set []ancestor.LocalName) {
	drop = t.below(dir)
	for _, n := range drop {
		n.Dir = ancestor.Orphaned + n.Dir
		set = append(set, n)
	}
	return drop, set
}

// below returns the names that differ in a directory and in all below it.
func (t *Tree) below(dir string) (all []ancestor.LocalName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for path, list := range t.dirs {
		if dir != "" && path != dir && !strings.HasPrefix(path, dir+"/") {
			continue
		}
		all = slices.AppendSeq(all, maps.Values(list.byStore))
	}
	return all
}
