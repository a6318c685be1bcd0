package service

import (
	"errors"
	"testing"
	"time"

	"ensync/engine"
	"ensync/store/backend"
)

// A rehearsal plays what happens to a pace, on a clock of its own.
type rehearsal struct {
	*testing.T
	pace
	now time.Time
}

func rehearse(t *testing.T) *rehearsal {
	r := &rehearsal{T: t, now: time.Now(), pace: pace{settle: time.Second, poll: firstPoll, slowest: 5 * time.Second,
		longest: time.Hour, all: true}}
	r.pace.done(r.now, engine.Summary{}, nil)
	return r
}

func (r *rehearsal) pass(d time.Duration) { r.now = r.now.Add(d) }

// until goes to the next step of a kind, and returns how long that took. Meanwhile the store is asked, and does not change.
func (r *rehearsal) until(want step) time.Duration {
	r.Helper()
	begin := r.now
	for range 10_000 {
		what, at := r.pace.next(r.now)
		if at.After(r.now) {
			r.now = at
		}
		if what == want {
			return r.now.Sub(begin)
		}
		if what != lookOnce {
			r.Fatalf("step %d after %v, not %d", what, r.now.Sub(begin), want)
		}
		r.polled(r.now, false, nil)
	}
	r.Fatalf("step %d does not come", want)
	return 0
}

func TestPaceOfLocalChanges(t *testing.T) {
	r := rehearse(t)
	r.pass(time.Minute)
	r.changed(r.now)
	r.pass(600 * time.Millisecond)
	r.changed(r.now)
	if d := r.until(syncNow); d != time.Second {
		t.Errorf("synced %v after the last change", d)
	}
	r.seen()
	r.done(r.now, engine.Summary{}, nil)
	begin := r.now
	for range 1000 { // it never is quiet
		r.changed(r.now)
		if what, at := r.pace.next(r.now); what == syncNow && !at.After(r.now) {
			break
		}
		r.pass(100 * time.Millisecond)
	}
	if d := r.now.Sub(begin); d != settleFactor*time.Second {
		t.Errorf("a busy tree was synced after %v", d)
	}
}

func TestPaceOfTheStore(t *testing.T) {
	r := rehearse(t)
	r.done(r.now, engine.Summary{In: engine.Counts{Created: 1}}, nil)
	if d := r.until(lookOnce); d != firstPoll {
		t.Errorf("looked %v after a change", d)
	}
	var d time.Duration
	for range 10 {
		r.polled(r.now, false, nil)
		d = r.until(lookOnce)
	}
	if d != r.slowest {
		t.Errorf("after a long time, looked every %v", d)
	}
	r.polled(r.now, true, nil)
	if d := r.until(syncNow); d != 0 {
		t.Errorf("something new is synced after %v", d)
	}
	r.seen()
	r.done(r.now, engine.Summary{}, nil)
	if d := r.until(syncAll); d != time.Hour {
		t.Errorf("all looked at after %v", d)
	}
}

func TestPaceOfFailures(t *testing.T) {
	r := rehearse(t)
	for _, want := range []time.Duration{2, 4, 8, 16} {
		r.seen()
		r.done(r.now, engine.Summary{}, errors.New("loss guard"))
		r.changed(r.now) // does not hurry it
		if d := r.until(syncNow); d != want*time.Second {
			t.Errorf("tried again after %v, not %d s", d, want)
		}
	}
	r.seen()
	r.done(r.now, engine.Summary{}, backend.ErrUnavailable)
	r.polled(r.now, false, backend.ErrUnavailable)
	if what, at := r.pace.next(r.now); what != lookOnce || at == r.now {
		t.Errorf("step %d after %v", what, at.Sub(r.now))
	}
	r.polled(r.now, false, nil)
	if d := r.until(syncNow); d != 0 {
		t.Errorf("the store is back, and synced after %v", d)
	}
	r.seen()
	r.done(r.now, engine.Summary{Failed: 1}, nil)
	if d := r.until(syncNow); d != failedRetry {
		t.Errorf("what failed is tried again after %v", d)
	}
}

// TestPaceAfterSleep: while a machine sleeps, only the wall clock goes on.
func TestPaceAfterSleep(t *testing.T) {
	r := rehearse(t)
	r.done(r.now, engine.Summary{}, errors.New("no net any more"))
	r.woke()
	if d := r.until(syncNow); d != 0 {
		t.Errorf("synced %v after sleep", d)
	}
	for _, c := range []struct {
		wall, awake time.Duration
		want        bool
	}{{time.Hour, time.Second, true}, {-time.Hour, time.Second, true}, {time.Hour, time.Hour, false}, {0, 0, false}} {
		if got := slept(c.wall, c.awake); got != c.want {
			t.Errorf("slept(%v, %v) = %v", c.wall, c.awake, got)
		}
	}
}
