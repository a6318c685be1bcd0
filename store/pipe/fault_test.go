package pipe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/faulty"
	"ensync/store/backend/memory"
	"ensync/store/pipe"
	"ensync/store/pipe/pipetest"
)

// flaky returns a client of space whose connections are as link says, and the server.
func flaky(space *memory.Backend, link func(n int) pipetest.Link) (*pipe.Client, *pipetest.Server) {
	s := &pipetest.Server{Place: pipetest.Place(func() (backend.Backend, error) { return space.Again(), nil }), Link: link}
	return pipe.New(s.Dial, pipe.Options{}), s
}

// firstOnly makes the first connection bad and the others good.
func firstOnly(bad pipetest.Link) func(int) pipetest.Link {
	return func(n int) pipetest.Link {
		if n == 0 {
			return bad
		}
		return pipetest.Link{}
	}
}

// story does one of everything, and checks that all of it was done once.
func story(ctx context.Context, b backend.Backend) error {
	if err := b.Put(ctx, "packs/a", []byte("first")); err != nil {
		return err
	}
	if err := b.Put(ctx, "packs/b", bytes.Repeat([]byte("second"), 50)); err != nil {
		return err
	}
	v, err := b.Swap(ctx, "roots/x", "", []byte("one"))
	if err != nil {
		return err
	}
	v2, err := b.Swap(ctx, "roots/x", v, []byte("two"))
	if err != nil {
		return err
	}
	// If the answer is lost, nobody can tell that this was not done and replaced by "two".
	if _, err := b.Swap(ctx, "roots/x", v, []byte("late")); !errors.Is(err, backend.ErrChanged) && !errors.Is(err, backend.ErrUnavailable) {
		return fmt.Errorf("late Swap: %v", err)
	}
	if err := b.Delete(ctx, "packs/a"); err != nil {
		return err
	}
	if _, err := b.Get(ctx, "packs/a", 0, -1); !errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("Get of what was deleted: %v", err)
	}
	if got, err := b.Get(ctx, "packs/b", 6, 12); string(got) != "secondsecond" {
		return fmt.Errorf("Get: %q, %v", got, err)
	}
	if got, v, err := b.Load(ctx, "roots/x"); string(got) != "two" || v != v2 {
		return fmt.Errorf("Load: %q, %v, %v; want version %v", got, v, err, v2)
	}
	return nil
}

// check lists what is there, by way of b.
func check(ctx context.Context, b backend.Backend) error {
	var names []string
	err := b.List(ctx, "", func(i backend.Info) error { names = append(names, fmt.Sprint(i.Name, "=", i.Size)); return nil })
	if got := strings.Join(names, " "); err != nil || got != "packs/b=300 roots/x=3" {
		return fmt.Errorf("List: %s, %v", got, err)
	}
	return nil
}

// TestCutAnywhere cuts the first connection before every single byte, in each direction: everything is done once.
func TestCutAnywhere(t *testing.T) {
	anywhere(t, pipetest.Cut, 1, true)
}

// TestStallAnywhere lets the first connection fall silent before any byte: the pings find out.
func TestStallAnywhere(t *testing.T) {
	anywhere(t, pipetest.Stall, 3, true)
}

// TestGarbageAnywhere damages and repeats bytes, which ssh would never let through: whatever comes of it, it ends.
func TestGarbageAnywhere(t *testing.T) {
	for _, f := range []pipetest.Fault{pipetest.Flip, pipetest.Repeat} {
		anywhere(t, f, 7, false)
	}
}

// helloSize is the length of what a server says first.
const helloSize = int64(len("\nensync-server 1 1 unknown\n"))

func anywhere(t *testing.T, fault pipetest.Fault, step int64, harmless bool) {
	if testing.Short() {
		step *= 17
	}
	for _, up := range []bool{true, false} {
		reached := true
		for at := int64(0); reached; at += step {
			bad := pipetest.Link{RTT: time.Millisecond, Down: pipetest.Lane{Fault: fault, At: at}}
			if up {
				bad.Up, bad.Down = bad.Down, bad.Up
			}
			synctest.Test(t, func(t *testing.T) {
				space := memory.New()
				c, s := flaky(space, firstOnly(bad))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := story(ctx, c)
				if err == nil {
					err = check(ctx, c)
				}
				reached = err != nil || s.Dialed() > 1 || at < 500
				if err == nil && harmless {
					err = check(ctx, space)
				}
				if !up && at < helloSize && errors.Is(err, backend.ErrUnavailable) {
					err = nil // a server that never answered is not waited for
				}
				if ctx.Err() != nil || err != nil && harmless {
					t.Errorf("fault %v at byte %d, up %v: %v", fault, at, up, err)
				}
				c.Close()
				s.Wait()
			})
		}
	}
}

