package watch

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A mount is a line of the mount table.
type mount struct {
	point, kind string
	device      string // major:minor
	root        string // of the mount in its file system
}

// mounts are what a tree lies on: the mount of its root, and those below it.
type mounts struct {
	tree string // the real path of the root
	list []mount
}

const mountTable = "/proc/self/mountinfo"

func mountsOf(path string) (mounts, error) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return mounts{}, err
	}
	m := mounts{tree: real}
	m.list, err = readMounts(real)
	return m, err
}

// readMounts returns the mounts of a tree. Of several at one place, the last counts.
func readMounts(tree string) ([]mount, error) {
	f, err := os.Open(mountTable)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var base mount
	var below []mount
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, ok := parseMount(lines.Text())
		switch {
		case !ok:
		case within(tree, m.point):
			if len(m.point) >= len(base.point) {
				base = m
			}
		case within(m.point, tree):
			below = append(below, m)
		}
	}
	if base.point == "" {
		return nil, fmt.Errorf("%s tells no mount of %s", mountTable, tree)
	}
	return append([]mount{base}, below...), lines.Err()
}

// within reports whether a path is a directory or lies in it.
func within(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// parseMount reads a line, see proc_pid_mountinfo(5).
func parseMount(line string) (mount, bool) {
	own, fs, ok := strings.Cut(line, " - ")
	f := strings.Fields(own)
	kind, _, _ := strings.Cut(fs, " ")
	if !ok || len(f) < 6 {
		return mount{}, false
	}
	return mount{point: unescape(f[4]), kind: kind, device: f[2], root: unescape(f[3])}, true
}

// unescape undoes the octal escapes for blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
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

// remote are the kinds of file systems that others change, too, without the kernel here being told.
var remote = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "coda", "fuse", "virtiofs", "vboxsf", "prl_fs",
	"gfs2", "ocfs2", "lustre", "beegfs", "gpfs"}

// told refuses trees of which not all changes are told, or not at all their places.
func (m mounts) told() error {
	for _, x := range m.list {
		if slices.Contains(remote, x.kind) || strings.HasPrefix(x.kind, "fuse.") {
			return fmt.Errorf("%s is a file system of type %s, of which others' changes are not told", x.point, x.kind)
		}
	}
	for i, a := range m.list {
		for _, b := range m.list[:i] {
			if ra, rb := m.shown(a), m.shown(b); a.device == b.device && (within(ra, rb) || within(rb, ra)) {
				return fmt.Errorf("%s and %s show the same directories", a.point, b.point)
			}
		}
	}
	return nil
}

// shown is the directory of its file system from which on a mount shows it in the tree.
func (m mounts) shown(x mount) string {
	rel, err := filepath.Rel(x.point, m.tree)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return x.root // it is mounted below the root of the tree
	}
	return filepath.Join(x.root, rel)
}

// mountPause is how long a change of the mount table may take to be noticed.
const mountPause = 500 * time.Millisecond

// await returns errMounts when the mounts of the tree are others, or why that can't be told; or when ctx ends.
func (m mounts) await(ctx context.Context) error {
	table, err := unix.Open(mountTable, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(table)
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(wake)
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken // before wake is closed
		}
	}()
	for {
		now, err := readMounts(m.tree)
		if err != nil {
			return err
		}
		if !slices.Equal(now, m.list) {
			return errMounts
		}
		fds := []unix.PollFd{{Fd: int32(table), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return err
		}
		select { // others may mount all the time
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mountPause):
		}
	}
}
