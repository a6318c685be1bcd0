package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// ErrCannotMount says that this system has no way to mount.
var ErrCannotMount = errors.New("mounting is not possible here")

// Fresh reports whether the machine has no configuration yet.
func (m *Machine) Fresh() bool {
	_, err := os.Stat(m.Config)
	return errors.Is(err, os.ErrNotExist)
}

// Mount is a running ensync mount.
type Mount struct {
	machine *Machine
	cmd     *exec.Cmd
	said    bytes.Buffer
	begin   time.Time
	done    chan error
}

// mountWait bounds how long a mount may take to be usable.
const mountWait = 2 * time.Minute

// Mount mounts the tree at m.Local. It returns when it is usable.
func (m *Machine) Mount(ctx context.Context) (*Mount, error) {
	if runtime.GOOS == "linux" {
		if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCannotMount, err)
		} else if err := f.Close(); err != nil {
			return nil, err
		}
	}
	live := &Mount{machine: m, begin: time.Now(), done: make(chan error, 1)}
	live.cmd = m.Command(ctx, "mount", "--foreground", "--config", m.Config, m.Local)
	live.cmd.Stdout, live.cmd.Stderr = &live.said, &live.said
	if err := live.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { live.done <- live.cmd.Wait() }()
	for wait := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case err := <-live.done:
			return nil, fmt.Errorf("ensync mount on %s ended: %v\n%s", m.Name, err, live.said.String())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), live.Kill())
		case <-wait.C:
		}
		if mounted(m.Local) {
			return live, nil
		}
		if time.Since(live.begin) > mountWait {
			live.cmd.Process.Signal(syscall.SIGQUIT) // it says what it waits for
			time.Sleep(time.Second)
			err := live.Kill()
			return nil, errors.Join(fmt.Errorf("ensync mount on %s: not there after %v\n%s", m.Name, mountWait, live.said.String()), err)
		}
	}
}

// mounted reports whether another file system begins at path, and answers. The kernel remembers attributes long after
// the process behind a mount is gone, but asks for statfs each time.
func mounted(path string) bool {
	var here, above syscall.Stat_t
	if syscall.Stat(path, &here) != nil || syscall.Stat(filepath.Dir(path), &above) != nil || here.Dev == above.Dev {
		return false
	}
	var fs syscall.Statfs_t
	return syscall.Statfs(path, &fs) == nil
}

// Alive returns nil while the mount is there, and afterwards what its process said.
func (l *Mount) Alive() error {
	select {
	case err := <-l.done:
		l.done <- err
		return fmt.Errorf("the mount on %s ended by itself: %v\n%s", l.machine.Name, err, l.said.String())
	default:
	}
	if !mounted(l.machine.Local) {
		return fmt.Errorf("the mount on %s runs, but nothing is mounted at %s", l.machine.Name, l.machine.Local)
	}
	return nil
}

// Pid is the number of the mount's process.
func (l *Mount) Pid() int { return l.cmd.Process.Pid }

// Unmount ends the mount as a user would, and returns what it took in all.
func (l *Mount) Unmount(ctx context.Context, flags ...string) (Usage, error) {
	if _, err := l.machine.Run(ctx, append([]string{"unmount", l.machine.Local}, flags...)...); err != nil {
		return Usage{}, errors.Join(err, l.Kill())
	}
	err := <-l.done
	if err != nil {
		err = fmt.Errorf("ensync mount on %s: %w\n%s", l.machine.Name, err, l.said.String())
	}
	return UsageOf(l.cmd.ProcessState, time.Since(l.begin)), err
}

// Crash ends the mount's process with kill -9. The next Mount finds what is left.
func (l *Mount) Crash() error {
	if err := l.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-l.done
	return nil
}

// Kill is Crash, and takes away what stays in the file system.
func (l *Mount) Kill() error {
	if err := l.Crash(); err != nil {
		return err
	}
	if mounted(l.machine.Local) || stale(l.machine.Local) {
		return exec.Command("fusermount3", "-u", "-z", l.machine.Local).Run()
	}
	return nil
}

// stale reports whether path is a mount whose process is gone.
func stale(path string) bool {
	var fs syscall.Statfs_t
	return errors.Is(syscall.Statfs(path, &fs), syscall.ENOTCONN)
}
