package service

import (
	"math/rand/v2"
	"time"

	"ensync/engine"
)

// How soon a change is noticed and synced.
const (
	DefaultSettle = 500 * time.Millisecond // without a change here, before what changed is synced
	settleFactor  = 20                     // times as long a tree that is never quiet is waited for at most
	firstPoll     = time.Second            // between looks at the store, soon after it changed
	noticedPoll   = 30 * time.Second       // where changes of the store are told; a notice may be lost
	firstRetry    = 2 * time.Second        // after a sync that failed
	longestRetry  = 10 * time.Minute
	failedRetry   = time.Minute     // after one that left entries behind
	clockJump     = 5 * time.Second // between the two clocks: the machine slept, or somebody set the time
)

// A step is what is to be done next.
type step int

const (
	nothing  step = iota
	lookOnce      // ask the store whether it changed
	syncNow
	syncAll // that looks at everything here
)

// A pace decides when to look at the store and when to sync. It is told what happens, and has no clock of its own.
type pace struct {
	random  func(time.Duration) time.Duration // a part of the time before another try; nil: all of it
	settle  time.Duration
	longest time.Duration // between two syncs; 0: as long as nothing changes
	all     bool          // those that come for that alone look at everything
	slowest time.Duration // between two looks at the store, after a long time without change

	first, last time.Time // change here that no sync saw; zero: none
	now         bool      // something calls for a sync at once
	looked      time.Time // at the store
	poll        time.Duration
	synced      time.Time     // end of the last sync
	away        bool          // it failed because the store was out of reach
	hold        time.Time     // nothing is synced before; after a failure
	wait        time.Duration // from one failure to the next try
	again       time.Time     // entries that failed are tried again; zero: there are none
}

// changed tells of a change here.
func (p *pace) changed(now time.Time) {
	if p.first.IsZero() {
		p.first = now
	}
	p.last = now
}

// seen takes back all changes here: a sync has them, or is about to.
func (p *pace) seen() { p.first, p.now = time.Time{}, false }

// polled tells of a look at the store.
func (p *pace) polled(now time.Time, moved bool, err error) {
	p.looked = now
	switch {
	case err != nil:
		p.poll = min(2*p.poll, max(p.slowest, noticedPoll))
	case moved || p.away: // or it is back
		p.now, p.hold = true, time.Time{}
	default:
		p.poll = min(p.poll*3/2, p.slowest)
	}
}

// lookSoon asks for a look at the store.
func (p *pace) lookSoon() { p.looked, p.poll = time.Time{}, firstPoll }

// done tells of the end of a sync.
func (p *pace) done(now time.Time, sum engine.Summary, err error) {
	p.synced, p.looked = now, now
	p.away = unreachable(err)
	if err != nil {
		p.wait = min(max(2*p.wait, firstRetry), max(longestRetry, 10*p.longest))
		p.hold, p.now = now.Add(p.part(p.wait)), true
		return
	}
	p.hold = time.Time{}
	if sum.In != (engine.Counts{}) || sum.Out != (engine.Counts{}) {
		p.poll = firstPoll
	}
	if sum.Failed == 0 || p.again.IsZero() {
		p.wait = 0
	}
	p.again = time.Time{}
	if sum.Failed == 0 {
		return
	}
	p.wait = min(max(2*p.wait, failedRetry), time.Hour)
	p.again = now.Add(p.wait)
}

// part lets those who failed together not come again together.
func (p *pace) part(wait time.Duration) time.Duration {
	if p.random == nil {
		return wait
	}
	return p.random(wait)
}

// fullJitter is anything between nothing and all.
func fullJitter(wait time.Duration) time.Duration { return rand.N(wait) + 1 }

// next returns what to do next and when. It is to be asked anew after anything happened.
func (p *pace) next(now time.Time) (step, time.Time) {
	at, what := p.looked.Add(p.poll), lookOnce
	earlier := func(t time.Time, s step) {
		if p.hold.After(t) {
			t = p.hold
		}
		if t.Before(at) || s == syncNow && !t.After(now) {
			at, what = t, s
		}
	}
	if p.longest > 0 {
		s := syncNow
		if p.all {
			s = syncAll
		}
		earlier(p.synced.Add(p.longest), s)
	}
	if !p.again.IsZero() {
		earlier(p.again, syncNow)
	}
	if !p.first.IsZero() {
		quiet, most := p.last.Add(p.settle), p.first.Add(settleFactor*p.settle)
		if most.Before(quiet) {
			quiet = most
		}
		earlier(quiet, syncNow)
	}
	if p.now {
		earlier(now, syncNow)
	}
	return what, at
}

// woke tells that the machine slept: whatever was waited for, others had the time.
func (p *pace) woke() {
	p.lookSoon()
	p.now, p.hold = true, time.Time{}
}

// moved tells that the machine is on another network: a store that was out of reach may be in reach, or the other way round.
func (p *pace) moved() {
	p.lookSoon()
	p.hold = time.Time{}
}

// slept reports whether the wall clock went on otherwise than the one that stands still while the machine sleeps.
func slept(wall, awake time.Duration) bool {
	return wall-awake > clockJump || awake-wall > clockJump
}
