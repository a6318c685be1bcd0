package engine

import (
	"fmt"
	"strings"
	"testing"
)

// TestOneBarrierForAll: workers who find at once that a barrier is due make one together.
func TestOneBarrierForAll(t *testing.T) {
	w := newWorld(t, 1)
	var tree []string
	for d := range 40 {
		for f := range 10 {
			tree = append(tree, fmt.Sprintf("d%d/f%d=1", d, f))
		}
	}
	m := w.machines[0]
	m.build(strings.Join(tree, " "))
	if _, err := m.try(func(c *Config) { c.Workers, c.BarrierChanges = 8, 100 }); err != nil {
		t.Fatal(err)
	}
	if n := w.store.Commits(); n > 440/100+1 {
		t.Errorf("%d commits of a hundred changes or more make up 440 changes", n)
	}
}
