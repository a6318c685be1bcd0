package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ensync/engine/replica/memory"
)

// moves returns what was moved on a side, as "from->to".
func (m *machine) moves(side Side) string {
	var all []string
	for _, e := range m.events {
		if e.Kind == Moved && e.Side == side {
			all = append(all, e.Path+"->"+e.NewName)
		}
	}
	return strings.Join(all, " ")
}

// calm makes the two trees equal, with nothing left to do.
func (w *world) calm() {
	w.t.Helper()
	for _, m := range w.machines {
		m.sync()
	}
	for _, m := range w.machines {
		if sum := m.sync(); sum.In != (Counts{}) || sum.Out != (Counts{}) {
			w.t.Errorf("a further sync did something: %+v", sum)
		}
	}
}

// knowAll lets the tree know the contents of all its files, as a directory does that has uploaded them.
func (m *machine) knowAll() {
	m.w.t.Helper()
	if _, err := m.try(func(c *Config) { c.All = true }); err != nil {
		m.w.t.Fatal(err)
	}
}

// TestMovesCostNothing: whoever moves something has it moved elsewhere, in one step, with nothing read, stored or fetched.
func TestMovesCostNothing(t *testing.T) {
	large := strings.Repeat("x", 3000)
	for _, c := range []struct{ name, edit, moved, want string }{
		{"directory", "mv d n", "d->n", "n/a=1 n/b/c=2 e/f=3"},
		{"into a new directory", "mkdir n; mkdir n/o; mv d n/o/d", "d->n/o/d", "n/o/d/a=1 n/o/d/b/c=2 e/f=3"},
		{"into another", "mv d e/d", "d->e/d", "e/d/a=1 e/d/b/c=2 e/f=3"},
		{"out of one that goes", "mv d/b n; rm d", "d/b->n", "n/c=2 e/f=3"},
		{"both, one into the other", "mv d e/d; mv e n", "", "n/d/a=1 n/d/b/c=2 n/f=3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := w.machines[0], w.machines[1]
			a.build("d/a=1 d/b/c=2 e/f=3")
			w.calm()
			a.knowAll()
			a.user(c.edit)
			puts, opens := w.store.Puts(), 0
			a.tree.Before = func(op memory.Op, _ string) error {
				if op == memory.OpOpen || op == memory.OpHash {
					opens++
				}
				return nil
			}
			a.sync()
			if c.moved != "" && a.moves(Remote) != c.moved {
				t.Errorf("moved in the store: %q, want %q", a.moves(Remote), c.moved)
			}
			if stored := w.store.Puts() - puts; c.moved != "" && (opens != 0 || stored > 8) {
				t.Errorf("%d files read, %d objects stored", opens, stored)
			}
			a.tree.Before = nil
			b.sync()
			if c.moved != "" && b.moves(Local) != c.moved {
				t.Errorf("moved on the other machine: %q, want %q", b.moves(Local), c.moved)
			}
			w.calm()
			want, err := memory.Parse(c.want, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != want.String() {
				t.Errorf("B has %q, want %q", b, want)
			}
		})
	}
	t.Run("file", func(t *testing.T) {
		w := newWorld(t, 2)
		a, b := w.machines[0], w.machines[1]
		a.build("d/a=1 e/f=3")
		if err := a.tree.Write("d/large", large); err != nil {
			t.Fatal(err)
		}
		w.calm()
		a.knowAll()
		a.user("mv d/large e/l")
		a.sync()
		b.sync()
		if a.moves(Remote) != "d/large->e/l" || b.moves(Local) != "d/large->e/l" {
			t.Errorf("moved %q, then %q", a.moves(Remote), b.moves(Local))
		}
		w.calm()
	})
}

// What the other side changed in it meanwhile goes with it, both ways.
func TestEditsFollowAMovedDirectory(t *testing.T) {
	for _, first := range []int{0, 1} {
		w := newWorld(t, 2)
		a, b := w.machines[0], w.machines[1]
		a.build("d/f=0 d/g=1 d/s/h=2")
		w.calm()
		a.user("mv d e")
		b.user("write d/f=b; rm d/g; write d/s/new=b")
		w.machines[first].sync()
		w.machines[1-first].sync()
		w.calm()
		if want := "e/f=b e/s/h=2 e/s/new=b"; a.String() != want || b.String() != want {
			t.Errorf("machine %d first: %q and %q, want %q", first, a, b, want)
		}
	}
}

