// Command bench measures what users wait for, on fixed trees, and prints it as ratios to cp -a (or to the native file
// system) in the same run.
//
//	go run ./scripts/bench -ensync bin/ensync [-trees source,media,tiny,large] [-dir DIR]
//
// Ratios are what to compare between machines and versions; seconds are there to see what the ratio is of. Files are in
// the page cache, as they are after someone has just made them. Where mounting is not possible, that part is left out,
// and said so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"ensync/scripts/internal/forest"
	"ensync/scripts/internal/machine"
)

var trees = []forest.Spec{forest.Source, forest.Media, forest.Tiny, forest.Large}

func main() {
	binary := flag.String("ensync", "bin/ensync", "the program to measure")
	which := flag.String("trees", "source,media,tiny", "which trees, of source, media, tiny, large (1 GiB in one file)")
	dir := flag.String("dir", "", "where to work (default: a temporary directory)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *dir, strings.Split(*which, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, dir string, which []string) error {
	for _, name := range which {
		if !slices.ContainsFunc(trees, func(s forest.Spec) bool { return s.Name == name }) {
			return fmt.Errorf("tree %q: not known; choose from source, media, tiny, large", name)
		}
	}
	base, err := os.MkdirTemp(dir, "ensync-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	fmt.Printf("%s/%s, %d CPUs, in %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), base)
	for _, s := range trees {
		if !slices.Contains(which, s.Name) {
			continue
		}
		b := &bench{spec: s, binary: binary, base: filepath.Join(base, s.Name)}
		if err := b.run(ctx); err != nil {
			return fmt.Errorf("tree %s: %w", s.Name, err)
		}
		if err := os.RemoveAll(b.base); err != nil {
			return err
		}
	}
	return nil
}

// row prints one measurement against a reference; a reference of 0 is the row itself.
func row(job string, use machine.Usage, reference time.Duration) {
	if reference == 0 {
		reference = use.Wall
	}
	memory := "-"
	if use.Memory > 0 {
		memory = fmt.Sprintf("%d MiB", use.Memory>>20)
	}
	fmt.Printf("  %-28s %9.3f s %8.2f x %6.1f CPUs %9s\n", job, use.Wall.Seconds(),
		use.Wall.Seconds()/reference.Seconds(), use.CPU.Seconds()/use.Wall.Seconds(), memory)
}
