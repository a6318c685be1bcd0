package worktree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ensync/engine/replica"
	"ensync/store/object"
)

// node is an inode of the reference model: a file system in a few maps.
type node struct {
	dir    map[string]*node
	data   []byte
	target string
	mode   uint32
	nlink  int
}

func (n *node) clone(seen map[*node]*node) *node {
	if c := seen[n]; c != nil {
		return c
	}
	c := &node{data: bytes.Clone(n.data), target: n.target, mode: n.mode, nlink: n.nlink}
	seen[n] = c
	if n.dir != nil {
		c.dir = map[string]*node{}
		for k, v := range n.dir {
			c.dir[k] = v.clone(seen)
		}
	}
	return c
}

// model runs random operations on a tree and on the reference, and compares.
type model struct {
	*bench
	r     *rand.Rand
	root  *node
	step  int
	sizes int // files grow to about this
}

func newModel(b *bench, seed uint64) *model {
	return &model{bench: b, r: rand.New(rand.NewPCG(seed, 1)), root: &node{dir: map[string]*node{}, mode: typeDir}, sizes: 200_000}
}

// pick returns a random path, which may be nothing, with the nodes of its directory and of itself.
func (m *model) pick() (p string, d *node, name string, n *node) {
	d = m.root
	for {
		name = string(rune('a' + m.r.IntN(5)))
		n = d.dir[name]
		p = replica.Join(strings.TrimSuffix(p, "/"), name)
		if n == nil || n.dir == nil || m.r.IntN(3) == 0 {
			return p, d, name, n
		}
		d = n
	}
}

// file returns a random file, or nil.
func (m *model) file() (string, *node) {
	for range 20 {
		if p, _, _, n := m.pick(); n != nil && n.mode&typeMask == typeFile {
			return p, n
		}
	}
	return "", nil
}

func (m *model) want(what string, got, want error) bool {
	m.Helper()
	if got != want {
		m.Fatalf("step %d: %s: error %v, the model says %v", m.step, what, got, want)
	}
	return want == nil
}

func errIf(c bool, e syscall.Errno) error {
	if c {
		return e
	}
	return nil
}

func (m *model) create() {
	p, d, name, n := m.pick()
	kind := []uint32{typeFile, typeFile, typeDir, typeSymlink}[m.r.IntN(4)]
	mk := Make{Mode: kind | 0o644}
	if kind == typeSymlink {
		mk.Target = p
	}
	ino, base := m.parent(p)
	a, err := m.Make(ctx, ino, base, mk)
	if m.want("make "+p, err, errIf(n != nil, syscall.EEXIST)) {
		m.Forget(a.Ino, 1)
		d.dir[name] = &node{mode: kind | 0o644, nlink: 1, target: mk.Target}
		if kind == typeDir {
			d.dir[name].dir = map[string]*node{}
		}
	}
}

func (m *model) size() int {
	switch m.r.IntN(4) {
	case 0:
		return m.r.IntN(100)
	case 1:
		return m.r.IntN(5000)
	case 2:
		return m.r.IntN(m.sizes/unit+1) * unit
	}
	return m.r.IntN(m.sizes)
}

func (n *node) resize(size int) {
	for len(n.data) < size {
		n.data = append(n.data, make([]byte, size-len(n.data))...)
	}
	n.data = n.data[:size]
}

func (m *model) writing() {
	p, n := m.file()
	if n == nil {
		return
	}
	off, data := m.size(), pattern(m.step, m.size()+1)
	if m.r.IntN(2) == 0 {
		off = len(n.data)
	}
	m.writeAt(m.must(p), data, uint64(off))
	n.resize(max(len(n.data), off+len(data)))
	copy(n.data[off:], data)
}

func (m *model) resizing() {
	if p, n := m.file(); n != nil {
		size := m.size() * m.r.IntN(2)
		m.truncate(m.must(p), uint64(size))
		if old := len(n.data); size < old {
			n.data = slices.Clip(n.data[:size])
		}
		n.resize(size)
	}
}

func (m *model) allocating() {
	p, n := m.file()
	if n == nil {
		return
	}
	off, length := m.size(), m.size()+1
	mode := []uint32{0, 1, 3, 0x10, 0x11}[m.r.IntN(5)]
	m.ok(m.Allocate(ctx, m.must(p), uint64(off), uint64(length), mode))
	if mode&1 == 0 {
		n.resize(max(len(n.data), off+length))
	}
	if mode > 1 && off < len(n.data) {
		clear(n.data[off:min(len(n.data), off+length)])
	}
}

