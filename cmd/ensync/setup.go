package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ensync/engine/config"
	"ensync/engine/setup"
)

func (a *app) setupCommand() *cobra.Command {
	var yes bool
	var key string
	answers := &setup.Answers{Tell: func(text string) { fmt.Fprintln(a.stdout, text) }}
	cmd := &cobra.Command{
		Use:   "setup [CONFIG] LOCAL REMOTE",
		Short: "Make a configuration, and the store if there is none",
		Long: `Make the configuration directory CONFIG, which must not exist, for the existing
directory LOCAL and a store in the directory REMOTE. A store that is there already
is joined: setup asks for its passphrase and shows the trees in it. Otherwise a new
one is made.

With --yes nothing is asked (but for the passphrase, if --key is left out): the
other options answer, and what they leave open takes its default.`,
		Example: "  ensync setup ~/Documents /media/drive/store\n" +
			"  ensync setup --yes --key file:secret --root work ~/.config/work ~/work /media/drive/store",
		Args: between(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := setup.Request{Config: a.configFlag, Key: key}
			if len(args) == 3 {
				path, err := a.configOnly(args[:1])
				if err != nil {
					return err
				}
				req.Config, args = path, args[1:]
			}
			req.Local, req.Remote = args[0], args[1]
			if _, err := source(req.Key); err != nil {
				return usagef("--key: %w", err)
			}
			if _, err := config.ResolveDir(req.Config, os.Getenv); err != nil {
				return err
			}
			var talk setup.Talk
			if yes {
				answers.Passphrases = a.asker()
				talk = answers
			} else if answers.Root+answers.Compression+answers.Mode != "" {
				return usagef("--root, --compression and --mode need --yes")
			} else {
				talk = newPerson(a)
			}
			return interrupted(cmd.Context(), setup.Run(cmd.Context(), req, talk))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&key, "key", "k", "prompt", "where the passphrase comes from: `SPEC` is prompt, file:PATH, shell:COMMAND, keyring:NAME, fd:NUMBER or string:TEXT")
	f.BoolVarP(&yes, "yes", "y", false, "ask nothing")
	f.StringVar(&answers.Root, "root", "", "with --yes: `NAME` of the tree in the store (default: the first there, or \"root\")")
	f.StringVar(&answers.Compression, "compression", "", "with --yes: none, fast, default or best `GRADE` (default default)")
	f.StringVar(&answers.Mode, "mode", "", "with --yes: sync `MODE` (default conservative-sync)")
	return cmd
}
