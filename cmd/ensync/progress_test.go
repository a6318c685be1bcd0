package main

import (
	"testing"
	"time"

	"ensync/engine"
)

func TestMeter(t *testing.T) {
	now := time.Unix(100, 0)
	m := newMeter(now)
	tell := func(after time.Duration, e engine.Event) {
		now = now.Add(after)
		m.event(e, now)
	}
	left := func() string {
		d, ok := m.left(now)
		if !ok {
			return "unknown"
		}
		return durationText(d)
	}
	out := func(kind engine.EventKind, bytes int64) engine.Event {
		return engine.Event{Kind: kind, Side: engine.Remote, Path: "f", Bytes: bytes}
	}
	plan := engine.Plan{Out: engine.Counts{Created: 3, Bytes: 1000}}
	tell(0, engine.Event{Kind: engine.Planned, Plan: &plan})
	tell(2*time.Second, out(engine.Moving, 100))
	if got := left(); got != "unknown" {
		t.Errorf("before all is counted: %s", got)
	}
	plan.Whole = true
	tell(0, engine.Event{Kind: engine.Planned, Plan: &plan})
	tell(0, out(engine.Created, 0))
	if got := left(); got != "0:18" { // 900 bytes at 50 a second; 2 entries at half a one would be 0:04
		t.Errorf("by bytes: %s", got)
	}
	tell(2*time.Second, out(engine.Transfer, 400)) // what was moving is in it
	if got := left(); got != "0:08" {              // 2 entries at a quarter of one a second; 600 bytes at 100 would be 0:06
		t.Errorf("by entries: %s", got)
	}
	tell(0, out(engine.Created, 0))
	tell(0, out(engine.Created, 0))
	tell(time.Second, out(engine.Transfer, 600))
	if got := left(); got != "0:00" {
		t.Errorf("at the end: %s", got)
	}
	for range 100 { // only of late counts
		tell(time.Second, out(engine.Inspected, 0))
	}
	if entries, bytes := m.speed(now); entries != 0 || bytes != 0 || len(m.samples) > rateSamples {
		t.Errorf("after a pause: %v entries, %v bytes a second, %d samples", entries, bytes, len(m.samples))
	}
	if got := durationText(3661 * time.Second); got != "1:01:01" {
		t.Errorf("an hour is %s", got)
	}
}
