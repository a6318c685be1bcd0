// Command soak edits the trees of two machines at random, syncs them through one store, kills syncs at random moments,
// and checks after each round what is promised.
//
//	go run ./scripts/soak -ensync bin/ensync -for 10m [-seed N] [-kill 0.5] [-mount] [-beside] [-dir DIR]
//
// With -mount the second machine shows its tree as a mount, and it is the mount's process that is killed.
// With -beside several programs edit each tree at the very time that it is synced, in all the ways that programs do.
//
// After each round, when both machines have synced until nothing changes: the trees are equal in names, bytes, modes,
// link targets and modification times; each content that was ever written is in them unless a user who had it before
// their eyes replaced or deleted it; a further sync writes nothing to the store; no temporary file is left; and no
// content lies in the store in clear. What fails stays where it is, for looking at, and the seed is printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"ensync/scripts/internal/machine"
)

func main() {
	binary := flag.String("ensync", "bin/ensync", "the program to test")
	length := flag.Duration("for", 5*time.Minute, "how long")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "where randomness starts")
	kill := flag.Float64("kill", 0.5, "how many of the syncs are killed")
	mount := flag.Bool("mount", false, "mount the tree of the second machine")
	beside := flag.Bool("beside", false, "edit while syncs run, not between them")
	dir := flag.String("dir", "", "where to work (default: a temporary directory)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	base, err := os.MkdirTemp(*dir, "ensync-soak-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	fmt.Printf("soak: seed %d, in %s\n", *seed, base)
	s := &soak{base: base, rng: rand.New(rand.NewPCG(*seed, 0)), kill: *kill, mount: *mount, simultaneous: *beside,
		spell: 5 * time.Second, ledger: newLedger(), until: time.Now().Add(*length)}
	err = s.run(ctx, *binary)
	s.edits, s.syncs, s.kills = s.edits+s.ledger.edits, s.syncs+s.ledger.syncs, s.kills+s.ledger.kills
	fmt.Printf("soak: %d rounds, %d edits, %d syncs, %d of them killed, %d contents, %d conflict copies\n",
		s.rounds, s.edits, s.syncs, s.kills, len(s.written)+len(s.ledger.versions), s.conflicts)
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: FAIL after round %d (seed %d; all is left in %s): %v\n", s.rounds, *seed, base, err)
		os.Exit(1)
	}
	if err := os.RemoveAll(base); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	fmt.Println("soak: PASS")
}

// soak is the whole test.
type soak struct {
	base         string
	rng          *rand.Rand
	kill         float64
	mount        bool
	simultaneous bool
	spell        time.Duration // how long each round is then edited
	until        time.Time
	machines     []*client

	written  map[string]bool // marks of all contents that were ever made
	replaced map[string]bool // those that a user replaced or deleted, having them before their eyes
	next     int             // number of the next content
	ledger   *ledger         // the same, of those who edit while syncs run

	rounds, edits, syncs, kills, conflicts int
	usual                                  time.Duration // how long a sync takes
}

func (s *soak) storeDir() string { return filepath.Join(s.base, "store") }

func (s *soak) run(ctx context.Context, binary string) (err error) {
	s.written, s.replaced = map[string]bool{}, map[string]bool{}
	for _, name := range []string{"a", "b"} {
		m, err := machine.New(binary, s.base, name, s.storeDir(), "")
		if err != nil {
			return err
		}
		if err := m.Setup(ctx); err != nil {
			return err
		}
		s.machines = append(s.machines, &client{Machine: m})
	}
	if s.mount {
		b := s.machines[1]
		if err := errors.Join(b.Manual(), b.start(ctx)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.stop(err == nil)) }()
	}
	for time.Now().Before(s.until) && ctx.Err() == nil {
		if err := s.round(ctx); err != nil {
			return err
		}
		s.rounds++
	}
	return ctx.Err()
}

// round edits and syncs in disorder, then in order, then checks.
func (s *soak) round(ctx context.Context) error {
	if s.simultaneous {
		if err := s.beside(ctx); err != nil {
			return err
		}
		if err := s.settle(ctx); err != nil {
			return err
		}
		return s.check(ctx)
	}
	for range 1 + s.rng.IntN(4) {
		for _, i := range s.rng.Perm(len(s.machines))[:1+s.rng.IntN(2)] {
			if err := s.machines[i].alive(); err != nil {
				return err
			}
			for range s.rng.IntN(30) {
				if err := s.edit(s.machines[i].Local); err != nil {
					return err
				}
			}
		}
		if err := s.disorder(ctx); err != nil {
			return err
		}
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.check(ctx)
}
