package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/replica"
	"ensync/engine/rules"
	"ensync/store/backend"
)

// A pass walks once over the two trees: over all directories, or over those that need work.
type pass struct {
	*syncer
	looking bool            // only look: a dry run, or the loss guard's
	quiet   bool            // report nothing
	weights *weights        // what would go from each side, for the loss guard; nil: nobody asks
	focus   focus           // directories to look at; nil: all. Those above them are passed through.
	through map[string]bool // directories above those in focus

	ctx    context.Context
	cancel context.CancelCauseFunc

	// world is held for reading by whoever changes a tree and notes it, for writing by a barrier.
	world sync.RWMutex

	mu       sync.Mutex // guards what follows
	wake     sync.Cond
	stack    []*visit // directories to look at, last in, first out
	open     int      // visits not finished
	pending  *batch
	again    focus       // directories that another pass must look at
	work     focus       // looking: directories where something would be done
	moves    *candidates // looking: what may have been moved; nil: nobody asks
	newly    []newTree   // looking: directories that would be made, and were not looked into
	sum      Summary
	recorded Summary // sum as of the last barrier that went well
}

// A focus names directories to look at, and whether with all below: what an earlier pass could not read, it did not go
// on from, so nobody knows what is there.
type focus map[string]bool

func (f focus) has(dir string) bool { _, ok := f[dir]; return ok }

func (f focus) add(dir string, all bool) { f[dir] = f[dir] || all }

func (s *syncer) newPass(looking bool, on focus) *pass {
	p := &pass{syncer: s, looking: looking, focus: on, pending: newBatch(),
		again: focus{}, work: focus{}, through: map[string]bool{}}
	p.wake.L = &p.mu
	for dir := range on {
		for dir != "" {
			dir = replica.Parent(dir)
			p.through[dir] = true
		}
	}
	return p
}

// walk looks at directories until none is left, the context ends, or something fails that fails everything.
func (p *pass) walk(ctx context.Context) error {
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	stop := context.AfterFunc(p.ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wake.Broadcast()
	})
	defer stop()
	p.push(&visit{state: p.Rules.Root(), access: p.topAccess(), agreed: true})
	var workers sync.WaitGroup
	for range p.Workers {
		workers.Go(p.worker)
	}
	workers.Wait()
	return context.Cause(p.ctx)
}

func (p *pass) worker() {
	for {
		v := p.pop()
		if v == nil {
			return
		}
		if err := p.look(v); err != nil {
			p.failed(v, v.dir, err)
		}
		p.finish(v)
		if p.looking {
			continue
		}
		if err := p.barrierIfDue(p.ctx); err != nil {
			p.cancel(err)
		}
	}
}

// begin holds off barriers until p.world.RUnlock. It reports false, and holds nothing, once the pass is over: whatever
// was decided on may then be about a state of the server that is gone.
func (p *pass) begin() bool {
	p.world.RLock()
	if p.ctx.Err() == nil {
		return true
	}
	p.world.RUnlock()
	return false
}

func (p *pass) push(visits ...*visit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(visits) - 1; i >= 0; i-- { // the first name comes off the stack first
		v := visits[i]
		v.open = 1
		if v.up != nil {
			v.up.open++
		}
		p.stack = append(p.stack, v)
		p.open++
	}
	p.wake.Broadcast()
}

// pop waits for a directory to look at; nil when there will be none.
func (p *pass) pop() *visit {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.open == 0 || p.ctx.Err() != nil {
			return nil
		}
		if n := len(p.stack); n > 0 {
			v := p.stack[n-1]
			p.stack = p.stack[:n-1]
			return v
		}
		p.wake.Wait()
	}
}

// finish ends a visit's own part. Whoever finishes the last part of a directory and of all below leaves it, and so on
// upward.
func (p *pass) finish(v *visit) {
	for v != nil {
		p.mu.Lock()
		v.open--
		last := v.open == 0
		p.mu.Unlock()
		if !last {
			return
		}
		if p.ctx.Err() == nil {
			if err := p.leave(v); err != nil {
				p.failed(v, v.dir, err)
				p.noteIssues(v)
			}
		}
		p.mu.Lock()
		if v.up != nil {
			v.up.unclean = v.up.unclean || v.unclean
			v.up.differs = v.up.differs || v.differs
		}
		p.open--
		p.wake.Broadcast()
		p.mu.Unlock()
		v = v.up
	}
}

