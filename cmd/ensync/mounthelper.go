package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// mount(8) mounts the types of file systems that it does not know itself by a program: mount.fuse.ensync CONFIG MOUNTPOINT
// [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]. This is that program if it is called by such a name.

// The exit codes that mount(8) gives on.
const (
	mountExitUsage  = 1
	mountExitFailed = 32
)

// mountHelperName is the name that mount(8) looks for, in /sbin.
const mountHelperName = "mount.fuse.ensync"

func isMountHelper(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == mountHelperName
}

// mountHelper does what mount(8) asks for, and returns the exit code that it expects.
func (a *app) mountHelper(ctx context.Context, args []string) int {
	ensureHome()
	cmd := a.mountHelperCommand()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	printError(a.stderr, err)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return mountExitUsage
	}
	return mountExitFailed
}

func (a *app) mountHelperCommand() *cobra.Command {
	o := &mountFlags{}
	var sloppy, fake, unused bool
	var options []string
	cmd := &cobra.Command{
		Use:   mountHelperName + " CONFIG MOUNTPOINT [-sfnv] [-o OPTIONS]",
		Short: "Mount for mount -t fuse.ensync, and for lines of fstab",
		Args:  between(2, 2), SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Getuid() == 0 { // mount(8) leaves out what is its default: suid and dev, unless the line in fstab is for users
				options = append([]string{"suid,dev"}, options...)
			}
			if err := o.take(strings.Join(options, ","), sloppy); err != nil || fake {
				return err
			}
			a.configFlag = args[0]
			return interrupted(cmd.Context(), a.mount(cmd.Context(), args[1], o))
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := cmd.Flags()
	f.StringArrayVarP(&options, "options", "o", nil, "as in mount(8)")
	f.BoolVarP(&sloppy, "sloppy", "s", false, "ignore options that nobody knows")
	f.BoolVarP(&fake, "fake", "f", false, "only look whether all could be understood")
	f.BoolVarP(&unused, "no-mtab", "n", false, "there is no mtab any more")
	f.BoolVarP(&unused, "verbose", "v", false, "there is nothing more to say")
	f.StringP("types", "t", "", "the type, which is known")
	return cmd
}

// take sets the flags that mount options ask for. sloppy ignores those that nobody knows.
func (o *mountFlags) take(options string, sloppy bool) error {
	for opt := range strings.SplitSeq(options, ",") {
		name, _, _ := strings.Cut(opt, "=")
		switch {
		case opt == "ro":
			o.readOnly = true
		case opt == "rw":
			o.readOnly = false
		case opt == "allow_other":
			o.allowOther = true
		case slices.Contains(kernelOptions, opt):
			o.options = append(o.options, opt)
		case opt == "remount":
			return usagef("remount: the options of a mount can't be changed while it is mounted; unmount it and mount it again")
		case slices.Contains(ignoredOptions, name), strings.HasPrefix(opt, "x-"), strings.HasPrefix(opt, "X-"), sloppy:
		default:
			return usagef("mount option %s is not known", opt)
		}
	}
	return nil
}

// kernelOptions are those that the kernel does something about.
var kernelOptions = []string{"suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "noatime", "nodiratime"}

// ignoredOptions are for mount(8) and for systemd, are how a mount is anyway, or are about times of access, which are
// never kept.
var ignoredOptions = []string{"", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "comment",
	"default_permissions", "atime", "diratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "silent", "loud"}

// ensureHome names the home directory if whoever started us did not, as systemd does not.
func ensureHome() {
	if os.Getenv("HOME") != "" {
		return
	}
	if u, err := user.LookupId(fmt.Sprint(os.Getuid())); err == nil {
		os.Setenv("HOME", u.HomeDir)
	}
}
