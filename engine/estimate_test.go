package engine

import (
	"context"
	"io"
	"strings"
	"testing"

	"ensync/engine/replica"
	"ensync/engine/replica/memory"
)

// lastPlan returns the last plan that was told, and what was then done.
func lastPlan(m *machine) (last Plan, in, out Counts) {
	var done Summary
	for _, e := range m.events {
		if e.Kind == Planned {
			last = *e.Plan
		}
		done.count(e)
	}
	return last, done.In, done.Out
}

// waiting is a client that does nothing before the plan is whole: the counting goes on beside the work, and nobody waits.
type waiting struct {
	*memory.Tree
	whole <-chan struct{}
}

func (w waiting) Open(ctx context.Context, dir string, e replica.Entry) (io.ReadCloser, error) {
	<-w.whole
	return w.Tree.Open(ctx, dir, e)
}

func (w waiting) Apply(ctx context.Context, dir string, changes []replica.Change) []replica.Result {
	<-w.whole
	return w.Tree.Apply(ctx, dir, changes)
}

// What is planned is what is done: in a first sync, on a second machine, and when new trees and changes come together.
func TestPlanIsWhatIsDone(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.machines[0], w.machines[1]
	a.build("d/e/f=1 d/g=22 h=333 l->h x/y=4444")
	check := func(m *machine, what string) {
		t.Helper()
		plan, in, out := lastPlan(m)
		if !plan.Whole || plan.In != in || plan.Out != out {
			t.Errorf("%s: planned in %+v, out %+v; done in %+v, out %+v", what, plan.In, plan.Out, in, out)
		}
	}
	for _, step := range []struct {
		m    *machine
		what string
		edit string
	}{
		{a, "first sync", ""},
		{b, "second machine", ""},
		{b, "new tree and changes", "mkdir n; write n/a=77777; mkdir n/o; write n/o/p=1; write h=4; rm d/g"},
		{a, "the same, arriving", ""},
	} {
		step.m.user(step.edit)
		slow := func(c *Config) {
			c.Estimate = true
			report := c.Report
			whole := make(chan struct{})
			c.Report = func(e Event) {
				report(e)
				if e.Kind == Planned && e.Plan.Whole {
					close(whole)
				}
			}
			c.Client = waiting{step.m.tree, whole}
		}
		if _, err := step.m.try(slow); err != nil {
			t.Fatal(err)
		}
		check(step.m, step.what)
	}
}

func TestMovingIsToldForLargeFiles(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.machines[0], w.machines[1]
	a.build("small=1")
	if err := a.tree.Write("large", strings.Repeat("x", 5<<20)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*machine{a, b} {
		m.sync()
		told := map[string]int64{}
		for _, e := range m.events {
			if e.Kind == Moving {
				told[e.Path] = e.Bytes
			}
		}
		if len(told) != 1 || told["large"] < 4<<20 {
			t.Errorf("told %v", told)
		}
	}
}

// A directory that moves aside on the server, and so comes back under another name, is looked into.
func TestPlanOfADirectoryThatMovesAside(t *testing.T) {
	for _, change := range []func(*Config){func(c *Config) { c.DryRun = true }, func(c *Config) { c.Estimate = true }} {
		w := newWorld(t, 2)
		a, b := w.machines[0], w.machines[1]
		a.build("k/d/x=1 k/y=2")
		b.build("k=3")
		a.sync()
		if _, err := b.try(change); err != nil {
			t.Fatal(err)
		}
	}
}
