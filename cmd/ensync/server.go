package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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

As somebody's login shell, ensync serves the directory ensync-server-dir in the
home directory (or what that is a symbolic link to) and nothing else, whatever it
is asked to run: then server = "shell:ssh -T host".

It refuses what every client would refuse too: heads, a list of trees or keys that
nobody signed who may. For that it needs no passphrase.

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

// isLoginShell reports whether ensync was started as somebody's login shell: with a name that starts with '-', or to run
// a command, as sshd does.
func isLoginShell(args []string) bool {
	return len(args) > 0 && strings.HasPrefix(args[0], "-") || len(args) > 1 && args[1] == "-c"
}

// servedDir is what a login shell serves, in the home directory: a directory, or a symbolic link to one.
const servedDir = "ensync-server-dir"

// loginShell serves what it is there for, whatever it was asked to run.
func (a *app) loginShell(ctx context.Context) error {
	path := servedDir
	if target, err := os.Readlink(path); err == nil {
		path = target // of which the end may be missing: the client makes it when it makes the store
	}
	return a.servePipe(ctx, path, pipe.ReadWrite)
}
