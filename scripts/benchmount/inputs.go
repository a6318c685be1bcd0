//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// inputs is what is unpacked and cloned, on the ordinary file system.
type inputs struct {
	dir        string
	tar        string
	repository string
}

// grow makes the inputs of the job tree.
func grow(ctx context.Context, o options, tree bool) (*inputs, error) {
	dir, err := os.MkdirTemp(o.dir, "ensync-bench-inputs-")
	if err != nil {
		return nil, err
	}
	in := &inputs{dir: dir, tar: filepath.Join(dir, "src.tar"), repository: filepath.Join(dir, "repository")}
	if !tree {
		return in, nil
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err == nil {
		goroot := strings.TrimSpace(string(root))
		err = errors.Join(system("tar", "-C", goroot, "-cf", in.tar, "src"),
			in.makeRepository(filepath.Join(goroot, "src")))
	}
	if err != nil {
		return nil, errors.Join(err, in.remove())
	}
	return in, nil
}

// makeRepository commits a part of the source of Go.
func (in *inputs) makeRepository(src string) error {
	git := func(args ...string) error {
		return system("git", append([]string{"-C", in.repository, "-c", "user.name=bench", "-c", "user.email=bench@localhost"}, args...)...)
	}
	if err := os.Mkdir(in.repository, 0o755); err != nil {
		return err
	}
	for _, part := range []string{"net", "crypto"} {
		if err := system("cp", "-r", filepath.Join(src, part), in.repository); err != nil {
			return err
		}
	}
	for _, step := range [][]string{{"init", "-q"}, {"add", "-A", "-f"}, {"commit", "-q", "-m", "all"}, {"repack", "-q", "-a", "-d"}} {
		if err := git(step...); err != nil {
			return err
		}
	}
	return nil
}

// touchMemory lets a host that gives memory on demand give it now: the first touch of a page is slow there.
func touchMemory() {
	const amount = 2600 * mib
	b, err := unix.Mmap(-1, 0, amount, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return // it only makes the first numbers worse
	}
	for i := 0; i < len(b); i += page {
		b[i] = 1
	}
	unix.Munmap(b)
}

func (in *inputs) remove() error { return os.RemoveAll(in.dir) }
