//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// big is one large file.
func (b *bench) big(ctx context.Context) error {
	size := float64(b.options.size)
	steps := []func() error{
		func() error { touchMemory(); return nil },
		func() error {
			return b.time(ctx, "write, then fsync", inMiBps, size, func() error { return writeFile(b.path("big"), b.options.size) })
		},
		func() error {
			return b.time(ctx, "read again", inMiBps, size, func() error { return readFile(b.path("big"), b.options.size*mib) })
		},
		func() error { return b.again(ctx) },
		func() error { touchMemory(); return nil },
		func() error {
			return b.time(ctx, "read, cold", inMiBps, size, func() error { return readFile(b.path("big"), b.options.size*mib) })
		},
		func() error {
			return b.time(ctx, "read, warm", inMiBps, size, func() error { return readFile(b.path("big"), b.options.size*mib) })
		},
		func() error { b.memory("a large file"); return nil },
	}
	return inOrder(steps)
}

func inOrder(steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// chunk is what is written and read at a time; random, so that nobody gains by compressing.
var chunk = func() []byte {
	b := make([]byte, mib)
	rand.Read(b)
	return b
}()

func writeFile(path string, size int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for i := 0; i < size && err == nil; i++ {
		_, err = f.Write(chunk)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func readFile(path string, size int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, mib)
	n, err := io.CopyBuffer(discard{}, f, buf)
	if err == nil && n != int64(size) {
		err = fmt.Errorf("%s: %d bytes, want %d", path, n, size)
	}
	return err
}

// discard has no ReadFrom of its own, which would choose the size of the reads.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// tree is the source of Go, and a clone of a repository.
func (b *bench) tree(ctx context.Context) error {
	src, clone := b.path("src"), b.path("clone")
	steps := []func() error{
		func() error { return b.command(ctx, "untar", "tar", "-C", b.live.root, "-xf", b.inputs.tar) },
		func() error { return b.again(ctx) },
		func() error { return b.command(ctx, "du, cold", "du", "-s", src) },
		func() error { return b.command(ctx, "du, warm", "du", "-s", src) },
		func() error {
			return b.seconds(ctx, "read the tree, cold", func() error { return readTree(src) })
		},
		func() error {
			return b.seconds(ctx, "read the tree, warm", func() error { return readTree(src) })
		},
		func() error { return b.command(ctx, "git clone", "git", "clone", "-q", b.inputs.repository, clone) },
		func() error { return b.command(ctx, "git status", "git", "-C", clone, "status", "--porcelain") },
		func() error { return b.command(ctx, "rm -rf", "rm", "-rf", src) },
		func() error { b.memory("a source tree"); return nil },
	}
	return inOrder(steps)
}

func readTree(root string) error {
	buf := make([]byte, 128<<10)
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for {
			n, err := unix.Read(fd, buf)
			if n <= 0 || err != nil {
				return err
			}
		}
	})
}

// How much the jobs on small pieces do.
const (
	creations   = 1000
	overwrites  = 1000
	randomReads = 10_000
	randomSize  = 256 // MiB
	page        = 4096
)

// small is what is small and often synced.
func (b *bench) small(ctx context.Context) error {
	dir, file := b.path("small"), b.path("random")
	steps := []func() error{
		func() error { return os.Mkdir(dir, 0o755) },
		func() error {
			return b.time(ctx, "create, 4 KiB, fsync", perSecond, creations, func() error { return createSynced(dir) })
		},
		func() error { return writeFile(file, randomSize) },
		func() error {
			return b.time(ctx, "4 KiB at random, fsync", perSecond, overwrites, func() error { return overwrite(file, true) })
		},
		func() error {
			return b.time(ctx, "4 KiB at random, fsync last", perSecond, overwrites, func() error { return overwrite(file, false) })
		},
		func() error { return b.again(ctx) },
		func() error {
			return b.time(ctx, "read 4 KiB at random", perSecond, randomReads, func() error { return readRandom(b.path("random")) })
		},
	}
	return inOrder(steps)
}

func createSynced(dir string) error {
	for i := range creations {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if _, err = f.Write(chunk[:page]); err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// places gives the same random pages of the file in every run.
func places() func() int64 {
	rng := mathrand.New(mathrand.NewPCG(1, 2))
	return func() int64 { return rng.Int64N(randomSize*mib/page) * page }
}

func overwrite(path string, each bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	next := places()
	for range overwrites {
		if _, err = f.WriteAt(chunk[page:2*page], next()); err == nil && each {
			err = f.Sync()
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func readRandom(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return err
	}
	next := places()
	buf := make([]byte, page)
	for range randomReads {
		if _, err := f.ReadAt(buf, next()); err != nil {
			return err
		}
	}
	return nil
}

// million is a tree of very many files, a thousand to a directory.
func (b *bench) million(ctx context.Context) error {
	top := b.path("many")
	steps := []func() error{
		func() error {
			return b.time(ctx, "create empty files", perSecond, float64(b.options.files), func() error { return createMany(ctx, top, b.options.files) })
		},
		func() error { b.memory("after creating"); return nil },
		func() error { return b.seconds(ctx, "mount again, cold", func() error { return b.again(ctx) }) },
		func() error { b.memory("mounted"); return nil },
		func() error { return b.command(ctx, "du, cold", "du", "-s", top) },
		func() error { b.memory("after du"); return nil },
		func() error { return b.command(ctx, "du, warm", "du", "-s", top) },
		func() error { b.memory("after du, warm"); return nil },
	}
	return inOrder(steps)
}

func createMany(ctx context.Context, top string, files int) error {
	const perDir = 1000
	for i := range files {
		dir := filepath.Join(top, fmt.Sprintf("%04d", i/perDir))
		if i%perDir == 0 {
			if err := errors.Join(ctx.Err(), os.MkdirAll(dir, 0o755)); err != nil {
				return err
			}
		}
		fd, err := unix.Open(filepath.Join(dir, fmt.Sprintf("file-%07d.txt", i)), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	return nil
}
