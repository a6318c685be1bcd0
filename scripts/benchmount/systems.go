//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"ensync/scripts/internal/machine"
)

// fileSystem is one of those that are compared.
type fileSystem struct {
	name  string
	rival bool
	// start mounts what is kept in dir, which is empty the first time.
	start func(ctx context.Context, dir string) (*live, error)
}

// live is a mounted file system.
type live struct {
	root string
	pid  int // of the process behind it; 0: none
	stop func(context.Context) error
}

// choose makes the systems ready that the options name.
func choose(ctx context.Context, o options) ([]*fileSystem, error) {
	all := []*fileSystem{ensync("ensync", o.binary, o.sync)}
	if o.before != "" {
		all = append(all, ensync("before", o.before, o.sync))
	}
	for _, name := range o.against {
		if name == "" {
			continue
		}
		if name == "native" {
			all = append(all, native())
			continue
		}
		i := slices.IndexFunc(rivals, func(r rival) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-against %s: not known; choose from native, loopback, gocryptfs, rclone", name)
		}
		program, err := rivals[i].build(ctx)
		if err != nil {
			fmt.Printf("without %s, which could not be built: %v\n", name, err)
			continue
		}
		all = append(all, rivals[i].system(program))
	}
	return all, nil
}

func native() *fileSystem {
	return &fileSystem{name: "native", rival: true, start: func(ctx context.Context, dir string) (*live, error) {
		root := filepath.Join(dir, "tree")
		return &live{root: root, stop: func(context.Context) error { return nil }}, os.MkdirAll(root, 0o700)
	}}
}

func ensync(name, binary string, background bool) *fileSystem {
	return &fileSystem{name: name, start: func(ctx context.Context, dir string) (*live, error) {
		m, err := machine.New(binary, dir, "m", filepath.Join(dir, "store"), "")
		if err != nil {
			return nil, err
		}
		if m.Fresh() {
			err = m.Setup(ctx)
			if err == nil && !background {
				err = m.Manual()
			}
		}
		if err != nil {
			return nil, err
		}
		mounted, err := m.Mount(ctx)
		if err != nil {
			return nil, err
		}
		return &live{root: m.Local, pid: mounted.Pid(), stop: func(ctx context.Context) error {
			_, err := mounted.Unmount(ctx, "--no-sync")
			return err
		}}, nil
	}}
}

// system is the file system that a rival's program serves.
func (r rival) system(program string) *fileSystem {
	return &fileSystem{name: r.name, rival: true, start: func(ctx context.Context, dir string) (*live, error) {
		root := filepath.Join(dir, "tree")
		if err := os.MkdirAll(root, 0o700); err != nil {
			return nil, err
		}
		cmd, err := r.command(ctx, program, dir, root)
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		stop := func(ctx context.Context) error { return r.stop(ctx, program, dir, root, cmd, done) }
		for begin := time.Now(); !mounted(root); time.Sleep(10 * time.Millisecond) {
			select {
			case err := <-done:
				return nil, fmt.Errorf("%s ended: %w", program, err)
			default:
			}
			if time.Since(begin) > time.Minute || ctx.Err() != nil {
				return nil, errors.Join(fmt.Errorf("%s: not mounted after a minute", program), ctx.Err(), stop(context.Background()))
			}
		}
		return &live{root: root, pid: cmd.Process.Pid, stop: stop}, nil
	}}
}

// stop waits until everything is settled, unmounts, and ends the program behind it in any case.
func (r rival) stop(ctx context.Context, program, dir, root string, cmd *exec.Cmd, done <-chan error) error {
	for r.settled != nil {
		ok, err := r.settled(ctx, program, dir)
		if err != nil || ok {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	unmount := func() error { return exec.CommandContext(ctx, "fusermount3", "-u", root).Run() }
	err := unmount()
	for try := 0; err != nil && try < 50; try++ { // a moment ago somebody had it open
		time.Sleep(100 * time.Millisecond)
		err = unmount()
	}
	if err != nil {
		err = errors.Join(err, exec.Command("fusermount3", "-u", "-z", root).Run(), cmd.Process.Kill())
	}
	<-done
	return err
}

// mounted reports whether another file system begins at path.
func mounted(path string) bool {
	var here, above syscall.Stat_t
	return syscall.Stat(path, &here) == nil && syscall.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}
