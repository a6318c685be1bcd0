package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"ensync/engine/manual"
	"ensync/engine/session"
)

const pathHelp = `
A PATH that starts with / begins at the list of all trees in the store, any other in
the configured one (server_root). The local tree is not touched: its next sync sees
what is changed here as a change from elsewhere.`

// manual runs a command on the trees of the store. least is how many arguments follow CONFIG.
func (a *app) manual(cmd *cobra.Command, args []string, least int, fn func(context.Context, *manual.Store, []string) error) error {
	path, args, err := a.named(args, least)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	return a.withStore(ctx, path, func(st *session.Store) error {
		m := manual.New(st.Store, st.Config.General.ServerRoot)
		return errors.Join(fn(ctx, m, args), m.Close())
	})
}

// each is a command that does the same with each path, and ends at the first error.
func (a *app) each(do func(ctx context.Context, m *manual.Store, path string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.manual(cmd, args, 1, func(ctx context.Context, m *manual.Store, paths []string) error {
			for _, path := range paths {
				if err := do(ctx, m, path); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func (a *app) catCommand() *cobra.Command {
	return a.keyOption(&cobra.Command{
		Use:     "cat [CONFIG] PATH...",
		Aliases: []string{"type", "dump"},
		Short:   "Print files in the store",
		Long:    "Print files in the store on standard output. Every block is verified before it is printed.\n" + pathHelp,
		Args:    between(1, -1),
		RunE: a.each(func(ctx context.Context, m *manual.Store, path string) error {
			out := bufio.NewWriterSize(a.stdout, 64<<10)
			return errors.Join(m.Cat(ctx, path, out), out.Flush())
		}),
	})
}

func (a *app) mkdirCommand() *cobra.Command {
	var text string
	mode := uint32(0o700)
	cmd := &cobra.Command{
		Use:     "mkdir [CONFIG] PATH...",
		Aliases: []string{"md"},
		Short:   "Make directories in the store; /NAME makes a new tree",
		Long: `Make directories in the store. The directory above must exist. mkdir /NAME makes a new
tree; a NAME with .ensync[r=GROUP,w=GROUP] in it chooses who may read and write it.
` + pathHelp,
		Args: between(1, -1),
		PreRunE: func(*cobra.Command, []string) error {
			n, err := strconv.ParseUint(text, 8, 32)
			if err != nil {
				return usagef("--mode %s: write an octal number like 0755", text)
			}
			mode = uint32(n) & 0o7777
			return nil
		},
		RunE: a.each(func(ctx context.Context, m *manual.Store, path string) error { return m.Mkdir(ctx, path, mode) }),
	}
	cmd.Flags().StringVarP(&text, "mode", "m", "0700", "permissions, in octal: `MODE`")
	return a.keyOption(cmd)
}

func (a *app) rmdirCommand() *cobra.Command {
	return a.keyOption(&cobra.Command{
		Use:     "rmdir [CONFIG] PATH...",
		Aliases: []string{"rd"},
		Short:   "Remove empty directories in the store; /NAME removes an empty tree",
		Long:    "Remove empty directories in the store. rmdir /NAME removes an empty tree.\n" + pathHelp,
		Args:    between(1, -1),
		RunE:    a.each(func(ctx context.Context, m *manual.Store, path string) error { return m.Rmdir(ctx, path) }),
	})
}

// volume adds the counted -v and -q of commands that only know loud and quiet.
func volume(cmd *cobra.Command) (loud func() bool) {
	v := cmd.Flags().CountP("verbose", "v", "print what is done")
	q := cmd.Flags().CountP("quiet", "q", "take back one -v")
	return func() bool { return *v > *q }
}

func (a *app) rmCommand() *cobra.Command {
	var recursive bool
	cmd := &cobra.Command{
		Use:     "rm [CONFIG] PATH...",
		Aliases: []string{"del"},
		Short:   "Remove things in the store",
		Long: `Remove things in the store, directories only with -r. Each PATH is removed in one step,
or not at all.
` + pathHelp,
		Args: between(1, -1),
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "remove directories with all in them")
	loud := volume(cmd)
	cmd.RunE = a.each(func(ctx context.Context, m *manual.Store, path string) error {
		gone, err := m.Remove(ctx, path, recursive)
		if loud() {
			for _, p := range gone {
				fmt.Fprintln(a.stdout, a.shown(p))
			}
		}
		return err
	})
	return a.keyOption(cmd)
}

func (a *app) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get [CONFIG] SRC [DST]",
		Short: "Copy things out of the store",
		Long: `Copy a file, symlink or directory out of the store to DST (default: the current
directory). A DST that is a directory is copied into. SRC / copies all trees.
` + pathHelp,
		Args: between(1, 3),
	}
	a.transfer(cmd, func(ctx context.Context, m *manual.Store, src, dst string, opt manual.TransferOptions) error {
		if dst == "" {
			dst = "."
		}
		return m.Get(ctx, src, dst, opt)
	})
	return a.keyOption(cmd)
}

func (a *app) putCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "put [CONFIG] SRC [DST]",
		Short: "Copy things into the store",
		Long: `Copy a file, symlink or directory into the store to DST (default: its own name in the
configured tree), in one step. A DST that is a directory is copied into.
` + pathHelp,
		Args: between(1, 3),
	}
	a.transfer(cmd, func(ctx context.Context, m *manual.Store, src, dst string, opt manual.TransferOptions) error {
		return m.Put(ctx, src, dst, opt)
	})
	return a.keyOption(cmd)
}

// transfer gives a command what get and put share.
func (a *app) transfer(cmd *cobra.Command, do func(ctx context.Context, m *manual.Store, src, dst string, opt manual.TransferOptions) error) {
	var opt manual.TransferOptions
	cmd.Flags().BoolVarP(&opt.Force, "force", "f", false, "replace what is there, but for directories")
	loud := volume(cmd)
	opt.Notice = func(path, why string) { fmt.Fprintf(a.stderr, "skipped %s: %s\n", printable(path), why) }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if loud() {
			opt.Copied = func(src, dst string) { fmt.Fprintf(a.stdout, "%s => %s\n", a.shown(src), a.shown(dst)) }
		}
		return a.manual(cmd, args, 1, func(ctx context.Context, m *manual.Store, args []string) error {
			if len(args) > 2 {
				return usagef("%s is no configuration", args[0])
			}
			return do(ctx, m, args[0], append(args, "")[1], opt)
		})
	}
}
