//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// bench is one system doing one group of jobs in one round.
type bench struct {
	disk    *disk
	system  *fileSystem
	inputs  *inputs
	options options
	report  *report
	live    *live
}

// groups are the jobs that are done one after the other on the same mount.
var groups = map[string]func(*bench, context.Context) error{
	"big": (*bench).big, "tree": (*bench).tree, "small": (*bench).small, "million": (*bench).million,
}

func (b *bench) run(ctx context.Context, group func(*bench, context.Context) error) (err error) {
	if err := b.disk.empty(); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	defer func() {
		if b.live != nil {
			err = errors.Join(err, b.live.stop(context.Background()))
		}
	}()
	return group(b, ctx)
}

func (b *bench) start(ctx context.Context) (err error) {
	b.live, err = b.system.start(ctx, b.disk.dir)
	return err
}

// again mounts everything anew, so that nothing is in any cache.
func (b *bench) again(ctx context.Context) error {
	err := b.live.stop(ctx)
	b.live = nil
	if err == nil {
		err = b.disk.chill()
	}
	if err != nil {
		return err
	}
	return b.start(ctx)
}

func (b *bench) path(name string) string { return filepath.Join(b.live.root, name) }

// time measures a job; count is what one of them is divided by, 0 for what is told in seconds.
func (b *bench) time(ctx context.Context, job string, u unit, amount float64, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	runtime.GC()
	begin := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", job, err)
	}
	b.report.add(b.system, job, u, amount/time.Since(begin).Seconds())
	return nil
}

// seconds measures a job that is told in seconds.
func (b *bench) seconds(ctx context.Context, job string, do func() error) error {
	begin := time.Now()
	if err := do(); err != nil || ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	b.report.add(b.system, job, inSeconds, time.Since(begin).Seconds())
	return nil
}

// command measures a program of the system.
func (b *bench) command(ctx context.Context, job, name string, args ...string) error {
	return b.seconds(ctx, job, func() error {
		cmd := exec.CommandContext(ctx, name, args...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w: %s", cmd, err, strings.TrimSpace(said.String()))
		}
		return nil
	})
}

// memory notes what the process behind the mount holds at the moment, and held at most.
func (b *bench) memory(when string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.live.pid))
	if b.live.pid == 0 || err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			b.report.add(b.system, "memory, "+when, inMiB, kib/1024)
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			b.report.add(b.system, "memory at most, "+when, inMiB, kib/1024)
		}
	}
}
