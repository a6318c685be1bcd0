package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"ensync/store/backend"
	"ensync/store/s3"
)

const (
	testDir   = "selftest/"
	testState = testDir + "state" // always the same: what a deleted one leaves in a directory must not add up
	racers    = 8
)

// selfTest tries whether the place of the store keeps what a store stands on. It leaves nothing.
func (e *examination) selfTest(b backend.Backend) {
	const check = "self-test"
	ctx, cancel := e.within()
	defer cancel()
	var err error
	if c, ok := b.(*s3.Client); ok {
		err = c.SelfTest(ctx)
	} else if err = b.Delete(ctx, testDir+"nothing"); errors.Is(err, backend.ErrDenied) {
		// Not tried: what is written by a test would stay for good.
		e.skip(check, "nothing can be deleted there (read-only, or append-only)")
		return
	} else if err == nil {
		t := &trial{b: b}
		err = t.run(ctx)
		if !t.written.IsZero() {
			e.clock(t.written.Sub(t.before), 0)
		}
	}
	switch {
	case errors.Is(err, backend.ErrDenied):
		e.fail(check, err.Error(), "nothing can be written there: correct owner and mode, or what the credentials allow")
	case err != nil:
		e.failed(check, e.cause(ctx, err))
	default:
		e.ok(check, "writes, races of writers, reads, lists and deletions are as they must be")
	}
}

// trial is one self-test.
type trial struct {
	b       backend.Backend
	before  time.Time // when an object was written, by our clock
	written time.Time // and by the store's
}

// broken says which promise a place does not keep.
func broken(what string, err error) error {
	return fmt.Errorf("the store can't be relied on: %s (%v); it should lie on another file system, or on another machine", what, err)
}

func (t *trial) run(ctx context.Context) error {
	random := make([]byte, 8)
	rand.Read(random)
	name := testDir + hex.EncodeToString(random)
	err := t.write(ctx, name)
	if err == nil {
		err = t.race(ctx)
	}
	// Also after ^C: what is left is removed by the next one, an hour later.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 150*time.Millisecond)
	if ctx.Err() == nil {
		cancel()
		clean, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	if err := errors.Join(err, t.clean(clean, name)); err != nil {
		return err
	}
	if _, err := t.b.Get(ctx, name, 0, -1); !errors.Is(err, backend.ErrNotExist) {
		return broken("what was deleted can be read", err)
	}
	return nil
}

// write lets many make one object, and reads and lists it.
func (t *trial) write(ctx context.Context, name string) error {
	t.before = time.Now()
	winner, err := t.together(func(mine []byte) error { return t.b.Put(ctx, name, mine) }, backend.ErrExist)
	if err != nil {
		return err
	}
	data, err := t.b.Get(ctx, name, 0, -1)
	if err == nil {
		var part []byte
		part, err = t.b.Get(ctx, name, 2, 5)
		if !bytes.Equal(data, winner) || err == nil && !bytes.Equal(part, winner[2:7]) {
			return broken("what is read is not what was written", err)
		}
	}
	if err != nil {
		return err
	}
	found := false
	err = t.b.List(ctx, testDir, func(i backend.Info) error {
		if i.Name == name {
			found, t.written = true, i.ModTime
		}
		return nil
	})
	if err == nil && !found {
		err = broken("what was written is not listed", nil)
	}
	return err
}

// race lets many replace the same state. Another examination may be at it, too, and remove the state: then there is
// nothing to find out.
func (t *trial) race(ctx context.Context) error {
	if _, err := t.b.Swap(ctx, testState, "", []byte("seed")); err != nil && !errors.Is(err, backend.ErrChanged) {
		return err
	}
	_, old, err := t.b.Load(ctx, testState)
	if err != nil {
		return ignore(err, backend.ErrNotExist)
	}
	winner, err := t.together(func(mine []byte) error { _, err := t.b.Swap(ctx, testState, old, mine); return err }, backend.ErrChanged)
	if err != nil || winner == nil {
		return err
	}
	data, _, err := t.b.Load(ctx, testState)
	if err != nil {
		return ignore(err, backend.ErrNotExist)
	}
	who, _, _ := bytes.Cut(winner, []byte(" "))
	if !bytes.Equal(data, winner) && bytes.HasPrefix(data, who) {
		return broken("what was acknowledged is not there", nil)
	}
	if _, err := t.b.Swap(ctx, testState, old, []byte("late")); !errors.Is(err, backend.ErrChanged) {
		return broken("a state that was replaced is replaced again", err)
	}
	return nil
}

// together lets racers do the same at once. At most one may succeed; its content is returned. The others must get lost.
func (t *trial) together(do func(mine []byte) error, lost error) (winner []byte, err error) {
	random := make([]byte, 8)
	rand.Read(random)
	var all sync.WaitGroup
	var won atomic.Int64
	results, contents := make([]error, racers), make([][]byte, racers)
	for i := range racers {
		contents[i] = fmt.Appendf(nil, "%x racer %d", random, i)
		all.Go(func() { results[i] = do(contents[i]) })
	}
	all.Wait()
	for i, err := range results {
		switch {
		case err == nil:
			won.Add(1)
			winner = contents[i]
		case !errors.Is(err, lost):
			return nil, err
		}
	}
	if won.Load() > 1 {
		return nil, broken(fmt.Sprintf("%d of %d who wrote the same object at once were told that they did", won.Load(), racers), nil)
	}
	return winner, nil
}

// clean removes what this trial made, and what others left that were stopped.
func (t *trial) clean(ctx context.Context, name string) error {
	var left []string
	err := t.b.List(ctx, testDir, func(i backend.Info) error {
		if i.Name == name || i.Name == testState || time.Since(i.ModTime) > time.Hour {
			left = append(left, i.Name)
		}
		return nil
	})
	for _, name := range left {
		err = errors.Join(err, t.b.Delete(ctx, name))
	}
	return err
}

func ignore(err, kind error) error {
	if errors.Is(err, kind) {
		return nil
	}
	return err
}
