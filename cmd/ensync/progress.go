package main

import (
	"fmt"
	"io"
	"time"

	"ensync/engine"
)

// A progress shows on one line of a terminal how far a sync is: what changed on either side, and how fast.
type progress struct {
	w       io.Writer // nil: shows nothing
	now     func() time.Time
	began   time.Time
	drawn   time.Time
	in, out engine.Counts
	turn    int
}

// redraw is how often the line changes at most.
const redraw = 100 * time.Millisecond

func newProgress(w io.Writer) *progress {
	return &progress{w: w, now: time.Now, began: time.Now()}
}

// event counts an event; printed says that it left a line of its own below which the progress is to be drawn anew.
func (p *progress) event(e engine.Event, printed bool) {
	side := &p.in
	if e.Side == engine.Remote {
		side = &p.out
	}
	switch {
	case e.Kind == engine.Created:
		side.Created++
	case e.Kind == engine.Updated:
		side.Updated++
	case e.Kind == engine.Deleted && !isRemovedDirectory(e):
		side.Deleted++
	case e.Kind == engine.Transfer:
		side.Bytes += e.Bytes
	}
	if now := p.now(); p.w != nil && (printed || now.Sub(p.drawn) >= redraw) {
		p.drawn = now
		p.draw(now)
	}
}

func (p *progress) draw(now time.Time) {
	p.turn++
	rate := ""
	if t := now.Sub(p.began).Seconds(); t >= 1 {
		rate = fmt.Sprintf(", %s/s", sizeText(int64(float64(p.in.Bytes+p.out.Bytes)/t)))
	}
	fmt.Fprintf(p.w, "\r%s%c in: %s, out: %s%s\r", eraseLine, `-\|/`[p.turn%4], countsText(p.in), countsText(p.out), rate)
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r", eraseLine)
	}
}
