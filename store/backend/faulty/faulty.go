// Package faulty wraps a backend in one that fails, lies and forgets as a script says, and remembers what it was asked.
//
// Accidents (FailBefore, FailAfter, Slow) are what every client must survive with nothing lost; lies (the others) are
// what every client must notice, because a store is trusted with nothing but keeping what it was given.
package faulty

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"ensync/store/backend"
)

// Op is one kind of call. Ops may be combined in a Rule.
type Op uint8

// The calls of a backend.
const (
	Get Op = 1 << iota
	Put
	Load
	Swap
	List
	Delete
	Reads  = Get | Load | List
	Writes = Put | Swap | Delete
	All    = Reads | Writes
)

// String names the calls, as "Get|Load".
func (o Op) String() string {
	var names []string
	for i, name := range []string{"Get", "Put", "Load", "Swap", "List", "Delete"} {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Fault is what goes wrong with a call.
type Fault uint8

// The faults. One that means nothing for a call (a bit flipped in the answer of a Put) leaves that call alone.
const (
	None       Fault = iota
	FailBefore       // nothing is done; an error is returned
	FailAfter        // all is done, and the answer is lost: an error is returned
	Slow             // the call waits for Rule.Gate, then goes on; an ended context ends it
	Truncate         // Get, Load: a random part of the end is missing, without an error
	BitFlip          // Get, Load: one random bit is another
	Replay           // Load: the state before the current one, with its old version; Rule.Back goes further
	Splice           // Load: the content of such an older state, with the current version
	Exchange         // Get, Load: the content of the object Rule.With
	Hide             // Get, Load: ErrNotExist; List: left out, for names that match
	Drop             // Put, Swap, Delete: acknowledged and not done
)

var faultNames = []string{"none", "fail before", "fail after", "slow", "truncate", "bit flip", "replay", "splice", "exchange", "hide", "drop"}

// String returns the fault's name.
func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return fmt.Sprintf("fault %d", uint8(f))
}

// Rule says which calls a fault befalls. The first rule of a script that applies to a call decides.
type Rule struct {
	Ops    Op      // which calls; 0: those for which the fault means something
	Name   string  // which objects, as a pattern of path.Match, or a prefix that ends in '/'; "": all
	Skip   int     // so many matching calls go through first
	Times  int     // then so many meet the fault; 0: all
	Chance float64 // and of those each with this probability, from the seed; 0: surely
	Fault  Fault

	Err  error           // FailBefore, FailAfter: what is returned; nil: backend.ErrUnavailable
	Gate <-chan struct{} // Slow: closed or sent to when calls may go on; nil: never, only the context ends the call
	Back int             // Replay, Splice: how many states back; 0: one
	With string          // Exchange: the other object
}

// Call is one call as it was asked, and what became of it.
type Call struct {
	Op             Op
	Name           string // of a List: the prefix
	Offset, Length int64  // of a Get: as asked; otherwise zero
	Size           int    // bytes given to Put and Swap, or returned by Get and Load
	Fault          Fault
	Err            error
}

// Backend wraps another backend. All methods may be called concurrently.
type Backend struct {
	inner backend.Backend

	mu     sync.Mutex
	random *rand.Rand
	script []*active
	calls  []Call
	past   map[string][]past
}

type active struct {
	Rule
	matched, met int
}

// past is one state of a mutable object that went through here.
type past struct {
	data    []byte
	version backend.Version
}

// Wrap returns a backend around inner that follows rules. All that is random comes from seed.
func Wrap(inner backend.Backend, seed uint64, rules ...Rule) *Backend {
	b := &Backend{inner: inner, random: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), past: map[string][]past{}}
	b.Script(rules...)
	return b
}

// Script replaces the rules, with their counts at zero. No rules: everything works again.
func (b *Backend) Script(rules ...Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.script = nil
	for _, r := range rules {
		b.script = append(b.script, &active{Rule: r})
	}
}

// Calls returns what was asked so far, in the order in which the calls ended.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// Count tells how many calls of these kinds ended so far, for names that match pattern as in a Rule.
func (b *Backend) Count(ops Op, pattern string) int {
	n := 0
	for _, c := range b.Calls() {
		if c.Op&ops != 0 && match(pattern, c.Name) {
			n++
		}
	}
	return n
}

