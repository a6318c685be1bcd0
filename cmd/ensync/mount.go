package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"ensync/engine/config"
	"ensync/engine/service"
	"ensync/engine/session"
	"ensync/engine/setup"
	"ensync/fusefs"
)

// mountFlags are the flags of mount.
type mountFlags struct {
	foreground, allowOther, readOnly bool
	options                          []string // further ones that the kernel knows
	handed                           bool     // we are the process in the background
}

func (a *app) mountCommand() *cobra.Command {
	o := &mountFlags{}
	var options string
	cmd := &cobra.Command{
		Use:   "mount [MOUNTPOINT]",
		Short: "Show the tree at MOUNTPOINT, and keep it in sync",
		Long: `Show the tree of the store at MOUNTPOINT, an empty directory (default: the configured
path), and sync it in the background: soon after something changed here or in the store,
on a timer, on "ensync sync", and on unmounting.
The command returns when the tree can be used; with --foreground it stays, and SIGTERM
unmounts.

On a machine without any configuration, it sets itself up: a store in
~/.local/share/ensync/store, a random key in a file, and a configuration that says how
to move to a store elsewhere.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.take(options, false); err != nil {
				return err
			}
			err := a.mount(cmd.Context(), append(args, "")[0], o)
			if o.foreground && errors.Is(err, errInterrupted) {
				return nil // asked to end, and did
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.foreground, "foreground", false, "stay in the foreground, for services")
	f.BoolVar(&o.allowOther, "allow-other", false, "let other users in, as permissions allow")
	f.BoolVar(&o.readOnly, "read-only", false, "let nobody change anything")
	f.StringVarP(&options, "options", "o", "", "`OPTIONS` as in mount(8), with commas between: ro, allow_other, noexec, suid, dev, sync, ...")
	f.BoolVar(&o.handed, "handed", false, "")
	f.MarkHidden("handed")
	return a.keyOption(cmd)
}

func (a *app) mount(ctx context.Context, point string, o *mountFlags) error {
	if o.handed {
		return a.mountHanded(ctx, point, o)
	}
	cfg, err := a.mountConfig(ctx, point)
	if err != nil {
		return interrupted(ctx, err)
	}
	if point, err = a.prepareMountPoint(ctx, cfg, point); err != nil {
		return interrupted(ctx, err)
	}
	opt, err := a.sessionOptions()
	if err != nil {
		return err
	}
	pass, err := a.passphrase(ctx, cfg, opt)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer clear(pass)
	if o.foreground {
		ready := func() error { return notify("READY=1\nSTATUS=mounted at " + point) }
		return interrupted(ctx, a.serve(ctx, cfg, pass, point, o, &attendant{out: a.stderr}, ready))
	}
	return interrupted(ctx, a.background(ctx, cfg, pass, point, o))
}

// mountConfig loads the configuration, and makes one if this machine has none and none was named.
func (a *app) mountConfig(ctx context.Context, point string) (*config.Config, error) {
	cfg, err := a.load(a.configFlag)
	if !errors.Is(err, fs.ErrNotExist) || a.configFlag != "" || os.Getenv("ENSYNC_CONFIG") != "" {
		return cfg, err
	}
	if a.keyFlag != "" {
		return nil, usagef("--key: there is no configuration yet; make one with ensync setup, or leave --key out")
	}
	dir, err := config.ResolveDir("", os.Getenv)
	if err != nil {
		return nil, err
	}
	if point == "" {
		point = filepath.Join(os.Getenv("HOME"), "Sync")
	}
	if point, err = filepath.Abs(point); err != nil {
		return nil, err
	}
	// What would be refused later is refused before anything is made.
	if err := checkMountPoint(point); err != nil {
		return nil, err
	}
	if err := setup.Automatic(ctx, dir, point, func(text string) { fmt.Fprintln(a.stdout, text) }); err != nil {
		return nil, err
	}
	return a.load(dir)
}

// checkMountPoint refuses what can't be mounted at.
func checkMountPoint(point string) error {
	list, err := os.ReadDir(point)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(point)); err != nil {
			return fmt.Errorf("mount at %s: %w; create the directory above it first", point, fs.ErrNotExist)
		}
		return nil
	case err != nil:
		return fmt.Errorf("mount at %s: %w", point, err)
	case len(list) > 0:
		return fmt.Errorf("mount at %s: the directory is not empty (it holds %q), and the mount would hide that; choose an empty one",
			point, list[0].Name())
	}
	return nil
}

// answers returns what a live mount or watch of a configuration tells of itself; nil if there is none. One that was just killed still takes connections, until
// the kernel is done with it, and answers none: it is waited for.
func answers(ctx context.Context, dir string) (*service.Status, error) {
	for try := 0; ; try++ {
		c, err := service.Dial(ctx, dir)
		if errors.Is(err, service.ErrNotRunning) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		asked, cancel := context.WithTimeout(ctx, 2*time.Second)
		st, err := c.Brief(asked)
		cancel()
		if err == nil {
			return &st, nil
		}
		if try == 3 {
			return &service.Status{Mounted: true}, ctx.Err()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// takeOver waits until a mount that was unmounted has given its state back, and calls its last sync off.
func takeOver(ctx context.Context, dir string) error {
	c, err := service.Dial(ctx, dir)
	if err == nil {
		err = c.Yield(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, service.ErrNotRunning) { // it ended by itself, or soon does
		return pause(ctx, 50*time.Millisecond)
	}
	return nil
}

// prepareMountPoint returns the absolute mount point, empty and free.
func (a *app) prepareMountPoint(ctx context.Context, cfg *config.Config, point string) (string, error) {
	if point == "" {
		point = cfg.General.Path
	}
	point, err := filepath.Abs(point)
	if err != nil {
		return "", err
	}
	alive, err := answers(ctx, cfg.Dir)
	for err == nil && alive != nil && alive.Ending { // what is left of its last sync is ours then
		if err = takeOver(ctx, cfg.Dir); err == nil {
			alive, err = answers(ctx, cfg.Dir)
		}
	}
	if err != nil {
		return "", err
	} else if alive != nil && !alive.Mounted {
		return "", fmt.Errorf("mount at %s: a sync --watch of the configuration %s is running; end it first", point, cfg.Dir)
	} else if alive != nil {
		return "", fmt.Errorf("mount at %s: the configuration %s is mounted already%s", point, cfg.Dir, mountedWhere(cfg))
	}
	if cleared, err := fusefs.ClearStale(ctx, point); err != nil {
		return "", err
	} else if cleared {
		fmt.Fprintf(a.stderr, "note: cleared what a dead process left mounted at %s\n", point)
	}
	if err := session.CheckMountPoint(cfg, point); err != nil {
		return "", err
	}
	for _, m := range ourMounts() {
		if m.dir == point {
			return "", fmt.Errorf("mount at %s: the configuration %s is mounted there; unmount it first (ensync unmount %s)", point, m.source, point)
		}
	}
	made, err := setup.MakeMountPoint(point)
	if err != nil {
		return "", err
	}
	if made {
		fmt.Fprintf(a.stdout, "Made the directory %s.\n", point)
	}
	return point, checkMountPoint(point)
}

// mountedWhere is " at DIR" for the mount of a configuration, if that can be told.
func mountedWhere(cfg *config.Config) string {
	if dir := mountOf(cfg); dir != "" {
		return " at " + dir
	}
	return ""
}

// mountOf is where a configuration is mounted; empty if it is not, or nobody can tell.
func mountOf(cfg *config.Config) string {
	for _, m := range ourMounts() {
		if m.source == cfg.Dir {
			return m.dir
		}
	}
	return ""
}

// serve mounts the tree, calls ready, and returns when it is unmounted and all is synced or kept.
func (a *app) serve(ctx context.Context, cfg *config.Config, pass []byte, point string, o *mountFlags, by *attendant, ready func() error) error {
	opt, err := a.sessionOptions()
	if err != nil {
		return err
	}
	opt.Mount, opt.Notice, opt.Unattended = true, by.notice, !isTerminal(a.stdin)
	st, err := session.OpenStore(ctx, cfg, pass, opt)
	if err != nil {
		return err
	}
	err = serveStore(ctx, st, point, o, by, ready)
	return errors.Join(err, st.Close())
}

// mountGC is the percentage by which garbage may let the heap grow, unless $GOGC says another: a mount is there all day, and
// what it holds counts for more than what collecting costs.
const mountGC = 50

// sparePs is for how many more threads than there are processors Go code may run, unless $GOMAXPROCS says another number. A
// thread that waits for the kernel's next request keeps its right to run for a while (a P), and one that the kernel took the
// processor from keeps it, too: without spare ones each request begins with getting one back. See docs/speed.md.
const sparePs = 6

func serveStore(ctx context.Context, st *session.Store, point string, o *mountFlags, by *attendant, ready func() error) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(mountGC)
	}
	// Errors may hold names of files.
	failed := func(error) { by.say("something failed behind the mount; ensync status tells what") }
	svc, err := service.Open(ctx, st, service.Options{OnError: failed})
	if err != nil {
		return err
	}
	closing := context.WithoutCancel(ctx)
	opt := fusefs.Options{MountPoint: point, AllowOther: o.allowOther, ReadOnly: o.readOnly,
		MountOptions: o.options, FsName: st.Config.Dir, OnError: svc.Failed, Reenact: []string{eventsName}}
	if !st.InEveryGroup() { // else nothing is refused, and files open without a question
		opt.MayWrite = svc.Tree().MayWrite
	}
	server, err := fusefs.Mount(ctx, svc.Tree(), opt)
	if err != nil {
		return errors.Join(err, svc.Close(closing))
	}
	if err := ready(); err != nil {
		return errors.Join(err, server.Detach(closing), svc.Close(closing))
	}
	if os.Getenv("GOMAXPROCS") == "" { // not before the mount, which would have as many readers
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + sparePs)
	}
	by.say("mounted at %s", point)
	attended := make(chan struct{})
	run, stop := context.WithCancel(closing)
	go func() {
		defer close(attended)
		by.attend(run, st, svc)
	}()
	defer context.AfterFunc(ctx, func() { notify("STOPPING=1\nSTATUS=the last sync is under way") })()
	if err = svc.Run(ctx, server); err != nil {
		err = errors.Join(err, server.Detach(closing))
	}
	notify("STOPPING=1")
	stop()
	<-attended
	if svc.LastError() != nil {
		by.say("the last sync failed; what it did not reach is kept here, and synced after the next mount")
	}
	err = errors.Join(err, svc.Close(closing))
	by.say("unmounted")
	return err
}

func (a *app) unmountCommand() *cobra.Command {
	o := &unmountFlags{}
	cmd := &cobra.Command{
		Use:     "unmount [MOUNTPOINT]",
		Aliases: []string{"umount"},
		Short:   "Sync and unmount, by mount point or by configuration",
		Long: `Sync, unmount, and wait until all is given back. While something uses the tree, nothing
is unmounted, and what uses it is named.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return interrupted(cmd.Context(), a.unmount(cmd.Context(), append(args, "")[0], o))
		},
	}
	cmd.Flags().BoolVar(&o.noSync, "no-sync", false, "do not sync first; changes stay on this machine until the next mount")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "give up after this time, such as 30s (0: wait as long as it takes)")
	return cmd
}
