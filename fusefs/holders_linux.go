package fusefs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxHolders bounds how many users of a mount an error names.
const maxHolders = 5

// describeHolders says who uses the file system of a device that is mounted at a path: " by NAME (pid N, working directory), ...",
// or nothing if that can't be seen. Other users' processes show themselves to root only.
func describeHolders(mountPoint string, device uint64) string {
	found := submounts(mountPoint, device)
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		use := usage(proc, unix.Major(device), unix.Minor(device))
		if use == "" {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(proc, "comm"))
		found = append(found, fmt.Sprintf("%s (pid %s, %s)", bytes.TrimSpace(name), filepath.Base(proc), use))
	}
	if len(found) == 0 {
		return ""
	}
	if more := len(found) - maxHolders; more > 0 {
		found = append(found[:maxHolders], fmt.Sprintf("%d more", more))
	}
	return ": used by " + strings.Join(found, ", ")
}

// usage says how a process uses a device, or "".
func usage(proc string, major, minor uint32) string {
	on := func(link string) bool {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, filepath.Join(proc, link), unix.AT_STATX_DONT_SYNC, 0, &st)
		return err == nil && st.Dev_major == major && st.Dev_minor == minor
	}
	for link, use := range map[string]string{"cwd": "working directory", "root": "root directory", "exe": "running program"} {
		if on(link) {
			return use
		}
	}
	fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
	for _, fd := range fds {
		if on(filepath.Join("fd", fd.Name())) {
			return "open file"
		}
	}
	maps, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return ""
	}
	defer maps.Close()
	device := fmt.Sprintf("%02x:%02x", major, minor)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 3 && fields[3] == device {
			return "mapped file"
		}
	}
	return ""
}

// mountEntry is a mount that this process sees.
type mountEntry struct {
	path, kind string
	device     uint64
}

// mounted are the mounts that this process sees, in the order of mounting.
func mounted() ([]mountEntry, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data)), nil
}

func parseMounts(table string) (list []mountEntry) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 || dash+1 >= len(fields) {
			continue
		}
		var major, minor uint32
		fmt.Sscanf(fields[2], "%d:%d", &major, &minor)
		list = append(list, mountEntry{unescape(fields[4]), fields[dash+1], unix.Mkdev(major, minor)})
	}
	return list
}

// placeOf returns where a device is mounted, which may have moved from a path; "" if it is nowhere, or
// something else is mounted above it. Then it is ErrBusy, and also if it is mounted elsewhere as well.
func placeOf(device uint64, path string) (string, error) {
	list, err := mounted()
	if err != nil || device == 0 {
		return path, nil
	}
	at, top := "", map[string]uint64{}
	for _, m := range list {
		top[m.path] = m.device
		switch {
		case m.device != device:
		case at != "":
			return path, ErrBusy
		default:
			at = m.path
		}
	}
	if at != "" && top[at] != device {
		return "", ErrBusy
	}
	return at, nil
}

// unescape undoes the \040 of proc(5).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ours tells whether a mount of this program is at a path.
func ours(path string) (bool, error) {
	list, err := mounted()
	return slices.ContainsFunc(list, func(m mountEntry) bool { return m.path == path && m.kind == "fuse.ensync" }), err
}

// submounts names what is mounted above a device, or below its path, and where else that is mounted.
func submounts(path string, device uint64) []string {
	var found []string
	list, _ := mounted()
	seen := false
	for _, m := range list {
		switch {
		case m.device == device && m.path == path:
			seen = true
		case m.device == device:
			found = append(found, "another mount of it at "+m.path)
		case m.path == path && seen, strings.HasPrefix(m.path, path+"/"):
			found = append(found, fmt.Sprintf("the %s file system mounted at %s", m.kind, m.path))
		}
	}
	return found
}
