package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// attempts bounds how many syncs of both machines may be needed until nothing changes.
const attempts = 6

// disorder syncs machines one after the other or both at once, and kills some of the syncs.
func (s *soak) disorder(ctx context.Context) error {
	order := s.rng.Perm(len(s.machines))[:1+s.rng.IntN(2)]
	fate := make([]time.Duration, len(order))
	for i := range fate {
		fate[i] = s.fate()
	}
	errs := make([]error, len(order))
	killed := make([]bool, len(order))
	together := s.rng.IntN(3) == 0
	begin := time.Now()
	var wait sync.WaitGroup
	for i, m := range order {
		wait.Go(func() { killed[i], errs[i] = s.machines[m].sync(ctx, fate[i]) })
		if !together {
			wait.Wait()
		}
	}
	wait.Wait()
	s.count(killed, time.Since(begin))
	return errors.Join(errs...)
}

// count counts syncs, and learns how long one takes that is let be.
func (s *soak) count(killed []bool, took time.Duration) {
	s.syncs += len(killed)
	for _, k := range killed {
		if k {
			s.kills++
		}
	}
	if !slices.Contains(killed, true) {
		s.usual = (3*s.usual + took/time.Duration(len(killed))) / 4
	}
}

// fate says after how long a sync is killed; 0: not at all.
func (s *soak) fate() time.Duration {
	if s.rng.Float64() >= s.kill {
		return 0
	}
	usual := max(s.usual, 50*time.Millisecond)
	return 1 + time.Duration(s.rng.Int64N(int64(usual)))
}

// settle syncs in turn, unhindered, until the store stays as it is and all exit with 0.
func (s *soak) settle(ctx context.Context) error {
	var last error
	before, err := listing(s.storeDir())
	if err != nil {
		return err
	}
	for range attempts {
		last = nil
		for _, m := range s.machines {
			if err := m.alive(); err != nil {
				return err
			}
			_, err := m.Sync(ctx, "--confirm-loss")
			s.syncs++
			last = errors.Join(last, err)
			if err != nil && !partial(err) {
				return err
			}
		}
		after, err := listing(s.storeDir())
		if err != nil {
			return err
		}
		if last == nil && after == before {
			return nil
		}
		before = after
	}
	return fmt.Errorf("no rest after %d syncs of each machine: %w", attempts, errors.Join(last, errStoreChanges))
}

var errStoreChanges = errors.New("something stays out of sync, or the store changes with each sync")
