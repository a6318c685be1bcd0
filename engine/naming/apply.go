package naming

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
	"ensync/store/object"
)

// Apply implements replica.Client. What can't have its name, since the file system takes it for that of something else or
// refuses it, gets another one; what was there before keeps its own. The other name is noted before anything has it: a
// crash in between leaves a note of nothing, which the next List drops.
func (t *Tree) Apply(ctx context.Context, dir string, changes []replica.Change) []replica.Result {
	if err := t.spell(ctx, dir, changes); err != nil {
		results := make([]replica.Result, len(changes))
		for i := range results {
			results[i].Err = fmt.Errorf("change %q: %w", replica.Join(dir, changes[i].Name()), err)
		}
		return results
	}
	differ, local := t.of(dir), t.path(dir)
	there := make([]replica.Change, len(changes))
	for i, c := range changes {
		there[i] = differ.change(c)
	}
	results := t.client.Apply(ctx, local, there)
	for i, c := range changes {
		if results[i].Err != nil && given(c) != "" {
			results[i] = t.clash(ctx, dir, c, results[i])
		}
		if results[i].Err == nil && c.Rename != "" {
			results[i].Err = t.renamed(ctx, dir, c)
		}
		if e := results[i].Entry; e != nil {
			now := *e
			if now.Name = given(c); now.Name == "" {
				now.Name = c.Name()
			}
			results[i].Entry = &now
		}
	}
	return results
}

// given is the name that something gets which had another one or none; "" if the change gives none.
func given(c replica.Change) string {
	if c.Rename != "" {
		return c.Rename
	}
	if c.Old == nil && c.New != nil {
		return c.New.Name
	}
	return ""
}

// change is a change in the names of this machine.
func (n *names) change(c replica.Change) replica.Change {
	c.Old, c.New = n.entry(c.Old), n.entry(c.New)
	if c.Rename != "" {
		c.Rename = n.local(c.Rename)
	}
	return c
}

