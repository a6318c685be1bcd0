//go:build linux

// Command powercut cuts the power of the disk below a mount, again and again, and checks after each cut what is promised.
//
//	go run ./scripts/powercut -ensync bin/ensync -cuts 20 [-fs xfs] [-kill] [-seed N] [-dir DIR]
//
// The disk is an image on a loop device, with ext4 or xfs; the machine's home, its state directory and the store are on
// it. The cut is the file system's SHUTDOWN ioctl without a flush of its log: what was not on the disk is gone. Then the
// mount's process is killed, the disk is mounted again, and the tree on it. With -kill only the process is killed.
// Programs of all kinds work in the tree meanwhile (see worker), and syncs run. Needs root.
//
// Promised: the mount comes back by itself, within seconds. What fsync had returned for is there. Names are as they were at
// one moment. A file that was saved by rename, or emptied and rewritten, is one of its versions, whole. What nobody
// synced is at most a second old when it is lost; the tolerance for a busy machine is -second. Databases are whole, with every
// transaction that was committed. And when it is synced, nothing of all that changes, and a second machine gets the same.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ensync/scripts/internal/machine"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == childFlag {
		child(os.Args[2:])
		return
	}
	if os.Getenv(apart) == "" {
		os.Exit(goApart())
	}
	binary := flag.String("ensync", "bin/ensync", "the program to test")
	cuts := flag.Int("cuts", 20, "how many cuts")
	fs := flag.String("fs", "ext4", "the file system of the disk: ext4 or xfs")
	kill := flag.Bool("kill", false, "kill the process only, and leave the disk alone")
	second := flag.Duration("second", 2*time.Second, "how long what nobody synced may be gone")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "where randomness starts")
	dir := flag.String("dir", "", "where to work (default: a temporary directory)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	syscall.Umask(0) // modes tell files apart
	base, err := os.MkdirTemp(*dir, "ensync-powercut-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(1)
	}
	fmt.Printf("powercut: seed %d, in %s\n", *seed, base)
	p := &powercut{base: base, rng: rand.New(rand.NewPCG(*seed, 0)), kill: *kill, disk: disk{kind: *fs, image: filepath.Join(base, "image"),
		at: filepath.Join(base, "disk")}, limits: limits{second: *second}}
	err = p.run(ctx, *binary, *cuts)
	fmt.Printf("powercut: %s\n", p.tell())
	if err != nil {
		fmt.Fprintf(os.Stderr, "powercut: FAIL after %d cuts (seed %d; the disk's image is in %s): %v\n", p.done, *seed, base, err)
		os.Exit(1)
	}
	if err := os.RemoveAll(base); err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
	}
	fmt.Println("powercut: PASS")
}

// apart says in the environment that we have mounts of our own. Others who copy what is mounted, for a sandbox or a
// container, would keep the disk that was cut, and mounting it again would show that.
const apart = "ENSYNC_POWERCUT_APART"

func goApart() int {
	runtime.LockOSThread() // its end, too, would be taken for ours
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	signal.Ignore(os.Interrupt) // the other process gets it too
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// powercut is the whole test.
type powercut struct {
	base    string
	rng     *rand.Rand
	kill    bool
	disk    disk
	limits  limits
	a, b    *machine.Machine // a is on the disk and is cut, b is not
	live    *machine.Mount
	workers []worker

	done    int
	arrived int           // databases looked at on the other machine
	slowest time.Duration // start after a cut
	oldest  time.Duration // of what nobody synced and was lost
}

// limits is what workers hold the tree against.
type limits struct {
	second time.Duration
	cut    time.Time // the last
}

func (p *powercut) run(ctx context.Context, binary string, cuts int) (err error) {
	if err := p.disk.make(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop(), p.disk.unmount()) }()
	if err := p.setUp(ctx, binary); err != nil {
		return err
	}
	for p.done < cuts {
		if err := p.cycle(ctx); err != nil {
			return err
		}
		if p.done%10 == 0 || p.done == cuts {
			if err := p.compare(ctx); err != nil {
				return err
			}
		}
		if p.done%20 == 0 {
			fmt.Printf("powercut: %s\n", p.tell())
		}
	}
	return nil
}

