package worktree

import (
	"context"
	"sync"
)

// noticeQueue hands notices to the channel in order, and never makes who sends one wait.
type noticeQueue struct {
	mu      sync.Mutex
	waiting []Notice
	some    chan struct{}
	out     chan Notice
}

func (q *noticeQueue) start(ctx context.Context, done *sync.WaitGroup) {
	q.some, q.out = make(chan struct{}, 1), make(chan Notice, 64)
	done.Add(1)
	go func() {
		defer done.Done()
		q.run(ctx)
	}()
}

func (q *noticeQueue) run(ctx context.Context) {
	for {
		q.mu.Lock()
		batch := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		for _, n := range batch {
			select {
			case q.out <- n:
			case <-ctx.Done():
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-q.some:
		case <-ctx.Done():
			return
		}
	}
}

func (q *noticeQueue) send(n Notice) {
	q.mu.Lock()
	q.waiting = append(q.waiting, n)
	q.mu.Unlock()
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// Notices returns where changes by the reconciler are told. Whoever shows the tree must drain it, and call Passed after
// each; it is never closed.
func (t *Tree) Notices() <-chan Notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isShown = true
	return t.queue.out
}

// tell sends a notice of a change that holds. t.mu is held.
func (t *Tree) tell(n Notice) {
	if n.Removed != 0 && t.isShown {
		t.untold[place{n.Parent, n.Name}]++
	}
	t.queue.send(n)
}

// Passed says that whoever shows the tree knows now what a notice told.
func (t *Tree) Passed(n Notice) {
	if n.Removed == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := place{n.Parent, n.Name}
	if t.untold[p]--; t.untold[p] <= 0 {
		delete(t.untold, p)
	}
}

// overtakes reports whether the kernel, which asks to move a name, may still take it for another inode. It would move that
// along, and show it under the new name from then on. ESTALE makes it look the name up, and ask again.
//
// RACE: a lookup of the same name by another program, answered but not yet received, counts as if the kernel knew. Then the
// new name shows the old inode until that answer arrives.
func (t *Tree) overtakes(parent Ino, name string) bool { return t.untold[place{parent, name}] > 0 }

// Told returns a channel that is closed when every change of the reconciler until now has been passed on by whoever shows
// the tree. It is never closed if nobody does.
func (t *Tree) Told() <-chan struct{} {
	told := make(chan struct{})
	t.queue.send(Notice{Told: told})
	return told
}
