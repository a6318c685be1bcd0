package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"ensync/store/backend"
)

// ErrUnfit says that a server does not keep what a store stands on.
var ErrUnfit = errors.New("this server can't hold a store")

// A Finding is a promise that a server broke.
type Finding struct{ Property, Seen string }

func (f *Finding) Error() string {
	return fmt.Sprintf("%v: %s: %s; with it, machines could lose each other's changes: use another server, or another version of it",
		ErrUnfit, f.Property, f.Seen)
}

func (f *Finding) Unwrap() error { return ErrUnfit }

// testDir is where the self-test works. No object of a store can be called so, and List does not show what is there.
const testDir = "_selftest/"

// What the races of the self-test amount to: enough for a server that loses one acknowledged change in a hundred.
const (
	raceRounds    = 10 // of creators
	raceCreators  = 8
	counters      = 8
	counterHands  = 4  // that change each of them
	counterRounds = 10 // changes by each hand
)

// Create finds out whether the server keeps its promises, as the place of a new store must. It leaves nothing.
func (c *Client) Create(ctx context.Context) error {
	if err := c.SelfTest(ctx); err != nil {
		return fmt.Errorf("create store %s: %w", c.opt.Location, err)
	}
	return nil
}

// SelfTest tries out on a few objects of its own, below the prefix, what a store relies on: conditions that hold
// also under a race, reads and listings that show what was done, and ranges. A *Finding names what does not hold. Every
// other error means that nothing was found out.
func (c *Client) SelfTest(ctx context.Context) error {
	var random [8]byte
	rand.Read(random[:])
	run := testDir + hex.EncodeToString(random[:]) + "/"
	t := c.below(run)
	if err := t.selfTest(ctx); err != nil {
		// Best effort, and not for long if the caller is in a hurry. What is left, another self-test removes.
		parent, patience := ctx, 10*time.Second
		if ctx.Err() != nil {
			parent, patience = context.WithoutCancel(ctx), 100*time.Millisecond
		}
		clean, cancel := context.WithTimeout(parent, patience)
		defer cancel()
		c.cleanTests(clean, run)
		return err
	}
	return c.cleanTests(ctx, run)
}

