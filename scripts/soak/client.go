package main

import (
	"context"
	"errors"
	"os"
	"time"

	"ensync/scripts/internal/machine"
)

// client is a machine whose syncs can be killed.
type client struct {
	*machine.Machine
	live *machine.Mount // nil: an ordinary directory
}

// partial reports whether a sync was done but for some entries.
func partial(err error) bool {
	var failure *machine.Failure
	return errors.As(err, &failure) && failure.Code == machine.Partial
}

// sync runs one sync, and reports whether it was killed. That is no failure, and neither is that entries stay out of
// sync for now.
func (c *client) sync(ctx context.Context, fate time.Duration) (killed bool, err error) {
	if err := c.alive(); err != nil {
		return false, err
	}
	if c.live != nil && fate > 0 {
		return true, c.crash(ctx, fate)
	}
	limited, stop := ctx, context.CancelFunc(func() {})
	if fate > 0 {
		limited, stop = context.WithTimeout(ctx, fate) // its end is kill -9
	}
	defer stop()
	_, err = c.Sync(limited, "--confirm-loss")
	var failure *machine.Failure
	switch {
	case err == nil || ctx.Err() != nil:
		return false, ctx.Err()
	case !errors.As(err, &failure):
		return false, err
	case limited.Err() != nil && failure.Code == -1:
		return true, nil
	case failure.Code == machine.OK || failure.Code == machine.Partial: // done, if only just
		return false, nil
	}
	return false, err
}

func (c *client) start(ctx context.Context) (err error) {
	c.live, err = c.Mount(ctx)
	return err
}

// alive returns an error if a mount is not there that should be.
func (c *client) alive() error {
	if c.live == nil {
		return nil
	}
	return c.live.Alive()
}

// stop unmounts; not in order if all is to be left for looking at.
func (c *client) stop(inOrder bool) error {
	if c.live == nil {
		return nil
	}
	if !inOrder {
		return c.live.Kill()
	}
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	_, err := c.live.Unmount(ctx)
	return err
}

// crash kills the mount while it syncs, and mounts again over what is left of it. What the sync said does not matter.
func (c *client) crash(ctx context.Context, fate time.Duration) error {
	if err := flush(c.Local); err != nil {
		return err
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		c.Sync(ctx, "--confirm-loss")
	}()
	select {
	case <-time.After(fate):
	case <-said:
	}
	if err := c.live.Crash(); err != nil {
		return err
	}
	<-said
	c.live = nil
	return c.start(ctx)
}

// flush makes durable which names there are in a mounted tree: its log keeps one order for all of them. Contents are
// synced when they are written.
func flush(tree string) error {
	d, err := os.Open(tree)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
