package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/engine/setup"
	"ensync/store"
	"ensync/store/backend"
)

func (a *app) storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look into a store as a whole, copy or re-key it, move to another place, accept one from a backup",
		Args:  cobra.ArbitraryArgs,
		RunE:  groupOnly,
	}
	cmd.AddCommand(a.storeList(), a.storeUsage(), a.storeCopy(), a.storeRekey(), a.storeMove(), a.acceptRollback())
	return cmd
}

const placeHelp = `a directory, USER@HOST:PATH, ssh://USER@HOST:PORT/PATH, shell:COMMAND or
s3:ENDPOINT/BUCKET/PREFIX`

func (a *app) storeCopy() *cobra.Command {
	var readData bool
	cmd := &cobra.Command{
		Use:   "copy [CONFIG] [FROM] TO",
		Short: "Copy a whole store, with its history, to another place",
		Long: `Copy the store of CONFIG, or the one at FROM, to TO. Each is ` + placeHelp + `.

Nothing is decrypted, and what was written is read back and compared. TO must be empty, or
hold a copy of this store that was cut short: that is gone on with. Until the copy is
whole, nobody takes it for a store. Others may sync meanwhile: what they store is
copied, too, if they rest now and then.

With CONFIG, or --key, the copy is then checked as ensync check does; --read-data
decrypts every block of it. To use the copy instead of the store, run
ensync store move on each machine.`,
		Args: between(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return interrupted(cmd.Context(), a.copyStore(cmd.Context(), args, readData))
		},
	}
	cmd.Flags().BoolVar(&readData, "read-data", false, "read and verify all content of the copy, too")
	return a.keyOption(cmd)
}

// A copying is what store copy was asked for.
type copying struct {
	cfg      *config.Config // limits the line, as far as there is one
	from, to *setup.Reached
	pass     []byte // nil: the copy can't be checked
	own      bool   // the store that is copied is the one of cfg
}

func (c *copying) close() error {
	clear(c.pass)
	var err error
	for _, r := range []*setup.Reached{c.from, c.to} {
		if r != nil {
			err = errors.Join(err, r.Close())
		}
	}
	return err
}

// open opens both places, which the caller closes.
func (c *copying) open(ctx context.Context) (from, to backend.Backend, err error) {
	if from, err = c.from.Open(); err != nil {
		return nil, nil, err
	}
	if to, err = session.OpenPlace(ctx, c.to.Server, c.to.Options()); err != nil {
		return nil, nil, errors.Join(err, from.Close())
	}
	return session.Limit(c.cfg, from), session.Limit(c.cfg, to), nil
}

func (a *app) copyStore(ctx context.Context, args []string, readData bool) error {
	var c copying
	err := a.reachCopy(ctx, args, &c)
	if err == nil && readData && c.pass == nil {
		err = usagef("--read-data needs a configuration or --key")
	}
	if err == nil {
		err = a.copyAndCheck(ctx, &c, readData)
	}
	return errors.Join(err, c.close())
}

// reachCopy finds both places, and reads the passphrase if there is one.
func (a *app) reachCopy(ctx context.Context, args []string, c *copying) error {
	path, rest := a.configArg(args)
	dir, err := os.Getwd() // where commands run, if there is no configuration
	if err != nil {
		return err
	}
	cfg := &config.Config{Dir: dir}
	configured := path != "" || len(rest) == 1
	if configured {
		if cfg, err = a.load(path); err != nil {
			return err
		}
	}
	c.cfg = cfg
	switch len(rest) {
	case 1:
		c.from, c.own = setup.Configured(cfg), true
	case 2:
		if c.from, err = setup.Reach(ctx, rest[0], cfg.Dir, a.talk()); err != nil {
			return err
		}
	default:
		return usagef("copy takes one or two places, and %s is no configuration", printable(args[0]))
	}
	if configured || a.keyFlag != "" {
		opt, err := a.sessionOptions()
		if err != nil {
			return err
		}
		if c.pass, err = a.passphrase(ctx, cfg, opt); err != nil {
			return err
		}
	}
	c.to, err = setup.Reach(ctx, rest[len(rest)-1], cfg.Dir, a.talk())
	return err
}

// talk says what reaching a place says, and confirms what it asks: a missing directory above it is made.
func (a *app) talk() setup.Talk {
	return &setup.Answers{Passphrases: a.asker(), Tell: func(text string) { fmt.Fprintln(a.stderr, text) }}
}

func (a *app) copyAndCheck(ctx context.Context, c *copying, readData bool) error {
	from, to, err := c.open(ctx)
	if err != nil {
		return err
	}
	err = a.copyBetween(ctx, from, to)
	if err == nil && c.pass != nil {
		err = a.checkCopy(ctx, to, c.pass, readData)
	}
	return errors.Join(err, from.Close(), to.Close())
}

