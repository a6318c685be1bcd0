package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// queue is the kernel's queue of events behind a descriptor.
type queue struct {
	file   *os.File
	conn   syscall.RawConn           // so that a read and a close do not race
	handle func(events []byte) error // called by one at a time
	mu     sync.Mutex                // guards what follows, and what handle changes
	ours   bool                      // set by handle: some of the events were about the tree
	buf    []byte
	failed error // why nothing can be told any more
}

// Why a source ends, and is to be opened again.
var (
	errOverflow = errors.New("changes came faster than they could be taken")
	errMounts   = errors.New("something was mounted, unmounted or moved")
)

func newQueue(fd int, name string, handle func([]byte) error) (*queue, error) {
	q := &queue{file: os.NewFile(uintptr(fd), name), handle: handle, buf: make([]byte, 64<<10)}
	var err error
	if q.conn, err = q.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, q.file.Close())
	}
	return q, nil
}

func (q *queue) close() error { return q.file.Close() }

// How long events are left in the queue, where the kernel merges those that are equal.
const (
	gather       = 20 * time.Millisecond
	gatherOthers = 200 * time.Millisecond // while they are about other trees
)

// run handles events until ctx ends, or until one says that others are missing.
func (q *queue) run(ctx context.Context, mounts mounts) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { q.file.SetReadDeadline(time.Now()) })()
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { cancel(mounts.await(ctx)) })
	defer cancel(nil)
	for {
		var failed error
		wait := gatherOthers
		err := q.conn.Read(func(fd uintptr) bool {
			some, ours, err := q.drain(int(fd))
			failed = err
			if ours {
				wait = gather
			}
			return some || err != nil
		})
		if err = errors.Join(failed, err); ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// flush handles all events that there are.
func (q *queue) flush() error {
	var failed error
	err := q.conn.Control(func(fd uintptr) { _, _, failed = q.drain(int(fd)) })
	return errors.Join(failed, err)
}

// drain is flush that reports whether there was any event, and any about the tree.
func (q *queue) drain(fd int) (some, ours bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ours = false
	for q.failed == nil {
		n, err := unix.Read(fd, q.buf)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return some, q.ours, nil
		case err != nil:
			q.failed = fmt.Errorf("read events: %w", err)
		default:
			some = true
			q.failed = q.handle(q.buf[:n])
		}
	}
	q.file.SetReadDeadline(time.Now()) // run ends
	return some, q.ours, q.failed
}
