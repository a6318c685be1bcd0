package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ensync/engine/session"
	"ensync/store"
)

func (a *app) checkCommand() *cobra.Command {
	var readData bool
	cmd := &cobra.Command{
		Use:   "check [CONFIG]",
		Short: "Check that the store is whole",
		Long: `Compare everything in the store that the passphrase can read: keys, trees with their
history, the index, and the packs. With --read-data, every block is read, decrypted and
verified, too. Nothing is changed. What is found is printed, one a line, and the exit
code is then 1.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), path, func(st *session.Store) error {
				found := 0
				err := st.Check(cmd.Context(), readData, func(p store.Problem) {
					found++
					fmt.Fprintln(a.stdout, printable(p.String()))
				})
				if found > 0 {
					err = errors.Join(err, fmt.Errorf("check %s: %s", st.Location(), plural(found, "problem", "problems")))
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&readData, "read-data", false, "read and verify all content, too")
	return a.keyOption(cmd)
}
