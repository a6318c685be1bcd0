package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/session"
	"ensync/store"
)

func (a *app) repairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair [CONFIG]",
		Short: "Put back what the store can't do without",
		Long: `Put back the objects format and keys of the store, and the copy of the keys, from what
this machine remembers of the store or from each other: those that are missing, and a key
store that is damaged or older than a copy. What can't be read at the moment is left
alone, and nothing newer is replaced. What was done is printed, one thing a line;
nothing to do is success.

Find out first what deletes objects in the store, and stop it. Then run ensync check:
repair does not bring back content.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			return interrupted(cmd.Context(), a.repair(cmd.Context(), path))
		},
	}
	return a.keyOption(cmd)
}

func (a *app) repair(ctx context.Context, path string) error {
	cfg, err := a.load(path)
	if err != nil {
		return err
	}
	opt, err := a.sessionOptions()
	if err != nil {
		return err
	}
	ask := func(ctx context.Context) ([]byte, error) { return a.passphrase(ctx, cfg, opt) }
	done := 0
	var printing error
	err = session.Repair(ctx, cfg, ask, func(what string) {
		done++
		_, perr := fmt.Fprintln(a.stdout, printable(what))
		printing = errors.Join(printing, perr)
	})
	if err == nil && done == 0 {
		fmt.Fprintln(a.stderr, "There is nothing to repair: format, keys and the copy of the keys are as they should be.")
	}
	return errors.Join(err, printing)
}

func (a *app) acceptRollback() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accept-rollback [CONFIG]",
		Short: "Take the store as it is, although this machine has seen a newer state",
		Long: `A store that shows an older state than this machine has seen, or another history, is
refused: somebody may be replaying old data. If it was restored from a backup, this
command says so. It prints both states, and forgets the newer one together with what
was in sync at the last sync. The next sync then merges: it deletes nothing, puts into
the store again what that has lost, and keeps both versions of what differs. (A rule
that forces one side, such as CUD/--- or ---/CUD, still does.)

Run it on each machine that refuses the store. If the tree is mounted, unmount it
first: what can't be synced then is kept for the next mount.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), path, func(st *session.Store) error { return a.accept(cmd.Context(), st) })
		},
	}
	return a.keyOption(cmd)
}

func (a *app) accept(ctx context.Context, st *session.Store) error {
	rb, err := st.Rollback(ctx, st.Config.General.ServerRoot)
	if err != nil {
		return err
	}
	if !rb.Older {
		fmt.Fprintf(a.stderr, "There is nothing to accept: the tree %s is what this machine has seen, or newer.\n", printable(rb.Name))
		return nil
	}
	fmt.Fprintln(a.stdout, "The store shows:", shownState(rb))
	fmt.Fprintln(a.stdout, "This machine has seen:", seenState(rb))
	if err := st.AcceptRollback(rb); err != nil {
		return err
	}
	fmt.Fprintln(a.stderr, "Accepted. The next sync merges, and deletes nothing.")
	if rb.Gone {
		fmt.Fprintf(a.stderr, "The tree is not in the store any more; ensync mkdir /%s makes it, empty, before that sync.\n", printable(rb.Name))
	}
	return nil
}

func shownState(rb store.Rollback) string {
	switch {
	case rb.Gone:
		return fmt.Sprintf("no tree %s", printable(rb.Name))
	case rb.ShownSeq == 0:
		return fmt.Sprintf("tree %s, empty", printable(rb.Name))
	}
	return fmt.Sprintf("tree %s, commit %d (%x), made %s by %s", printable(rb.Name), rb.ShownSeq, rb.ShownID[:8],
		rb.ShownTime.UTC().Format(time.RFC3339), printable(rb.ShownBy))
}

func seenState(rb store.Rollback) string {
	if f := (*store.Fault)(nil); errors.As(rb.Cause, &f) && f.Kind == store.ErrFork {
		return printable(f.Cause.Error())
	}
	if len(rb.SeenID) < 8 {
		return "a newer list of the trees in the store"
	}
	return fmt.Sprintf("commit %d (%x)", rb.SeenSeq, rb.SeenID[:8])
}
