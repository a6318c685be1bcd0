//go:build linux

package fusefs_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/fusefs"
)

// twin runs one sequence of system calls in a directory.
type twin struct {
	dir string
	fds [8]int
}

func newTwin(dir string) *twin {
	w := &twin{dir: dir}
	for i := range w.fds {
		w.fds[i] = -1
	}
	return w
}

func (w *twin) close() {
	for _, fd := range w.fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// stat tells what must be the same on every file system.
func stat(st *unix.Stat_t, err error) string {
	if err != nil {
		return err.Error()
	}
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0
	}
	return fmt.Sprintf("mode %o links %d size %d owner %d:%d rdev %d", st.Mode, st.Nlink, size, st.Uid, st.Gid, st.Rdev)
}

// step is one system call with its arguments; it tells its result.
type step struct {
	what string
	run  func(w *twin) string
}

func result(n int, err error) string { return fmt.Sprint(n, " ", err) }

// randomPath names one of few paths, so that calls meet each other.
func randomPath(r *rand.Rand) string {
	parts := make([]string, 1+r.IntN(3))
	for i := range parts {
		parts[i] = string(rune('a' + r.IntN(4)))
	}
	return strings.Join(parts, "/")
}

// randomStep draws a system call. All randomness is drawn here, so that both twins get the same.
func randomStep(r *rand.Rand) step {
	groups := []func(*rand.Rand) step{nameStep, nameStep, nameStep, fileStep, fileStep, fileStep, attrStep, xattrStep}
	return groups[r.IntN(len(groups))](r)
}

func nameStep(r *rand.Rand) step {
	p, q, mode := randomPath(r), randomPath(r), uint32(r.IntN(01000))
	flags := []uint{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_EXCHANGE | unix.RENAME_NOREPLACE}[r.IntN(5)]
	at := func(w *twin, p string) string { return filepath.Join(w.dir, p) }
	return []step{
		{fmt.Sprintf("mkdir %s %o", p, mode|0700), func(w *twin) string { return result(0, unix.Mkdir(at(w, p), mode|0700)) }},
		{fmt.Sprintf("mkdir %s", p), func(w *twin) string { return result(0, unix.Mkdir(at(w, p), 02755)) }},
		{"rmdir " + p, func(w *twin) string { return result(0, unix.Rmdir(at(w, p))) }},
		{"unlink " + p, func(w *twin) string { return result(0, unix.Unlink(at(w, p))) }},
		{fmt.Sprintf("rename %s %s %d", p, q, flags), func(w *twin) string {
			return result(0, unix.Renameat2(unix.AT_FDCWD, at(w, p), unix.AT_FDCWD, at(w, q), flags))
		}},
		{fmt.Sprintf("link %s %s", p, q), func(w *twin) string { return result(0, unix.Link(at(w, p), at(w, q))) }},
		{fmt.Sprintf("symlink %s %s", q, p), func(w *twin) string { return result(0, unix.Symlink(q, at(w, p))) }},
		{"readlink " + p, func(w *twin) string {
			buf := make([]byte, 100)
			n, err := unix.Readlink(at(w, p), buf)
			return string(buf[:max(0, n)]) + result(n, err)
		}},
		{"mkfifo " + p, func(w *twin) string { return result(0, unix.Mknod(at(w, p), unix.S_IFIFO|mode, 0)) }},
		{"mknod " + p, func(w *twin) string { return result(0, unix.Mknod(at(w, p), unix.S_IFREG|mode, 0)) }},
		{"stat " + p, func(w *twin) string {
			var st unix.Stat_t
			return stat(&st, unix.Stat(at(w, p), &st))
		}},
		{"list " + filepath.Dir(p), func(w *twin) string { return list(at(w, filepath.Dir(p))) }},
	}[r.IntN(12)]
}

