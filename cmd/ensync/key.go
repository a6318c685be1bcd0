package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/keys"
	"ensync/store"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Manage the passphrases and groups of the store",
		Args:  cobra.ArbitraryArgs,
		RunE:  groupOnly,
	}
	cmd.AddCommand(a.keyInit(), a.keyAdd(), a.keyChange(), a.keyRemove(), a.keyRotate(), a.keyRemember(), a.keyExport(), a.keyImport(), a.keyList(), a.keyGroup())
	return cmd
}

// A keyEdit has the passphrases that an edit of the key store needs. Each is read before the store is changed.
type keyEdit struct {
	*app
	ctx  context.Context
	cfg  *config.Config
	opt  session.Options
	st   *session.Store
	root *keys.Chain // signs; nil if the store was opened with a key in group root
}

// editKeys opens the store with a passphrase from spec (empty: the configured one), and runs fn.
func (a *app) editKeys(ctx context.Context, path, spec, prompt string, fn func(*keyEdit) error) error {
	err := func() error {
		cfg, err := a.load(path)
		if err != nil {
			return err
		}
		k := &keyEdit{app: a, ctx: ctx, cfg: cfg}
		if k.opt, err = a.sessionOptions(); err != nil {
			return err
		}
		src, err := k.source(spec)
		if err != nil {
			return err
		}
		a.warnExposed(src)
		pass, err := src.Read(ctx, k.opt.Asker, prompt)
		if err != nil {
			return err
		}
		defer clear(pass)
		if k.st, err = session.OpenStore(ctx, cfg, pass, k.opt); err != nil {
			return err
		}
		err = fn(k)
		k.root.Close()
		return errors.Join(err, k.st.Close())
	}()
	return interrupted(ctx, err)
}

// source is where a passphrase comes from: an option, or else the configuration.
func (k *keyEdit) source(spec string) (keys.Source, error) {
	if spec == "" {
		return configuredSource(k.cfg, k.opt)
	}
	src, err := source(spec)
	if err != nil {
		return src, usageError{err}
	}
	return src, nil
}

// chain reads another passphrase, and unlocks with it.
func (k *keyEdit) chain(spec, prompt string) (*keys.Chain, error) {
	src, err := k.source(spec)
	if err != nil {
		return nil, err
	}
	pass, err := src.Read(k.ctx, k.opt.Asker, prompt)
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	file, err := session.Keys(k.ctx, k.cfg, k.opt)
	if err != nil {
		return nil, err
	}
	return file.UnlockContext(k.ctx, pass, "")
}

// needRoot reads a passphrase in group root, unless one of those seen so far is in it.
func (k *keyEdit) needRoot(spec string, seen ...*keys.Chain) error {
	for _, c := range append(seen, k.st.Keys()) {
		if c.InRoot() {
			return nil
		}
	}
	var err error
	k.root, err = k.chain(spec, "Passphrase of a key in group root")
	return err
}

// readNew reads a passphrase that is to be set.
func (k *keyEdit) readNew(spec string) ([]byte, error) {
	src, err := k.source(spec)
	if err != nil {
		return nil, err
	}
	return src.ReadNew(k.ctx, k.opt.Asker, "New passphrase")
}

// keyFlags adds the options for passphrases that the letters name.
func (a *app) keyFlags(cmd *cobra.Command, old, fresh, root *string) *cobra.Command {
	f := cmd.Flags()
	if old != nil {
		f.StringVarP(old, "old", "o", "", "where the old passphrase comes from: `SPEC` (default: as configured)")
	}
	if fresh != nil {
		f.StringVarP(fresh, "new", "n", "prompt", "where the new passphrase comes from: `SPEC`")
	}
	if root != nil {
		f.StringVarP(root, "root", "r", "prompt", "where a passphrase in group root comes from, if it is needed: `SPEC`")
	}
	return a.keyOption(cmd)
}

func (a *app) keyInit() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "init [CONFIG]",
		Short: "Make a new store, in an empty place, with one key",
		Args:  between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			return interrupted(cmd.Context(), a.initKeys(cmd.Context(), path, name))
		},
	}
	cmd.Flags().StringVar(&name, "key-name", "initial-key", "`NAME` of the key")
	return a.keyOption(cmd)
}

func (a *app) initKeys(ctx context.Context, path, name string) error {
	cfg, err := a.load(path)
	if err != nil {
		return err
	}
	opt, err := a.sessionOptions()
	if err != nil {
		return err
	}
	// Where a drive is not mounted, a store would be made on the wrong one.
	if srv := cfg.General.Server; srv.Kind == config.ServerPath {
		if _, err := os.Stat(filepath.Dir(srv.Path)); err != nil {
			return fmt.Errorf("make a store: %w; mount its drive, or create the directory first", err)
		}
	}
	src, err := configuredSource(cfg, opt)
	if err != nil {
		return err
	}
	pass, err := src.ReadNew(ctx, opt.Asker, "New passphrase")
	if err != nil {
		return err
	}
	defer clear(pass)
	st, err := session.CreateStore(ctx, cfg, pass, name, opt)
	if err != nil {
		return err
	}
	return st.Close()
}