// Forget empties the record of calls.
func (b *Backend) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = nil
}

// Inner returns the backend behind, which does what it is told.
func (b *Backend) Inner() backend.Backend { return b.inner }

// Location implements backend.Backend.
func (b *Backend) Location() string { return "faulty " + b.inner.Location() }

// Close implements backend.Backend: it closes the backend behind.
func (b *Backend) Close() error { return b.inner.Close() }

// meaning tells for which calls a fault means something.
func meaning(f Fault) Op {
	switch f {
	case Truncate, BitFlip, Exchange:
		return Get | Load
	case Replay, Splice:
		return Load
	case Hide:
		return Reads
	case Drop:
		return Writes
	}
	return All
}

func match(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	if strings.HasSuffix(pattern, "/") {
		return strings.HasPrefix(name, pattern)
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// decide picks the rule for a call. The zero Rule means no fault.
func (b *Backend) decide(op Op, name string) Rule {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.script {
		// Hiding from a List goes by the names that it finds.
		if a.Fault == Hide && op == List || op&meaning(a.Fault) == 0 || a.Ops != 0 && op&a.Ops == 0 || !match(a.Name, name) {
			continue
		}
		a.matched++
		if a.matched <= a.Skip || a.Times > 0 && a.met >= a.Times {
			continue
		}
		if a.Chance > 0 && b.random.Float64() >= a.Chance {
			continue
		}
		a.met++
		return a.Rule
	}
	return Rule{}
}

// hidden reports whether a List must leave name out.
func (b *Backend) hidden(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.script {
		if a.Fault == Hide && (a.Ops == 0 || a.Ops&List != 0) && match(a.Name, name) {
			return true
		}
	}
	return false
}

// do runs one call under the rule that applies to it.
func (b *Backend) do(ctx context.Context, c Call, act func(Rule) (size int, err error)) error {
	rule := b.decide(c.Op, c.Name)
	c.Fault = rule.Fault
	err := b.run(ctx, &c, rule, act)
	c.Err = err
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, c)
	return err
}

func (b *Backend) run(ctx context.Context, c *Call, rule Rule, act func(Rule) (int, error)) error {
	failure := func() error {
		err := rule.Err
		if err == nil {
			err = backend.ErrUnavailable
		}
		return fmt.Errorf("%s %s: %w (injected: %v)", c.Op, c.Name, err, rule.Fault)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", c.Op, c.Name, err)
	}
	switch rule.Fault {
	case FailBefore:
		return failure()
	case Slow:
		select {
		case <-rule.Gate:
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", c.Op, c.Name, ctx.Err())
		}
	case Drop:
		return nil
	case Hide:
		return fmt.Errorf("%s %s: %w", c.Op, c.Name, backend.ErrNotExist)
	}
	size, err := act(rule)
	c.Size = max(c.Size, size)
	if rule.Fault == FailAfter {
		return failure()
	}
	return err
}

// spoil does to an answer what the rule says.
func (b *Backend) spoil(data []byte, rule Rule) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(data) == 0 {
		return data
	}
	switch rule.Fault {
	case Truncate:
		return data[:b.random.IntN(len(data))]
	case BitFlip:
		data[b.random.IntN(len(data))] ^= 1 << b.random.IntN(8)
	}
	return data
}

// remember keeps a state of a mutable object for Replay and Splice.
func (b *Backend) remember(name string, version backend.Version, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	states := b.past[name]
	if !slices.ContainsFunc(states, func(p past) bool { return p.version == version }) {
		b.past[name] = append(states, past{slices.Clone(data), version})
	}
}

// older finds the state that lies back states before version; the oldest known if there are not so many.
func (b *Backend) older(name string, version backend.Version, back int) (past, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	states := b.past[name]
	i := slices.IndexFunc(states, func(p past) bool { return p.version == version })
	if i <= 0 {
		return past{}, false
	}
	p := states[max(0, i-max(1, back))]
	return past{slices.Clone(p.data), p.version}, true
}

// Pause returns a gate for a Slow rule that opens after d.
func Pause(d time.Duration) <-chan struct{} {
	gate := make(chan struct{})
	time.AfterFunc(d, func() { close(gate) })
	return gate
}
