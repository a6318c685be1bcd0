//go:build linux

package naming_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"ensync/engine/ancestor"
	"ensync/engine/localdir/foldtest"
	"ensync/engine/naming"
	"ensync/engine/remote/remotetest"
	"ensync/engine/replica"
	"ensync/engine/replica/memory"
	"ensync/store/object"
)

var errDead = errors.New("the machine is off")

// A life ends before the change after the last one that it is granted: a note in the database, or an Apply.
type life struct {
	naming.Client
	naming.Memory
	left atomic.Int64
}

func (l *life) dead() bool { return l.left.Load() < 0 }

// spend reports whether one more change may be made.
func (l *life) spend() bool { return l.left.Add(-1) >= 0 }

func (l *life) ChangeLocalNames(ctx context.Context, drop, set []ancestor.LocalName) error {
	if !l.spend() {
		return errDead
	}
	return l.Memory.ChangeLocalNames(ctx, drop, set)
}

func (l *life) Apply(ctx context.Context, dir string, changes []replica.Change) []replica.Result {
	results := make([]replica.Result, len(changes))
	for i, c := range changes {
		if !l.spend() {
			results[i].Err = errDead
			continue
		}
		results[i] = l.Client.Apply(ctx, dir, []replica.Change{c})[0]
	}
	return results
}

func (l *life) List(ctx context.Context, dir string) ([]object.Entry, error) {
	if l.dead() {
		return nil, errDead
	}
	return l.Client.List(ctx, dir)
}

func (l *life) Open(ctx context.Context, dir string, e object.Entry) (io.ReadCloser, error) {
	if l.dead() {
		return nil, errDead
	}
	return l.Client.Open(ctx, dir, e)
}

func (l *life) Sync(ctx context.Context) error {
	if l.dead() {
		return errDead
	}
	return l.Client.Sync(ctx)
}

// contents are what the files of a tree hold, in any order of names.
func contents(line string) map[string]int {
	all := map[string]int{}
	for _, part := range strings.Fields(line) {
		_, data, _ := strings.Cut(part, "=")
		all[data]++
	}
	return all
}

// TestCrashes: wherever a machine stops, the next syncs end where they would have, and nothing is lost or doubled.
func TestCrashes(t *testing.T) {
	for _, s := range []struct {
		name, base, between, plain, fold string
		opt                              foldtest.Options
	}{
		{"two come", "", "", "write f=1; write F=2; write Fo/f=3; write fo/f=4", "", foldtest.APFS},
		{"one comes", "write f=1; write d/x=2", "", "write F=3; write D/x=4; write D/X=5", "", foldtest.APFS},
		{"the one goes", "write f=1; write d/x=2", "write F=3; write D/x=4", "rm f; rm d", "", foldtest.APFS},
		{"the one goes here", "write f=1; write d/x=2", "write F=3; write D/x=4", "", "rm f; rm d", foldtest.APFS},
		{"the other goes", "write f=1; write d/x=2", "write F=3; write D/x=4", "rm F; rm D", "", foldtest.APFS},
		{"renamed", "write f=1; write d/x=2", "", "mv f F; mv d D", "", foldtest.APFS},
		{"swapped", "write f=1", "write F=2", "mv f t; mv F f; mv t F", "", foldtest.APFS},
		{"another spelling", "", "", "write " + nfc + "=1; write " + nfd + "=2; write " + nfc + "d/x=3", "", foldtest.HFS},
		{"refused", "", "write a?=1", "write a:=2; write a?=3", "", foldtest.VFAT},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for granted := int64(0); ; granted++ {
				store := remotetest.New(memory.SHA256)
				plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, s.opt))
				for _, steps := range []string{s.base, s.between} {
					plain.do(steps)
					plain.sync()
					fold.sync()
				}
				plain.do(s.plain)
				fold.do(s.fold)
				plain.sync()
				l := fold.dying(granted)
				fold.try() // it fails, or not
				died := l.dead()
				fold.start()
				for range 2 {
					fold.sync()
					plain.sync()
				}
				want, got := contents(plain.String()), contents(fold.String())
				for data, n := range want {
					if got[data] != n || n != 1 {
						t.Errorf("stopped after %d changes: plain has %s, folding %s", granted, plain, fold)
						break
					}
				}
				if strings.Contains(plain.String(), "~aside") || len(want) != len(got) {
					t.Errorf("stopped after %d changes: plain has %s, folding %s", granted, plain, fold)
				}
				plain.idle("plain")
				fold.idle("folding")
				if !died || t.Failed() {
					t.Logf("%d changes", granted)
					return
				}
			}
		})
	}
}

// dying opens a machine anew for a life of so many changes.
func (m *machine) dying(granted int64) *life {
	m.start()
	l := &life{Client: m.dir, Memory: m.past}
	l.left.Store(granted)
	tree, err := naming.Open(m.t.Context(), l, l, func(string) {})
	if err != nil {
		m.t.Fatal(err)
	}
	m.tree = tree
	return l
}

// blind is a client that takes all names for possible, and listed as they are given.
type blind struct{ naming.Client }

func (blind) Spell(_ string, names []string) ([]string, error) { return slices.Clone(names), nil }

// TestWrongProbe: where the probe saw nothing odd about names, nothing is lost, and all comes to rest.
func TestWrongProbe(t *testing.T) {
	for _, s := range stories {
		if s.opt.Refusal != 0 || s.opt.Lower {
			continue // a refusal nobody takes for one who does not know, and other names are other stories
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			store := remotetest.New(memory.SHA256)
			plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, s.opt))
			var err error
			if fold.tree, err = naming.Open(t.Context(), blind{fold.dir}, fold.past, func(string) {}); err != nil {
				t.Fatal(err)
			}
			plain.do(s.base)
			plain.sync()
			fold.sync()
			plain.sync() // a name that the file system spells otherwise is one that its user gave
			plain.do(s.plain)
			fold.do(s.fold)
			for range 3 {
				plain.sync()
				fold.sync()
			}
			want, got, gotF := contents(s.wants), contents(plain.String()), contents(fold.String())
			if !maps.Equal(got, want) || !maps.Equal(gotF, want) {
				t.Errorf("plain has %s, folding %s, and not the contents of %s", plain, fold, s.wants)
			}
			plain.idle("plain")
			fold.idle("folding")
		})
	}
}