func (a *app) keyAdd() *cobra.Command {
	var old, fresh, root string
	cmd := &cobra.Command{
		Use:   "add [CONFIG] KEY-NAME",
		Short: "Add a passphrase, with all groups of the old one",
		Args:  between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, args, err := a.named(args, 1)
			if err != nil {
				return err
			}
			return a.editKeys(cmd.Context(), path, old, "Old passphrase", func(k *keyEdit) error {
				pass, err := k.readNew(fresh)
				if err != nil {
					return err
				}
				defer clear(pass)
				if err := k.needRoot(root); err != nil {
					return err
				}
				return k.st.EditKeys(k.ctx, func(f *keys.File) (*keys.File, error) {
					return f.Add(k.ctx, k.st.Keys(), args[0], pass, k.root, time.Now())
				})
			})
		},
	}
	return a.keyFlags(cmd, &old, &fresh, &root)
}

func (a *app) keyChange() *cobra.Command {
	var old, fresh, root string
	var force bool
	cmd := &cobra.Command{
		Use:   "change [CONFIG] [KEY-NAME]",
		Short: "Change a passphrase",
		Args:  between(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, args := a.configArg(args)
			if len(args) > 1 {
				return usagef("%s is no configuration", args[0])
			}
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return a.editKeys(cmd.Context(), path, old, "Old passphrase", func(k *keyEdit) error {
				pass, err := k.readNew(fresh)
				if err != nil {
					return err
				}
				defer clear(pass)
				if err := k.needRoot(root); err != nil {
					return err
				}
				err = k.st.EditKeys(k.ctx, func(f *keys.File) (*keys.File, error) {
					return f.Change(k.ctx, name, k.st.Keys(), pass, force, k.root, time.Now())
				})
				if err == nil && old == "" && a.keyFlag == "" && !k.isConfigured(fresh) {
					fmt.Fprintf(a.stderr, "Remember to change passphrase in %s/%s.\n", k.cfg.Dir, config.FileName)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "let any key that is in every group of the named one change it")
	return a.keyFlags(cmd, &old, &fresh, &root)
}

// isConfigured reports whether a specification of the command line is the configured one.
func (k *keyEdit) isConfigured(spec string) bool {
	given, err := source(spec)
	if err != nil {
		return false
	}
	configured, err := session.SourceOf(k.cfg.General.Passphrase)
	return err == nil && given == configured
}

func (a *app) keyRemove() *cobra.Command {
	var root string
	var rotate bool
	cmd := &cobra.Command{
		Use:     "rm [CONFIG] KEY-NAME",
		Aliases: []string{"del"},
		Short:   "Remove a passphrase",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, args, err := a.named(args, 1)
			if err != nil {
				return err
			}
			return a.editKeys(cmd.Context(), path, root, "Passphrase of a key in group root", func(k *keyEdit) error {
				var groups []string
				err := k.st.EditKeys(k.ctx, func(f *keys.File) (*keys.File, error) {
					groups = groupsOf(f, args[0])
					return f.Remove(args[0], k.st.Keys())
				})
				if err != nil {
					return err
				}
				return k.rotateLeft(groups, rotate)
			})
		},
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "rotate the keys of its groups, which whoever used it may have kept")
	return a.keyFlags(cmd, nil, nil, &root)
}

func (a *app) keyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls [CONFIG]",
		Aliases: []string{"list"},
		Short:   "List the keys and their groups; needs no passphrase",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			cfg, err := a.load(path)
			if err != nil {
				return err
			}
			file, err := session.Keys(cmd.Context(), cfg, session.Options{})
			if errors.Is(err, store.ErrNoStore) {
				return nil
			}
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			for _, i := range file.List() {
				fmt.Fprint(a.stdout, keyText(i))
			}
			for _, g := range file.GroupList() {
				fmt.Fprint(a.stderr, groupText(g))
			}
			return nil
		},
	}
	return a.keyOption(cmd)
}

func keyText(i keys.Info) string {
	text := i.Name + ":"
	for _, g := range i.Groups {
		text += " " + g
	}
	return fmt.Sprintf("%s\n  algorithm:    %s\n  created:      %s\n  last changed: %s\n\n", text, i.Algorithm,
		since(i.Created), since(i.Changed))
}

// named splits CONFIG off and wants at least so many arguments after it.
func (a *app) named(args []string, least int) (path string, rest []string, err error) {
	path, rest = a.configArg(args)
	if len(rest) < least {
		return "", nil, usagef("too few arguments after the configuration %s", path)
	}
	return path, rest, nil
}
