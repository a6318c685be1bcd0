package fusefs

import (
	"context"
	"time"
)

// requestContext is done when the kernel interrupts the request or the connection ends. It must not be kept longer than
// the request: the channel is used again for later ones.
type requestContext <-chan struct{}

func (c requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c requestContext) Done() <-chan struct{}       { return c }
func (c requestContext) Value(any) any               { return nil }

func (c requestContext) Err() error {
	select {
	case <-c:
		return context.Canceled
	default:
		return nil
	}
}
