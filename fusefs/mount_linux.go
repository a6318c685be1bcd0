package fusefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// zeroMessageSystem says that this kernel opens files without asking when OPEN was once answered with ENOSYS.
	zeroMessageSystem = true
	// With HANDLE_KILLPRIV_V2 a write needs no GETXATTR of security.capability; we clear setuid and setgid ourselves.
	// With EXPORT_SUPPORT file handles outlive the kernel's caches: an inode number is never given twice.
	extraCapabilities = fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_EXPORT_SUPPORT
	// readAheadKB is what the kernel reads ahead; only root may raise it from 128.
	readAheadKB = "1024"
)

// mountKernel mounts: directly, if we may, else through fusermount3.
func mountKernel(mountPoint string, r *requests, o *fuse.MountOptions) (*fuse.Server, error) {
	fd, err := mountDirect(mountPoint, r.opt)
	if err != nil {
		if _, missing := os.Stat("/dev/fuse"); missing != nil {
			return nil, fmt.Errorf("%w; load the kernel's fuse module (modprobe fuse)", missing)
		}
		s, helperErr := fuse.NewServer(r, mountPoint, o)
		if helperErr != nil {
			return nil, fmt.Errorf("%w (mounting directly: %w); %s", helperErr, err, helperAdvice(r.opt))
		}
		return s, nil
	}
	s, err := fuse.NewServer(r, fmt.Sprintf("/dev/fd/%d", fd), o)
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(mountPoint, unix.MNT_DETACH), unix.Close(fd))
	}
	return s, nil
}

// helperAdvice is what a user may do when fusermount3 mounts nothing for him.
func helperAdvice(opt Options) string {
	conf, _ := os.ReadFile("/etc/fuse.conf")
	switch {
	case opt.AllowOther && !slices.Contains(strings.Split(string(conf), "\n"), "user_allow_other"):
		return "only root lets other users in, unless /etc/fuse.conf has a line user_allow_other: add it, or leave out --allow-other"
	case errors.Is(unix.Access("/dev/fuse", unix.R_OK|unix.W_OK), unix.EACCES):
		return "/dev/fuse is root's alone here: let others open it (chmod 666 /dev/fuse), or mount as root"
	}
	return "install fuse3, or mount as root"
}

// mountDirect calls mount(2). The library could, but its descriptor would be inherited by every program that we start,
// and the connection would outlive us.
func mountDirect(mountPoint string, opt Options) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("/dev/fuse: %w", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxWrite)
	if opt.AllowOther {
		data += ",allow_other"
	}
	flags, err := mountFlags(opt)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Mount(opt.fsName(), mountPoint, "fuse.ensync", flags, data); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// mountFlags are a mount's options as mount(2) takes them.
func mountFlags(opt Options) (uintptr, error) {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOATIME)
	if opt.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	for _, o := range opt.MountOptions {
		f, known := kernelFlags[o]
		if !known {
			return 0, fmt.Errorf("mount option %s is not known", o)
		}
		flags = flags&^f.clear | f.set
	}
	return flags, nil
}

var kernelFlags = map[string]struct{ set, clear uintptr }{
	"suid": {0, unix.MS_NOSUID}, "nosuid": {unix.MS_NOSUID, 0}, "dev": {0, unix.MS_NODEV}, "nodev": {unix.MS_NODEV, 0},
	"exec": {0, unix.MS_NOEXEC}, "noexec": {unix.MS_NOEXEC, 0}, "async": {0, unix.MS_SYNCHRONOUS}, "sync": {unix.MS_SYNCHRONOUS, 0},
	"dirsync": {unix.MS_DIRSYNC, 0}, "noatime": {unix.MS_NOATIME, 0}, "nodiratime": {unix.MS_NODIRATIME, 0},
}

// afterMount does what wants a running server.
func afterMount(mountPoint string) error {
	if err := refusePoll(mountPoint); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(mountPoint, &st); err != nil {
		return err
	}
	bdi := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	if f, err := os.OpenFile(bdi, os.O_WRONLY, 0); err == nil { // else: not root, and the default it is
		f.WriteString(readAheadKB)
		f.Close()
	}
	return nil
}

// refusePoll makes the kernel ask for POLL once, so that it never does again. Go's runtime polls files while it holds a
// processor: a program that serves a mount and uses it would block itself.
func refusePoll(mountPoint string) error {
	fd, err := unix.Open(filepath.Join(mountPoint, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return nil
}

// deviceAt is the device of what is mounted at a path, told without asking who serves it; 0: it can't be told.
func deviceAt(path string) uint64 {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, 0, &st) != nil {
		return 0
	}
	return unix.Mkdev(st.Dev_major, st.Dev_minor)
}

// flush lets the kernel pass on what was written through memory mappings.
func flush(mountPoint string) {
	if fd, err := unix.Open(mountPoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		unix.Syncfs(fd)
		unix.Close(fd)
	}
}

// unmountPath takes off what is mounted on top at path.
func unmountPath(path string, mode unmountMode) error {
	flags := unix.UMOUNT_NOFOLLOW
	if mode == unmountLazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(path, flags)
	switch {
	case err == nil:
		return nil
	case err == unix.EBUSY:
		return ErrBusy
	case err != unix.EPERM:
		return err
	}
	return unmountHelper(path, mode)
}

func unmountHelper(path string, mode unmountMode) error {
	args := []string{"-u"}
	if mode == unmountLazy {
		args = append(args, "-z")
	}
	helper, err := exec.LookPath("fusermount3")
	if err != nil {
		if helper, err = exec.LookPath("fusermount"); err != nil {
			return fmt.Errorf("%w; install fuse3, or unmount as root", err)
		}
	}
	cmd := exec.Command(helper, append(args, "--", path)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if strings.Contains(stderr.String(), "busy") {
			return ErrBusy
		}
		return fmt.Errorf("%s: %w: %s", helper, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// ClearStale takes off mounts whose process died, which answer everything with "transport endpoint is not connected",
// and tells whether there were any. A path that does not exist is not stale.
func ClearStale(ctx context.Context, path string) (cleared bool, err error) {
	for range 16 { // mounts can be stacked
		stale, err := isStale(ctx, path)
		if err != nil || !stale {
			return cleared, err
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return cleared, err
		}
		if err := unmountPath(abs, unmountLazy); err != nil {
			return cleared, fmt.Errorf("clear the stale mount %s: %w; run fusermount3 -uz %s", path, err, abs)
		}
		cleared = true
	}
	return cleared, fmt.Errorf("clear the stale mount %s: there is always one more; unmount it by hand", path)
}

// isStale asks the mount itself. The answer of a process that hangs is not waited for: the thread that asks stays behind
// until the process is gone.
func isStale(ctx context.Context, path string) (bool, error) {
	answer := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(path, &st)
	}()
	select {
	case err := <-answer:
		return err == unix.ENOTCONN || err == unix.ECONNABORTED, nil
	case <-ctx.Done():
		return false, fmt.Errorf("look at %s: what is mounted there does not answer: %w; unmount it with fusermount3 -uz %s",
			path, ctx.Err(), path)
	}
}
