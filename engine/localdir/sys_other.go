//go:build !linux

package localdir

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// perFileSync: there is no syncfs, so each file and directory is synced by itself.
const perFileSync = true

const pathOnly = unix.O_RDONLY

// errNoAttribute is what is said of an extended attribute that is not there.
const errNoAttribute = unix.ENOATTR

func openRoot(path string) (int, error) {
	return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func openBelow(root int, dir string) (int, error) {
	if dir == "" {
		dir = "."
	}
	return openStepwise(root, dir)
}

func statAt(dirfd int, name string) (stat, error) {
	var s unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return stat{}, err
	}
	return fromStat(&s), nil
}

func statFile(fd int) (stat, error) {
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return stat{}, err
	}
	return fromStat(&s), nil
}

func fromStat(s *unix.Stat_t) stat {
	return stat{dev: uint64(s.Dev), ino: uint64(s.Ino), mode: uint32(s.Mode), uid: s.Uid, gid: s.Gid, size: s.Size, mtime: s.Mtim.Nano(),
		ctime: s.Ctim.Nano(), btime: max(s.Btim.Nano(), 0)}
}

func fileSystemID(fd int, dev uint64) uint64 {
	var s unix.Statfs_t
	if err := unix.Fstatfs(fd, &s); err != nil || s.Fsid.Val == [2]int32{} {
		return dev
	}
	return uint64(uint32(s.Fsid.Val[0]))<<32 | uint64(uint32(s.Fsid.Val[1]))
}

func coarseNow() (now, tick int64) { return time.Now().UnixNano(), int64(10 * time.Millisecond) }

func openRead(dirfd int, name string) (int, error) {
	return unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

// setTime sets the modification time of an open file, to the microsecond.
func setTime(fd int, modTime int64) error {
	now := unix.NsecToTimeval(time.Now().UnixNano())
	return unix.Futimes(fd, []unix.Timeval{now, unix.NsecToTimeval(modTime)})
}

// xattrsOf returns no extended attributes: on this system they are not synchronised.
func xattrsOf(int, string) (map[string][]byte, error) { return nil, unix.ENOTSUP }

func copyACL(int, string, int) {}

func setXattr(int, string, []byte) error { return unix.ENOTSUP }

func removeXattr(int, string) error { return unix.ENOTSUP }

func chownFile(fd, uid, gid int) error { return unix.Fchown(fd, uid, gid) }

func chmodPath(fd int, mode uint32) error { return unix.Fchmod(fd, mode) }

func renameExchange(int, string, string) error { return unix.ENOTSUP }

func moveAcross(int, string, int, string) error { return unix.ENOTSUP }

func renameNoReplace(int, string, string) error { return unix.ENOTSUP }

func syncFileSystem(int) error { return nil }

func lease(int) (held, supported bool) { return false, false }

func unlease(int) {}

func processStart(pid int) string {
	if p, err := os.FindProcess(pid); err != nil || p.Signal(unix.Signal(0)) == os.ErrProcessDone {
		return ""
	}
	return fmt.Sprint(pid)
}