func list(dir string) string {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	buf := make([]byte, 1<<16)
	n, err := unix.Getdents(fd, buf)
	_, _, found := unix.ParseDirent(buf[:max(0, n)], -1, nil)
	slices.Sort(found)
	return fmt.Sprint(found, err)
}

func fileStep(r *rand.Rand) step {
	p, slot := randomPath(r), r.IntN(8)
	off, length := int64(r.IntN(20000)), r.IntN(9000)
	size, off2 := int64(r.IntN(20000)), int64(r.IntN(20000))
	data := make([]byte, length)
	for i := range data {
		data[i] = byte(r.IntN(256))
	}
	slot2 := r.IntN(8)
	flags := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}[r.IntN(3)] | unix.O_NONBLOCK
	for _, f := range []int{unix.O_CREAT, unix.O_TRUNC, unix.O_EXCL, unix.O_APPEND, unix.O_NOFOLLOW} {
		if r.IntN(3) == 0 || f == unix.O_CREAT && r.IntN(2) == 0 {
			flags |= f
		}
	}
	falloc := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE}[r.IntN(4)]
	return []step{
		{fmt.Sprintf("open %d %s %x", slot, p, flags), func(w *twin) string {
			unix.Close(w.fds[slot])
			var err error
			w.fds[slot], err = unix.Open(filepath.Join(w.dir, p), flags, 0644)
			return result(0, err)
		}},
		{fmt.Sprintf("tmpfile %d", slot), func(w *twin) string {
			unix.Close(w.fds[slot])
			var err error
			w.fds[slot], err = unix.Open(w.dir, unix.O_TMPFILE|unix.O_RDWR, 0644)
			return result(0, err)
		}},
		{fmt.Sprintf("linkat %d %s", slot, p), func(w *twin) string {
			return result(0, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", w.fds[slot]), unix.AT_FDCWD,
				filepath.Join(w.dir, p), unix.AT_SYMLINK_FOLLOW))
		}},
		{fmt.Sprintf("pwrite %d at %d for %d", slot, off, length), func(w *twin) string {
			return result(unix.Pwrite(w.fds[slot], data, off))
		}},
		{fmt.Sprintf("write %d for %d", slot, length), func(w *twin) string { return result(unix.Write(w.fds[slot], data)) }},
		{fmt.Sprintf("pread %d at %d for %d", slot, off, length), func(w *twin) string {
			buf := make([]byte, length)
			n, err := unix.Pread(w.fds[slot], buf, off)
			return fmt.Sprintf("%x %s", buf[:max(0, n)], result(n, err))
		}},
		{fmt.Sprintf("ftruncate %d %d", slot, size), func(w *twin) string { return result(0, unix.Ftruncate(w.fds[slot], size)) }},
		{fmt.Sprintf("fallocate %d %d %d %d", slot, falloc, off, length), func(w *twin) string {
			return result(0, unix.Fallocate(w.fds[slot], falloc, off, int64(length)))
		}},
		{fmt.Sprintf("fstat %d", slot), func(w *twin) string {
			var st unix.Stat_t
			return stat(&st, unix.Fstat(w.fds[slot], &st))
		}},
		{fmt.Sprintf("fsync %d", slot), func(w *twin) string { return result(0, unix.Fsync(w.fds[slot])) }},
		{fmt.Sprintf("copy %d at %d to %d at %d for %d", slot, off, slot2, off2, length), func(w *twin) string {
			from, to := off, off2
			return result(unix.CopyFileRange(w.fds[slot], &from, w.fds[slot2], &to, length, 0))
		}},
	}[r.IntN(11)]
}