func (c *Client) selfTest(ctx context.Context) error {
	for _, step := range []func(context.Context) error{c.testConditions, c.testReads, c.testCreators, c.testCounters} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// cleanTests removes what this run left, and what others left that were stopped.
func (c *Client) cleanTests(ctx context.Context, run string) error {
	t := c.below(testDir)
	var old []string
	err := t.List(ctx, "", func(i backend.Info) error {
		if strings.HasPrefix(testDir+i.Name, run) || time.Since(i.ModTime) > time.Hour {
			old = append(old, i.Name)
		}
		return nil
	})
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range old {
		g.Go(func() error { return t.Delete(ctx, name) })
	}
	return errors.Join(err, g.Wait())
}

// expect turns the wrong result of a call into a Finding; an error that says nothing about the server stays.
func expect(property, call string, err, want error) error {
	switch {
	case want == nil && err == nil, want != nil && errors.Is(err, want):
		return nil
	case err == nil:
		return &Finding{property, call + " was accepted"}
	case errors.Is(err, backend.ErrExist), errors.Is(err, backend.ErrChanged), errors.Is(err, backend.ErrNotExist):
		return &Finding{property, fmt.Sprintf("%s: %v", call, err)}
	}
	return err
}

const (
	conditions = "conditional writes (If-Match, If-None-Match)"
	reads      = "reads show what was written and deleted"
	lists      = "listings show what was written and deleted"
	ranges     = "reads of a range"
	atomicity  = "conditional writes of many clients at once"
)

func (c *Client) testConditions(ctx context.Context) error {
	if err := c.Put(ctx, "once", []byte("first")); err != nil {
		return err
	}
	if err := expect(conditions, "creating an object that is there", c.Put(ctx, "once", []byte("second")), backend.ErrExist); err != nil {
		return err
	}
	if _, err := c.Swap(ctx, "nothing", "0123456789abcdef0123456789abcdef", []byte("x")); err == nil || errors.Is(err, backend.ErrNotExist) {
		return expect(conditions, "replacing what is not there", err, backend.ErrChanged)
	}
	v1, err := c.Swap(ctx, "head", "", []byte("one"))
	if err != nil {
		return err
	}
	_, err = c.Swap(ctx, "head", "", []byte("again"))
	if err := expect(conditions, "creating an object that is there", err, backend.ErrChanged); err != nil {
		return err
	}
	v2, err := c.Swap(ctx, "head", v1, []byte("two"))
	if err := expect(conditions, "replacing the version that is there", err, nil); err != nil {
		return err
	}
	_, err = c.Swap(ctx, "head", v1, []byte("stale"))
	if err := expect(conditions, "replacing a version that is not there any more", err, backend.ErrChanged); err != nil {
		return err
	}
	data, now, err := c.Load(ctx, "head")
	if err == nil && (string(data) != "two" || now != v2) {
		return &Finding{reads, fmt.Sprintf("wrote %q (version %s), read %q (version %s)", "two", v2, data, now)}
	}
	return expect(reads, "reading what was written", err, nil)
}

// testReads writes, reads, lists and deletes, and looks each time at once.
func (c *Client) testReads(ctx context.Context) error {
	for i := range 5 {
		name := "reads/" + strconv.Itoa(i)
		want := strings.Repeat(name+".", 100)
		if err := c.Put(ctx, name, []byte(want)); err != nil {
			return err
		}
		data, err := c.Get(ctx, name, 0, -1)
		if err == nil && string(data) != want {
			return &Finding{reads, fmt.Sprintf("wrote %d bytes, read %d others", len(want), len(data))}
		}
		if err := expect(reads, "reading what was written", err, nil); err != nil {
			return err
		}
		if data, err = c.Get(ctx, name, 100, 50); err != nil || string(data) != want[100:150] {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &Finding{ranges, fmt.Sprintf("50 bytes from 100: %d bytes, %v", len(data), err)}
		}
		if err := c.listed(ctx, name, true); err != nil {
			return err
		}
		if err := c.Delete(ctx, name); err != nil {
			return err
		}
		_, err = c.Get(ctx, name, 0, -1)
		if err := expect(reads, "reading what was deleted", err, backend.ErrNotExist); err != nil {
			return err
		}
		if err := c.listed(ctx, name, false); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) listed(ctx context.Context, name string, want bool) error {
	var names []string
	if err := c.List(ctx, "reads/", func(i backend.Info) error { names = append(names, i.Name); return nil }); err != nil {
		return err
	}
	switch found := slices.Contains(names, name); {
	case found && !want:
		return &Finding{lists, "an object that was deleted is listed"}
	case !found && want:
		return &Finding{lists, "an object that was written is not listed"}
	}
	return nil
}

// testCreators lets many create the same object: one wins, and it is its content that is there.
func (c *Client) testCreators(ctx context.Context) error {
	for round := range raceRounds {
		name := "race-" + strconv.Itoa(round)
		var winners atomic.Int64
		var winner atomic.Value
		g, gctx := errgroup.WithContext(ctx)
		for w := range raceCreators {
			g.Go(func() error {
				mine := fmt.Sprintf("creator %d of round %d", w, round)
				err := c.Put(gctx, name, []byte(mine))
				if err == nil {
					winners.Add(1)
					winner.Store(mine)
				} else if !errors.Is(err, backend.ErrExist) {
					return err
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if n := winners.Load(); n != 1 {
			return &Finding{atomicity, fmt.Sprintf("of %d clients that created one object, %d were told that they did", raceCreators, n)}
		}
		data, err := c.Get(ctx, name, 0, -1)
		if err := expect(reads, "reading what was written", err, nil); err != nil {
			return err
		}
		if string(data) != winner.Load() {
			return &Finding{atomicity, "what a client was told it had created is not there"}
		}
	}
	return nil
}

// testCounters lets many count up together. Each count that was acknowledged has to be in the end.
func (c *Client) testCounters(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for i := range counters {
		g.Go(func() error { return c.testCounter(gctx, "counter-"+strconv.Itoa(i)) })
	}
	return g.Wait()
}

func (c *Client) testCounter(ctx context.Context, name string) error {
	// The random part keeps an earlier state's version from coming back, which is an MD5 on many servers.
	state := func(n int) []byte { return fmt.Appendf(nil, "%d %s", n, rand.Text()) }
	if _, err := c.Swap(ctx, name, "", state(0)); err != nil {
		return err
	}
	var unclear atomic.Int64 // changes that may have been made, by lost answers
	g, gctx := errgroup.WithContext(ctx)
	for range counterHands {
		g.Go(func() error {
			for done := 0; done < counterRounds; {
				n, v, err := c.count(gctx, name)
				if err != nil {
					return err
				}
				_, err = c.Swap(gctx, name, v, state(n+1))
				switch {
				case err == nil:
					done++
				case errors.Is(err, errUnclear):
					unclear.Add(1)
				case !errors.Is(err, backend.ErrChanged):
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	n, _, err := c.count(ctx, name)
	if least := counterHands * counterRounds; err == nil && (n < least || n > least+int(unclear.Load())) {
		return &Finding{atomicity, fmt.Sprintf("%d changes were acknowledged, %d are there", least, n)}
	}
	return err
}

func (c *Client) count(ctx context.Context, name string) (int, backend.Version, error) {
	data, v, err := c.Load(ctx, name)
	if err := expect(reads, "reading what was written", err, nil); err != nil {
		return 0, "", err
	}
	text, _, _ := strings.Cut(string(data), " ")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, "", &Finding{reads, "something else than what was written is there"}
	}
	return n, v, nil
}
