package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/remote"
	"ensync/engine/service"
	"ensync/engine/session"
	"ensync/engine/watch"
	"ensync/store"
)

// A syncRun is one run of the command sync: opening, and one sync or many.
type syncRun struct {
	*app
	flags   *syncFlags
	display *display
	path    string
	pass    []byte // kept for --reconnect, so that it is asked for once
}

func (r *syncRun) forget() { clear(r.pass) }

// start opens everything, syncs, and watches if that was asked for.
func (r *syncRun) start(ctx context.Context) error {
	cfg, err := r.load(r.path)
	if err != nil {
		return err
	}
	client, err := service.Dial(ctx, cfg.Dir)
	if err == nil {
		return r.askMount(ctx, client)
	}
	if !errors.Is(err, service.ErrNotRunning) {
		return err
	}
	opt, err := r.sessionOptions()
	if err != nil {
		return err
	}
	if r.pass == nil {
		if r.pass, err = r.passphrase(ctx, cfg, opt); err != nil {
			return err
		}
	}
	st, err := session.OpenStore(ctx, cfg, r.pass, opt)
	if err != nil {
		return err
	}
	err = r.withOpen(ctx, st)
	if closing := st.Close(); err == nil {
		err = closing
	}
	return err
}

// askMount lets the running mount sync.
func (r *syncRun) askMount(ctx context.Context, client *service.Client) error {
	if r.flags.watch {
		return usagef("--watch: the configuration is mounted, and the mount watches by itself")
	}
	if r.flags.directory {
		return usagef("--directory: the configuration is mounted; unmount it first")
	}
	r.display.begin("scanning; the mount does the syncing")
	sum, err := client.Sync(ctx, r.flags.request(r.display.event))
	return r.display.finish(sum, func() ([]issueLine, error) {
		st, err := client.Status(ctx)
		return lines(st.Issues), err
	}, err)
}

// withOpen syncs what is on this machine: what a mount left, the directory, or one after the other.
func (r *syncRun) withOpen(ctx context.Context, st *session.Store) error {
	local, err := session.LocalOf(st.Config, r.flags.directory)
	if err != nil {
		return err
	}
	if local.Mount {
		err = r.withMounted(ctx, st, !local.Directory)
	}
	if local.Directory && ctx.Err() == nil {
		err = worse(err, r.withDirectory(ctx, st))
	}
	if local.Unsynced != "" {
		err = worse(err, fmt.Errorf("sync %s: the tree was mounted, and the directory is not synced, though %q is in it; move that "+
			"away, or sync with --directory: then the whole tree will lie there, not encrypted", st.Config.General.Path, local.Unsynced))
	}
	return err
}

// worse is the error of two syncs: that some entries are out of sync is the lesser one.
func worse(a, b error) error {
	if b == nil || a != nil && a != errOutOfSync {
		return a
	}
	return b
}

func (r *syncRun) withMounted(ctx context.Context, st *session.Store, only bool) error {
	m, err := st.OpenMounted(ctx, func(err error) { fmt.Fprintln(r.stderr, "error:", err) })
	if err != nil {
		return err
	}
	return r.withReplica(ctx, st, m.Replica, nil, only && r.flags.watch)
}

func (r *syncRun) withDirectory(ctx context.Context, st *session.Store) error {
	replica, err := st.OpenDirectory(ctx, r.flags.strategy == "scrub")
	if err != nil {
		return err
	}
	look := func() (watch.Fingerprint, error) { return watch.Look(ctx, st.Config.General.Path) }
	return r.withReplica(ctx, st, replica, look, r.flags.watch)
}

// withReplica syncs a replica, and watches it if that was asked for. It closes the replica.
func (r *syncRun) withReplica(ctx context.Context, st *session.Store, replica *session.Replica, look lookLocal, watch bool) error {
	root, err := st.OpenRoot(ctx)
	if err == nil {
		if watch {
			err = r.watch(ctx, st, replica, root, look)
		} else {
			err = r.once(ctx, st, replica, root)
		}
		if closing := root.Close(); err == nil {
			err = closing
		}
	}
	if closing := replica.Close(); err == nil {
		err = closing
	}
	return err
}

func (r *syncRun) once(ctx context.Context, st *session.Store, replica *session.Replica, root *remote.Root) error {
	r.display.begin("scanning")
	sum, err := st.Sync(ctx, replica, root, r.flags.request(r.display.event))
	return r.display.finish(sum, func() ([]issueLine, error) {
		s, err := replica.Standing(ctx)
		return lines(s.Issues), err
	}, interrupted(ctx, err))
}

func lines(issues []ancestor.Issue) []issueLine {
	var all []issueLine
	for _, i := range issues {
		if !i.InSync() {
			all = append(all, issueLine{i.Path, string(i.Kind), i.Reason})
		}
	}
	return all
}

// poll is how often --watch looks.
const poll = 2 * time.Second

// lookLocal tells whether a local tree changed. It is nil for what a mount left: nobody changes that.
type lookLocal func() (watch.Fingerprint, error)

// watched is what --watch compares: the local tree and the head of the root.
type watched struct {
	local watch.Fingerprint
	head  store.Head
}

// watch syncs, waits for a change, and syncs again. What it compares with was seen before the sync, so that nothing that
// changed during one is missed; its own changes cost one more sync, which finds nothing.
func (r *syncRun) watch(ctx context.Context, st *session.Store, replica *session.Replica, root *remote.Root, local lookLocal) error {
	for first := true; ; first = false {
		seen, err := r.look(ctx, root, local)
		if err != nil {
			return err
		}
		if err := r.once(ctx, st, replica, root); err != nil && err != errOutOfSync {
			return err
		}
		if first {
			r.display.say(editLevel, "watching for changes; end with ^C")
		}
		if err := r.wait(ctx, root, local, seen); err != nil {
			return err
		}
	}
}

func (r *syncRun) look(ctx context.Context, root *remote.Root, local lookLocal) (w watched, err error) {
	h, err := root.Head(ctx)
	if err != nil {
		return w, err
	}
	w.head = h.State.(store.Head)
	if local != nil {
		w.local, err = local()
	}
	return w, err
}

// wait returns when something is not as seen, and the local tree is quiet. A tree that is never quiet is not waited for
// longer than ten times as long.
func (r *syncRun) wait(ctx context.Context, root *remote.Root, local lookLocal, seen watched) error {
	quiet := time.Duration(r.flags.quiescence) * time.Second
	for {
		if err := pause(ctx, poll); err != nil {
			return err
		}
		now, err := r.look(ctx, root, local)
		switch {
		case err != nil:
			return err
		case now.head.Seq != seen.head.Seq || now.head.Commit != seen.head.Commit:
			return nil
		case now.local == seen.local:
			continue
		}
		for range 10 {
			if err := pause(ctx, quiet); err != nil {
				return err
			}
			before := now
			if now, err = r.look(ctx, root, local); err != nil {
				return err
			}
			if now.local == before.local {
				break
			}
		}
		return nil
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
