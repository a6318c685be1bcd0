package engine

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"ensync/engine/remote"
	"ensync/engine/replica/memory"
	"ensync/store/object"
)

var (
	simSeed  = flag.Uint64("seed", 0, "run only this seed of the simulation")
	simCount = flag.Uint64("seeds", 200, "how many seeds the simulation runs")
)

// A sim is random editing on several machines with syncs that fail, crash, lose power and race with each other. Every
// content is written once, so each can be recognised anywhere.
type sim struct {
	*world
	rnd      *rand.Rand
	next     int
	licensed map[string]bool // contents that a user overwrote or deleted while seeing them
	written  map[string]bool
	log      []string

	apart   bool     // each machine's user keeps to a directory of its own, so nothing may ever happen to it
	want    []string // then: what each user made of it
	workers int

	nested bool // some directories are for groups, that all are in

	optional bool // owners and extended attributes are synchronised; the last of three machines can't set them
}

var errCrash = errors.New("crash")

func TestSimulation(t *testing.T) {
	movedMin = 1
	defer func() { movedMin = object.InlineMax + 1 }()
	first, last := uint64(1), *simCount
	if testing.Short() { // under the race detector
		last = min(last, 30)
	}
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := &sim{world: newWorld(t, 2+int(seed%2)), rnd: rand.New(rand.NewPCG(seed, 1)),
				licensed: map[string]bool{}, written: map[string]bool{}, apart: seed%4 == 0, workers: 1}
			if seed%3 == 0 { // not the same each time, but all must hold all the same
				s.workers = 4
			}
			s.want = make([]string, len(s.machines))
			s.optional = seed%5 < 2
			s.nested = seed%2 == 1
			for i, m := range s.machines {
				if s.optional {
					m.tree.Owner, m.tree.Fixed = "me:1001", i == 2
					m.sets(true)
				}
			}
			defer func() {
				if t.Failed() {
					t.Logf("go test ./engine -run Simulation -seed=%d\n%s", seed, strings.Join(s.log, "\n"))
				}
			}()
			s.run()
		})
	}
}

func (s *sim) run() {
	for range 3 + s.rnd.IntN(12) {
		m := s.rnd.IntN(len(s.machines))
		for range s.rnd.IntN(4) {
			s.editAtRandom(m)
		}
		if s.rnd.IntN(3) > 0 {
			s.syncAtRandom(m)
		}
		s.nothingLost()
		s.nothingHappenedApart()
		if s.t.Failed() {
			return
		}
	}
	// The last edit is made: one more sync of each after the last change in the store makes all equal.
	s.t.Helper()
	for range 2 {
		for i := range s.machines {
			if err := s.calmSync(i); err != nil {
				s.t.Fatalf("sync of machine %d: %v", i, err)
			}
		}
	}
	text := s.settled()
	for _, path := range s.machines[0].tree.Paths() {
		s.has(path, s.machines[0].text(path), s.machines[:min(2, len(s.machines))]...)
	}
	s.nothingLost()
	s.nothingHappenedApart()
	if s.apart && strings.Contains(text, "~") {
		s.t.Errorf("nobody edited what another did, and yet there are copies: %s", text)
	}
}