func (m *model) copying() {
	p, s := m.file()
	q, d := m.file()
	if s == nil || d == nil || s == d {
		return
	}
	from, to, length := m.r.IntN(len(s.data)+10)*m.r.IntN(2), m.r.IntN(len(d.data)+10)*m.r.IntN(2), m.size()
	for length > 0 {
		got, err := m.CopyRange(ctx, m.must(p), uint64(from), m.must(q), uint64(to), uint64(length))
		m.ok(err)
		if got == 0 {
			break
		}
		d.resize(max(len(d.data), to+int(got)))
		copy(d.data[to:], s.data[from:from+int(got)])
		from, to, length = from+int(got), to+int(got), length-int(got)
	}
	if length > 0 && from < len(s.data) {
		m.Fatalf("step %d: copied nothing", m.step)
	}
}

func (m *model) removing() {
	p, d, name, n := m.pick()
	var want error
	switch {
	case n == nil:
		want = syscall.ENOENT
	case len(n.dir) > 0:
		want = syscall.ENOTEMPTY
	}
	if m.want("remove "+p, m.remove(p), want) {
		n.nlink--
		delete(d.dir, name)
	}
}

func (m *model) linking() {
	p, n := m.file()
	q, d, name, there := m.pick()
	if n == nil {
		return
	}
	ino, base := m.parent(q)
	_, err := m.Link(ctx, m.must(p), ino, base)
	if m.want("link "+p+" "+q, err, errIf(there != nil, syscall.EEXIST)) {
		m.Forget(m.must(p), 1)
		d.dir[name] = n
		n.nlink++
	}
}

func (n *node) holds(d *node) bool {
	if n == d {
		return true
	}
	for _, c := range n.dir {
		if c.holds(d) {
			return true
		}
	}
	return false
}

func (m *model) renaming() {
	p, d, name, n := m.pick()
	q, e, to, there := m.pick()
	flags := []uint32{0, 0, RenameNoReplace, RenameExchange}[m.r.IntN(4)]
	exchange := flags == RenameExchange
	var want error
	switch {
	case n == nil, there == nil && exchange:
		want = syscall.ENOENT
	case there != nil && flags == RenameNoReplace:
		want = syscall.EEXIST
	case there == n:
	case there != nil && !exchange && there.dir != nil && n.dir == nil:
		want = syscall.EISDIR
	case there != nil && !exchange && there.dir == nil && n.dir != nil:
		want = syscall.ENOTDIR
	case there != nil && !exchange && len(there.dir) > 0:
		want = syscall.ENOTEMPTY
	case n.dir != nil && n.holds(e), exchange && there.dir != nil && there.holds(d):
		want = syscall.EINVAL
	}
	err := m.rename(p, q, flags)
	if !m.want(fmt.Sprintf("rename %s %s %d", p, q, flags), err, want) || there == n {
		return
	}
	if exchange {
		d.dir[name], e.dir[to] = there, n
		return
	}
	if there != nil {
		there.nlink--
	}
	delete(d.dir, name)
	e.dir[to] = n
}

// remoteEdit lets the reconciler replace, touch or remove an entry, after it has looked.
func (m *model) remoteEdit() {
	p, d, name, n := m.pick()
	if n == nil || len(n.dir) > 0 {
		return
	}
	dir := strings.TrimSuffix(strings.TrimSuffix(p, name), "/")
	old := m.entry(p)
	switch m.r.IntN(3) {
	case 0:
		m.ok(m.remote(dir, replica.Change{Old: &old}).Err)
		n.nlink--
		delete(d.dir, name)
	case 1:
		data := []byte(pattern(m.step, m.size()))
		new := object.Entry{Name: name, Kind: object.File, Mode: 0o600, ModTime: 5, Content: m.blocks.put(data)}
		m.ok(m.remote(dir, replica.Change{Old: &old, New: &new}).Err)
		same := n.mode&typeMask == typeFile && bytes.Equal(n.data, data)
		if same {
			n.mode = typeFile | 0o600
			return
		}
		n.nlink--
		d.dir[name] = &node{mode: typeFile | 0o600, nlink: 1, data: data}
	case 2:
		if n.mode&typeMask == typeSymlink {
			return
		}
		new := old
		new.Mode = 0o640
		m.ok(m.remote(dir, replica.Change{Old: &old, New: &new}).Err)
		n.mode = n.mode&typeMask | 0o640
	}
}

// settling lets the reconciler upload and agree on a directory.
func (m *model) settling() {
	p, _, _, n := m.pick()
	if n == nil || n.dir == nil {
		p = ""
	}
	list, err := m.List(ctx, p)
	m.ok(err)
	for i, e := range list {
		if e.Kind != object.File || m.blocks.has(e.Content) {
			continue
		}
		r, err := m.Open(ctx, p, e)
		m.ok(err)
		data, err := io.ReadAll(r)
		m.ok(err)
		m.ok(r.Close())
		list[i].Content = m.blocks.put(data)
		m.Learn(p, list[i])
	}
	m.ok(m.Sync(ctx))
	m.ok(m.Settle(ctx, p, list))
}

