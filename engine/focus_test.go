package engine

import (
	"context"
	"testing"
)

// A directory must never be marked in sync over one below it that is not, whatever a pass was told to look at: all
// later syncs would trust the mark.
func TestMarkWaitsForWhatIsBehind(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.machines[0], w.machines[1]
	a.build("a/c/f=0 a/c/g=1 a/x=0")
	a.sync()
	b.sync()
	b.user("write a/c/f=b; rm a/c/g; write a/x=b")
	b.sync()
	mode := a.rules()
	s := &syncer{Config: Config{Client: a.tree, Server: a.server(), Ancestor: a.past, Rules: mode},
		tries: map[string]int{}, dirt: map[string]bool{}, stale: map[string]bool{}}
	s.fill()
	p := s.newPass(false, focus{"a": false})
	if err := p.walk(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := p.barrier(context.Background()); err != nil {
		t.Fatal(err)
	}
	a.sync()
	if got, want := a.String(), "a/c/f=b a/x=b"; got != want {
		t.Errorf("after a sync: %q, want %q", got, want)
	}
}
