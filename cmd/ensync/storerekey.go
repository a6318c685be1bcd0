package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/store"
)

func (a *app) storeRekey() *cobra.Command {
	var readData bool
	var with []string
	cmd := &cobra.Command{
		Use:   "rekey [CONFIG] [FROM] TO",
		Short: "Store everything anew, under new keys, at another place",
		Long: `Make a new store at TO, with new keys for all groups, and store there anew what the newest
commits of the store of CONFIG, or the one at FROM, have. Each is ` + placeHelp + `.

Old keys open nothing in it: whoever was removed before, and kept all that they had, reads
nothing there. All passphrases of now are taken along. The history is not. It needs a
passphrase in root and in the groups of all directories. TO must be empty, or
hold what an earlier run began: that is gone on with. Until it is whole, nobody takes it
for a store, and the old one is only read. The new store is then checked as ensync check does.

To use it, run ensync store move TO on each machine, and then delete the old store.`,
		Args: between(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return interrupted(cmd.Context(), a.rekeyStore(cmd.Context(), args, with, readData))
		},
	}
	cmd.Flags().StringArrayVar(&with, "with", nil, "one more passphrase that is at hand: `SPEC`; needed for keys made by ensync before rotation was there")
	cmd.Flags().BoolVar(&readData, "read-data", false, "read and verify all content of the new store, too")
	return a.keyOption(cmd)
}

func (a *app) rekeyStore(ctx context.Context, args, with []string, readData bool) error {
	var c copying
	var more [][]byte
	err := a.reachCopy(ctx, args, &c)
	if err == nil && c.pass == nil {
		err = usagef("store rekey needs a configuration or --key")
	}
	for _, spec := range with {
		if err != nil {
			break
		}
		var pass []byte
		pass, err = a.morePassphrase(ctx, spec)
		more = append(more, pass)
	}
	if err == nil {
		err = a.rekeyAndCheck(ctx, &c, more, readData)
	}
	for _, pass := range more {
		clear(pass)
	}
	return errors.Join(err, c.close())
}

func (a *app) morePassphrase(ctx context.Context, spec string) ([]byte, error) {
	src, err := source(spec)
	if err != nil {
		return nil, usagef("--with: %w", err)
	}
	a.warnExposed(src)
	return src.Read(ctx, a.asker(), "One more passphrase: ")
}

func (a *app) rekeyAndCheck(ctx context.Context, c *copying, with [][]byte, readData bool) error {
	from, to, err := c.open(ctx)
	if err != nil {
		return err
	}
	var cfg *config.Config
	if c.own {
		cfg = c.cfg
	}
	line := &copyLine{w: a.progressLine(), start: time.Now()}
	var done store.RekeyProgress
	err = session.Rekey(ctx, cfg, from, to, c.pass, with, store.Rekeying{
		Begin: func(left []string) {
			for _, name := range left {
				fmt.Fprintf(a.stderr, "note: key %s is left out: it has no mailbox, and its passphrase was not given by --with\n", printable(name))
			}
		},
		Report: func(p store.RekeyProgress) {
			done = p
			line.show("files", p.Files, p.TotalFiles, p.Bytes, p.TotalBytes)
		},
	})
	line.end()
	if err != nil {
		err = fmt.Errorf("re-key %s to %s: %w", printable(from.Location()), printable(to.Location()), err)
	} else {
		fmt.Fprintf(a.stderr, "Stored %s, %s, anew at %s, under new keys. The history was not taken along.\n",
			plural(done.Files, "file", "files"), sizeText(done.Bytes), printable(to.Location()))
		err = a.checkCopy(ctx, to, c.pass, readData)
	}
	if err == nil {
		fmt.Fprintln(a.stderr, "On each machine, run ensync store move to this place; then delete the old store. Until that is gone, who kept its keys can read it.")
	}
	return errors.Join(err, from.Close(), to.Close())
}
