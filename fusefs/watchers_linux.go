package fusefs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// watched returns the inodes of a device that some process watches with inotify or fanotify, as far as this process may
// know: those of other users show themselves to root only.
func watched(major, minor uint32) map[uint64]bool {
	found := make(map[uint64]bool)
	procs, _ := filepath.Glob("/proc/[0-9]*/fd")
	for _, dir := range procs {
		fds, _ := os.ReadDir(dir)
		for _, fd := range fds {
			link, _ := os.Readlink(filepath.Join(dir, fd.Name()))
			if !strings.HasPrefix(link, "anon_inode:") || !strings.Contains(link, "notify") {
				continue
			}
			info, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "fdinfo", fd.Name()))
			if err == nil {
				watchedBy(info, major, minor, found)
			}
		}
	}
	return found
}

// watchedBy adds what one descriptor watches, as proc(5) tells: "inotify wd:1 ino:2a sdev:800001 mask:...", with the
// kernel's own form of a device number, 12 bits for the major and 20 for the minor.
func watchedBy(info []byte, major, minor uint32, found map[uint64]bool) {
	for lines := bufio.NewScanner(bytes.NewReader(info)); lines.Scan(); {
		var ino, dev uint64
		has := 0
		for _, field := range strings.Fields(lines.Text()) {
			if n, _ := fmt.Sscanf(field, "ino:%x", &ino); n == 1 {
				has |= 1
			} else if n, _ := fmt.Sscanf(field, "sdev:%x", &dev); n == 1 {
				has |= 2
			}
		}
		if has == 3 && dev == uint64(major)<<20|uint64(minor) {
			found[ino] = true
		}
	}
}

// device returns the device of the file system mounted at a path, without asking it.
func device(mountPoint string) (major, minor uint32, err error) {
	var st unix.Statx_t
	err = unix.Statx(unix.AT_FDCWD, mountPoint, unix.AT_STATX_DONT_SYNC, 0, &st)
	return st.Dev_major, st.Dev_minor, err
}
