package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ensync/engine/session"
)

const (
	watchesPath   = "/proc/sys/fs/inotify/max_user_watches"
	instancesPath = "/proc/sys/fs/inotify/max_user_instances"
)

// watches looks whether the kernel lets the whole tree be watched. At most half of a user's watches are taken.
func (e *examination) watches() {
	const check = "inotify"
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if errors.Is(err, unix.EMFILE) {
		e.warn(check, "this user has no instance left, so trees are walked again and again instead of watched",
			fmt.Sprintf("sysctl fs.inotify.max_user_instances=%d", 2*max(number(instancesPath), 128)))
		return
	}
	if err != nil {
		e.skip(check, "not to be had: %v", err)
		return
	}
	unix.Close(fd)
	limit := number(watchesPath)
	if limit == 0 {
		e.skip(check, "%s can't be read", watchesPath)
		return
	}
	if local, err := session.LocalOf(e.cfg, false); err == nil && local.Mount && !local.Directory {
		e.ok(check, "not needed: a mount knows its changes")
		return
	}
	dirs, all := countDirs(e.ctx, e.cfg.General.Path, limit/2)
	switch {
	case dirs > limit/2:
		e.warn(check, fmt.Sprintf("the tree has more than %d directories, half of the watches that a user may have; changes are then found by walking",
			limit/2), fmt.Sprintf("sysctl fs.inotify.max_user_watches=%d (in /etc/sysctl.d to keep it)", max(1<<19, 8*limit)))
	case !all:
		e.skip(check, "a user may have %d watches; counting the directories of the tree took too long", limit)
	default:
		e.ok(check, "%d of the %d watches that a user may have are enough for the tree", dirs, limit)
	}
}

// number reads a number from a file; 0 if there is none.
func number(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return max(n, 0)
}

// mountHelper looks whether ensync mount can mount.
func (e *examination) mountHelper() {
	const check, only = "mount helper", "; only ensync mount needs it"
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		e.warn(check, "there is no /dev/fuse"+only, "load the kernel's fuse module: modprobe fuse")
		return
	}
	if err != nil {
		e.warn(check, fmt.Sprintf("/dev/fuse can't be opened: %v%s", err, only), "correct its mode (0666), or the container's devices")
		return
	}
	f.Close()
	if os.Geteuid() == 0 {
		e.ok(check, "root mounts without one")
		return
	}
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		e.warn(check, "fusermount3 is not installed"+only, "install the package fuse3")
		return
	}
	st, err := os.Stat(path)
	if err == nil && st.Mode()&os.ModeSetuid == 0 {
		e.warn(check, path+" does not run as root, so it can't mount"+only, "install the package fuse3 again, or chmod u+s "+path+" as root")
		return
	}
	e.ok(check, "%s", path)
}
