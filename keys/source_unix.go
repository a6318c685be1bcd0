//go:build unix

package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// readSecretFile reads a passphrase from a file, a device or a named pipe.
func readSecretFile(ctx context.Context, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, bare(err)
	}
	flags := os.O_RDONLY
	if info.Mode()&fs.ModeNamedPipe != 0 {
		flags |= syscall.O_NONBLOCK // opening a pipe that nobody writes to would wait for good, deaf to ctx
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, bare(err)
	}
	return readClosing(ctx, f)
}

// readDescriptor reads a passphrase from a descriptor that whoever started us opened, once. No child of ours gets it.
func readDescriptor(ctx context.Context, number string) ([]byte, error) {
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, ErrBadSource
	}
	unix.CloseOnExec(n)
	copied, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, errors.New("nobody opened it for us; in a shell: ensync ... " + number + "<PATH")
	}
	var st unix.Stat_t
	if err := unix.Fstat(copied, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
		unix.SetNonblock(copied, true) // else a pipe that nobody writes to keeps us waiting, deaf to ctx
	}
	return readClosing(ctx, os.NewFile(uintptr(copied), "fd:"+number))
}

// readClosing reads a passphrase to the end of f, which it closes, at the end of ctx too.
func readClosing(ctx context.Context, f *os.File) ([]byte, error) {
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	pass, err := readAll(f)
	if ctx.Err() != nil {
		clear(pass)
		return nil, ctx.Err()
	}
	return pass, bare(err)
}

// bare leaves out the path, which the message names already.
func bare(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// runSecretCommand runs a command and returns what it writes to its stdout, until every process that holds it has let
// go, as $(command) does. stdin is empty, stderr ours. At the end of ctx the command is killed with its process group.
func runSecretCommand(ctx context.Context, command, dir string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, in, os.Stderr
	// In a group of its own a password manager that asks on /dev/tty would be stopped for it. In ours, ^C reaches the
	// command's children without us; who ends us otherwise leaves them to end on their closed pipe.
	if !inForeground() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		// RACE: the group may be gone and its number be in use again if ctx ends in the instant in which Wait
		// returns; at worst a process group that is younger than that, and ours to signal, is killed.
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	}
	err = cmd.Start()
	in.Close()
	if err != nil {
		return nil, fmt.Errorf("run /bin/sh in %s: %w", dir, bare(err))
	}
	stop := context.AfterFunc(ctx, func() { out.Close() })
	defer stop()
	pass, readErr := readAll(out)
	if len(pass) > MaxPassphrase {
		cancel()
	}
	err = cmd.Wait()
	switch {
	case len(pass) > MaxPassphrase:
		err = ErrTooLong
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil:
		err = fmt.Errorf("the command failed: %w", err)
	default:
		err = readErr
	}
	if err != nil {
		clear(pass)
		return nil, err
	}
	return pass, nil
}

// inForeground reports whether we are a job in the foreground of a terminal.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	front, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && front == unix.Getpgrp()
}
