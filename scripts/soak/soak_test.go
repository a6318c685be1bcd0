package main

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestBeside is one short round: many programs edit both trees while both sync.
func TestBeside(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("takes some seconds, on Linux")
	}
	binary := filepath.Join(t.TempDir(), "ensync")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/ensync").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seed := uint64(time.Now().UnixNano())
	s := &soak{base: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 0)), kill: 0.3, simultaneous: true, spell: 2 * time.Second,
		ledger: newLedger(), until: time.Now().Add(time.Millisecond + 2*time.Second)}
	if err := s.run(t.Context(), binary); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	if s.rounds == 0 || s.ledger.edits == 0 || s.ledger.syncs == 0 {
		t.Errorf("%d rounds, %d edits, %d syncs", s.rounds, s.ledger.edits, s.ledger.syncs)
	}
}
