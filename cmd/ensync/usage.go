package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ensync/engine/session"
	"ensync/store"
)

func (a *app) storeList() *cobra.Command {
	var human bool
	cmd := &cobra.Command{
		Use:   "ls [CONFIG]",
		Short: "Count the objects in the store",
		Long: `Count the objects in the store, by kind: bytes, number, when the oldest and the newest of
them were written, as the store tells it. No passphrase is needed.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			return interrupted(cmd.Context(), a.listStore(cmd.Context(), path, human))
		},
	}
	cmd.Flags().Bool("help", false, "show this help")
	cmd.Flags().BoolVarP(&human, "human-readable", "h", false, "print sizes like 12M")
	return cmd
}

func (a *app) listStore(ctx context.Context, path string, human bool) error {
	cfg, err := a.load(path)
	if err != nil {
		return err
	}
	b, err := session.OpenBackend(cfg.General.Server)
	if err != nil {
		return err
	}
	kinds, err := store.Inventory(ctx, b)
	for _, k := range kinds {
		_, perr := fmt.Fprintf(a.stdout, "%s  %8d  %s  %s  %s\n", sized(k.Bytes, human), k.Objects, timeText(k.Oldest), timeText(k.Newest), k.Name)
		err = errors.Join(err, perr)
	}
	return errors.Join(err, b.Close())
}

// sized is a size in a column.
func sized(n int64, human bool) string {
	if human {
		return humanSize(n)
	}
	return fmt.Sprintf("%12d", n)
}

func (a *app) storeUsage() *cobra.Command {
	var human bool
	cmd := &cobra.Command{
		Use:   "du [CONFIG]",
		Short: "Tell what the trees take in the store",
		Long: `Tell how many bytes in the store each tree takes that the passphrase can read: what its
newest state needs, and what only earlier states need. What two trees have in common
is counted for each. The last line is what none of them needs: what belongs to trees of
others, or to nobody any more. Lists and directories of all states are read.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), path, func(st *session.Store) error {
				trees, rest, err := st.Usage(cmd.Context())
				if err != nil {
					return err
				}
				for _, u := range trees {
					_, perr := fmt.Fprintf(a.stdout, "%s  %s  %s\n", sized(u.Current, human), sized(u.History, human), a.shown(u.Root))
					err = errors.Join(err, perr)
				}
				_, perr := fmt.Fprintf(a.stdout, "%s  %s  (none of these)\n", sized(rest, human), fmt.Sprintf("%*s", len(sized(0, human)), ""))
				return errors.Join(err, perr)
			})
		},
	}
	cmd.Flags().Bool("help", false, "show this help")
	cmd.Flags().BoolVarP(&human, "human-readable", "h", false, "print sizes like 12M")
	return a.keyOption(cmd)
}
