package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"ensync/engine/replica"
	"ensync/engine/replica/memory"
	"ensync/store/object"
)

func TestDryRunChangesNothing(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.machines[0], w.machines[1]
	a.build("f=0 d/g=1 e/h=2 x=3")
	a.sync()
	b.sync()
	a.user("write f=a; rm d; write n/m=1; rm x; write x/y=1")
	b.user("write f=b; rm e; write d/new=1")
	a.sync()
	before, puts := b.tree.StringWithTimes(), w.store.Puts()
	sum, err := b.try(func(c *Config) { c.DryRun = true })
	if err != nil {
		t.Fatal(err)
	}
	if after := b.tree.StringWithTimes(); after != before || w.store.Puts() != puts {
		t.Errorf("a dry run changed %q to %q, %d puts", before, after, w.store.Puts()-puts)
	}
	if d, _ := b.past.Dir(context.Background(), ""); d.Find("n").Kind != 0 {
		t.Error("a dry run changed the ancestor")
	}
	real := b.sync()
	sum.Examined, real.Examined = 0, 0
	if fmt.Sprintf("%+v", sum.Out) != fmt.Sprintf("%+v", real.Out) || sum.In.Deleted != real.In.Deleted {
		t.Errorf("the dry run told %+v,\nthe sync did   %+v", sum, real)
	}
}

// edits is an edit of each of n files, numbered.
func edits(n int, format string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(format, "%d", strconv.Itoa(i)) + "; ")
	}
	return b.String()
}

func TestLossGuard(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "f%d=%d ", i, i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, base, edits string
		stops             bool
	}{
		{"emptied", "a=1 b=2", "rm a; rm b", true},
		{"the only file", "a=1", "rm a", false},
		{"most of many", "d/keep=1 " + strings.ReplaceAll(many(30), "f", "e/f"), "rm e", true},
		{"few of many", many(60), "rm f1; rm f2; rm f3", false},
		{"less than half", "e/x=1 " + strings.ReplaceAll(many(25), "f", "d/f") + many(40), "rm d", false},
		{"all renamed", strings.ReplaceAll(many(30), "f", "d/e/f"), "mv d moved", false},
		{"renamed, and some edited", strings.ReplaceAll(many(30), "f", "d/e/f"), "mv d moved; write moved/e/f1=edited; rm moved/e/f2", false},
		{"moved up", strings.ReplaceAll(many(25), "f", "d/f"), edits(25, "mv d/f%d f%d"), false},
		{"replaced by others", strings.ReplaceAll(many(30), "f", "d/f"), "rm d; mkdir n; write n/a=a; write n/b=b", true},
		{"emptied one by one", many(30), edits(25, "write f%d="), true},
		{"files become directories", many(30), edits(25, "rm f%d; mkdir f%d"), true},
		{"edited", many(30), edits(30, "write f%d=new"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := w.machines[0], w.machines[1]
			a.build(c.base)
			a.sync()
			b.sync()
			a.user(c.edits)
			before := w.store.Puts()
			_, err := a.try(nil)
			if stopped := errors.Is(err, ErrLoss); stopped != c.stops {
				t.Fatalf("sync: %v", err)
			}
			if !c.stops {
				if _, err := b.try(nil); err != nil {
					t.Errorf("the other machine: %v", err)
				}
				return
			}
			if w.store.Puts() != before {
				t.Error("a stopped sync wrote to the store")
			}
			if _, err := a.try(func(c *Config) { c.ConfirmLoss = true }); err != nil {
				t.Fatal(err)
			}
			if _, err := b.try(nil); !errors.Is(err, ErrLoss) && c.name != "emptied" {
				t.Errorf("the other machine deletes most of its tree unasked: %v", err)
			}
		})
	}
}

func TestOneBadFileCostsOnlyItself(t *testing.T) {
	for _, op := range []memory.Op{memory.OpOpen, memory.OpHash, memory.OpChange, memory.OpWrite} {
		w := newWorld(t, 2)
		a, b := w.machines[0], w.machines[1]
		a.build("d/bad=0 d/good=0 e/f=0")
		a.sync()
		b.sync()
		b.user("write d/bad=1; write d/good=1; write e/f=1; write new=1")
		b.sync()
		a.user("write d/mine=1")
		bad := func(o memory.Op, path string) error {
			if o == op && path == "d/bad" {
				return errors.New("the disk says no")
			}
			return nil
		}
		a.tree.Before = bad
		sum := a.sync()
		a.tree.Before = nil
		if op == memory.OpOpen || op == memory.OpHash { // not needed for what comes in
			continue
		}
		if sum.Failed != 1 || sum.Clean() {
			t.Errorf("%s fails: %+v", op, sum)
		}
		if got, want := a.String(), "d/bad=0 d/good=1 d/mine=1 e/f=1 new=1"; got != want {
			t.Errorf("%s fails: tree %q, want %q", op, got, want)
		}
		issues, err := a.past.Issues(context.Background())
		if err != nil || len(issues) != 1 || issues[0].Path != "d/bad" || !strings.Contains(issues[0].Reason, "the disk says no") {
			t.Errorf("%s fails: issues %v, %v", op, issues, err)
		}
		if sum := a.sync(); !sum.Clean() {
			t.Errorf("after the cause is gone: %+v", sum)
		}
		if issues, _ := a.past.Issues(context.Background()); len(issues) != 0 {
			t.Errorf("resolved, and still listed: %v", issues)
		}
		w.settled()
	}
}

