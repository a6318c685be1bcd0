package worktree

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ensync/engine/replica"
	"ensync/store/object"
)

// file is a file of the model below: an inode with its content, which is as long as every other's.
type file struct {
	ino  Ino
	data string
}

// look is an entry that the reconciler has in hand, and which version it was of.
type look struct {
	dir  string
	e    object.Entry
	of   *file
	data string
}

// meanwhile is a user who edits between any two steps of a reconciler, in ways that only the bytes tell: all files are of
// one size and time. It knows which content each name has, and which files are open without one.
type meanwhile struct {
	*bench
	r     *rand.Rand
	files map[string]*file // by path
	held  map[*file]bool   // open
	taken map[*file]bool   // those of them whose last name a sync took
	next  int
	log   []string

	looks  []look // listed, hashed or uploaded, newest last
	agreed []look // to be settled
}

func (m *meanwhile) fresh() string {
	m.next++
	return fmt.Sprintf("version %06d %s", m.next, pattern(1, 50))
}

func (m *meanwhile) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func (m *meanwhile) somewhere() string {
	return []string{"", "d/"}[m.r.IntN(2)] + string(rune('p'+m.r.IntN(3)))
}

// put writes to a file and sets its time back.
func (m *meanwhile) put(f *file) {
	f.data = m.fresh()
	m.note("write inode %d: %.14s", f.ino, f.data)
	m.writeAt(f.ino, f.data, 0)
	m.backdate(f.ino)
}

func (m *meanwhile) edit() {
	p, q := m.somewhere(), m.somewhere()
	f := m.files[p]
	if f == nil {
		f = &file{ino: m.make(p, Make{Mode: typeFile | 0o644})}
		m.files[p] = f
		m.put(f)
		return
	}
	switch there := m.files[q]; m.r.IntN(8) {
	case 0, 1:
		m.put(f)
	case 2:
		if there != nil {
			m.note("exchange %s %s", p, q)
			m.ok(m.rename(p, q, RenameExchange))
			m.files[p], m.files[q] = there, f
		}
	case 3:
		if there == f { // nothing happens then
			return
		}
		m.note("rename %s %s", p, q)
		m.ok(m.rename(p, q, 0))
		delete(m.files, p)
		m.files[q] = f
	case 4:
		if there == nil {
			m.note("link %s %s", p, q)
			d, name := m.parent(q)
			_, err := m.Link(ctx, f.ino, d, name)
			m.ok(err)
			m.Forget(f.ino, 1)
			m.files[q] = f
		}
	case 5:
		m.note("remove %s", p)
		m.ok(m.remove(p))
		delete(m.files, p)
	case 6:
		if !m.held[f] {
			m.ok(m.Ref(ctx, f.ino))
			m.held[f] = true
		}
	case 7:
		if open := m.opened(); len(open) > 0 && m.isNamed(open[0]) { // what a user deleted, he may write to in vain
			m.put(open[0])
		}
	}
}

// opened returns the files that are open, in the same order each time.
func (m *meanwhile) opened() []*file {
	return slices.SortedFunc(maps.Keys(m.held), func(a, b *file) int { return cmp.Compare(a.ino, b.ino) })
}

func (m *meanwhile) isNamed(f *file) bool {
	for _, g := range m.files {
		if g == f {
			return true
		}
	}
	return false
}

// list looks at a directory, as a pass does, and drops what it knew of it.
func (m *meanwhile) list() {
	dir := []string{"", "d"}[m.r.IntN(2)]
	list, err := m.List(ctx, dir)
	m.ok(err)
	m.rescued(dir, list)
	m.looks = slices.DeleteFunc(m.looks, func(l look) bool { return l.dir == dir })
	for _, e := range list {
		if e.Kind == object.File {
			f := m.files[replica.Join(dir, e.Name)]
			m.looks = append(m.looks, look{dir, e, f, f.data})
		}
	}
	m.note("list %q", dir)
}

