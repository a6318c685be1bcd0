package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"ensync/engine/config"
	"ensync/keys"
)

// The descriptors that the process in the background is handed.
const (
	passphraseFD = 3 // the passphrase, to its end
	readyFD      = 4 // where it says that the tree can be used, or why not
)

// readiness is what the process in the background says once. Exit is the code to end with.
type readiness struct {
	Error string `json:"error,omitempty"`
	Exit  int    `json:"exit,omitempty"`

	Notices []string `json:"notices,omitempty"`
}

// failedAs is an error of the process in the background, with its exit code.
type failedAs struct{ readiness }

func (f failedAs) Error() string { return f.readiness.Error }

// background runs the mount in a process and a session of its own, and returns when the tree can be used. That process
// gets the passphrase through a pipe: arguments and environment can be read by others.
func (a *app) background(ctx context.Context, cfg *config.Config, pass []byte, point string, o *mountFlags) error {
	passIn, passOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer passOut.Close()
	readyIn, readyOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, passIn.Close())
	}
	defer readyIn.Close()
	cmd, err := backgroundCommand(cfg, point, o)
	if err == nil {
		defer cmd.Stderr.(*os.File).Close()
		cmd.ExtraFiles = []*os.File{passIn, readyOut} // 3 and 4
		err = cmd.Start()
	}
	passIn.Close()
	readyOut.Close()
	if err != nil {
		return fmt.Errorf("start the mount in the background: %w", err)
	}
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		passOut.Write(pass) // a process that died answers below
		passOut.Close()
	}()
	notices, err := awaitReady(ctx, cmd, readyIn)
	<-handed
	if err != nil {
		return err
	}
	for _, text := range notices {
		fmt.Fprintln(a.stderr, "note:", text)
	}
	return cmd.Process.Release()
}

func backgroundCommand(cfg *config.Config, point string, o *mountFlags) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"ensync", "mount", "--config", cfg.Dir, "--foreground", "--handed"}
	if o.allowOther {
		args = append(args, "--allow-other")
	}
	if o.readOnly {
		args = append(args, "--read-only")
	}
	if len(o.options) > 0 {
		args = append(args, "--options", strings.Join(o.options, ","))
	}
	log, err := openLog(cfg)
	if err != nil {
		return nil, err
	}
	keepFilesBack()
	return &exec.Cmd{Path: self, Args: append(args, "--", point), Dir: "/", Stderr: log,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}}, nil
}

// keepFilesBack keeps what whoever started us had open, a lock perhaps, from being open for as long as the mount lives.
func keepFilesBack() {
	list, _ := os.ReadDir("/dev/fd")
	for _, entry := range list {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// awaitReady waits for what the process says, or for its end. When ctx ends, the process is told to end.
func awaitReady(ctx context.Context, cmd *exec.Cmd, from *os.File) (notices []string, err error) {
	type result struct {
		said readiness
		err  error
	}
	answer := make(chan result, 1)
	go func() {
		var r result
		r.err = json.NewDecoder(io.LimitReader(from, 1<<20)).Decode(&r.said)
		answer <- r
	}()
	select {
	case <-ctx.Done():
		cmd.Process.Signal(syscall.SIGTERM)
		return nil, context.Cause(ctx)
	case r := <-answer:
		switch {
		case r.err != nil:
			return nil, fmt.Errorf("the mount in the background ended before it was ready: %v; look into %s, or try --foreground",
				cmd.Wait(), cmd.Stderr.(*os.File).Name())
		case r.said.Exit != 0:
			cmd.Wait()
			return nil, failedAs{r.said}
		}
		return r.said.Notices, nil
	}
}

// mountHanded is the process in the background.
func (a *app) mountHanded(ctx context.Context, point string, o *mountFlags) error {
	syscall.CloseOnExec(passphraseFD)
	syscall.CloseOnExec(readyFD)
	in, out := os.NewFile(passphraseFD, "passphrase"), os.NewFile(readyFD, "ready")
	if in == nil || out == nil {
		return usagef("--handed: is for ensync itself")
	}
	said := false
	say := func(r readiness) error {
		said = true
		return errors.Join(json.NewEncoder(out).Encode(r), out.Close())
	}
	err := func() error {
		pass, err := io.ReadAll(io.LimitReader(in, keys.MaxPassphrase+1))
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
		defer clear(pass)
		cfg, err := a.load(a.configFlag)
		if err != nil {
			return err
		}
		by := &attendant{out: a.stderr, stamp: true}
		return a.serve(ctx, cfg, pass, point, o, by, func() error { return say(readiness{Notices: by.started()}) })
	}()
	if err != nil && !said {
		say(readiness{Error: err.Error(), Exit: exitCode(err)})
		return nil // it is said where the mount was started
	}
	return interrupted(ctx, err)
}

// notify tells the service manager that started us how we are, if there is one (sd_notify(3)).
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	_, err = c.Write([]byte(state))
	return errors.Join(err, c.Close())
}
