package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// editorsEach is how many programs edit one machine's tree beside its syncs.
const editorsEach = 3

// beside edits both trees while both sync, over and over: every moment of a sync is one at which somebody edits.
func (s *soak) beside(ctx context.Context) error {
	until := time.Now().Add(s.spell)
	// Where everything is edited all the time, everything conflicts; where there is time between, it is exchanged.
	pace := []time.Duration{4, 40, 200, 500}[s.rng.IntN(4)] * time.Millisecond
	var wait sync.WaitGroup
	errs := make(chan error, len(s.machines)*(editorsEach+1))
	for _, m := range s.machines {
		d := &desk{tree: m.Local, ledger: s.ledger, mount: m.live != nil, pace: pace}
		for range editorsEach {
			e := &editor{desk: d, rng: s.fork()}
			wait.Go(func() { errs <- e.work(ctx, until) })
		}
		rng := s.fork()
		wait.Go(func() { errs <- s.syncAgain(ctx, m, rng, until) })
	}
	wait.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// fork makes a source of randomness for a goroutine of its own. What the goroutines do at the same time is not repeatable.
func (s *soak) fork() *rand.Rand { return rand.New(rand.NewPCG(s.rng.Uint64(), 0)) }

// syncAgain syncs one machine until the time is over, and kills some of the syncs. A mount is not killed: what its
// editors have not synced may then be lost.
func (s *soak) syncAgain(ctx context.Context, m *client, rng *rand.Rand, until time.Time) error {
	for time.Now().Before(until) && ctx.Err() == nil {
		fate := time.Duration(0)
		if m.live == nil && rng.Float64() < s.kill {
			fate = 1 + time.Duration(rng.Int64N(int64(time.Second)))
		}
		killed, err := m.sync(ctx, fate)
		if err != nil {
			return err
		}
		s.ledger.synced(killed)
		time.Sleep(time.Duration(rng.Int64N(int64(50 * time.Millisecond))))
	}
	return ctx.Err()
}

// A ledger knows every content that was ever complete in a file, and which of them a user took away, having it before
// their eyes.
type ledger struct {
	mu       sync.Mutex
	next     int
	versions map[sum]string // what made it
	replaced map[sum]bool

	edits, syncs, kills int
}

func newLedger() *ledger { return &ledger{versions: map[sum]string{}, replaced: map[sum]bool{}} }

// fresh returns a content that there never was.
func (l *ledger) fresh(rng *rand.Rand, size int) []byte {
	l.mu.Lock()
	l.next++
	head := fmt.Sprintf("beside-%08d.", l.next)
	l.mu.Unlock()
	b := make([]byte, max(size, len(head)))
	for i := copy(b, head); i < len(b); i++ {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func (l *ledger) wrote(b []byte, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edits++
	l.versions[sumOf(b)] = fmt.Sprintf("%s %s", head(b), how)
}

func (l *ledger) tookAway(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replaced[sumOf(b)] = true
}

func (l *ledger) synced(killed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syncs++
	if killed {
		l.kills++
	}
}

// lost returns what is not among the contents that are there, and should be.
func (l *ledger) lost(present map[sum]bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []string
	for v, how := range l.versions {
		if !l.replaced[v] && !present[v] {
			lost = append(lost, how)
		}
	}
	return lost
}
