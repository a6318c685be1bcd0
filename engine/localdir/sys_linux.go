package localdir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// perFileSync: syncfs makes everything durable at once.
const perFileSync = false

func openRoot(path string) (int, error) {
	return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

var noOpenat2 atomic.Bool // set on kernels before 5.6, and under sandboxes that forbid it

// openBelow opens a directory below root without following a symbolic link.
func openBelow(root int, dir string) (int, error) {
	if dir == "" {
		dir = "."
	}
	if len(dir) < unix.PathMax && !noOpenat2.Load() {
		how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
		fd, err := unix.Openat2(root, dir, &how)
		if err == unix.EACCES {
			how.Flags |= unix.O_PATH // enough to change a directory that may not be listed
			fd, err = unix.Openat2(root, dir, &how)
		}
		if err != unix.ENOSYS && err != unix.EPERM && err != unix.EAGAIN {
			return fd, err
		}
		noOpenat2.CompareAndSwap(false, err != unix.EAGAIN)
	}
	return openStepwise(root, dir)
}

const pathOnly = unix.O_PATH

// errNoAttribute is what is said of an extended attribute that is not there.
const errNoAttribute = unix.ENODATA

// statAt looks at a name without following it.
func statAt(dirfd int, name string) (stat, error) {
	return statx(dirfd, name, unix.AT_SYMLINK_NOFOLLOW)
}

func statFile(fd int) (stat, error) { return statx(fd, "", unix.AT_EMPTY_PATH) }

func statx(fd int, name string, flags int) (stat, error) {
	var sx unix.Statx_t
	err := unix.Statx(fd, name, flags|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &sx)
	if err != nil {
		return stat{}, err
	}
	s := stat{dev: unix.Mkdev(sx.Dev_major, sx.Dev_minor), ino: sx.Ino, mode: uint32(sx.Mode), uid: sx.Uid, gid: sx.Gid, size: int64(sx.Size),
		mtime: sx.Mtime.Sec*1e9 + int64(sx.Mtime.Nsec), ctime: sx.Ctime.Sec*1e9 + int64(sx.Ctime.Nsec)}
	if sx.Mask&unix.STATX_BTIME != 0 {
		s.btime = sx.Btime.Sec*1e9 + int64(sx.Btime.Nsec)
	}
	return s, nil
}

// fileSystemID names a file system across reboots, where device numbers may not.
func fileSystemID(fd int, dev uint64) uint64 {
	var s unix.Statfs_t
	if err := unix.Fstatfs(fd, &s); err != nil || s.Fsid.Val == [2]int32{} {
		return dev
	}
	return uint64(uint32(s.Fsid.Val[0]))<<32 | uint64(uint32(s.Fsid.Val[1]))
}

// coarseNow is the clock that the kernel stamps files with, and the length of its tick. Nanoseconds.
func coarseNow() (now, tick int64) {
	var t, res unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &t) != nil || unix.ClockGetres(unix.CLOCK_REALTIME_COARSE, &res) != nil {
		return 0, 1e9
	}
	return t.Nano(), res.Nano()
}

// openRead opens a regular file for reading, not its time of access changing where that is permitted. A pipe that was
// put in its place does not block.
func openRead(dirfd int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Openat(dirfd, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Openat(dirfd, name, flags, 0)
	}
	return fd, err
}

// setTime sets the modification time of an open file, in nanoseconds. The time of access becomes now: some FUSE file
// systems ignore who sets one time only.
func setTime(fd int, modTime int64) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_NOW}, unix.NsecToTimespec(modTime)}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// chmodPath changes the mode of a file that is open with O_PATH only.
func chmodPath(fd int, mode uint32) error {
	return unix.Fchmodat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), mode, 0)
}

func renameNoReplace(dirfd int, from, to string) error {
	return unix.Renameat2(dirfd, from, dirfd, to, unix.RENAME_NOREPLACE)
}

func moveAcross(fromDir int, from string, toDir int, to string) error {
	return unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
}

func renameExchange(dirfd int, a, b string) error {
	return unix.Renameat2(dirfd, a, dirfd, b, unix.RENAME_EXCHANGE)
}

func syncFileSystem(fd int) error { return unix.Syncfs(fd) }

// lease takes a read lease on an open file: as long as it is held, nobody can open the file for writing without waiting
// for us, and it is only given if nobody has. supported is false where leases do not work: on network file systems, and
// for files of other users.
func lease(fd int) (held, supported bool) {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	return err == nil, err == nil || errors.Is(err, unix.EAGAIN)
}

func unlease(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK) }

// processStart tells processes of one number apart: boot and clock tick of its start. "" means there is none.
func processStart(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	_, rest, _ := bytes.Cut(data, []byte(") ")) // the program's name may hold spaces
	if i := bytes.LastIndex(data, []byte(") ")); i >= 0 {
		rest = data[i+2:]
	}
	fields := strings.Fields(string(rest))
	if len(fields) < 20 {
		return ""
	}
	return fmt.Sprintf("%.8s-%s", boot, fields[19]) // proc_pid_stat(5), field 22
}
