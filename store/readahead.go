package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"ensync/store/block"
)

// How far ahead of a reader that reads in order is fetched. It begins with what was read, and doubles as it goes on, so who
// reads a little at one place makes nothing come that nobody wants.
const (
	aheadAfter   = 192 << 10 // bytes read in order before anything is fetched ahead: more than one request of the kernel
	aheadMost    = 16 << 20  // bytes ahead; all readers of a store share it, and what it brings is kept in readBuffer
	aheadStreams = 4         // places of one content that are followed at a time
	aheadSlack   = 2 << 20   // requests of one reader may come so far out of order
	aheadFlights = 6         // blocks that are fetched side by side for one reader
)

// Less than this is never ahead of a reader, and no more than what comes in this time.
const (
	aheadLeast = 1 << 20
	aheadTime  = 2 * time.Second
)

// aheadIdle is how long nobody may read at a place before what is on its way there is called off.
const aheadIdle = time.Second

// stream is one of the places at which a content is read in order.
type stream struct {
	next    int64     // where its reader would go on
	run     int64     // bytes it has read in order
	to      int64     // everything before was fetched, or is on its way
	began   time.Time // when run began
	reading int       // calls that are reading
	last    time.Time
	running bool
	ctx     context.Context // of what is on its way; nil if nothing was yet
	cancel  context.CancelFunc
}

// follow notes that [off, end) is being read, and lets come what its reader would want next. leave says that it was read.
func (r *Reader) follow(off, end int64) *stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.streamAt(off, end)
	st.reading++
	st.last = time.Now()
	if st.running || r.target(st) <= max(st.to, st.next) || r.ctx.Err() != nil {
		return st
	}
	if st.ctx == nil {
		st.ctx, st.cancel = context.WithCancel(r.ctx)
	}
	st.running = true
	r.s.readers.Add(1)
	ctx := st.ctx // by the time that it runs, the stream may have been halted
	r.ahead.Go(func() { r.runAhead(ctx, st) })
	return st
}

// streamAt returns the stream that goes on at off. r.mu is held.
func (r *Reader) streamAt(off, end int64) *stream {
	i := slices.IndexFunc(r.streams, func(st *stream) bool { return off >= st.next-aheadSlack && off <= st.next+aheadSlack/2 })
	var st *stream
	if i >= 0 {
		st = r.streams[i]
		r.streams = slices.Delete(r.streams, i, i+1)
		st.run += max(0, end-max(st.next, off))
		st.next = max(st.next, end)
	} else {
		st = &stream{next: end, run: end - off, began: time.Now()}
		if last := len(r.streams) - 1; last+1 == aheadStreams {
			r.streams[last].halt()
			r.streams = r.streams[:last]
		}
	}
	r.streams = slices.Insert(r.streams, 0, st)
	return st
}

// leave ends what follow began. Who gave up wants nothing more of what is on its way.
func (r *Reader) leave(st *stream, gaveUp bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st.reading--
	st.last = time.Now()
	if gaveUp {
		st.halt()
	}
}

// halt calls off what is on its way ahead of a stream. The reader's mu is held.
func (st *stream) halt() {
	st.run, st.to, st.began = 0, 0, time.Now()
	if st.ctx != nil {
		st.cancel()
		st.ctx = nil
	}
}

// target is up to where a stream is to be fetched. r.mu is held.
func (r *Reader) target(st *stream) int64 {
	if st.run < aheadAfter {
		return 0
	}
	window := min(2*st.run, aheadMost/max(1, r.s.readers.Load()))
	// On a slow line as much as it brings in aheadTime: more helps nobody, and would be on its way when the reader has gone.
	speed := float64(st.run) / max(time.Since(st.began), time.Millisecond).Seconds()
	window = min(window, max(aheadLeast, int64(speed*aheadTime.Seconds())))
	return min(st.next+window, r.c.Size)
}

// runAhead fetches blocks until as many are there as are to be ahead. Errors show when the blocks are read.
func (r *Reader) runAhead(ctx context.Context, st *stream) {
	defer r.s.readers.Add(-1)
	var flights sync.WaitGroup
	defer flights.Wait()
	slots := make(chan struct{}, aheadFlights)
	for {
		off, ok := r.nextAhead(ctx, st)
		if !ok {
			return
		}
		ref, start, err := r.find(ctx, off)
		if err == nil {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			r.endAhead(ctx, st)
			return
		}
		flights.Go(func() {
			defer func() { <-slots }()
			if _, err := r.s.load(ctx, block.Type{Kind: block.Data}, r.s.data, ref.Key, r.s.cutter.Params().Max()); err != nil {
				r.endAhead(ctx, st)
			}
		})
		r.mu.Lock()
		st.to = max(st.to, start+ref.Length)
		r.mu.Unlock()
	}
}

// nextAhead returns where a block is to be fetched next; false if that is enough.
func (r *Reader) nextAhead(ctx context.Context, st *stream) (int64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st.reading == 0 && time.Since(st.last) > aheadIdle && st.ctx == ctx {
		st.halt()
	}
	off := max(st.to, st.next)
	if ctx.Err() == nil && off < r.target(st) {
		return off, true
	}
	st.running = false
	return 0, false
}

// endAhead is called when something could not be fetched: it begins anew where the reader gets on.
func (r *Reader) endAhead(ctx context.Context, st *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st.running = false
	if st.ctx == ctx {
		st.halt()
	}
}