// failed notes that an operation failed. What fails everything, ends the pass.
func (p *pass) failed(v *visit, path string, err error) { p.failedBelow(v, path, path == v.dir, err) }

// failedBelow is failed for what may be a directory into which the pass now does not go.
func (p *pass) failedBelow(v *visit, path string, all bool, err error) {
	if cause := context.Cause(p.ctx); cause != nil {
		return // everything fails now
	}
	if failsAll(err) {
		p.cancel(err)
		return
	}
	looked := v
	if path == v.dir && v.up != nil && errors.Is(err, replica.ErrNotExist) { // it went since the one above was listed
		v, all = v.up, false
		err = fmt.Errorf("%w: %w", replica.ErrChanged, err)
	}
	p.mu.Lock()
	looked.unclean, v.unclean = true, true
	p.work.add(v.dir, all)
	if errors.Is(err, replica.ErrChanged) && p.retries(v) {
		p.again.add(v.dir, all)
		p.mu.Unlock()
		return
	}
	v.issues = append(v.issues, ancestor.Issue{Path: path, Kind: ancestor.Failed, Reason: err.Error(), Since: time.Now()})
	p.mu.Unlock()
	p.tell(Event{Kind: Error, Path: path, Err: err})
}

// failsAll reports whether an error is of more than the entry where it was met.
func failsAll(err error) bool {
	return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrFull) || errors.Is(err, replica.ErrLost) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// maxTries is how often one sync comes back to a directory that somebody else is changing.
const maxTries = 3

// retries reports whether a directory may be looked at once more in this sync; the pass's lock is held.
func (p *pass) retries(v *visit) bool {
	p.tries[v.dir]++
	return p.looking || p.tries[v.dir] <= maxTries
}

// tell counts and reports an event.
func (p *pass) tell(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum.count(e)
	if p.weights != nil {
		p.weights.add(e)
	}
	if !p.quiet {
		p.report(e)
	}
}

// inFocus reports whether a directory below v is to be looked at.
func (p *pass) inFocus(v *visit, dir string) bool {
	return p.focus == nil || v.free || v.all || p.focus.has(dir) || p.through[dir]
}

// A visit is one directory being looked at.
type visit struct {
	dir    string
	up     *visit
	name   string        // in up
	entry  replica.Entry // of the directory, on the side that has it
	state  rules.State   // with which the directory is entered
	opt    optional      // what is synchronised of the directory itself
	access               // what this client may do in it

	agreed   bool // the ancestor has a directory here; what it has below otherwise is of another that went
	same     bool // nothing changed in the server's tree here and below since the ancestor's mark
	free     bool // made, moved or being deleted in this pass: look at everything below
	all      bool // look at everything below, as the focus asks for it here or above
	looked   bool // its names were decided on, so its issues are all there are
	copies   bool // the store has conflict copies in it, or is about to
	noClient bool // the client has no such directory (yet)
	noServer bool // the server has no such directory (yet)
	vanish   bool // the side that has it shall lose it, if nothing in it must stay
	below    bool // below a directory that was made or is being deleted

	past      *ancestor.Dir // what the ancestor has of it, once somebody asked
	knownMark string        // the ancestor's mark when the directory was looked at
	final     *step         // the client's directory becomes its result when all below is done; entry is what it is now

	mu   sync.Mutex // guards made
	made bool       // the missing side got the directory after all

	// Guarded by the pass's lock.
	open    int  // its own part, and directories below that are not finished
	unclean bool // something here or below failed, or waits for another pass
	differs bool // something here or below stays out of sync: no mark, lest the client come to look like the ancestor
	issues  []ancestor.Issue
}

var errRoot = errors.New("the root of the tree is gone")

// listings reads the two sides of a directory that v says exist.
func (p *pass) listClient(v *visit) ([]replica.Entry, error) {
	if v.noClient {
		return nil, nil
	}
	list, err := p.Client.List(p.ctx, v.dir)
	if err != nil && v.up == nil {
		err = fmt.Errorf("%w: %w", errRoot, err)
		p.cancel(err)
	}
	return list, err
}

func (p *pass) listServer(v *visit) ([]replica.Entry, error) {
	if v.noServer {
		return nil, nil
	}
	if !p.begin() { // a commit is not concurrent with anything else
		return nil, context.Cause(p.ctx)
	}
	list, err := p.Server.List(p.ctx, v.dir)
	p.world.RUnlock()
	if err != nil && v.up == nil {
		p.cancel(fmt.Errorf("read the root in the store: %w", err))
	}
	return list, err
}