func TestOneSidedModesNeverTouchTheOtherSide(t *testing.T) {
	for _, c := range []struct {
		mode, client, server string // what both have after the sync
	}{
		{"---/---", "both=c conly=1 same=1", "both=s same=1 sonly=1"},
		{"---/cud", "both=c conly=1 same=1", "both=s conly=1 same=1 sonly=1"},
		{"cud/---", "both=c conly=1 same=1 sonly=1", "both=s same=1 sonly=1"},
		{"---/CUD", "both=c conly=1 same=1", "both=c conly=1 same=1"},
		{"CUD/---", "both=s same=1 sonly=1", "both=s same=1 sonly=1"},
	} {
		w := newWorld(t, 2)
		a, b := w.machines[0], w.machines[1]
		b.build("both=s same=1 sonly=1")
		b.sync()
		a.build("both=c same=1 conly=1")
		a.mode = c.mode
		if _, err := a.try(func(c *Config) { c.ConfirmLoss = true }); err != nil {
			t.Fatal(err)
		}
		if got := a.String(); got != c.client {
			t.Errorf("%s: client %q, want %q", c.mode, got, c.client)
		}
		fresh := w.add("cud/cud")
		fresh.sync()
		if got := fresh.String(); got != c.server {
			t.Errorf("%s: server %q, want %q", c.mode, got, c.server)
		}
	}
}

func TestFileThatChangesAllTheTimeEndsTheSyncAllTheSame(t *testing.T) {
	w := newWorld(t, 2)
	a := w.machines[0]
	a.build("f=0 g=0")
	n := 0
	a.tree.Before = func(op memory.Op, path string) error {
		if op == memory.OpOpen && path == "f" {
			n++
			a.tree.Write("f", fmt.Sprint("v", n))
		}
		return nil
	}
	sum := a.sync()
	a.tree.Before = nil
	if sum.Clean() || n > 10 {
		t.Errorf("after %d changes: %+v", n, sum)
	}
	a.sync()
	w.machines[1].sync()
	if got := w.machines[1].String(); got != a.String() {
		t.Errorf("other has %q, want %q", got, a)
	}
}

func TestCancelledSyncSaysSo(t *testing.T) {
	w := newWorld(t, 1)
	a := w.machines[0]
	a.build("f=0 d/g=1")
	ctx, cancel := context.WithCancel(context.Background())
	a.tree.Before = func(memory.Op, string) error { cancel(); return nil }
	server := a.server()
	_, err := Sync(ctx, Config{Client: a.tree, Server: server, Ancestor: a.past, Rules: a.rules()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("sync: %v", err)
	}
	if w.store.Commits() != 0 {
		t.Error("a cancelled sync committed")
	}
}

func TestWhatCouldNotBeReadIsLookedAtWithAllBelow(t *testing.T) {
	for _, op := range []memory.Op{memory.OpDirty, memory.OpList} {
		w := newWorld(t, 2)
		a, b := w.machines[0], w.machines[1]
		a.build("d/e/g/f=0 x=1")
		a.sync()
		b.sync()
		b.user("write d/e/g/f=1; write d/new=1")
		b.sync()
		failed := false
		a.tree.Before = func(o memory.Op, path string) error {
			if o == op && path == "d" && !failed { // in the loss guard's look, not in the pass that follows
				failed = true
				return errors.New("the disk says no")
			}
			return nil
		}
		a.user("write x=2")
		a.sync()
		a.tree.Before = nil
		w.settled()
		if got, want := a.String(), "d/e/g/f=1 d/new=1 x=2"; got != want {
			t.Errorf("%s failed once: %q, want %q", op, got, want)
		}
	}
}

// What the rules keep from being synced is told also when there is nothing else to do.
func TestDifferenceIsToldAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	a := w.machines[0]
	a.build("keep=0 f=1 d/g=2")
	a.sync()
	a.user("rm f; write d/g=3")
	a.mode = "c--/c--"
	for range 2 {
		if sum := a.sync(); sum.Unsynced != 2 {
			t.Errorf("%d entries out of sync", sum.Unsynced)
		}
	}
}

// blind is a client that can't look at what is called bad.
type blind struct{ *memory.Tree }

func (b blind) List(ctx context.Context, dir string) ([]replica.Entry, error) {
	list, err := b.Tree.List(ctx, dir)
	for i, e := range list {
		if e.Name == "bad" {
			list[i] = replica.Entry{Name: e.Name, Kind: object.Special, Target: "it can't be looked at"}
		}
	}
	return list, err
}

// What can't be looked at is no special file: it is told, and it is not gone.
func TestWhatCannotBeLookedAtFails(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.machines[0], w.machines[1]
	a.build("d/bad=1 d/good=1")
	a.sync()
	b.sync()
	a.user("write d/bad=2; write d/good=2; mkdir d/new; write d/new/bad=3")
	sum, err := a.try(func(c *Config) { c.Client = blind{a.tree} })
	if err != nil || sum.Failed != 2 || sum.Out.Deleted != 0 {
		t.Errorf("with two entries that can't be looked at: %+v, %v", sum, err)
	}
	b.sync()
	if got := b.String(); !strings.Contains(got, "d/good=2") || !strings.Contains(got, "d/bad=1") {
		t.Errorf("the other machine has %s", got)
	}
	if w.settled(); !strings.Contains(b.String(), "d/new/bad=3") {
		t.Errorf("the other machine has %s", b)
	}
}
