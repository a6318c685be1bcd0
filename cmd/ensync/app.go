package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/keys"
)

// app is one run of the program: the flags that all commands share, and where it prints.
type app struct {
	configFlag string
	keyFlag    string

	stdin          *os.File
	stdout, stderr *os.File
	release        func() // what a command leaves to do after its error was decided on
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "ensync",
		Short: "Keep a directory the same on all your machines, through an encrypted store",
		Long: `ensync keeps a directory tree the same on all of a person's machines, through an
encrypted store that nobody has to trust, and can show it as a mounted directory.

CONFIG, where a command takes it, is a configuration directory or the config.toml
in it. It may be left out: then --config counts, else $ENSYNC_CONFIG, else
~/.config/ensync. Where other arguments follow, the first one is taken for CONFIG
if it is a directory with a config.toml in it, or a path that ends in config.toml,
and --config is not given.

Exit codes: 0 all in sync; 1 failed; 2 wrong usage; 3 done, but some entries
failed or stay out of sync; 4 stopped by the loss guard.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          groupOnly,
	}
	root.PersistentFlags().StringVar(&a.configFlag, "config", "", "configuration `DIR` (default $ENSYNC_CONFIG or ~/.config/ensync)")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddCommand(a.setupCommand(), a.syncCommand(), a.statusCommand(), a.conflictsCommand(), a.resolveCommand(), a.keyCommand(), a.listCommand(), a.catCommand(),
		a.getCommand(), a.putCommand(), a.mkdirCommand(), a.rmdirCommand(), a.rmCommand(), a.checkCommand(), a.repairCommand(), a.storeCommand(),
		a.mountCommand(), a.unmountCommand(), a.fetchCommand(), a.pinCommand(), a.unpinCommand(), a.serverCommand(), a.cacheCommand(), a.doctorCommand())
	return root
}

// groupOnly is for commands that only have others below them.
func groupOnly(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %s?", near[0])
		}
		return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
	}
	cmd.SetOut(cmd.ErrOrStderr())
	if err := cmd.Help(); err != nil {
		return err
	}
	return usagef("%s needs a command", cmd.CommandPath())
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development build"
}

// keyOption adds -k.
func (a *app) keyOption(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVarP(&a.keyFlag, "key", "k", "", "passphrase `SPEC` instead of the configured one: prompt, file:PATH, shell:COMMAND, keyring:NAME, fd:NUMBER or string:TEXT")
	return cmd
}

// between checks the number of arguments.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n := len(args); n < least || most >= 0 && n > most {
			return usagef("wrong number of arguments for %s", cmd.UseLine())
		}
		return nil
	}
}

// configArg splits CONFIG off the arguments of a command that has others, too.
func (a *app) configArg(args []string) (path string, rest []string) {
	if a.configFlag == "" && len(args) > 0 && looksLikeConfig(args[0]) {
		return args[0], args[1:]
	}
	return a.configFlag, args
}

// configOnly returns the configuration of a command that has no other argument.
func (a *app) configOnly(args []string) (string, error) {
	switch {
	case len(args) == 0:
		return a.configFlag, nil
	case a.configFlag != "":
		return "", usagef("two configurations: %s and --config %s", args[0], a.configFlag)
	}
	return args[0], nil
}

// looksLikeConfig tells CONFIG from other arguments: a directory that holds a config.toml, or a path that ends in one.
func looksLikeConfig(arg string) bool {
	if filepath.Base(arg) == config.FileName {
		return true
	}
	info, err := os.Stat(filepath.Join(arg, config.FileName))
	return err == nil && info.Mode().IsRegular()
}

// load reads the configuration that a path, or else the environment, names.
func (a *app) load(path string) (*config.Config, error) {
	dir, err := config.ResolveDir(path, os.Getenv)
	if err != nil {
		return nil, err
	}
	return config.Load(dir)
}

// sessionOptions are what the command line adds to the configuration.
func (a *app) sessionOptions() (session.Options, error) {
	opt := session.Options{Asker: a.asker(), Notice: func(text string) { fmt.Fprintln(a.stderr, "note:", text) }}
	if a.keyFlag != "" {
		src, err := source(a.keyFlag)
		if err != nil {
			return opt, usagef("--key: %w", err)
		}
		opt.Key = &src
	}
	return opt, nil
}

// source reads a passphrase specification of the command line, which is relative to the current directory.
func source(spec string) (keys.Source, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return keys.Source{}, err
	}
	return keys.ParseSource(spec, cwd)
}

// open opens the store of a configuration with its passphrase.
func (a *app) open(ctx context.Context, path string) (*session.Store, error) {
	opt, err := a.sessionOptions()
	if err != nil {
		return nil, err
	}
	return a.openStore(ctx, path, opt)
}

func (a *app) openStore(ctx context.Context, path string, opt session.Options) (*session.Store, error) {
	cfg, err := a.load(path)
	if err != nil {
		return nil, err
	}
	pass, err := a.passphrase(ctx, cfg, opt)
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	return session.OpenStore(ctx, cfg, pass, opt)
}

// passphrase reads the passphrase that unlocks the store.
func (a *app) passphrase(ctx context.Context, cfg *config.Config, opt session.Options) ([]byte, error) {
	src, err := configuredSource(cfg, opt)
	if err != nil {
		return nil, err
	}
	a.warnExposed(src)
	return src.Read(ctx, opt.Asker, "Passphrase: ")
}

// warnExposed warns of a passphrase file that others can read.
func (a *app) warnExposed(src keys.Source) {
	if err := src.Exposed(); err != nil {
		fmt.Fprintln(a.stderr, "warning:", err)
	}
}

func configuredSource(cfg *config.Config, opt session.Options) (keys.Source, error) {
	if opt.Key != nil {
		return *opt.Key, nil
	}
	return session.SourceOf(cfg.General.Passphrase)
}

// withStore runs fn with an open store.
func (a *app) withStore(ctx context.Context, path string, fn func(*session.Store) error) error {
	st, err := a.open(ctx, path)
	if err != nil {
		return interrupted(ctx, err)
	}
	return interrupted(ctx, errors.Join(fn(st), st.Close()))
}

// shown is a name as it goes to standard output: its bytes, or on a terminal something harmless.
func (a *app) shown(name string) string {
	if isTerminal(a.stdout) {
		return printable(name)
	}
	return name
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