func (p *powercut) setUp(ctx context.Context, binary string) (err error) {
	store := filepath.Join(p.disk.at, "store")
	if p.a, err = machine.New(binary, p.disk.at, "a", store, filepath.Join(p.base, "tree")); err != nil {
		return err
	}
	if err := p.a.Setup(ctx); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(p.disk.at, "key"), filepath.Join(p.base, "key")); err != nil {
		return err
	}
	if p.b, err = machine.New(binary, p.base, "b", store, ""); err != nil {
		return err
	}
	if err := p.b.Setup(ctx); err != nil {
		return err
	}
	syscall.Sync() // that the key file is there is not what is tested
	if p.live, err = p.a.Mount(ctx); err != nil {
		return err
	}
	p.workers = makeWorkers(p.a.Local, p.rng)
	for _, w := range p.workers {
		if err := w.begin(); err != nil {
			return err
		}
	}
	return nil
}

// cycle lets some work, cuts, starts again, and checks.
func (p *powercut) cycle(ctx context.Context) error {
	var cut atomic.Bool
	working, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(p.workers))
	var all sync.WaitGroup
	for i, w := range p.workers {
		if p.rng.IntN(5) < 2 { // the fsyncs of some would hide what becomes of those who do not
			continue
		}
		rng := rand.New(rand.NewPCG(p.rng.Uint64(), 0))
		all.Go(func() {
			if err := w.work(working, rng, func() bool { return !cut.Load() }); err != nil && !cut.Load() {
				errs[i] = fmt.Errorf("%T before the cut: %w", w, err)
			}
		})
	}
	switch p.rng.IntN(6) {
	case 0, 1:
		all.Go(func() { p.a.Sync(working) }) // what it says does not matter
	case 2:
		time.Sleep(500 * time.Millisecond)
		if err := p.arrives(ctx); err != nil {
			return err
		}
	}
	select {
	case <-time.After(time.Duration(100+p.rng.IntN(2500)) * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	cut.Store(true)
	p.limits.cut = time.Now()
	if !p.kill {
		if err := p.disk.cut(); err != nil {
			return err
		}
	}
	err := p.live.Kill()
	p.live = nil
	stop()
	all.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	return p.comeBack(ctx)
}

// arrives syncs both machines while everybody works: databases must be whole on the other one, and not older than the sync.
func (p *powercut) arrives(ctx context.Context) error {
	acked := map[*transactions]int64{}
	for _, w := range p.workers {
		if t, ok := w.(*transactions); ok {
			acked[t] = t.acked.Load()
		}
	}
	for _, m := range []*machine.Machine{p.a, p.b} {
		if _, err := m.Sync(ctx); err != nil {
			return err
		}
	}
	for t, n := range acked {
		to := filepath.Join(p.base, "opened")
		if err := os.CopyFS(to, os.DirFS(filepath.Join(p.b.Local, filepath.Base(t.dir)))); err != nil {
			return err
		}
		found, err := count(filepath.Join(to, filepath.Base(t.path())))
		if err != nil || found < n {
			return fmt.Errorf("on the other machine, %s has %d numbers, %d were committed before the sync: %w", t.dir, found, n, err)
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		p.arrived++
	}
	return nil
}

// comeBack starts what was cut, and checks.
func (p *powercut) comeBack(ctx context.Context) (err error) {
	p.done++
	if !p.kill {
		if err := errors.Join(p.disk.unmount(), p.disk.mount()); err != nil {
			return err
		}
	}
	begin := time.Now()
	if p.live, err = p.a.Mount(ctx); err != nil {
		return err
	}
	p.slowest = max(p.slowest, time.Since(begin))
	return p.check(true)
}

// check lets all workers look; after a cut, they go on from what they find.
func (p *powercut) check(afterCut bool) error {
	var errs []error
	for _, w := range p.workers {
		age, err := w.check(p.limits, afterCut)
		if p.oldest = max(p.oldest, age); err != nil {
			errs = append(errs, fmt.Errorf("%T: %w", w, err))
		}
	}
	return errors.Join(errs...)
}

// compare syncs both machines. What was there before is there afterwards, on both.
func (p *powercut) compare(ctx context.Context) error {
	if _, err := p.a.Sync(ctx); err != nil {
		return err
	}
	if _, err := p.b.Sync(ctx); err != nil {
		return err
	}
	if err := p.check(false); err != nil {
		return fmt.Errorf("after a sync: %w", err)
	}
	return equal(p.a.Local, p.b.Local)
}

func (p *powercut) stop() error {
	if p.live == nil {
		return nil
	}
	return p.live.Kill()
}

func (p *powercut) tell() string {
	return fmt.Sprintf("%d cuts; %d databases looked at on the other machine; started again within %v; what nobody had synced was lost when it was up to %v old",
		p.done, p.arrived, p.slowest.Round(time.Millisecond), p.oldest.Round(time.Millisecond))
}

// readAll reads a file; one that is not there is nil.
func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}
