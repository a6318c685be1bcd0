package main

import (
	"time"

	"github.com/spf13/cobra"

	"ensync/keys"
)

func (a *app) keyRemember() *cobra.Command {
	var fresh string
	var keep time.Duration
	var forget bool
	cmd := &cobra.Command{
		Use:   "remember NAME",
		Short: "Put a passphrase into the kernel's keyring, for keyring:NAME",
		Args:  between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if forget {
				return keys.Forget(args[0])
			}
			if keep < 0 {
				return usagef("--timeout %v: can't be negative", keep)
			}
			src, err := source(fresh)
			if err != nil {
				return usageError{err}
			}
			a.warnExposed(src)
			pass, err := src.Read(cmd.Context(), a.asker(), "Passphrase to remember")
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			defer clear(pass)
			return keys.Remember(args[0], pass, keep)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&fresh, "new", "n", "prompt", "where the passphrase comes from: `SPEC`")
	f.DurationVar(&keep, "timeout", 0, "for how long, as `8h`; 0: until the user's last process ends")
	f.BoolVar(&forget, "forget", false, "take it out of the keyring")
	return cmd
}
