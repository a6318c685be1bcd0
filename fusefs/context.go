package fusefs

import (
	"context"
	"sync"
	"time"
)

// waiting is the context of a request that may wait for the network. It is done when the caller is about to die of a
// signal. The kernel tells of any signal, and would hand an answer of EINTR to the program; but none expects that of a
// file, and a database that gets it from fsync stops. So other requests cannot be interrupted at all, and these only
// when nobody is left to see it.
type waiting struct {
	cancel <-chan struct{} // closed by the kernel's INTERRUPT, which comes once; used again after the request
	pid    uint32

	watch sync.Once
	ended chan struct{}
	done  chan struct{}
}

func newWaiting(cancel <-chan struct{}, pid uint32) *waiting {
	return &waiting{cancel: cancel, pid: pid, ended: make(chan struct{}), done: make(chan struct{})}
}

func (w *waiting) Deadline() (time.Time, bool) { return time.Time{}, false }
func (w *waiting) Value(any) any               { return nil }

// Done starts to look after the caller: most requests end without anyone asking.
func (w *waiting) Done() <-chan struct{} {
	w.watch.Do(func() { go w.lookAfter() })
	return w.done
}

func (w *waiting) Err() error {
	select {
	case <-w.done:
		return context.Canceled
	default:
		return nil
	}
}

// end is called when the request is answered.
func (w *waiting) end() { close(w.ended) }

// lookInterval is how often a caller that was interrupted is looked at: the signal that kills it may come later.
const lookInterval = 50 * time.Millisecond

func (w *waiting) lookAfter() {
	if !w.interrupted() {
		return
	}
	for !dying(w.pid) {
		select {
		case <-time.After(lookInterval):
		case <-w.ended:
			return
		}
	}
	close(w.done)
}

// goneInterval is how often it is looked whether a caller is still there that nobody has interrupted: of what the kernel reads
// ahead of a program, it tells no end.
const goneInterval = time.Second

// interrupted waits for the kernel's INTERRUPT, or for the end of the caller; false if the request was answered before.
func (w *waiting) interrupted() bool {
	look := time.NewTicker(goneInterval)
	defer look.Stop()
	for {
		select {
		case <-w.cancel:
			return true
		case <-w.ended:
			return false
		case <-look.C:
			if gone(w.pid) {
				return true
			}
		}
	}
}
