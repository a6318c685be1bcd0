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
	"ensync/keys"
	"ensync/store"
	"ensync/store/backend"
)

func (a *app) keyExport() *cobra.Command {
	var old, out, name string
	cmd := &cobra.Command{
		Use:   "export [CONFIG] --out FILE",
		Short: "Make a recovery sheet, which opens the store when all else is lost",
		Long: `Make a recovery sheet: lines of letters, to be printed and kept under lock. It opens the store without any
passphrase, and makes its key store anew if that is lost.

The sheet has a key of its own in the store. It gets new keys when groups are rotated, and ensync key rm --rotate makes the
sheet void. After a rotation, print a new one all the same: only the key store opens what was sealed since.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			if out == "" {
				return usagef("--out: name a file, or - for standard output")
			}
			if name == "" {
				name = "sheet-" + time.Now().Format("2006-01-02-150405")
			}
			return a.editKeys(cmd.Context(), path, old, "Passphrase of a key in group root", func(k *keyEdit) error {
				return k.export(out, name)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "write the sheet to `FILE`, which must not be there; -: to standard output")
	f.StringVar(&name, "key-name", "", "`NAME` of the sheet's key in the store")
	return a.keyFlags(cmd, &old, nil, nil)
}

// export writes a sheet. The file is made first: no key without a sheet that is in somebody's hands.
func (k *keyEdit) export(out, name string) error {
	to := k.stdout
	if out != "-" {
		f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("write the recovery sheet: %w", err)
		}
		to = f
	}
	sheet, err := k.st.Export(k.ctx, name, time.Now())
	if err == nil {
		defer sheet.Close()
		_, err = io.WriteString(to, sheet.Text())
	}
	if out == "-" {
		return err
	}
	if err == nil {
		err = to.Sync() // DURABLE: the key that is in the store now is only here
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	fmt.Fprintf(k.stderr, "Print %s and delete it. Its key in the store is %s.\n", out, name)
	return nil
}

func (a *app) keyImport() *cobra.Command {
	var server string
	var with sheetImport
	cmd := &cobra.Command{
		Use:   "import [CONFIG] SHEET",
		Short: "Open a store by its recovery sheet, and add a new passphrase to it",
		Long: `Open a store by its recovery sheet, a text file with its lines (-: standard input), and add a new passphrase to it.
On a new machine, name the store with --server, and then run ensync setup with the new passphrase.`,
		Args: between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, args, err := a.named(args, 1)
			if err != nil {
				return err
			}
			sheet, err := a.readSheet(args[0])
			if err != nil {
				return err
			}
			defer sheet.Close()
			if with.name == "" {
				with.name = "recovered-" + time.Now().Format("2006-01-02-150405")
			}
			if server == "" {
				with.cfg, err = a.load(path)
			} else {
				with.cfg, err = at(server)
			}
			if err == nil {
				with.opt, err = a.sessionOptions()
			}
			if err != nil {
				return err
			}
			with.app, with.sheet, with.known = a, sheet, server == ""
			return interrupted(cmd.Context(), with.run(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&with.fresh, "new", "n", "prompt", "where the new passphrase comes from: `SPEC`")
	f.StringVar(&with.name, "key-name", "", "`NAME` of the new key")
	f.StringVar(&server, "server", "", "the `STORE`, as in a configuration, where there is none yet")
	f.BoolVar(&with.rebuild, "rebuild", false, "make the key store anew if it is lost; all other passphrases are gone then")
	return cmd
}

// at is a configuration that knows no more than where a store lies.
func at(server string) (*config.Config, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	cfg := &config.Config{Dir: cwd}
	if cfg.General.Server, err = config.ParseServer(server, cwd); err != nil {
		return nil, usagef("--server: %w", err)
	}
	return cfg, nil
}

// sheetImport is one use of a recovery sheet.
type sheetImport struct {
	*app
	cfg     *config.Config
	known   bool // the configuration is this machine's, with what it remembers of the store
	opt     session.Options
	sheet   *keys.Sheet
	name    string // of the new key
	fresh   string // where its passphrase comes from
	rebuild bool
}

// readSheet reads a sheet from a file; -: from standard input.
func (a *app) readSheet(path string) (*keys.Sheet, error) {
	in := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the recovery sheet: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the recovery sheet: %w", err)
	}
	defer clear(text)
	return keys.ParseSheet(text)
}

func (i *sheetImport) run(ctx context.Context) error {
	src, err := source(i.fresh)
	if err != nil {
		return usageError{err}
	}
	b, err := session.OpenBackend(i.cfg.General.Server)
	if err != nil {
		return err
	}
	defer b.Close()
	err = store.CheckSheet(ctx, b, i.sheet)
	lost := errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrTampered) || errors.Is(err, store.ErrDamaged)
	if lost && !i.rebuild {
		return fmt.Errorf("%w; if no machine is left on which ensync repair could put it back, import with --rebuild", err)
	}
	if err != nil && !lost {
		return err
	}
	pass, err := src.ReadNew(ctx, i.opt.Asker, "New passphrase")
	if err != nil {
		return err
	}
	defer clear(pass)
	if lost {
		return store.Rebuild(ctx, b, i.sheet, i.name, pass, func(text string) { fmt.Fprintln(i.stderr, text) })
	}
	st, closeStore, err := i.open(ctx, b)
	if errors.Is(err, store.ErrWrongPassphrase) {
		return fmt.Errorf("the recovery sheet is void: its key %s was removed from the store: %w", i.sheet.Key, store.ErrWrongPassphrase)
	}
	if err != nil {
		return err
	}
	err = st.EditKeys(ctx, func(f *keys.File) (*keys.File, error) { return f.Add(ctx, st.Keys(), i.name, pass, nil, time.Now()) })
	return errors.Join(err, closeStore())
}

// open opens the store with the sheet's own passphrase.
func (i *sheetImport) open(ctx context.Context, b backend.Backend) (*store.Store, func() error, error) {
	secret := i.sheet.Passphrase()
	defer clear(secret)
	if !i.known {
		st, err := store.Open(ctx, b, secret, store.Options{})
		if err != nil {
			return nil, nil, err
		}
		return st, st.Close, nil
	}
	st, err := session.OpenStore(ctx, i.cfg, secret, i.opt)
	if err != nil {
		return nil, nil, err
	}
	return st.Store, st.Close, nil
}
