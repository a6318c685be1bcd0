package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ensync/scripts/internal/forest"
	"ensync/scripts/internal/machine"
)

// bench is the measurement of one tree.
type bench struct {
	spec   forest.Spec
	binary string
	base   string
}

func (b *bench) path(name string) string { return filepath.Join(b.base, name) }

func (b *bench) run(ctx context.Context) error {
	if err := os.MkdirAll(b.base, 0o700); err != nil {
		return err
	}
	size, err := b.spec.Grow(b.path("source"))
	if err != nil {
		return err
	}
	fmt.Printf("\n%s: %d files, %.1f MiB\n", b.spec.Name, b.spec.Files, float64(size)/(1<<20))
	copying, err := b.copy(ctx)
	if err != nil {
		return err
	}
	if err := b.sync(ctx, copying); err != nil {
		return err
	}
	return b.mount(ctx)
}

// copy measures the reference.
func (b *bench) copy(ctx context.Context) (time.Duration, error) {
	use, err := command(ctx, "", "cp", "-a", b.path("source"), b.path("tree"))
	if err != nil {
		return 0, err
	}
	row("cp -a", use, 0)
	settle()
	begin := time.Now()
	if _, err := command(ctx, "", "cp", "-a", b.path("source"), b.path("again")); err != nil {
		return 0, err
	}
	settle()
	row("cp -a, then sync", machine.Usage{Wall: time.Since(begin)}, use.Wall)
	return use.Wall, os.RemoveAll(b.path("again"))
}

// sync measures two machines with ordinary directories.
func (b *bench) sync(ctx context.Context, copying time.Duration) error {
	a, err := machine.New(b.binary, b.base, "a", b.path("store"), b.path("tree"))
	if err != nil {
		return err
	}
	other, err := machine.New(b.binary, b.base, "b", b.path("store"), "")
	if err != nil {
		return err
	}
	for _, job := range []struct {
		name string
		on   *machine.Machine
	}{{"first sync", a}, {"sync, nothing to do", a}, {"second machine", other}, {"there, nothing to do", other}} {
		if job.on.Fresh() {
			if err := job.on.Setup(ctx); err != nil {
				return err
			}
		}
		settle()
		use, err := job.on.Sync(ctx)
		if err != nil {
			return err
		}
		row(job.name, use, copying)
	}
	if _, err := command(ctx, "", "diff", "-r", "--no-dereference", b.path("source"), other.Local); err != nil {
		return fmt.Errorf("the second machine's tree is another one: %w", err)
	}
	return nil
}

// mount measures unpacking on a mount against unpacking on the file system it lies on.
func (b *bench) mount(ctx context.Context) error {
	archive := b.path("source.tar")
	if _, err := command(ctx, b.base, "tar", "-cf", archive, "source"); err != nil {
		return err
	}
	native := b.path("native")
	if err := os.Mkdir(native, 0o700); err != nil {
		return err
	}
	settle()
	untar, err := command(ctx, native, "tar", "-xf", archive)
	if err != nil {
		return err
	}
	m, err := machine.New(b.binary, b.base, "m", b.path("store-m"), "")
	if err != nil {
		return err
	}
	if err := m.Setup(ctx); err != nil {
		return err
	}
	live, err := m.Mount(ctx)
	if errors.Is(err, machine.ErrCannotMount) {
		fmt.Println("  not measured on the mount:", err)
		return nil
	}
	if err != nil {
		return err
	}
	row("tar x, native", untar, 0)
	settle()
	use, err := command(ctx, m.Local, "tar", "-xf", archive)
	if err != nil {
		return errors.Join(err, live.Kill())
	}
	use.Memory = 0 // that of tar
	row("tar x on the mount", use, untar.Wall)
	read := machine.Usage{}
	if read, err = command(ctx, "", "diff", "-r", b.path("source"), filepath.Join(m.Local, "source")); err != nil {
		return errors.Join(fmt.Errorf("what was unpacked differs: %w", err), live.Kill())
	}
	read.Memory = 0
	row("diff -r with the mount", read, untar.Wall)
	begin := time.Now()
	whole, err := live.Unmount(ctx)
	if err != nil {
		return err
	}
	row("unmount, with its sync", machine.Usage{Wall: time.Since(begin)}, untar.Wall)
	row("the mount in all", whole, untar.Wall)
	return nil
}

// command runs a program of the system.
func command(ctx context.Context, dir, name string, args ...string) (machine.Usage, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&said}, &limited{&said}
	begin := time.Now()
	err := cmd.Run()
	use := machine.UsageOf(cmd.ProcessState, time.Since(begin))
	use.Memory = 0
	if err != nil {
		return use, fmt.Errorf("%s: %w\n%s", cmd, err, said.String())
	}
	return use, nil
}

// limited keeps the first few KiB: this process has to stay small (see machine.UsageOf).
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := 4096 - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// settle writes out what earlier jobs left, so that no job pays for another.
func settle() { syscall.Sync() }