func attrStep(r *rand.Rand) step {
	p, mode, size := randomPath(r), uint32(r.IntN(010000)), int64(r.IntN(20000))
	uid, gid := r.IntN(4)-1, r.IntN(4)-1
	times := []unix.Timespec{{Sec: r.Int64N(1 << 32), Nsec: r.Int64N(1e9)}, {Sec: r.Int64N(1 << 32), Nsec: r.Int64N(1e9)}}
	times[0].Nsec = []int64{times[0].Nsec, unix.UTIME_OMIT, unix.UTIME_NOW}[r.IntN(3)]
	return []step{
		{fmt.Sprintf("chmod %s %o", p, mode), func(w *twin) string { return result(0, unix.Chmod(filepath.Join(w.dir, p), mode)) }},
		{fmt.Sprintf("chown %s %d %d", p, uid, gid), func(w *twin) string {
			return result(0, unix.Lchown(filepath.Join(w.dir, p), uid, gid))
		}},
		{fmt.Sprintf("truncate %s %d", p, size), func(w *twin) string {
			return result(0, unix.Truncate(filepath.Join(w.dir, p), size))
		}},
		{"utimens " + p, func(w *twin) string {
			path := filepath.Join(w.dir, p)
			err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW)
			var st unix.Stat_t
			unix.Lstat(path, &st)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(st.Mtim)
		}},
		{"lstat " + p, func(w *twin) string {
			var st unix.Stat_t
			return stat(&st, unix.Lstat(filepath.Join(w.dir, p), &st))
		}},
	}[r.IntN(5)]
}

func xattrStep(r *rand.Rand) step {
	p, name := randomPath(r), []string{"user.a", "user.b", "trusted.c", "user.", "nonsense"}[r.IntN(5)]
	value := []byte(strings.Repeat("v", r.IntN(200)))
	flags, room := r.IntN(3), r.IntN(250)
	return []step{
		{fmt.Sprintf("setxattr %s %s %d %d", p, name, len(value), flags), func(w *twin) string {
			return result(0, unix.Lsetxattr(filepath.Join(w.dir, p), name, value, flags))
		}},
		{fmt.Sprintf("getxattr %s %s %d", p, name, room), func(w *twin) string {
			buf := make([]byte, room)
			n, err := unix.Lgetxattr(filepath.Join(w.dir, p), name, buf)
			return string(buf[:min(max(0, n), room)]) + result(n, err)
		}},
		{fmt.Sprintf("removexattr %s %s", p, name), func(w *twin) string {
			return result(0, unix.Lremovexattr(filepath.Join(w.dir, p), name))
		}},
		{fmt.Sprintf("listxattr %s %d", p, room), func(w *twin) string {
			buf := make([]byte, room)
			n, err := unix.Llistxattr(filepath.Join(w.dir, p), buf)
			if err != nil || room == 0 {
				return result(n, err)
			}
			found := strings.Split(string(buf[:n]), "\x00")
			slices.Sort(found)
			return fmt.Sprint(found)
		}},
	}[r.IntN(4)]
}

// TestSameAsNative runs random system calls on the mount and on the system's own file system: results and errors must be
// the same.
func TestSameAsNative(t *testing.T) {
	defer syscall.Umask(syscall.Umask(022))
	for _, opt := range []fusefs.Options{{}, {NoCache: true}} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/seed %d", cacheName(opt), seed), func(t *testing.T) {
				trees(t, func(t *testing.T, tree fusefs.Tree) { compare(t, mount(t, tree, opt).MountPoint(), seed) })
			})
		}
	}
}

func cacheName(opt fusefs.Options) string {
	if opt.NoCache {
		return "uncached"
	}
	return "cached"
}

func compare(t *testing.T, dir string, seed uint64) {
	const steps = 2000
	native, mounted := newTwin(t.TempDir()), newTwin(dir)
	defer native.close()
	defer mounted.close()
	r := rand.New(rand.NewPCG(seed, 1))
	var log []string
	for range steps {
		s := randomStep(r)
		want, got := s.run(native), s.run(mounted)
		log = append(log, fmt.Sprintf("%s -> %.100s", s.what, want))
		if got != want {
			t.Fatalf("%s:\n%.200s on the mount\n%.200s natively\nafter\n%s", s.what, got, want,
				strings.Join(log[max(0, len(log)-300):], "\n"))
		}
	}
}