// own is the part of a machine's tree that only its user edits.
func (s *sim) own(on, of int) string {
	var words []string
	for _, word := range strings.Fields(s.machines[on].tree.StringWithTimes()) {
		if strings.HasPrefix(word, fmt.Sprintf("m%d/", of)) {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// nothingHappenedApart checks that no sync changes what only the user of that machine edits, and that in the end all
// have just that.
func (s *sim) nothingHappenedApart() {
	if !s.apart {
		return
	}
	for i, want := range s.want {
		if got := s.own(i, i); got != want {
			s.t.Errorf("machine %d has %q, its user made %q", i, got, want)
		}
	}
}

func (s *sim) note(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

var simNames = []string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/f", "b/x", "a~1"}

// nestedNames make some of the names directories that are roots of their own: one that may be one or a plain one, one in
// another.
var nestedNames = map[string]string{"d": "d.ensync[]", "e": "e.ensync[]x", "a~1": "b.ensync[]"}

func (s *sim) name(i int) string {
	names := simNames
	if s.apart {
		names = names[:len(names)-1]
	}
	name := names[s.rnd.IntN(len(names))]
	if s.nested && s.rnd.IntN(8) > 0 {
		parts := strings.Split(name, "/")
		for i, part := range parts {
			parts[i] = cmp.Or(nestedNames[part], part)
		}
		name = strings.Join(parts, "/")
	}
	if s.apart {
		name = fmt.Sprintf("m%d/%s", i, name)
	}
	return name
}

func (s *sim) editAtRandom(i int) {
	m := s.machines[i]
	path := s.name(i)
	var err error
	defer func() { s.want[i] = s.own(i, i) }()
	switch op := s.rnd.IntN(10); {
	case op < 5:
		s.next++
		data := fmt.Sprintf("v%d", s.next)
		old := contentsBelow(m.tree, path)
		if err = m.tree.Write(path, data); err == nil {
			s.license(old)
			s.written[data] = true
			s.note("%d: write %s=%s", i, path, data)
		}
	case op < 7:
		old := contentsBelow(m.tree, path)
		if err = m.tree.Remove(path); err == nil {
			s.license(old)
			s.note("%d: rm %s (%v)", i, path, old)
		}
	case op == 7 && s.rnd.IntN(3) == 0:
		old := contentsBelow(m.tree, path)
		s.next++
		if err = m.tree.Symlink(path, fmt.Sprint("t", s.next)); err == nil {
			s.license(old)
			s.note("%d: ln %s->t%d", i, path, s.next)
		}
	case op < 8 && s.optional && s.rnd.IntN(3) > 0:
		user := object.Owner(fmt.Sprintf(":%d", 2000+s.rnd.IntN(3)))
		value := [][]byte{nil, {'1'}, {'2'}}[s.rnd.IntN(3)]
		switch s.rnd.IntN(3) {
		case 0:
			err = m.tree.Chown(path, user, "")
		case 1:
			err = m.tree.Chown(path, "", user)
		default:
			if e := m.tree.Entry(path); e.Kind == object.File || e.Kind == object.Directory {
				err = m.tree.SetXattr(path, "user.a", value)
			}
		}
		if err == nil {
			s.note("%d: chown %s %s, or its attribute to %s: now %s", i, user, path, value, m.text(path))
		}
	case op < 8:
		mode := []uint32{0o600, 0o644, 0o755, 0o700}[s.rnd.IntN(4)]
		if err = m.tree.Chmod(path, mode); err == nil {
			s.note("%d: chmod %o %s", i, mode, path)
		}
	case op < 9:
		old := contentsBelow(m.tree, path)
		if err = m.tree.Mkdir(path); err == nil {
			s.license(old)
			s.note("%d: mkdir %s", i, path)
		}
	default:
		to := s.name(i)
		if strings.HasPrefix(to+"/", path+"/") || strings.HasPrefix(path+"/", to+"/") {
			return
		}
		old := contentsBelow(m.tree, to)
		if err = m.tree.Rename(path, to); err == nil {
			s.license(old)
			s.note("%d: mv %s %s", i, path, to)
		}
	}
	m.tree.Sync(context.Background()) // the user's own edits are durable
}

func (s *sim) license(contents []string) {
	for _, c := range contents {
		s.licensed[c] = true
	}
}

func contentsBelow(t *memory.Tree, path string) []string {
	var all []string
	for _, word := range strings.Fields(t.String()) {
		name, data, ok := strings.Cut(word, "=")
		if data, _, _ = strings.Cut(data, "@"); ok && (name == path || strings.HasPrefix(name, path+"/")) {
			all = append(all, data)
		}
	}
	return all
}

// syncAtRandom syncs one machine while things go wrong.
func (s *sim) syncAtRandom(i int) {
	m := s.machines[i]
	var mu sync.Mutex // with several workers
	var ops int
	limit := s.rnd.IntN(60)
	kind := s.rnd.IntN(5)
	crashed := false
	step := func() error {
		mu.Lock()
		defer mu.Unlock()
		ops++
		if crashed || kind == 1 && ops > limit {
			crashed = true
			return errCrash
		}
		if kind == 2 && s.rnd.IntN(12) == 0 {
			return errors.New("a fault")
		}
		return nil
	}
	raced, when := false, []string{"commit", "swap"}[s.rnd.IntN(2)]
	m.tree.Before = func(memory.Op, string) error { return step() }
	s.store.Fault = func(op string) error {
		if op == when && kind == 3 && !raced && len(s.machines) > 1 {
			raced = true
			other := (i + 1) % len(s.machines)
			before := s.store.Fault
			s.store.Fault = nil
			s.note("   machine %d is faster:", other)
			s.editAtRandom(other)
			if _, err := s.machines[other].try(confirmed); err != nil {
				s.t.Errorf("racing sync: %v", err)
			}
			s.store.Fault = before
		}
		return step()
	}
	_, err := m.try(func(c *Config) { c.Workers, c.ConfirmLoss, c.BarrierChanges = s.workers, true, 1+s.rnd.IntN(5) })
	m.tree.Before, s.store.Fault = nil, nil
	s.note("%d: sync kind %d crashed=%v: %v  now %s", i, kind, crashed, err, m)
	if err != nil && kind != 1 && kind != 2 {
		s.t.Errorf("sync of machine %d: %v", i, err)
	}
	// A rename survives a power cut or does not, but never loses both names, as the tree's model of one would have it.
	renamed := slices.ContainsFunc(m.events, func(e Event) bool { return e.Kind == Renamed && e.Side == Local })
	if (kind == 4 || crashed && s.rnd.IntN(2) == 0) && !renamed {
		m.tree.Crash(func(string) bool { return s.rnd.IntN(2) == 0 })
		s.note("%d: power cut, now %s", i, m)
	}
}

func confirmed(c *Config) { c.ConfirmLoss, c.Workers = true, 1 }

func (s *sim) calmSync(i int) error {
	_, err := s.machines[i].try(confirmed)
	s.note("%d: sync: %v  now %s", i, err, s.machines[i])
	return err
}

// nothingLost checks that each content written is on a machine or in the store, unless a user saw it go.
func (s *sim) nothingLost() {
	there := map[string]bool{}
	for _, m := range s.machines {
		for _, c := range contentsBelow2(m.tree.String()) {
			there[c] = true
		}
	}
	s.storeContents(there)
	for c := range s.written {
		if !there[c] && !s.licensed[c] {
			s.t.Errorf("content %s is lost", c)
		}
	}
}

func contentsBelow2(text string) []string {
	var all []string
	for _, word := range strings.Fields(text) {
		if _, data, ok := strings.Cut(word, "="); ok {
			data, _, _ = strings.Cut(data, "@")
			all = append(all, data)
		}
	}
	return all
}

func (s *sim) storeContents(there map[string]bool) {
	var walk func(root remote.Root, t object.Tree)
	head := func(root remote.Root) {
		heads, errs := s.store.Heads(context.Background(), []remote.Root{root})
		if errs[0] != nil {
			s.t.Fatal(errs[0])
		}
		walk(root, heads[0].Tree)
	}
	walk = func(root remote.Root, t object.Tree) {
		if t.IsZero() {
			return
		}
		list, err := s.store.ReadTree(context.Background(), root, t)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range list {
			there[string(e.Content.Data)] = true
			if (e.Root != object.RootID{}) {
				head(remote.Root{ID: e.Root})
			} else {
				walk(root, e.Tree)
			}
		}
	}
	head(s.store.Top())
}