// What is moved is not lost: the guard does not mind; and what goes beside it still counts.
func TestGuardDoesNotMindMoves(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.machines[0], w.machines[1]
	var tree []string
	for i := range 60 {
		tree = append(tree, fmt.Sprintf("d/f%02d=%d g/f%02d=%d", i, i, i, i))
	}
	a.build(strings.Join(tree, " "))
	w.calm()
	a.user("mkdir n; mv d n/d; mv g n/g")
	a.sync()
	b.sync()
	w.calm()

	a.user("rm n/g; mv n/d m")
	if _, err := a.try(nil); err != nil { // half of it is not more than half
		t.Errorf("half was deleted, the rest moved: %v", err)
	}
	w.calm()
	a.user("rm m; write n/x=1")
	for i := range 30 {
		if err := a.tree.Write(fmt.Sprintf("n/y%d", i), fmt.Sprint("other ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.try(nil); err == nil || !strings.Contains(err.Error(), "would delete or empty") {
		t.Errorf("all was deleted: %v", err)
	}
}

// A crash between a move and its record costs nothing: neither does what moved look new, nor what it left deleted.
func TestCrashAfterAMove(t *testing.T) {
	for ops := range 12 {
		w := newWorld(t, 2)
		a, b := w.machines[0], w.machines[1]
		a.build("d/f=0 d/g=1")
		w.calm()
		a.user("mv d e")
		a.sync()
		n := 0
		b.tree.Before = func(op memory.Op, _ string) error {
			if op != memory.OpList {
				n++
			}
			if n > ops {
				return errCrash
			}
			return nil
		}
		b.try(nil)
		b.tree.Before = nil
		b.tree.Sync(context.Background())
		w.calm()
		if want := "e/f=0 e/g=1"; a.String() != want || b.String() != want {
			t.Errorf("crash after %d operations: %q and %q", ops, a, b)
		}
	}
}

// Rules that are not the same everywhere keep things where they are made and deleted one by one.
func TestNoMovesUnderRulesThatDiffer(t *testing.T) {
	w := newWorld(t, 1)
	a := w.machines[0]
	a.mode = "cud/cu-"
	a.build("d/f=0")
	a.sync()
	a.user("mv d e")
	a.try(nil)
	if a.moves(Remote) != "" {
		t.Errorf("moved %q although nothing may be deleted there", a.moves(Remote))
	}
}

// TestForbiddenMove: what can't be moved on the other machine fails alone, is remembered, and comes right once it is allowed.
func TestForbiddenMove(t *testing.T) {
	forbidden := errors.New("permission denied")
	for _, c := range []struct{ name, edit, fails string }{
		{"the move", "mv d e/d", "d"},
		{"a directory above the new place", "mkdir n; mv d n/d", "n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := w.machines[0], w.machines[1]
			a.build("d/s/a=1 e/f=3 other=1")
			w.calm()
			a.user(c.edit + "; write other=2")
			a.sync()
			b.tree.Before = func(op memory.Op, path string) error {
				if op == memory.OpChange && (path == c.fails || strings.HasPrefix(path, c.fails+"/")) {
					return forbidden
				}
				return nil
			}
			if sum := b.sync(); sum.Failed == 0 || !strings.Contains(b.String(), "other=2") {
				t.Errorf("B has %q, %d failed; want all the rest, and something failed", b, sum.Failed)
			}
			b.tree.Before = nil
			w.calm()
			if a.String() != b.String() {
				t.Errorf("A has %q, B %q", a, b)
			}
		})
	}
}

// TestUnreadableArrival: a new directory that can't be read is not what keeps everything else from being synchronised.
func TestUnreadableArrival(t *testing.T) {
	w := newWorld(t, 1)
	a := w.machines[0]
	a.build("d/a=1 other=1")
	w.calm()
	a.user("rm d; mkdir n; write n/a=1; write other=2")
	a.tree.Before = func(op memory.Op, path string) error {
		if op == memory.OpList && path == "n" {
			return errors.New("permission denied")
		}
		return nil
	}
	if sum := a.sync(); sum.Failed != 1 || sum.Out.Updated != 1 {
		t.Errorf("%+v; want one entry failed, and the other in the store", sum)
	}
}

// TestDirectoryThatStays: a directory that can't be removed is remembered, although all that was in it went.
func TestDirectoryThatStays(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.machines[0], w.machines[1]
	a.build("d/a=1 e=2")
	w.calm()
	a.user("rm d")
	a.sync()
	b.tree.Before = func(op memory.Op, path string) error {
		if op == memory.OpChange && path == "d" {
			return errors.New("permission denied")
		}
		return nil
	}
	for range 2 {
		if sum := b.sync(); sum.Failed != 1 {
			t.Errorf("%d failed, want 1", sum.Failed)
		}
		if issues, err := b.past.Issues(t.Context()); err != nil || len(issues) != 1 || issues[0].Path != "d" {
			t.Errorf("issues %+v, %v; want one, of d", issues, err)
		}
	}
	b.tree.Before = nil
	w.calm()
	if issues, _ := b.past.Issues(t.Context()); len(issues) != 0 {
		t.Errorf("issues %+v afterwards", issues)
	}
}