// TestRacingSwapsOnBadLinks lets many clients add lines to one object, over connections that are cut again and again.
// Every line that was acknowledged is there once, and no line twice.
func TestRacingSwapsOnBadLinks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		space := memory.New()
		var mu sync.Mutex
		acknowledged := map[string]bool{}
		var all sync.WaitGroup
		for client := range 6 {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			c, s := flaky(space, func(n int) pipetest.Link {
				bad := pipetest.Lane{Fault: pipetest.Cut, At: 200 + random.Int64N(4000)}
				l := pipetest.Link{RTT: time.Duration(random.IntN(50)) * time.Millisecond}
				if random.IntN(2) == 0 {
					l.Up = bad
				} else {
					l.Down = bad
				}
				return l
			})
			all.Go(func() {
				defer s.Wait()
				defer c.Close()
				for i := range 30 {
					line := fmt.Sprintf("%d.%d", client, i)
					if err := appendLine(t.Context(), c, line); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acknowledged[line] = true
					mu.Unlock()
				}
			})
		}
		all.Wait()
		data, _, err := space.Load(t.Context(), "counter")
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, line := range strings.Fields(string(data)) {
			if seen[line]++; seen[line] > 1 || !acknowledged[line] {
				t.Errorf("line %s is there %d times, acknowledged: %v", line, seen[line], acknowledged[line])
			}
		}
		if len(seen) != 180 || len(acknowledged) != 180 {
			t.Errorf("%d lines, %d acknowledged, want 180", len(seen), len(acknowledged))
		}
	})
}

func appendLine(ctx context.Context, b backend.Backend, line string) error {
	for range 1000 {
		data, v, err := b.Load(ctx, "counter")
		switch {
		case errors.Is(err, backend.ErrUnavailable):
			continue
		case err != nil && !errors.Is(err, backend.ErrNotExist):
			return err
		case strings.Contains(" "+string(data), " "+line+" "):
			return nil
		}
		switch _, err = b.Swap(ctx, "counter", v, append(data, line+" "...)); {
		case err == nil:
			return nil
		case !errors.Is(err, backend.ErrChanged) && !errors.Is(err, backend.ErrUnavailable):
			return err
		}
	}
	return errors.New("no luck in 1000 attempts")
}

