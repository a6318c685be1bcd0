package backend

import (
	"context"
	"time"
)

// Moving calls ask, and returns nil as soon as ask does or moved returns another number than at first. It is for Probe.
func Moving(ctx context.Context, moved func() int64, ask func(context.Context) error) error {
	first := moved()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := make(chan error, 1)
	go func() { asked <- ask(ctx) }() // ends with ctx
	tick := time.NewTicker(movingTick)
	defer tick.Stop()
	for {
		select {
		case err := <-asked:
			return err
		case <-tick.C:
			if moved() != first {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const movingTick = 50 * time.Millisecond
