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

// describeHolders says who uses the file system at a path: " by NAME (pid N, working directory), ...", or nothing if
// that can't be seen. Other users' processes show themselves to root only.
func describeHolders(mountPoint string) string {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, mountPoint, unix.AT_STATX_DONT_SYNC, 0, &st) != nil {
		return ""
	}
	found := submounts(mountPoint)
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		use := usage(proc, st.Dev_major, st.Dev_minor)
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

// mounted are the mount points that this process sees, with their types, in the order of mounting.
func mounted() ([][2]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var list [][2]string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 || dash+1 >= len(fields) {
			continue
		}
		list = append(list, [2]string{unescape(fields[4]), fields[dash+1]})
	}
	return list, nil
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
	return slices.ContainsFunc(list, func(m [2]string) bool { return m[0] == path && m[1] == "fuse.ensync" }), err
}

// submounts names what is mounted below a path.
func submounts(path string) []string {
	var found []string
	list, _ := mounted()
	for _, m := range list {
		if strings.HasPrefix(m[0], path+"/") {
			found = append(found, fmt.Sprintf("the %s file system mounted at %s", m[1], m[0]))
		}
	}
	return found
}
