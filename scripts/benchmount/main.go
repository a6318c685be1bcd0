//go:build linux

// Command benchmount compares the mount with the file systems that people would use instead, in one run: the native one,
// go-fuse's loop-back (what FUSE costs without any encryption), gocryptfs, and rclone's crypt mount.
//
//	go run ./scripts/benchmount -ensync bin/ensync [-rounds 3] [-jobs big,tree,small] [-against native,loopback,gocryptfs,rclone] [-size MiB]
//	go run ./scripts/benchmount -ensync bin/ensync -jobs million
//
// In each round every system does each group of jobs, one after the other, so that all see the same weather; what is
// printed are medians, and their ratios to ensync. The others are built from Go modules on the first use, into the
// user's cache directory; what can't be had is left out, and said so.
//
// As root, everything lies on an ext4 of its own, on a loop device in memory: what is compared is the work, not the disk,
// and a cold cache is that file system mounted anew. Otherwise it lies in the directory for temporary files, and "cold"
// means only what the systems themselves forget when they are mounted anew.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

func main() {
	o := options{}
	flag.StringVar(&o.binary, "ensync", "bin/ensync", "the program to measure")
	flag.StringVar(&o.before, "before", "", "another build of it, to compare with")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each job is done")
	flag.IntVar(&o.size, "size", 1024, "MiB of the large file")
	flag.IntVar(&o.files, "files", 1_000_000, "files of the job million")
	against := flag.String("against", "native,loopback,gocryptfs,rclone", "what to compare with")
	groups := flag.String("jobs", "big,tree,small", "which groups of jobs, of big, tree, small, million")
	flag.StringVar(&o.dir, "dir", "", "where to work (default: a file system in memory for root, else a temporary directory)")
	flag.BoolVar(&o.sync, "sync", false, "let ensync sync in the background, as it does by default")
	flag.Parse()
	o.against, o.groups = strings.Split(*against, ","), strings.Split(*groups, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "benchmount:", err)
		os.Exit(1)
	}
}

type options struct {
	binary, before, dir string
	rounds, size, files int
	against, groups     []string
	sync                bool
}

func run(ctx context.Context, o options) (err error) {
	for _, name := range o.groups {
		if groups[name] == nil {
			return fmt.Errorf("-jobs %s: not known; choose from big, tree, small, million", name)
		}
	}
	d, err := newDisk(o.dir)
	if err != nil {
		return err
	}
	defer func() {
		if e := d.remove(); err == nil {
			err = e
		}
	}()
	systems, err := choose(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("%s/%s, %d CPUs, in %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), d)
	in, err := grow(ctx, o, slices.Contains(o.groups, "tree"))
	if err != nil {
		return err
	}
	defer in.remove()
	for _, name := range o.groups {
		r := newReport(systems)
		rounds := o.rounds
		if name == "million" {
			rounds = 1
		}
		for range rounds {
			for _, s := range systems {
				if name == "million" && s.rival {
					continue
				}
				b := &bench{disk: d, system: s, inputs: in, options: o, report: r}
				if err := b.run(ctx, groups[name]); err != nil {
					return fmt.Errorf("%s, on %s: %w", name, s.name, err)
				}
			}
		}
		r.print()
	}
	return nil
}