// compare checks that the tree is what the model is.
func (m *model) compare(want *node) {
	m.Helper()
	m.compareDir("", RootIno, want)
}

func (m *model) compareDir(p string, ino Ino, want *node) {
	m.Helper()
	list, err := m.ReadDir(ctx, ino)
	m.ok(err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
		n := want.dir[e.Name]
		if n == nil {
			continue
		}
		q := replica.Join(p, e.Name)
		if n.dir == nil && e.Attr.Nlink != uint32(n.nlink) {
			m.Fatalf("step %d: %s has %d links, the model %d", m.step, q, e.Attr.Nlink, n.nlink)
		}
		if e.Attr.Mode != n.mode {
			m.Fatalf("step %d: %s has mode %o, the model %o", m.step, q, e.Attr.Mode, n.mode)
		}
		switch n.mode & typeMask {
		case typeDir:
			m.compareDir(q, e.Attr.Ino, n)
		case typeFile:
			if got := m.readAll(e.Attr.Ino); got != string(n.data) {
				i := 0
				for i < len(got) && i < len(n.data) && got[i] == n.data[i] {
					i++
				}
				m.Fatalf("step %d: %s differs at %d (size %d, the model %d)", m.step, q, i, len(got), len(n.data))
			}
		case typeSymlink:
			if got, err := m.Readlink(ctx, e.Attr.Ino); err != nil || got != n.target {
				m.Fatalf("step %d: %s links to %q, %v", m.step, q, got, err)
			}
		}
	}
	if w := slices.Sorted(maps.Keys(want.dir)); !slices.Equal(names, w) {
		m.Fatalf("step %d: %q holds %v, the model %v", m.step, p, names, w)
	}
}

func (m *model) act() {
	m.step++
	switch k := m.r.IntN(100); {
	case k < 20:
		m.create()
	case k < 42:
		m.writing()
	case k < 48:
		m.resizing()
	case k < 54:
		m.allocating()
	case k < 60:
		m.copying()
	case k < 68:
		m.removing()
	case k < 73:
		m.linking()
	case k < 85:
		m.renaming()
	case k < 91:
		m.remoteEdit()
	case k < 93:
		m.settling()
	case k < 96:
		m.ok(m.checkpoint(context.Background()))
	case k < 98:
		m.ok(m.Tick(ctx))
	default:
		if p, n := m.file(); n != nil {
			m.ok(m.Fsync(ctx, m.must(p)))
		}
	}
}

// TestModel: random operations give what the model says, across evictions, checkpoints, restarts and crashes.
func TestModel(t *testing.T) {
	steps, seeds := 400, uint64(5)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			opt := testOptions()
			opt.Inodes = 8
			opt.Buffer = 300_000
			m := newModel(newBench(t, opt), seed)
			for range steps {
				m.act()
				switch k := m.r.IntN(60); {
				case k == 0:
					m.close()
					m.open()
					m.compare(m.root)
				case k == 1:
					m.ok(m.Sync(ctx))
					m.crash()
					m.compare(m.root)
					m.verify()
				case k < 6:
					m.verify()
					m.compare(m.root)
				}
			}
		})
	}
}

// TestModelCrash: a crash at any moment leaves a whole tree, in which everything is as it was at the last Sync unless
// it was changed since.
func TestModelCrash(t *testing.T) {
	for seed := range uint64(6) {
		opt := testOptions()
		opt.Inodes = 8
		m := newModel(newBench(t, opt), 100+seed)
		m.sizes = 20_000
		for range 120 {
			m.act()
		}
		m.ok(m.Sync(ctx))
		synced := m.root.clone(map[*node]*node{})
		for range m.r.IntN(30) {
			m.act()
		}
		m.ok(m.log.Sync(ctx, 0)) // whatever happens to have been handed to the log
		m.crash()
		m.verify()
		m.untouched("", synced, m.root)
	}
}

// untouched checks the files that are the same in both models.
func (m *model) untouched(p string, a, b *node) {
	for name, x := range a.dir {
		y := b.dir[name]
		q := replica.Join(p, name)
		switch {
		case y == nil:
		case x.dir != nil && y.dir != nil:
			m.untouched(q, x, y)
		case x.dir == nil && y.dir == nil && x.mode == y.mode && x.target == y.target && bytes.Equal(x.data, y.data):
			ino, err := m.at(q)
			if err != nil {
				m.Fatalf("%s is gone: %v", q, err)
			}
			if x.mode&typeMask == typeFile {
				if got := m.readAll(ino); got != string(x.data) {
					m.Fatalf("%s lost what was synced", q)
				}
			}
		}
	}
}
