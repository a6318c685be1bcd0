package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/service"
	"ensync/engine/session"
)

// A syncRun is one run of the command sync: opening, and one sync or many.
type syncRun struct {
	*app
	flags   *syncFlags
	display *display
	path    string
	pass    []byte // kept for --reconnect, so that it is asked for once
	synced  bool   // a sync went through since start
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
		return r.askRunning(ctx, client)
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

// askRunning lets the running mount or watch sync.
func (r *syncRun) askRunning(ctx context.Context, client *service.Client) error {
	st, err := client.Brief(ctx)
	if err != nil {
		return err
	}
	who, is := "the running sync --watch", "it is being watched by another sync --watch"
	if st.Mounted {
		who, is = "the mount", "it is mounted, and the mount watches by itself"
	}
	switch {
	case r.flags.watch:
		return usagef("--watch: the configuration needs no other watch: %s", is)
	case r.flags.directory && st.Mounted:
		return usagef("--directory: the configuration is mounted; unmount it first")
	case r.flags.strategy == "scrub" && !st.Mounted:
		return usagef("--strategy scrub: end the running sync --watch first")
	}
	r.display.begin("scanning; " + who + " does the syncing")
	sum, err := client.Sync(ctx, r.flags.request(r.display.event))
	return r.display.finish(sum, func() ([]issueLine, error) {
		st, err := client.Brief(ctx)
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
	return r.withReplica(ctx, st, m.Replica, only && r.flags.watch)
}

func (r *syncRun) withDirectory(ctx context.Context, st *session.Store) error {
	scrub := r.flags.strategy == "scrub"
	var replica *session.Replica
	var err error
	if r.flags.watch {
		replica, err = st.WatchDirectory(ctx, scrub)
	} else {
		replica, err = st.OpenDirectory(ctx, scrub)
	}
	if err != nil {
		return err
	}
	return r.withReplica(ctx, st, replica, r.flags.watch)
}

// withReplica syncs a replica, and watches it if that was asked for. It closes the replica.
func (r *syncRun) withReplica(ctx context.Context, st *session.Store, replica *session.Replica, watch bool) error {
	if watch {
		return r.watch(ctx, st, replica)
	}
	root, err := st.OpenRoot(ctx)
	if err == nil {
		err = r.once(ctx, replica, "scanning", func() (engine.Summary, error) {
			return st.Sync(ctx, replica, root, r.flags.request(r.display.event))
		})
		if closing := root.Close(); err == nil {
			err = closing
		}
	}
	if closing := replica.Close(); err == nil {
		err = closing
	}
	return err
}

// once shows one sync.
func (r *syncRun) once(ctx context.Context, replica *session.Replica, sentence string, sync func() (engine.Summary, error)) error {
	r.display.begin(sentence)
	sum, err := sync()
	r.synced = r.synced || err == nil
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

// watch syncs whenever something changed. It closes the replica.
func (r *syncRun) watch(ctx context.Context, st *session.Store, replica *session.Replica) error {
	settle := time.Duration(r.flags.quiescence * float64(time.Second))
	svc, err := service.Watch(st, replica, service.Options{Settle: settle})
	if err != nil {
		return err
	}
	first := r.flags.request(r.display.event)
	err = svc.Follow(ctx, func(ctx context.Context, req session.Request) error {
		sentence := ""
		if !r.synced {
			sentence, req = "scanning", first
		}
		req.Report, req.Override, req.Workers = first.Report, first.Override, cmp.Or(req.Workers, first.Workers)
		again := r.synced
		err := r.once(ctx, replica, sentence, func() (engine.Summary, error) { return svc.Sync(ctx, req) })
		if err != nil && err != errOutOfSync {
			return err
		}
		if !again {
			r.display.say(editLevel, "watching for changes; end with ^C")
		}
		return nil
	})
	if closing := svc.Close(context.WithoutCancel(ctx)); err == nil {
		err = closing
	}
	return err
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
