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

// Notices returns where changes by the reconciler are told. Whoever shows the tree must drain it; it is never closed.
func (t *Tree) Notices() <-chan Notice { return t.queue.out }

// Told returns a channel that is closed when every change of the reconciler until now has been passed on by whoever shows
// the tree. It is never closed if nobody does.
func (t *Tree) Told() <-chan struct{} {
	told := make(chan struct{})
	t.queue.send(Notice{Told: told})
	return told
}
