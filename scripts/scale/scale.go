package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ensync/scripts/internal/machine"
)

// maxMemory is what a sync may have resident, whatever the number of files.
const maxMemory = 400 << 20

// scale is the measurement of one tree.
type scale struct {
	binary string
	base   string
	files  int
	perDir int
	faults []error
}

func (s *scale) path(name string) string { return filepath.Join(s.base, name) }

func (s *scale) run(ctx context.Context) error {
	tree := s.path("tree")
	if err := grow(tree, s.files, s.perDir); err != nil {
		return err
	}
	dirs := (s.files + s.perDir - 1) / s.perDir
	fmt.Printf("\n%d files in %d directories\n%-26s %9s %9s %9s %9s %10s %16s\n", s.files, dirs, "", "wall s", "CPU s", "x walk", "memory",
		"read", "store")
	a, err := machine.New(s.binary, s.base, "a", s.path("store"), tree)
	if err != nil {
		return err
	}
	b, err := machine.New(s.binary, s.base, "b", s.path("store"), "")
	if err != nil {
		return err
	}
	for _, m := range []*machine.Machine{a, b} {
		if err := m.Setup(ctx); err != nil {
			return err
		}
	}
	syscall.Sync()
	walked, err := s.walk(ctx, "bare walk", tree)
	if err != nil {
		return err
	}
	if err := s.story(ctx, a, b, walked); err != nil {
		return err
	}
	if err := s.cold(ctx, a); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "diff", "-r", "--no-dereference", a.Local, b.Local).CombinedOutput(); err != nil {
		s.faults = append(s.faults, fmt.Errorf("the trees differ: %w\n%.1000s", err, out))
	}
	return errors.Join(s.faults...)
}

// story is what happens to a tree, step by step.
func (s *scale) story(ctx context.Context, a, b *machine.Machine, walked time.Duration) error {
	total := int64(s.files) * 550
	for _, step := range []struct {
		name   string
		on     *machine.Machine
		before func() error
		reads  int64 // bytes that may be read; 0: any number
	}{
		{"first sync", a, nil, 0},
		{"nothing to do", a, nil, 0},
		{"second machine", b, nil, 0},
		{"there, nothing to do", b, nil, 0},
		{"100 files edited", a, func() error { return edit(a.Local, s.files, s.perDir, 100) }, 0},
		{"they arrive", b, nil, 0},
		{"the tree renamed", a, func() error { return s.rename(a.Local) }, 0},
		{"the renaming arrives", b, nil, 0},
		{"there, nothing to do", b, nil, 0},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				return err
			}
		}
		syscall.Sync()
		before := s.store()
		use, read, err := s.sync(ctx, step.on)
		if err != nil {
			return err
		}
		now := s.store()
		s.row(step.name, use, walked, read, fmt.Sprintf("%+d, %+.1f MiB", now.objects-before.objects, float64(now.bytes-before.bytes)/(1<<20)))
		if use.Memory > maxMemory {
			s.faults = append(s.faults, fmt.Errorf("%s: %d MiB of memory, more than %d", step.name, use.Memory>>20, maxMemory>>20))
		}
		if strings.Contains(step.name, "renam") && s.files >= 100_000 && now.bytes-before.bytes > total/4 {
			s.faults = append(s.faults, fmt.Errorf("%s: %d bytes were stored", step.name, now.bytes-before.bytes))
		}
	}
	return nil
}

// rename moves everything in the tree below a new directory.
func (s *scale) rename(root string) error {
	list, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(root, "moved"), 0o755); err != nil {
		return err
	}
	for _, e := range list {
		if err := os.Rename(filepath.Join(root, e.Name()), filepath.Join(root, "moved", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// cold measures looking when nothing is in the page cache, where that can be arranged.
func (s *scale) cold(ctx context.Context, a *machine.Machine) error {
	const drop = "/proc/sys/vm/drop_caches"
	forget := func() bool {
		syscall.Sync()
		return os.WriteFile(drop, []byte("3"), 0o200) == nil
	}
	if !forget() {
		fmt.Println("not measured with cold caches: only root can drop them")
		return nil
	}
	walked, err := s.walk(ctx, "bare walk, cold", a.Local)
	if err != nil {
		return err
	}
	forget()
	use, read, err := s.sync(ctx, a)
	if err != nil {
		return err
	}
	s.row("nothing to do, cold", use, walked, read, "")
	return nil
}

func (s *scale) walk(ctx context.Context, name, tree string) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	use, _, err := measure(exec.CommandContext(ctx, self, "-walk", tree))
	s.row(name, use, use.Wall, 0, "")
	return use.Wall, err
}

func (s *scale) sync(ctx context.Context, m *machine.Machine) (machine.Usage, int64, error) {
	return measure(m.Command(ctx, "sync", "-q", m.Config))
}

// measure runs a command and returns what it took, and how many bytes it read by calls.
func measure(cmd *exec.Cmd) (machine.Usage, int64, error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return machine.Usage{}, 0, err
	}
	read := readAtEnd(cmd.Process.Pid)
	err := cmd.Wait()
	use := machine.UsageOf(cmd.ProcessState, time.Since(begin))
	if err != nil {
		err = fmt.Errorf("%s: %w\n%.2000s", cmd, err, said.String())
	}
	return use, read, err
}

func (s *scale) row(name string, use machine.Usage, walked time.Duration, read int64, store string) {
	fmt.Printf("%-26s %9.2f %9.2f %9.2f %5d MiB %6.1f MiB %16s\n", name, use.Wall.Seconds(), use.CPU.Seconds(),
		use.Wall.Seconds()/walked.Seconds(), use.Memory>>20, float64(read)/(1<<20), store)
}

// held is what lies in a store.
type held struct{ objects, bytes int64 }

func (s *scale) store() (h held) {
	filepath.WalkDir(s.path("store"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			h.objects++
			h.bytes += info.Size()
		}
		return nil
	})
	return h
}
