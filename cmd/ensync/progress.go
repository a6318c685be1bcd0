package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"ensync/engine"
)

// A meter knows how far a sync is, how fast it goes, and so how long it will take.
type meter struct {
	in, out engine.Counts
	moving  map[string]int64 // bytes of files on their way, by path
	plan    engine.Plan
	samples []sample // of the last while, oldest first
}

// A sample is what was done at a time.
type sample struct {
	at      time.Time
	entries int
	bytes   int64
}

// A rate is measured over the last samples: this many, this far apart.
const (
	rateSamples = 20
	rateStep    = time.Second
)

func newMeter(now time.Time) *meter {
	return &meter{moving: map[string]int64{}, samples: []sample{{at: now}}}
}

func (m *meter) event(e engine.Event, now time.Time) {
	side := &m.in
	if e.Side == engine.Remote {
		side = &m.out
	}
	switch {
	case e.Kind == engine.Created:
		side.Created++
	case e.Kind == engine.Updated, e.Kind == engine.Moved:
		side.Updated++
	case e.Kind == engine.Deleted && !isRemovedDirectory(e):
		side.Deleted++
	case e.Kind == engine.Moving:
		m.moving[e.Path] = e.Bytes
	case e.Kind == engine.Transfer:
		side.Bytes += e.Bytes
		delete(m.moving, e.Path)
	case e.Kind == engine.Error:
		delete(m.moving, e.Path)
	case e.Kind == engine.Overtaken: // it comes again
		clear(m.moving)
	case e.Kind == engine.Planned:
		m.plan = *e.Plan
	}
	if last := m.samples[len(m.samples)-1]; now.Sub(last.at) >= rateStep {
		m.samples = append(m.samples, m.sample(now))
		m.samples = m.samples[max(0, len(m.samples)-rateSamples):]
	}
}

func (m *meter) sample(now time.Time) sample {
	s := sample{at: now, entries: entriesIn(m.in) + entriesIn(m.out), bytes: m.in.Bytes + m.out.Bytes}
	for _, n := range m.moving {
		s.bytes += n
	}
	return s
}

func entriesIn(c engine.Counts) int { return c.Created + c.Updated + c.Deleted }

// speed is how fast it went of late: entries and bytes per second. Zero if nobody can tell yet.
func (m *meter) speed(now time.Time) (entries, bytes float64) {
	s, first := m.sample(now), m.samples[0]
	t := s.at.Sub(first.at).Seconds()
	if t < rateStep.Seconds() {
		return 0, 0
	}
	return float64(s.entries-first.entries) / t, float64(s.bytes-first.bytes) / t
}

// left is how long the rest takes, at the speed of late; false if that can't be told: not all is counted, or nothing moves.
func (m *meter) left(now time.Time) (time.Duration, bool) {
	if !m.plan.Whole {
		return 0, false
	}
	s := m.sample(now)
	entries := entriesIn(m.plan.In) + entriesIn(m.plan.Out) - s.entries
	bytes := m.plan.In.Bytes + m.plan.Out.Bytes - s.bytes
	entrySpeed, byteSpeed := m.speed(now)
	known, seconds := entries <= 0 && bytes <= 0, 0.0
	for _, part := range []struct{ left, speed float64 }{{float64(entries), entrySpeed}, {float64(bytes), byteSpeed}} {
		if part.left > 0 && part.speed > 0 {
			known, seconds = true, max(seconds, part.left/part.speed)
		}
	}
	return time.Duration(seconds * float64(time.Second)), known && seconds < (1000*time.Hour).Seconds()
}

// A progress shows on one line of a terminal how far a sync is: what changed on either side, of how much, how fast, and
// the time left.
type progress struct {
	*meter
	w     io.Writer // nil: shows nothing
	now   func() time.Time
	drawn time.Time
	turn  int
}

// redraw is how often the line changes at most.
const redraw = 100 * time.Millisecond

func newProgress(w io.Writer) *progress {
	return &progress{meter: newMeter(time.Now()), w: w, now: time.Now}
}

// event counts an event; printed says that it left a line of its own below which the progress is to be drawn anew.
func (p *progress) event(e engine.Event, printed bool) {
	now := p.now()
	p.meter.event(e, now)
	if p.w != nil && (printed || now.Sub(p.drawn) >= redraw) {
		p.drawn = now
		p.draw(now)
	}
}

func (p *progress) draw(now time.Time) {
	p.turn++
	line := fmt.Sprintf("%c in: %s, out: %s%s", `-\|/`[p.turn%4], countsText(p.in), countsText(p.out), p.ahead(now))
	if f, ok := p.w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 1 {
			line = line[:min(len(line), width-1)] // a second line would stay
		}
	}
	fmt.Fprintf(p.w, "\r%s%s\r", eraseLine, line)
}

// ahead is what the line says of the rest.
func (p *progress) ahead(now time.Time) string {
	text := ""
	s, all := p.sample(now), entriesIn(p.plan.In)+entriesIn(p.plan.Out)
	if all > 0 {
		more := ""
		if !p.plan.Whole {
			more = " or more"
		}
		text = fmt.Sprintf("; %d of %d entries, %s of %s%s", s.entries, max(all, s.entries), sizeText(s.bytes),
			sizeText(max(p.plan.In.Bytes+p.plan.Out.Bytes, s.bytes)), more)
	}
	if _, speed := p.speed(now); speed > 0 {
		text += fmt.Sprintf(", %s/s", sizeText(int64(speed)))
	}
	if left, ok := p.left(now); ok && all > 0 {
		text += ", " + durationText(left) + " left"
	}
	return text
}

// durationText is a duration to the second: 0:07, 12:30, 1:05:00.
func durationText(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r", eraseLine)
	}
}
