//go:build linux

package disktest

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a mounted disk.
type Disk struct {
	Path  string // where it is mounted
	Start int    // how many things had been done to it when it was mounted; no cut can be before that

	t       testing.TB
	ask     io.Writer
	answers *bufio.Scanner
}

// variable says in the environment what a process is to serve: where it is mounted, and the directory with what is on it.
const variable = "ENSYNC_DISKTEST"

// Main serves a disk and ends the process, if that is what it was started for. A TestMain calls it first.
func Main() {
	if what := os.Getenv(variable); what != "" {
		at, from, _ := strings.Cut(what, ":")
		if err := serve(at, from); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// New mounts an empty disk for one test, which is skipped where mounting is not possible.
func New(t testing.TB) *Disk {
	t.Helper()
	return mount(t, t.TempDir())
}

func mount(t testing.TB, from string) *Disk {
	t.Helper()
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil || f.Close() != nil || os.Geteuid() != 0 {
		t.Skip("mounting needs root and /dev/fuse")
	}
	d := &Disk{t: t, Path: t.TempDir()}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), variable+"="+d.Path+":"+from)
	cmd.Stderr = os.Stderr
	ask, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.ask, d.answers = ask, bufio.NewScanner(answers)
	t.Cleanup(func() {
		syscall.Unmount(d.Path, syscall.MNT_DETACH)
		ask.Close()
		cmd.Wait()
	})
	d.Start = d.Len()
	return d
}

func (d *Disk) call(question string, args ...any) (answer int) {
	d.t.Helper()
	fmt.Fprintf(d.ask, question+"\n", args...)
	if !d.answers.Scan() {
		d.t.Fatal("the disk is gone")
	}
	if _, err := fmt.Sscan(d.answers.Text(), &answer); err != nil {
		d.t.Fatal("the disk: ", d.answers.Text())
	}
	return answer
}

// Len is how many things were done to the disk so far.
func (d *Disk) Len() int {
	d.t.Helper()
	return d.call("len")
}

// Cut mounts the disk that a power cut after the first n things leaves.
func (d *Disk) Cut(rng *rand.Rand, n int, how Loss) *Disk {
	d.t.Helper()
	to := d.t.TempDir()
	d.call("cut %d %d %d %s", n, how, rng.Uint64(), to)
	return mount(d.t, to)
}

// serve mounts a disk and answers questions until there are no more.
func serve(at, from string) error {
	d := &disk{}
	root, err := d.load(from)
	if err != nil {
		return err
	}
	d.root = root
	zero := time.Duration(0)
	server, err := fs.Mount(at, &node{disk: d, file: root}, &fs.Options{EntryTimeout: &zero, AttrTimeout: &zero, NegativeTimeout: &zero,
		NullPermissions: true, RootStableAttr: &fs.StableAttr{Ino: root.number, Mode: syscall.S_IFDIR},
		MountOptions: fuse.MountOptions{FsName: "disktest", DirectMount: true, MaxWrite: 1 << 20}})
	if err != nil {
		return err
	}
	defer server.Unmount()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var n, how int
		var seed uint64
		var to string
		if lines.Text() == "len" {
			d.mu.Lock()
			fmt.Println(len(d.trace))
			d.mu.Unlock()
		} else if _, err := fmt.Sscanf(lines.Text(), "cut %d %d %d %s", &n, &how, &seed, &to); err != nil {
			return err
		} else if err := d.cut(rand.New(rand.NewPCG(seed, 0)), n, Loss(how), to); err != nil {
			return err
		} else {
			fmt.Println(n)
		}
	}
	return nil
}