// TestSlowAndNever has servers that answer late, and never.
func TestSlowAndNever(t *testing.T) {
	serve := func(t *testing.T, gate func() <-chan struct{}) *pipe.Client {
		space := memory.New()
		if err := space.Put(t.Context(), "packs/x", []byte("x")); err != nil {
			t.Fatal(err)
		}
		s := &pipetest.Server{Place: pipetest.Place(func() (backend.Backend, error) {
			return faulty.Wrap(space.Again(), 1, faulty.Rule{Fault: faulty.Slow, Gate: gate()}), nil
		})}
		c := pipe.New(s.Dial, pipe.Options{})
		t.Cleanup(func() { c.Close(); s.Wait() })
		return c
	}
	synctest.Test(t, func(t *testing.T) {
		c := serve(t, func() <-chan struct{} { return faulty.Pause(50 * time.Second) })
		if got, err := c.Get(t.Context(), "packs/x", 0, -1); string(got) != "x" {
			t.Errorf("a late answer: %q, %v", got, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := serve(t, func() <-chan struct{} { return nil })
		start := time.Now()
		_, err := c.Get(t.Context(), "packs/x", 0, -1)
		if took := time.Since(start); !errors.Is(err, backend.ErrUnavailable) || took > 3*time.Minute {
			t.Errorf("no answer: %v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = c.Get(ctx, "packs/x", 0, -1)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("given up: %v after %v", err, took)
		}
	})
}

// TestBigTransfersAreNotStalls sends 20 MiB through a link of 64 KiB per second: slow is not dead.
func TestBigTransfersAreNotStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := flaky(memory.New(), func(int) pipetest.Link {
			return pipetest.Link{RTT: 300 * time.Millisecond, Bandwidth: 64 << 10}
		})
		data := make([]byte, 10<<20)
		var all sync.WaitGroup
		for _, name := range []string{"packs/a", "packs/b"} {
			all.Go(func() {
				if err := c.Put(t.Context(), name, data); err != nil {
					t.Error(err)
				}
				if got, err := c.Get(t.Context(), name, 0, -1); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		all.Wait()
		if s.Dialed() != 1 {
			t.Errorf("%d connections, want one", s.Dialed())
		}
		c.Close()
		s.Wait()
	})
}

// TestIdle keeps a connection for a day without a request, and notices one that died meanwhile.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := flaky(memory.New(), func(int) pipetest.Link { return pipetest.Link{RTT: 50 * time.Millisecond} })
		for range 2 {
			if _, err := c.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(24 * time.Hour)
		}
		if s.Dialed() != 1 {
			t.Errorf("%d connections, want one", s.Dialed())
		}
		c.Close()
		s.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		c, s := flaky(memory.New(), firstOnly(pipetest.Link{Up: pipetest.Lane{Fault: pipetest.Stall, At: 400}}))
		if _, err := c.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // pings pass byte 400
		start := time.Now()
		if _, err := c.Hello(t.Context()); err != nil || time.Since(start) > time.Second {
			t.Errorf("after an hour: %v, %v", err, time.Since(start))
		}
		if s.Dialed() != 2 {
			t.Errorf("%d connections, want 2", s.Dialed())
		}
		c.Close()
		s.Wait()
	})
}

// TestOutage: a call waits for a server that has gone; those after it see at once that it is still away, or back.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := flaky(memory.New(), firstOnly(pipetest.Link{Up: pipetest.Lane{Fault: pipetest.Cut, At: 400}}))
		dials, away := 0, false
		c := pipe.New(func(ctx context.Context) (io.ReadWriteCloser, error) {
			if dials++; away {
				return nil, errors.New("connection refused")
			}
			return s.Dial(ctx)
		}, pipe.Options{})
		if _, err := c.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		away = true
		time.Sleep(time.Hour) // pings pass byte 400
		dials = 0
		if _, err := c.Get(t.Context(), "packs/x", 0, -1); !errors.Is(err, backend.ErrUnavailable) || dials < 3 {
			t.Errorf("the first call: %v after %d attempts", err, dials)
		}
		dials = 0
		start := time.Now()
		_, err := c.Get(t.Context(), "packs/x", 0, -1)
		if took := time.Since(start); !errors.Is(err, backend.ErrUnavailable) || dials != 1 || took > 0 {
			t.Errorf("the next one: %v after %d attempts, %v", err, dials, took)
		}
		away = false
		if err := c.Put(t.Context(), "packs/x", nil); err != nil {
			t.Errorf("when the server is back: %v", err)
		}
		c.Close()
		s.Wait()
	})
}

// TestBackSoon: who asks anew for a server that is back gets it, however long others have asked in vain. Nobody who asks
// again and again makes it be dialled all the time.
func TestBackSoon(t *testing.T) {
	for range 10 { // else luck is enough
		synctest.Test(t, testBackSoon)
	}
}

func testBackSoon(t *testing.T) {
	s := &pipetest.Server{Place: pipetest.Place(func() (backend.Backend, error) { return memory.New(), nil })}
	dials, away := 0, true
	c := pipe.New(func(ctx context.Context) (io.ReadWriteCloser, error) {
		if dials++; away {
			return nil, errors.New("connection refused")
		}
		return s.Dial(ctx)
	}, pipe.Options{})
	get := func(atMost time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), atMost)
		defer cancel()
		_, err := c.Get(ctx, "packs/x", 0, -1)
		return err
	}
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if err := get(100 * time.Millisecond); err == nil {
			t.Fatal("there is no server")
		}
	}
	if dials > 140 { // two a second, and more at first
		t.Errorf("%d attempts in a minute", dials)
	}
	away = false
	if err := get(501 * time.Millisecond); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("the server is back: %v", err)
	}
	c.Close()
	s.Wait()
}