// spell notes how the file system will list the names that changes give, where it lists them otherwise, and which it
// refuses.
func (t *Tree) spell(ctx context.Context, dir string, changes []replica.Change) error {
	var fresh []string
	for _, c := range changes {
		if name := given(c); object.ValidName(name) && !replica.Reserved(name) {
			fresh = append(fresh, name)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	spelled, err := t.client.Spell(t.path(dir), fresh)
	if errors.Is(err, replica.ErrNotExist) {
		return nil // the change will fail, and tell how
	}
	if err != nil {
		return err
	}
	differ := t.of(dir)
	given := map[string]bool{} // on this machine
	for i, name := range fresh {
		given[name] = spelled[i] == name
	}
	var drop, set, orphaned []ancestor.LocalName
	for i, name := range fresh {
		before, after := t.orphans(replica.Join(dir, name)) // it is of a directory that was here
		drop, orphaned = append(drop, before...), append(orphaned, after...)
		was, noted := differ.get(name)
		var n ancestor.LocalName
		switch {
		case spelled[i] == "":
			n, err = t.free(dir, name, ancestor.Refused, set)
		case spelled[i] == name && noted:
			drop = append(drop, was) // of something that is gone
			drop = append(drop, t.nothing(dir, name, name)...)
			continue
		case spelled[i] == name:
			drop = append(drop, t.nothing(dir, name, name)...)
			continue
		case was.Local == spelled[i]:
			continue
		case given[spelled[i]]:
			n, err = t.free(dir, name, ancestor.Clash, set)
			n.Beside = spelled[i]
		default:
			drop = append(drop, t.nothing(dir, name, spelled[i])...)
			n, err = t.respelled(dir, name, spelled[i], set)
		}
		if err != nil {
			return err
		}
		given[n.Local] = true
		set = append(set, n)
	}
	if err := t.change(ctx, drop, append(orphaned, set...)); err != nil {
		return err
	}
	for _, n := range set {
		if n.IsAside() {
			t.tell(n)
		}
	}
	return nil
}

// nothing returns the note that another name is this one here, if nothing is: what is about to get the name is not it.
func (t *Tree) nothing(dir, store, local string) []ancestor.LocalName {
	differ := t.of(dir)
	n, ok := differ.get(differ.store(local))
	if !ok || n.Local != local || n.Store == store {
		return nil
	}
	if _, err := t.client.Spelling(t.path(dir), local); !errors.Is(err, replica.ErrNotExist) {
		return nil
	}
	return []ancestor.LocalName{n}
}

// respelled notes another spelling, unless that is the name of something else.
func (t *Tree) respelled(dir, name, spelled string, others []ancestor.LocalName) (ancestor.LocalName, error) {
	there, err := t.client.Spelling(t.path(dir), spelled)
	if err != nil {
		return t.note(dir, name, spelled, ancestor.Respelled)
	}
	n, err := t.free(dir, name, ancestor.Clash, others)
	n.Beside = t.of(dir).store(there)
	return n, err
}

// note makes a name that differs.
func (t *Tree) note(dir, store, local string, why ancestor.NameReason) (ancestor.LocalName, error) {
	id, err := t.client.DirectoryID(t.path(dir))
	return ancestor.LocalName{Dir: dir, Store: store, Local: local, Why: why, DirID: id, Since: time.Now()}, err
}

// maxTries is how many names are tried for something that is kept aside.
const maxTries = 1000

// free finds a name under which something can be kept aside. others are about to be noted, too.
func (t *Tree) free(dir, store string, why ancestor.NameReason, others []ancestor.LocalName) (ancestor.LocalName, error) {
	taken := t.of(dir).clone()
	taken.drop(store) // a note of nothing, perhaps
	for _, n := range others {
		if n.Dir == dir {
			taken.set(n)
		}
	}
	local := t.path(dir)
	bases := []string{store, harmless(store), ascii(store)}
	if why == ancestor.Refused {
		bases = bases[1:]
	}
	for i := 1; i < maxTries && len(bases) > 0; i++ {
		spelled, err := t.client.Spell(local, []string{asideName(bases[0], i)})
		if err != nil {
			return ancestor.LocalName{}, err
		}
		if spelled[0] == "" {
			bases, i = bases[1:], 0
			continue
		}
		if _, noted := taken.byLocal[spelled[0]]; noted {
			continue
		}
		if _, err := t.client.Spelling(local, spelled[0]); errors.Is(err, replica.ErrNotExist) {
			return t.note(dir, store, spelled[0], why)
		}
	}
	return ancestor.LocalName{}, fmt.Errorf("keep %q aside: no free name was found", replica.Join(dir, store))
}

// clash looks why a name could not be given, and keeps what should get it aside if the file system is why.
func (t *Tree) clash(ctx context.Context, dir string, c replica.Change, failed replica.Result) replica.Result {
	differ, local := t.of(dir), t.path(dir)
	want := differ.local(given(c))
	why, beside := ancestor.Refused, ""
	if !refused(failed.Err) {
		if !errors.Is(failed.Err, replica.ErrChanged) {
			return failed
		}
		why = ancestor.Clash
		there, err := t.client.Spelling(local, want)
		switch {
		case errors.Is(err, replica.ErrNotExist) && c.Old == nil:
			// What was in the way went by another change: a rename in which only the case of letters changed.
			if err := t.change(ctx, t.nothing(dir, given(c), want), nil); err != nil {
				return replica.Result{Err: errors.Join(failed.Err, err)}
			}
			return t.client.Apply(ctx, local, []replica.Change{differ.change(c)})[0]
		case err != nil:
			return failed
		}
		if beside = differ.store(there); beside == given(c) {
			return failed // its user made it
		}
	}
	n, err := t.free(dir, given(c), why, nil)
	n.Beside = beside
	if err == nil {
		err = t.change(ctx, nil, []ancestor.LocalName{n})
	}
	if err != nil {
		return replica.Result{Err: errors.Join(failed.Err, err)}
	}
	again := t.client.Apply(ctx, local, []replica.Change{t.of(dir).change(c)})[0]
	if again.Err == nil {
		t.tell(n)
		return again
	}
	again.Err = errors.Join(again.Err, t.change(ctx, []ancestor.LocalName{n}, nil))
	return again
}

// refused reports whether an error says that nothing can have such a name.
func refused(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EILSEQ) || errors.Is(err, syscall.ENAMETOOLONG)
}

func (t *Tree) tell(n ancestor.LocalName) {
	i := n.Issue()
	t.report(fmt.Sprintf("%q is %s", i.Path, i.Reason))
}

// renamed lets the names below follow a directory that got another name.
//
// RACE: after a crash before it, they are found by the directories that they were noted for.
func (t *Tree) renamed(ctx context.Context, dir string, c replica.Change) error {
	from, to := replica.Join(dir, c.Old.Name), replica.Join(dir, c.Rename)
	drop := t.below(from)
	set := make([]ancestor.LocalName, len(drop))
	for i, n := range drop {
		set[i] = n
		set[i].Dir = to + n.Dir[len(from):]
	}
	if n, ok := t.of(dir).get(c.Old.Name); ok {
		drop = append(drop, n)
	}
	return t.change(ctx, drop, set)
}

// Sync implements replica.Client. What was kept aside gets its own name as soon as nothing is in the way.
func (t *Tree) Sync(ctx context.Context) error {
	if err := t.giveBack(ctx); err != nil {
		return err
	}
	return t.client.Sync(ctx)
}

func (t *Tree) giveBack(ctx context.Context) error {
	var aside []ancestor.LocalName
	for _, n := range t.below("") {
		if n.IsAside() {
			aside = append(aside, n)
		}
	}
	for _, n := range aside {
		if err := t.giveBackOne(ctx, n); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// giveBackOne renames first and forgets then: a crash in between leaves a note of nothing, or of two names.
//
// RACE: who looks at the old name in this instant finds nothing, and the directory is looked at again.
func (t *Tree) giveBackOne(ctx context.Context, n ancestor.LocalName) error {
	dir := t.path(n.Dir)
	if n.Why == ancestor.Refused {
		if id, err := t.client.DirectoryID(dir); err != nil || id == n.DirID {
			return nil // what was refused is refused as long as the directory is not on another file system
		}
	}
	if _, err := t.client.Spelling(dir, n.Store); !errors.Is(err, replica.ErrNotExist) {
		return nil
	}
	spelled, err := t.client.Spell(dir, []string{n.Store})
	if err != nil || spelled[0] == "" {
		return nil
	}
	entries, err := t.client.List(ctx, dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.Name != n.Local {
			continue
		}
		n.Next = spelled[0]
		if err := t.change(ctx, t.nothing(n.Dir, n.Store, n.Next), []ancestor.LocalName{n}); err != nil {
			return err
		}
		if r := t.client.Apply(ctx, dir, []replica.Change{{Old: &e, Rename: n.Next}})[0]; r.Err != nil {
			return nil // it is tried again
		}
		t.report(fmt.Sprintf("%q has its own name again, and is no longer %q", replica.Join(n.Dir, n.Store), n.Local))
		if n.Next == n.Store {
			return t.change(ctx, []ancestor.LocalName{n}, nil)
		}
		return t.change(ctx, nil, []ancestor.LocalName{arrived(n)})
	}
	return nil
}
