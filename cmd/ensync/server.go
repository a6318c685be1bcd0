package main

import (
	"context"
	"fmt"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"ensync/engine/session"
	"ensync/store/pipe"
)

func (a *app) serverCommand() *cobra.Command {
	var appendOnly, readOnly bool
	cmd := &cobra.Command{
		Use:   "server PATH",
		Short: "Serve the store in a directory to a client on standard input and output",
		Long: `Serve the store in the directory PATH to one client on standard input and output,
until the client leaves. The client starts it, usually by ssh:

  server = "shell:ssh -T host ensync server PATH"

Any number of servers may serve one store at the same time.

With --append-only nothing can be deleted, and what was written once can't be
changed. What a client must be able to replace it still can: the heads that say
which state of a tree is the current one, and the keys. So a client that was taken
over can show an older or an empty tree, which others will notice, but it can't
destroy what the store holds. With --read-only nothing at all can be written.`,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			access := pipe.ReadWrite
			switch {
			case readOnly:
				access = pipe.ReadOnly
			case appendOnly:
				access = pipe.AppendOnly
			}
			return a.servePipe(cmd.Context(), args[0], access)
		},
	}
	cmd.Flags().BoolVar(&appendOnly, "append-only", false, "refuse to delete")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "refuse to write")
	return cmd
}

// servePipe serves the store at path on standard input and output.
func (a *app) servePipe(ctx context.Context, path string, access pipe.Access) error {
	if isTerminal(a.stdin) || isTerminal(a.stdout) {
		return usagef("ensync server speaks with a program, not with a terminal; a client starts it by server = %q in its config.toml",
			"shell:ssh -T HOST ensync server PATH")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("serve %s: %w", path, err)
	}
	// A ^C at a client that was started beside us is the client's; we end when it does.
	signal.Ignore(syscall.SIGINT)
	return interrupted(ctx, session.Serve(ctx, abs, a.stdin, a.stdout, access, version()))
}