func (a *app) copyBetween(ctx context.Context, from, to backend.Backend) error {
	line := &copyLine{w: a.progressLine(), start: time.Now()}
	done, err := store.Copy(ctx, from, to, line.report)
	line.end()
	for _, name := range done.Left {
		fmt.Fprintf(a.stderr, "note: object %s is none of a store's, and was left behind\n", printable(name))
	}
	if err != nil {
		return fmt.Errorf("copy %s to %s: %w", printable(from.Location()), printable(to.Location()), err)
	}
	fmt.Fprintf(a.stderr, "Copied %s, %s, to %s", plural(done.Objects, "object", "objects"), sizeText(done.Bytes), printable(to.Location()))
	if done.Skipped > 0 {
		fmt.Fprintf(a.stderr, "; %d were there from an earlier run", done.Skipped)
	}
	fmt.Fprintln(a.stderr, ".")
	if done.Behind {
		fmt.Fprintln(a.stderr, "note: others went on syncing with the store; the copy is whole, but a little older than it")
	}
	return nil
}

func (a *app) checkCopy(ctx context.Context, to backend.Backend, pass []byte, readData bool) error {
	found := 0
	err := session.CheckCopy(ctx, to, pass, readData, func(p store.Problem) {
		found++
		fmt.Fprintln(a.stdout, printable(p.String()))
	})
	if found > 0 {
		err = errors.Join(err, fmt.Errorf("check %s: %s; if ensync check finds them in the store, too, the copy is as the store is",
			printable(to.Location()), plural(found, "problem", "problems")))
	}
	if err == nil {
		fmt.Fprintln(a.stderr, "Checked the copy: all of it is there.")
	}
	return err
}

// progressLine is where a line that changes is shown; nil: nowhere.
func (a *app) progressLine() io.Writer {
	if isTerminal(a.stderr) {
		return a.stderr
	}
	return nil
}

// A copyLine shows on one line of a terminal how far a copy is.
type copyLine struct {
	w            io.Writer
	start, drawn time.Time
}

func (l *copyLine) report(c store.CopyProgress) {
	l.show("objects", c.Objects, c.TotalObjects, c.Bytes, c.TotalBytes)
}

func (l *copyLine) show(what string, done, total int, bytes, totalBytes int64) {
	now := time.Now()
	if l.w == nil || now.Sub(l.drawn) < redraw {
		return
	}
	l.drawn = now
	text := fmt.Sprintf("%d of %d %s, %s of %s", done, total, what, sizeText(bytes), sizeText(totalBytes))
	if t := now.Sub(l.start).Seconds(); t >= 1 && bytes > 0 {
		speed := float64(bytes) / t
		text += fmt.Sprintf(", %s/s, %s left", sizeText(int64(speed)), durationText(time.Duration(float64(totalBytes-bytes)/speed*float64(time.Second))))
	}
	fmt.Fprintf(l.w, "\r%s%s\r", eraseLine, text)
}

func (l *copyLine) end() {
	if l.w != nil {
		fmt.Fprint(l.w, "\r", eraseLine)
	}
}

func (a *app) storeMove() *cobra.Command {
	var merge bool
	cmd := &cobra.Command{
		Use:   "move [CONFIG] TO",
		Short: "Use a copy of the store from now on",
		Long: `Change CONFIG over to TO, a whole copy of its store that ensync store copy made, or a store
that ensync store rekey made of it. TO is
` + placeHelp + `.

Only the address in config.toml is changed. The next sync goes on from the last one; the
history is in the copy, too. Run it on each machine. The store that was used so far is not
touched: remove it when the last machine has moved.

What was re-keyed has other names for the same content: they are changed in all that this
machine keeps, for which both stores must be in reach. The next sync reads the files of an ordinary
directory once more, and transfers nothing that is equal.

A copy that is older than what this machine has synced is refused. If other machines
use that copy already, --merge moves all the same: the next sync then merges both,
and deletes nothing.`,
		Args: between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return interrupted(cmd.Context(), a.moveStore(cmd.Context(), args, merge))
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "move to a copy that is older than what this machine has synced")
	return a.keyOption(cmd)
}

func (a *app) moveStore(ctx context.Context, args []string, merge bool) error {
	path, rest := a.configArg(args)
	if len(rest) != 1 {
		return usagef("move takes one place; %s is no configuration", printable(args[0]))
	}
	cfg, err := a.load(path)
	if err != nil {
		return err
	}
	opt, err := a.sessionOptions()
	if err != nil {
		return err
	}
	pass, err := a.passphrase(ctx, cfg, opt)
	if err != nil {
		return err
	}
	defer clear(pass)
	to, err := setup.Reach(ctx, rest[0], cfg.Dir, a.talk())
	if err != nil {
		return err
	}
	opt.Open = to.Options().Open
	err = errors.Join(session.Move(ctx, cfg, to.Address, pass, merge, opt), to.Close())
	if err != nil {
		return err
	}
	name := rest[0]
	if to.Server.Kind == config.ServerPath {
		name = to.Server.Path
	}
	_, err = fmt.Fprintf(a.stderr, "Moved: the store of %s is %s now. On each other machine, run\n  ensync store move '%s'\n"+
		"The old one, %s, was not touched; remove it when the last machine has moved.\n",
		printable(cfg.Dir), printable(to.Server.String()), printable(name), printable(cfg.General.Server.String()))
	return err
}