// rescued adopts the names that files got which a sync had taken theirs from.
func (m *meanwhile) rescued(dir string, list []object.Entry) {
	for _, e := range list {
		p := replica.Join(dir, e.Name)
		if m.files[p] != nil || e.Kind != object.File {
			continue
		}
		for _, f := range m.opened() {
			if f.ino == m.must(p) {
				m.note("%s is inode %d, rescued", p, f.ino)
				m.files[p] = f
			}
		}
		if m.files[p] == nil {
			m.Fatalf("%s came from nowhere", p)
		}
	}
}

// upload sends a file that was listed to the store; hash only reads it.
func (m *meanwhile) upload(hash bool) {
	if len(m.looks) == 0 {
		return
	}
	i := m.r.IntN(len(m.looks))
	l := m.looks[i]
	if hash {
		e, err := m.Hash(ctx, l.dir, l.e)
		if m.refused("hash", l, err) {
			return
		}
		if !e.Content.Same(hashBytes([]byte(l.data))) {
			m.Fatalf("hash of %s/%s is not that of %.14s", l.dir, l.e.Name, l.data)
		}
		m.blocks.put([]byte(l.data)) // found in sync: the store has it
		m.looks[i] = look{l.dir, e, l.of, l.data}
	} else {
		r, err := m.Open(ctx, l.dir, l.e)
		if m.refused("open", l, err) {
			return
		}
		for range m.r.IntN(3) {
			m.edit() // while it is read
		}
		data, err := io.ReadAll(r)
		m.ok(err)
		m.ok(r.Close())
		if string(data) != l.data {
			m.Fatalf("%s/%s was read as %.14s, listed as %.14s", l.dir, l.e.Name, data, l.data)
		}
		for range m.r.IntN(3) {
			m.edit() // while the store takes it
		}
		l.e.Content = m.blocks.put(data)
		m.Learn(l.dir, l.e)
		m.looks[i] = l
	}
	m.note("agreed on %s/%s: %.14s", l.dir, l.e.Name, m.looks[i].data)
	m.agreed = append(m.agreed, m.looks[i])
}

// refused checks that an entry is refused only if what it stands for changed, and not changed for what it was.
func (m *meanwhile) refused(what string, l look, err error) bool {
	now := m.files[replica.Join(l.dir, l.e.Name)]
	same := now != nil && now == l.of && now.data == l.data
	switch {
	case what == "change" && err == nil && !same && (now == nil || !l.e.Content.Known || now.data != l.data):
		m.Fatalf("%s of %s/%s went through, which was %.14s", what, l.dir, l.e.Name, l.data)
	case err != nil && !errors.Is(err, replica.ErrChanged) && !errors.Is(err, replica.ErrNotExist):
		m.Fatalf("%s: %v", what, err)
	}
	return err != nil
}

// settle tells some of what was agreed, old or new, in any order.
func (m *meanwhile) settleSome() {
	m.r.Shuffle(len(m.agreed), func(i, j int) { m.agreed[i], m.agreed[j] = m.agreed[j], m.agreed[i] })
	for _, dir := range []string{"", "d"} {
		var entries []object.Entry
		for _, l := range m.agreed {
			if l.dir == dir {
				entries = append(entries, l.e)
				m.note("settle %s/%s: %.14s", dir, l.e.Name, l.data)
			}
		}
		m.settle(dir, entries...)
	}
	if m.r.IntN(2) == 0 {
		m.agreed = nil
	}
}

// apply replaces or removes some of what was listed, as one call.
func (m *meanwhile) apply() {
	dir := []string{"", "d"}[m.r.IntN(2)]
	var changes []replica.Change
	var looks []look
	for _, l := range m.looks {
		if l.dir != dir || m.r.IntN(2) == 0 {
			continue
		}
		c := replica.Change{Old: &l.e}
		if m.r.IntN(2) == 0 {
			new := l.e
			new.Content = m.blocks.put([]byte(m.fresh()))
			c.New = &new
		}
		changes, looks = append(changes, c), append(looks, l)
	}
	for i, r := range m.Apply(ctx, dir, changes) {
		l := looks[i]
		if m.refused("change", l, r.Err) {
			continue
		}
		p := replica.Join(dir, l.e.Name)
		was := m.files[p]
		delete(m.files, p)
		m.taken[was] = m.held[was] && !m.isNamed(was)
		m.note("apply %s", p)
		if new := changes[i].New; new != nil {
			m.files[p] = &file{ino: m.must(p), data: string(new.Content.Data)}
		}
	}
	m.looks = slices.DeleteFunc(m.looks, func(l look) bool { return l.dir == dir })
}

