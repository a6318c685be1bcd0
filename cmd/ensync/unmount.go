package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ensync/engine"
	"ensync/engine/config"
	"ensync/engine/service"
	"ensync/fusefs"
	"ensync/store/backend"
)

// unmountFlags are the flags of unmount.
type unmountFlags struct {
	noSync  bool
	timeout time.Duration
}

func (a *app) unmount(ctx context.Context, point string, o *unmountFlags) error {
	dir, point, err := a.findMount(point)
	if err != nil {
		return err
	}
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("unmount %s: not done after %v; it goes on being mounted, or "+
			"ends later", point, o.timeout))
		defer cancel()
	}
	client, err := service.Dial(ctx, dir)
	if errors.Is(err, service.ErrNotRunning) {
		return a.unmountDead(ctx, point)
	}
	if err != nil {
		return err
	}
	p := newProgress(nil)
	if isTerminal(a.stderr) {
		p = newProgress(a.stderr)
	}
	sum, here, err := client.Unmount(ctx, o.noSync, func(e engine.Event) { p.event(e, false) })
	p.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, service.ErrMounted), errors.Is(err, service.ErrNotRunning):
		return err
	case err != nil && here.Names == 0 && errors.Is(err, backend.ErrUnavailable):
		fmt.Fprintf(a.stderr, "unmounted %s; nothing in it waits for the store, which is out of reach\n", point)
		return nil
	case err != nil:
		return fmt.Errorf("unmounted %s, but not all was synced, and is kept here until the next mount (%s): %w", point, pendingText(here), err)
	case o.noSync && here.Names > 0:
		fmt.Fprintf(a.stderr, "unmounted; %s only here until the next mount\n", pendingText(here))
	case !o.noSync && !sum.Clean():
		fmt.Fprintf(a.stderr, "unmounted; %s out of sync and %s failed (ensync status lists them)\n",
			plural(sum.Unsynced, "entry is", "entries are"), plural(sum.Failed, "entry", "entries"))
		return errOutOfSync
	}
	return nil
}

// pendingText says what is only here.
func pendingText(p service.Pending) string {
	return fmt.Sprintf("%s, %s", plural(p.Names, "entry", "entries"), sizeText(int64(p.Bytes)))
}

// findMount returns the configuration directory and the mount point that are meant. A mount tells its configuration to the
// kernel; where the kernel does not tell it back, it is the one that the command line or the environment names.
func (a *app) findMount(point string) (dir, at string, err error) {
	if point != "" {
		if at, err = filepath.Abs(point); err != nil {
			return "", "", err
		}
		if _, err := os.Readlink(at); err == nil {
			at, _ = filepath.EvalSymlinks(at)
		} else if real, err := filepath.EvalSymlinks(filepath.Dir(at)); err == nil {
			at = filepath.Join(real, filepath.Base(at)) // the directory itself may be one that does not answer
		}
		mounts := ourMounts()
		for _, m := range mounts {
			if m.dir == at {
				return m.source, at, nil
			}
		}
		if mounts != nil && !a.isConfigured(at) {
			return "", "", fmt.Errorf("unmount %s: %w", point, service.ErrNotRunning)
		}
	}
	if dir, err = config.ResolveDir(a.configFlag, os.Getenv); err != nil {
		return "", "", err
	}
	if at == "" {
		cfg, err := config.Load(dir)
		if err != nil {
			return "", "", err
		}
		at = cfg.General.Path
	}
	return dir, at, nil
}

// isConfigured reports whether the configuration that holds is for a mount point: one that somebody unmounted may live on in
// another mount namespace, or for whoever has a file of it open.
func (a *app) isConfigured(point string) bool {
	dir, err := config.ResolveDir(a.configFlag, os.Getenv)
	if err != nil {
		return false
	}
	cfg, err := config.Load(dir)
	return err == nil && filepath.Clean(cfg.General.Path) == point
}

// unmountDead takes away what a process that died left.
func (a *app) unmountDead(ctx context.Context, point string) error {
	cleared, err := fusefs.ClearStale(ctx, point)
	if err != nil {
		return err
	}
	if !cleared {
		return fmt.Errorf("unmount %s: %w", point, service.ErrNotRunning)
	}
	fmt.Fprintf(a.stderr, "note: its process was dead; the next mount recovers what it had not synced\n")
	return nil
}
