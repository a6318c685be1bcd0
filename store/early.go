package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"ensync/keys"
	"ensync/store/backend"
)

const (
	// earlyAge is how old the answer to an early question may be when it is used.
	earlyAge = 30 * time.Second
	// earlyHeads is how many heads are asked for early: a client that knows more trees does not need them all.
	earlyHeads = 4
	// formatEvery is how often a client that has a copy of the format object looks whether it still is in the store.
	formatEvery = time.Hour
)

// early asks at once what a client will want to know of a store that it remembers: each question would otherwise wait
// for the answer of the one before, only to find what is remembered. The answers are checked where they are used, in
// the order in which they would have been asked.
//
// An answer is as of the time of asking, so it is used once and while it is young.
type early struct {
	b      backend.Backend
	reach  *reach
	cancel context.CancelFunc
	asking sync.WaitGroup

	sawFormat bool // in the store, not only in the memory

	mu      sync.Mutex
	answers map[string]*answer
}

type answer struct {
	asked   time.Time
	done    chan struct{}
	data    []byte
	version backend.Version
	err     error
}

// askEarly asks for what mem remembers. close ends the questions that nobody waits for.
func askEarly(ctx context.Context, b backend.Backend, mem *Memory) *early {
	e := &early{b: b, reach: newReach(b), answers: map[string]*answer{}}
	ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if _, known := mem.known(); !known {
		return e
	}
	get := func(ctx context.Context, name string) ([]byte, backend.Version, error) {
		data, err := b.Get(ctx, name, 0, -1)
		return data, "", err
	}
	if !mem.formatIsFresh() {
		e.ask(ctx, formatObject, get)
	}
	e.ask(ctx, keysObject, b.Load)
	e.ask(ctx, rootsObject, b.Load)
	for _, id := range mem.rootIDs(earlyHeads) {
		e.ask(ctx, headObject(id), b.Load)
	}
	return e
}

func (e *early) ask(ctx context.Context, name string, how func(context.Context, string) ([]byte, backend.Version, error)) {
	a := &answer{asked: now(), done: make(chan struct{})}
	e.answers[name] = a
	e.asking.Go(func() {
		defer close(a.done)
		a.data, a.version, a.err = how(ctx, name)
	})
}

// ForgetEarly drops what was asked for when the store was opened and not used yet. It is for whoever keeps a store open
// and is asked later: its first answer must not be from before the question.
func (s *Store) ForgetEarly() {
	s.early.mu.Lock()
	defer s.early.mu.Unlock()
	clear(s.early.answers)
}

func (e *early) close() {
	e.cancel()
	e.asking.Wait()
}

// take returns the early answer for an object, and ok if there was one.
func (e *early) take(ctx context.Context, name string) (a *answer, ok bool) {
	e.mu.Lock()
	a = e.answers[name]
	delete(e.answers, name)
	e.mu.Unlock()
	if a == nil || now().Sub(a.asked).Abs() > earlyAge {
		return nil, false
	}
	select {
	case <-a.done:
		return a, true
	case <-ctx.Done():
		return &answer{err: ctx.Err()}, true
	}
}

// load returns a mutable object, as of the time of asking if it was asked for early.
func (e *early) load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	if a, ok := e.take(ctx, name); ok {
		return a.data, a.version, a.err
	}
	return e.b.Load(ctx, name)
}

// openObjects reads format and keys. A client that has a copy of the format relies on that, and on what binds it to the
// keys and the list of roots, and looks for the object itself when something is wrong, or was not looked at for long.
func (e *early) openObjects(ctx context.Context, mem *Memory) (*format, *keys.File, error) {
	if mem.formatIsFresh() {
		if f, err := parseFormat(mem.Format()); err == nil {
			k, _, err := loadKeys(ctx, e.load, f, mem)
			if err == nil || !isWrong(err) {
				return f, k, err
			}
		}
	}
	raw, err := e.format(ctx)
	f, err := checkFormat(ctx, e.b, mem, raw, err)
	if err != nil {
		return nil, nil, err
	}
	k, _, err := loadKeys(ctx, e.load, f, mem)
	if isWrong(err) { // another process of this client may have changed them since they were asked for
		k, _, err = loadKeys(ctx, e.b.Load, f, mem)
	}
	e.sawFormat = true
	return f, k, err
}

// isWrong reports whether an error says something of the store, and not just that it could not be asked.
func isWrong(err error) bool {
	return errors.As(err, new(*Fault))
}

func (e *early) format(ctx context.Context) ([]byte, error) {
	if a, ok := e.take(ctx, formatObject); ok {
		return a.data, a.err
	}
	return e.b.Get(ctx, formatObject, 0, -1)
}

// formatIsFresh reports whether the format object was seen in the store not long ago.
func (m *Memory) formatIsFresh() bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	age := now().Sub(m.data.FormatSeen)
	return len(m.data.Format) > 0 && age >= 0 && age < formatEvery
}

// sawFormat notes that the format object is where it belongs.
func (m *Memory) sawFormat(f *format) error {
	if m == nil {
		return nil
	}
	return m.update(func(d *memoryData) bool {
		if string(d.Format) != string(f.encoded) {
			return false // not remembered yet
		}
		d.FormatSeen = now().UTC()
		return true
	})
}

// rootIDs returns the ids of the roots whose heads this client has read, if there are not more than most.
func (m *Memory) rootIDs(most int) [][16]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all [][16]byte
	for text, seen := range m.data.Roots {
		if !seen.Told {
			all = append(all, rootID(text))
		}
	}
	if len(all) > most {
		return nil
	}
	return all
}
