//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is where all systems keep what they keep.
type disk struct {
	dir   string // of the file system
	image string // its file; "": an ordinary directory
	temp  string
}

// diskSize is the size of the file system in memory; inodes are for the native tree of the job million too.
const diskSize = 5 << 30

// newDisk makes a file system in memory if it may, else a directory.
func newDisk(dir string) (*disk, error) {
	const memory = "/dev/shm"
	if dir == "" && os.Geteuid() == 0 {
		if err := roomInMemory(memory); err != nil {
			fmt.Println("no file system in memory:", err)
		} else {
			return newImage(memory)
		}
	}
	temp, err := os.MkdirTemp(dir, "ensync-bench-")
	return &disk{dir: filepath.Join(temp, "disk"), temp: temp}, err
}

func roomInMemory(dir string) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	if free := uint64(info.Freeram) * uint64(info.Unit); free < diskSize+(4<<30) {
		return fmt.Errorf("%d MiB of memory are free, %d are needed", free>>20, diskSize+(4<<30)>>20)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail*uint64(st.Bsize) < diskSize {
		return fmt.Errorf("%s: not enough space (%w)", dir, err)
	}
	return nil
}

func newImage(memory string) (*disk, error) {
	temp, err := os.MkdirTemp(memory, "ensync-bench-")
	if err != nil {
		return nil, err
	}
	d := &disk{dir: filepath.Join(temp, "disk"), image: filepath.Join(temp, "image"), temp: temp}
	f, err := os.Create(d.image)
	if err == nil {
		// All of it, now: the first touch of a page is slow where a host gives memory on demand.
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, diskSize), f.Close())
	}
	if err == nil {
		err = os.Mkdir(d.dir, 0o700)
	}
	if err == nil {
		err = system("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-N", "1300000", d.image)
	}
	if err == nil {
		err = d.mount()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	return d, nil
}

func (d *disk) String() string {
	if d.image == "" {
		return d.dir + " (cold: as far as mounting anew makes it so)"
	}
	return "an ext4 in memory"
}

func (d *disk) mount() error   { return system("mount", "-o", "loop,nodiscard", d.image, d.dir) }
func (d *disk) unmount() error { return system("umount", d.dir) }

// empty leaves an empty directory.
func (d *disk) empty() error {
	names, err := filepath.Glob(filepath.Join(d.dir, "*"))
	for _, name := range names {
		if filepath.Base(name) != "lost+found" {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}
	return errors.Join(err, os.MkdirAll(d.dir, 0o700))
}

// chill makes everything on the disk cold. Nothing may be in use there.
func (d *disk) chill() error {
	if d.image == "" {
		return nil
	}
	return errors.Join(d.unmount(), d.mount())
}

func (d *disk) remove() error {
	var err error
	if d.image != "" {
		err = d.unmount()
	}
	return errors.Join(err, os.RemoveAll(d.temp))
}

// system runs a program of the system.
func system(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
