package journal

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
)

// owner is a tiny owner of a log: slots that hold data, each record sets some of them. Its history is the model.
type owner struct {
	t      testing.TB
	dir    *simDir
	log    *Log
	rng    *rand.Rand
	slots  map[int]Pos         // now
	sums   map[Pos]string      // what each frame holds
	states map[LSN]map[int]Pos // after each record
	bytes  map[LSN]string      // each record
}

func newOwner(t testing.TB, rng *rand.Rand, dir *simDir) *owner {
	o := &owner{t: t, dir: dir, rng: rng, slots: map[int]Pos{}, sums: map[Pos]string{},
		states: map[LSN]map[int]Pos{0: {}}, bytes: map[LSN]string{}}
	o.log, _ = mustOpen(t, dir, 0, testOptions())
	o.log.Ready()
	return o
}

func (o *owner) mark(kind eventKind, lsn LSN) { _ = o.dir.note(event{kind: kind, lsn: lsn}, nil) }

func (o *owner) must(err error) {
	if err != nil {
		o.t.Helper()
		o.t.Fatal(err)
	}
}

// step does one random thing.
func (o *owner) step() {
	switch k := o.rng.IntN(20); {
	case k < 12:
		o.change()
	case k < 16:
		lsn := o.log.Last()
		o.must(o.log.Sync(context.Background(), 0))
		o.mark(evPromise, lsn)
	case k < 18:
		o.must(o.log.flush(true))
		o.mark(evPromise, o.log.Durable())
	default:
		lsn := o.log.Durable()
		o.mark(evCheckpoint, lsn)
		o.must(o.log.Checkpoint(lsn))
	}
}

func (o *owner) change() {
	set := map[int]Pos{}
	var old []Pos
	for range 1 + o.rng.IntN(3) {
		data := pattern(1+o.rng.IntN(20000), byte(o.rng.Uint32()))
		pos, err := o.log.AppendData(data)
		o.must(err)
		o.sums[pos] = string(data)
		set[o.rng.IntN(12)] = pos
	}
	b, _ := json.Marshal(set)
	lsn, err := o.log.AppendRecord(b)
	o.must(err)
	o.bytes[lsn] = string(b)
	state := map[int]Pos{}
	for s, p := range o.slots {
		state[s] = p
	}
	for s, p := range set {
		o.must(o.log.Live(p))
		if q, ok := state[s]; ok {
			old = append(old, q)
		}
		state[s] = p
	}
	for _, p := range old {
		o.log.Release(p)
	}
	o.slots, o.states[lsn] = state, state
}

// reopen opens dir as left by a power cut, compares it with the model, and goes on from there.
func (o *owner) reopen(dir *simDir, promised, checkpoint LSN) error {
	l, records, err := tryOpen(dir, checkpoint, testOptions())
	if err != nil {
		return err
	}
	last := l.Last()
	if last < promised {
		return fmt.Errorf("promised %d, found %d", promised, last)
	}
	if l.Durable() != last || len(records) != int(last-checkpoint) {
		return fmt.Errorf("last %d, durable %d, checkpoint %d, %d replayed", last, l.Durable(), checkpoint, len(records))
	}
	for lsn, r := range records {
		if r != o.bytes[lsn] {
			return fmt.Errorf("record %d is another", lsn)
		}
	}
	for slot, pos := range o.states[last] {
		b, err := readAll(l, pos)
		if err != nil {
			return fmt.Errorf("after %d: slot %d: %w", last, slot, err)
		}
		if string(b) != o.sums[pos] {
			return fmt.Errorf("after %d: slot %d at %v is another", last, slot, pos)
		}
		if err := l.Live(pos); err != nil {
			return err
		}
	}
	l.Ready()
	o.dir, o.log, o.slots = dir, l, o.states[last]
	o.mark(evPromise, last) // what was replayed is promised from now on
	for lsn := range o.states {
		if lsn > last {
			delete(o.states, lsn)
			delete(o.bytes, lsn)
		}
	}
	return nil
}

// abandon ends the flusher of a log whose process has died.
func abandon(l *Log) {
	l.stop()
	l.background.Wait()
}

var cutSeeds = flag.Int("seeds", 30, "how many random histories TestPowerCuts makes")

func TestPowerCuts(t *testing.T) {
	const generations = 12
	for seed := range *cutSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			o := newOwner(t, rng, newSimDir())
			for g := range generations {
				from := len(o.dir.trace)
				for range 5 + rng.IntN(40) {
					o.step()
				}
				abandon(o.log)
				n := from + rng.IntN(len(o.dir.trace)-from+1)
				how := loss(rng.IntN(int(losses)))
				dir, promised, checkpoint := o.dir.crash(rng, n, how)
				if err := o.reopen(dir, promised, checkpoint); err != nil {
					t.Fatalf("generation %d, cut at %d, loss %d: %v", g, n, how, err)
				}
			}
			abandon(o.log)
		})
	}
}

// TestCutAtEveryEvent takes one history and cuts it after every single operation on the disk, in every way of losing.
func TestCutAtEveryEvent(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	o := newOwner(t, rng, newSimDir())
	for range 40 {
		o.step()
	}
	abandon(o.log)
	for n := range len(o.dir.trace) + 1 {
		for how := range losses {
			dir, promised, checkpoint := o.dir.crash(rng, n, how)
			twin := &owner{t: t, rng: rng, sums: o.sums, states: cloneMap(o.states), bytes: cloneMap(o.bytes)}
			if err := twin.reopen(dir, promised, checkpoint); err != nil {
				t.Fatalf("cut at %d of %d, loss %d: %v", n, len(o.dir.trace), how, err)
			}
			abandon(twin.log)
		}
	}
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