// writeOrphans writes to files that a sync took the names from.
func (m *meanwhile) writeOrphans() {
	for _, f := range m.opened() {
		if m.taken[f] {
			m.put(f)
			m.orphanIsRescued(f)
			delete(m.taken, f)
		}
	}
}

func (m *meanwhile) orphanIsRescued(f *file) {
	_, err := m.Dirty(ctx, "")
	m.ok(err)
	for _, dir := range []string{"", "d"} {
		entries, err := m.ReadDir(ctx, m.must(dir))
		m.ok(err)
		for _, e := range entries {
			if e.Attr.Ino == f.ino {
				m.note("inode %d is rescued as %s/%s", f.ino, dir, e.Name)
				m.files[replica.Join(dir, e.Name)] = f
				return
			}
		}
	}
	m.Fatalf("inode %d, written to after a sync took its name, is nowhere", f.ino)
}

func (m *meanwhile) compare() {
	m.Helper()
	for _, p := range slices.Sorted(maps.Keys(m.files)) {
		f := m.files[p]
		if ino, err := m.at(p); err != nil || ino != f.ino {
			m.Fatalf("%s is inode %d, %v, want %d", p, ino, err, f.ino)
		}
		if got := m.readAll(f.ino); got != f.data {
			m.Fatalf("%s holds %.14s, want %.14s", p, got, f.data)
		}
	}
	for _, f := range m.opened() {
		if m.isNamed(f) && m.readAll(f.ino) != f.data {
			m.Fatalf("inode %d holds something else", f.ino)
		}
	}
	if count := strings.Count(m.names("")+" ", " ") + strings.Count(m.names("d")+" ", " "); m.names("d") != "" && count != len(m.files)+1 {
		m.Fatalf("there are %q and %q, want %v", m.names(""), m.names("d"), slices.Sorted(maps.Keys(m.files)))
	}
}

// settleGone agrees that what is gone is gone.
func (m *meanwhile) settleGone() {
	for _, dir := range []string{"", "d"} {
		var gone []object.Entry
		for name, e := range m.inodes[m.must(dir)].dir.names {
			if e.ino == 0 {
				gone = append(gone, object.Entry{Name: name})
			}
		}
		m.settle(dir, gone...)
	}
}

func (m *meanwhile) step() {
	switch m.r.IntN(16) {
	default:
		m.edit()
	case 0, 1:
		m.list()
	case 2, 3:
		m.upload(false)
	case 4:
		m.upload(true)
	case 5, 6:
		m.settleSome()
	case 7:
		m.apply()
	case 8:
		m.writeOrphans()
	case 9:
		for _, f := range m.opened() {
			m.Forget(f.ino, 1)
			delete(m.held, f)
			break
		}
	case 10:
		m.ok(m.Tick(ctx))
		m.ok(m.checkpoint(ctx))
	}
}

// TestMeanwhile: whatever a user does between the steps of a reconciler, each name has the bytes that the user, or else the
// reconciler, gave it last; nothing is read, replaced or removed that is not what was listed; and in the end everything
// can be agreed on.
func TestMeanwhile(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			opt := testOptions()
			opt.Inodes = 4
			m := &meanwhile{bench: newBench(t, opt), r: rand.New(rand.NewPCG(seed, 2)), files: map[string]*file{}, held: map[*file]bool{}, taken: map[*file]bool{}}
			m.mkdir("d")
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(strings.Join(m.log[max(0, len(m.log)-40):], "\n"))
				}
			})
			for range 250 {
				m.step()
				m.compare()
			}
			m.settleAll("")
			m.settleGone()
			m.compare()
			m.dirty("", false)
			m.ok(m.Sync(ctx))
			m.held = nil // the kernel's references end with it
			m.crash()
			m.compare()
		})
	}
}
