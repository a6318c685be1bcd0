// Package watch tells which directories of a tree may have changed: by what the kernel tells of them where it can, else
// by looking at all of them now and then.
//
// It errs on one side only: whatever is in doubt may have changed. An edit that the kernel never tells of, through a
// memory mapping that stays, another hard link, or a second mount of the same disk, is found by a full look, which
// is up to the caller (Doubt).
package watch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"ensync/engine/replica"
)

// Method is how changes are found out.
type Method string

// The methods, the best first. A mark costs nothing to make, however big the tree is; but whatever others do on the same
// file system is told, too, and on a busy one that was found to take some percent of a processor.
const (
	Inotify  Method = "inotify"  // a watch for each directory
	Fanotify Method = "fanotify" // one mark for the file system; for root only
	Walk     Method = "walk"     // no notice at all: look at everything, as seldom as that is dear
)

// Options are the choices that have good defaults.
type Options struct {
	Methods []Method      // to try in this order; nil: all. Walk always works, and is tried last.
	Limit   int           // watches that inotify may use; 0: half of what the user has
	Pause   time.Duration // between two walks at least; 0: 2 s
}

// A source finds out changes by one method.
type source interface {
	// run tells changes until ctx ends, or until it can't go on, and says why.
	run(ctx context.Context) error
	// flush returns when all that changed before the call was told.
	flush() error
	close() error
}

// Watch watches a tree. Its methods may be called concurrently.
type Watch struct {
	path string
	opt  Options

	changed chan struct{}
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu     sync.Mutex // guards what follows; taken after the lock of a source
	source source
	state  State
	armed  bool  // every change from some moment on is told
	now    dirt  // since the last Begin
	looked *dirt // before it, while a look is under way
}

// State is how a tree is watched now.
type State struct {
	Method Method    `json:"method"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"` // why no better method is used
}

// Open watches the tree at path. What was in it before is in doubt until the first Look is done.
func Open(ctx context.Context, path string, opt Options) (*Watch, error) {
	if opt.Methods == nil {
		opt.Methods = []Method{Inotify, Fanotify}
	}
	if opt.Pause <= 0 {
		opt.Pause = 2 * time.Second
	}
	w := &Watch{path: path, opt: opt, changed: make(chan struct{}, 1)}
	if err := w.arm(ctx); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	w.done.Go(func() { w.run(run) })
	return w, nil
}

// Close ends the watching.
func (w *Watch) Close() error {
	w.stop()
	w.done.Wait()
	return w.source.close()
}

// Changed gets a value after something changed. It may come late by a few hundredths of a second, and without reason.
func (w *Watch) Changed() <-chan struct{} { return w.changed }

// State tells how the tree is watched.
func (w *Watch) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// arm starts the best method that works here.
func (w *Watch) arm(ctx context.Context) error {
	var src source
	var reasons []string
	state := State{Method: Walk}
	for _, m := range w.opt.Methods {
		s, err := w.open(ctx, m)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err == nil {
			src, state.Method = s, m
			break
		}
		if n := len(reasons); n == 0 || !strings.HasSuffix(reasons[n-1], ": "+err.Error()) {
			reasons = append(reasons, fmt.Sprintf("%s: %v", m, err))
		}
	}
	state.Reason = strings.Join(reasons, "; ")
	if src == nil {
		src = &walker{watch: w}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	state.Since = time.Now()
	w.source, w.state, w.armed = src, state, state.Method != Walk
	w.now.add("", true)
	return nil
}

func (w *Watch) open(ctx context.Context, m Method) (source, error) {
	switch m {
	case Fanotify:
		return openFanotify(w)
	case Inotify:
		return openInotify(ctx, w)
	}
	return nil, fmt.Errorf("no such method")
}

// rearmPause is how long a method that failed is left alone; it doubles up to a minute while that goes on.
const rearmPause = 100 * time.Millisecond

// run keeps the tree watched, with another method when one can't go on.
func (w *Watch) run(ctx context.Context) {
	for pause := rearmPause; ; pause = min(2*pause, time.Minute) {
		armed := time.Now()
		w.source.run(ctx) // why it ended, the next one finds out again
		if ctx.Err() != nil {
			return
		}
		w.disarm()
		if time.Since(armed) > 10*time.Minute {
			pause = rearmPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		w.source.close()
		if w.arm(ctx) != nil {
			return
		}
		w.signal()
	}
}

func (w *Watch) disarm() {
	w.mu.Lock()
	w.armed = false
	w.now.add("", true)
	w.mu.Unlock()
	w.signal()
}

func (w *Watch) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// tell notes that something in a directory changed, or, with below, everything below it too.
func (w *Watch) tell(dir string, below bool) {
	w.mu.Lock()
	w.now.add(dir, below)
	w.mu.Unlock()
	w.signal()
}

// Doubt makes everything look changed.
func (w *Watch) Doubt() { w.tell("", true) }

// Dirty reports whether anything in dir or below may have changed since the last Look that was done.
func (w *Watch) Dirty(dir string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.armed || w.now.has(dir) || w.looked != nil && w.looked.has(dir)
}

// A Look is one look at all that is dirty. Until it has ended, that stays dirty.
type Look struct{ w *Watch }

// Begin begins a look, which sees every change made before the call. There must be no other.
func (w *Watch) Begin() *Look {
	w.mu.Lock()
	src := w.source
	w.mu.Unlock()
	if err := src.flush(); err != nil {
		w.disarm() // its run ends, too
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.now
	w.looked, w.now = &before, dirt{}
	return &Look{w: w}
}

// Done ends a look at everything that was dirty, except that the entries at the paths in failed could not be looked at,
// nor what is below them.
func (l *Look) Done(failed []string) {
	w := l.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looked = nil
	for _, path := range failed {
		w.now.add(path, true)
		w.now.add(replica.Parent(path), false)
	}
}

// Fail ends a look that did not get through.
func (l *Look) Fail() {
	w := l.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.join(w.looked)
	w.looked = nil
}
