//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system in an image that can be cut off.
type disk struct{ kind, image, at string }

const diskSize = 3 << 30

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
	}
	return nil
}

func (d disk) make() error {
	f, err := os.Create(d.image)
	if err != nil {
		return err
	}
	if err := f.Truncate(diskSize); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Mkdir(d.at, 0o700); err != nil {
		return err
	}
	if err := run("mkfs."+d.kind, "-q", d.image); err != nil {
		return err
	}
	return d.mount()
}

func (d disk) mount() error { return run("mount", "-o", "loop", d.image, d.at) }

// unmount also ends a disk that was cut. Who was just killed may still hold it for a moment.
func (d disk) unmount() (err error) {
	for range 100 {
		if err = run("umount", d.at); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// cut makes every further write to the disk fail, and drops what was not written yet, the file system's log included.
func (d disk) cut() error {
	const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
	f, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush); err != nil {
		return fmt.Errorf("cut %s: %w", d.at, err)
	}
	return nil
}

// equal compares two trees: names, kinds, targets and content.
func equal(a, b string) error {
	here, err := listing(a)
	if err != nil {
		return err
	}
	there, err := listing(b)
	if err != nil {
		return err
	}
	for path, x := range here {
		if y, ok := there[path]; !ok || x != y {
			return fmt.Errorf("%s: %s in the mount, %s on the other machine", path, x, y)
		}
	}
	for path := range there {
		if _, ok := here[path]; !ok {
			return fmt.Errorf("%s: only on the other machine", path)
		}
	}
	if len(here) < 10 {
		return fmt.Errorf("only %d files in the tree", len(here))
	}
	return nil
}

func listing(root string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		text := e.Type().String()
		switch {
		case e.Type() == fs.ModeSymlink:
			var target string
			target, err = os.Readlink(p)
			text += target
		case e.Type().IsRegular():
			var b []byte
			b, err = readAll(p)
			text = fmt.Sprintf("%d bytes, %x", len(b), sumOf(bytes.NewReader(b)))
		}
		all[p[len(root):]] = text
		return err
	})
	return all, err
}

// dirSync is fsync of a directory.
func dirSync(path string) error {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Fsync(fd)
}
