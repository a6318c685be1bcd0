package conformance

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func modes(b *bench) {
	b.file("file", "")
	b.mkdir("dir")
	for _, mode := range []uint32{0, 0777, 01777, 0400, 04755, 06711, 02755} {
		b.gives("chmod", unix.Chmod(b.at("file"), mode), nil)
		b.mode("chmod", "file", mode)
		b.gives("chmod of a directory", unix.Chmod(b.at("dir"), mode), nil)
		b.mode("chmod of a directory", "dir", mode)
	}
	b.ok(unix.Chmod(b.at("dir"), 0755))
	b.ok(unix.Chmod(b.at("file"), 0644))
	b.ok(os.Symlink("file", b.at("sym")))
	b.ok(unix.Chmod(b.at("sym"), 0600))
	b.mode("chmod through a symlink", "file", 0600)
	fd := b.open("file", unix.O_RDONLY)
	b.ok(unix.Fchmod(fd, 0640))
	b.mode("fchmod", "file", 0640)
	for _, umask := range []int{0, 022, 077, 0777} {
		was := unix.Umask(umask)
		name := fmt.Sprintf("%o", umask)
		calls := []call{
			{"open", open(b.at("f"+name), unix.O_CREAT|unix.O_WRONLY), nil},
			{"mkdir", unix.Mkdir(b.at("d"+name), 01777), nil},
			{"mkfifo", unix.Mkfifo(b.at("p"+name), 0666), nil},
			{"symlink", unix.Symlink("x", b.at("s"+name)), nil},
		}
		unix.Umask(was)
		b.all(calls)
		mask := uint32(umask)
		b.mode("open", "f"+name, 0644&^mask)
		b.mode("mkdir", "d"+name, 01777&^mask)
		b.mode("mkfifo", "p"+name, 0666&^mask)
		b.mode("symlink", "s"+name, 0777)
	}
	b.gives("a file of mode 0, open for writing", readOnlyButOpen(b), nil)
	b.all([]call{
		{"owner that stays", unix.Chown(b.at("file"), -1, -1), nil},
		{"owner and group as they are", unix.Lchown(b.at("sym"), os.Getuid(), os.Getgid()), nil},
	})
}

// readOnlyButOpen makes a file that nobody may write to, and writes to it through the descriptor that made it.
func readOnlyButOpen(b *bench) error {
	fd, err := unix.Open(b.at("readonly"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := second(unix.Write(fd, []byte("content"))); err != nil {
		return err
	}
	return unix.Ftruncate(fd, 3)
}

// stamps are the times of an inode that calls change.
type stamps struct{ mtime, ctime int64 }

func stampsOf(st unix.Stat_t) stamps { return stamps{st.Mtim.Nano(), st.Ctim.Nano()} }

// changed tells which times went forward, as in "mtime ctime".
func (s stamps) changed(since stamps) string {
	var list []string
	if s.mtime > since.mtime {
		list = append(list, "mtime")
	}
	if s.ctime > since.ctime {
		list = append(list, "ctime")
	}
	if s.mtime < since.mtime || s.ctime < since.ctime {
		list = append(list, "back")
	}
	return strings.Join(list, " ")
}

// times wants to see which calls change which times: those of "dir/file", and those of "dir".
func times(b *bench) {
	const both, file, dir = "mtime ctime", "dir/file", "dir"
	b.mkdir(dir)
	b.file(file, strings.Repeat("x", 10000))
	b.file("source", strings.Repeat("s", 1000))
	b.mkdir("dir/sub")
	fd, src := b.open(file, unix.O_RDWR), b.open("source", unix.O_RDONLY)
	for _, c := range []struct {
		what        string
		do          func() error
		wants, dirs string // what changes of the file, and of the directory
	}{
		{"stat", func() error { return second(os.Lstat(b.at(file))) }, "", ""},
		{"read", func() error { return second(unix.Pread(fd, make([]byte, 10), 0)) }, "", ""},
		{"list", func() error { return second(os.ReadDir(b.at(dir))) }, "", ""},
		{"write", func() error { return second(unix.Pwrite(fd, []byte("y"), 5)) }, both, ""},
		{"write of nothing", func() error { return second(unix.Pwrite(fd, nil, 5)) }, "", ""},
		{"truncate", func() error { return unix.Ftruncate(fd, 9000) }, both, ""},
		{"truncate to the same size", func() error { return unix.Ftruncate(fd, 9000) }, both, ""},
		{"truncate by path", func() error { return unix.Truncate(b.at(file), 9000) }, both, ""},
		{"fallocate", func() error { return unix.Fallocate(fd, 0, 0, 20000) }, both, ""},
		{"punch", func() error {
			return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096)
		}, both, ""},
		{"copy_file_range", func() error { return second(unix.CopyFileRange(src, nil, fd, nil, 100, 0)) }, both, ""},
		{"chmod", func() error { return unix.Chmod(b.at(file), 0600) }, "ctime", ""},
		{"chmod to the same", func() error { return unix.Chmod(b.at(file), 0600) }, "ctime", ""},
		{"chown to the same", func() error { return unix.Chown(b.at(file), os.Getuid(), os.Getgid()) }, "ctime", ""},
		{"setxattr", func() error { return unix.Setxattr(b.at(file), "user.a", []byte("1"), 0) }, "ctime", ""},
		{"removexattr", func() error { return unix.Removexattr(b.at(file), "user.a") }, "ctime", ""},
		{"utimens", func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, b.at(file), nil, 0) }, both, ""},
		{"fsync", func() error { return unix.Fsync(fd) }, "", ""},
		{"link", func() error { return unix.Link(b.at(file), b.at("dir/hard")) }, "ctime", both},
		{"unlink of another link", func() error { return unix.Unlink(b.at("dir/hard")) }, "ctime", both},
		{"link elsewhere", func() error { return unix.Link(b.at(file), b.at("hard")) }, "ctime", ""},
		{"create", func() error { return open(b.at("dir/new"), unix.O_CREAT|unix.O_WRONLY) }, "", both},
		{"create what is there", func() error { return open(b.at("dir/new"), unix.O_CREAT|unix.O_WRONLY) }, "", ""},
		{"unlink", func() error { return unix.Unlink(b.at("dir/new")) }, "", both},
		{"mkdir", func() error { return unix.Mkdir(b.at("dir/d"), 0755) }, "", both},
		{"rmdir", func() error { return unix.Rmdir(b.at("dir/d")) }, "", both},
		{"symlink", func() error { return unix.Symlink("x", b.at("dir/s")) }, "", both},
		{"mkfifo", func() error { return unix.Mkfifo(b.at("dir/p"), 0644) }, "", both},
		{"create below", func() error { return open(b.at("dir/sub/new"), unix.O_CREAT|unix.O_WRONLY) }, "", ""},
		{"rename of another", func() error { return unix.Rename(b.at("dir/s"), b.at("dir/s2")) }, "", both},
		{"rename into", func() error { return unix.Rename(b.at("source"), b.at("dir/source")) }, "", both},
		{"rename away", func() error { return unix.Rename(b.at("dir/source"), b.at("source")) }, "", both},
		{"rename", func() error { return unix.Rename(b.at(file), b.at("dir/f2")) }, "-", both},
		{"rename back", func() error { return unix.Rename(b.at("dir/f2"), b.at(file)) }, "ctime", both},
		{"exchange", func() error {
			return unix.Renameat2(unix.AT_FDCWD, b.at(file), unix.AT_FDCWD, b.at("dir/p"), unix.RENAME_EXCHANGE)
		}, "-", both},
		{"exchange back", func() error {
			return unix.Renameat2(unix.AT_FDCWD, b.at(file), unix.AT_FDCWD, b.at("dir/p"), unix.RENAME_EXCHANGE)
		}, "ctime", both},
		{"noreplace that fails", func() error {
			unix.Renameat2(unix.AT_FDCWD, b.at(file), unix.AT_FDCWD, b.at("dir/p"), unix.RENAME_NOREPLACE)
			return nil
		}, "", ""},
		{"truncating open", func() error { return open(b.at(file), unix.O_WRONLY|unix.O_TRUNC) }, both, ""},
		{"truncating open of an empty file", func() error { return open(b.at(file), unix.O_WRONLY|unix.O_TRUNC) }, both, ""},
	} {
		inode, parent := stampsOf(b.fstat(fd)), stampsOf(b.stat(dir))
		tick()
		b.gives(c.what, c.do(), nil)
		if c.wants != "-" {
			if got := stampsOf(b.stat(file)).changed(inode); got != c.wants {
				b.Errorf("%s changes %q of the file, want %q", c.what, got, c.wants)
			}
		}
		if got := stampsOf(b.stat(dir)).changed(parent); got != c.dirs {
			b.Errorf("%s changes %q of the directory, want %q", c.what, got, c.dirs)
		}
	}
}

func settingTimes(b *bench) {
	b.file("file", "content")
	b.mkdir("dir")
	b.ok(os.Symlink("file", b.at("sym")))
	set := func(name string, atime, mtime unix.Timespec, flags int) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, b.at(name), []unix.Timespec{atime, mtime}, flags)
	}
	omit, now := unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW}
	check := func(name string, atime, mtime unix.Timespec) {
		b.Helper()
		if st := b.stat(name); st.Atim != atime || st.Mtim != mtime {
			b.Errorf("%s: accessed %v, changed %v; want %v, %v", name, st.Atim, st.Mtim, atime, mtime)
		}
	}
	for _, sec := range []int64{0, 1, -1, -86400 * 365, 1 << 31, 1<<32 - 1, 1700000000} {
		for _, name := range []string{"file", "dir", "sym"} {
			a, m := unix.Timespec{Sec: sec, Nsec: 123456789}, unix.Timespec{Sec: sec + 5, Nsec: 999999999}
			b.gives("set", set(name, a, m, unix.AT_SYMLINK_NOFOLLOW), nil)
			check(name, a, m)
		}
	}
	a, m := unix.Timespec{Sec: 10, Nsec: 1}, unix.Timespec{Sec: 20, Nsec: 2}
	b.ok(set("file", a, m, 0))
	before := b.stat("file").Ctim
	b.ok(set("file", omit, omit, 0))
	check("file", a, m)
	if b.stat("file").Ctim != before {
		b.Error("omitting both times changes ctime")
	}
	b.ok(set("file", omit, unix.Timespec{Sec: 30}, 0))
	check("file", a, unix.Timespec{Sec: 30})
	b.ok(set("sym", unix.Timespec{Sec: 40}, omit, 0)) // of what it points to
	check("file", unix.Timespec{Sec: 40}, unix.Timespec{Sec: 30})
	b.ok(set("file", now, omit, 0))
	if st := b.stat("file"); time.Since(time.Unix(st.Atim.Unix())).Abs() > time.Minute || st.Mtim.Sec != 30 {
		b.Errorf("atime now: %v, %v", st.Atim, st.Mtim)
	}
	b.ok(set("file", omit, now, 0))
	if st := b.stat("file"); time.Since(time.Unix(st.Mtim.Unix())).Abs() > time.Minute {
		b.Errorf("mtime now: %v", st.Mtim)
	}
	b.gives("too many nanoseconds", set("file", a, unix.Timespec{Nsec: 1e9}, 0), unix.EINVAL)
	b.gives("of nothing", set("none", a, m, 0), unix.ENOENT)
	fd := b.open("file", unix.O_RDONLY)
	b.ok(unix.Futimes(fd, []unix.Timeval{{Sec: 50, Usec: 5}, {Sec: 60, Usec: 6}}))
	check("file", unix.Timespec{Sec: 50, Nsec: 5000}, unix.Timespec{Sec: 60, Nsec: 6000})
	b.ok(unix.Chmod(b.at("file"), 0600))
	b.ok(os.Rename(b.at("file"), b.at("moved")))
	check("moved", unix.Timespec{Sec: 50, Nsec: 5000}, unix.Timespec{Sec: 60, Nsec: 6000})
}

// inodes compares what different calls tell of inodes.
func inodes(b *bench) {
	b.file("file", "")
	b.mkdir("dir")
	b.file("dir/below", "")
	b.ok(os.Symlink("x", b.at("sym")))
	b.ok(unix.Mkfifo(b.at("fifo"), 0644))
	seen := map[uint64]string{b.stat(".").Ino: "."}
	device := b.stat(".").Dev
	for _, name := range []string{"file", "dir", "dir/below", "sym", "fifo"} {
		st := b.stat(name)
		if other, taken := seen[st.Ino]; taken || st.Dev != device {
			b.Errorf("%s has the number %d of %s, device %d of %d", name, st.Ino, other, st.Dev, device)
		}
		seen[st.Ino] = name
	}
	kinds := map[string]byte{".": unix.DT_DIR, "..": unix.DT_DIR, "file": unix.DT_REG, "dir": unix.DT_DIR,
		"sym": unix.DT_LNK, "fifo": unix.DT_FIFO}
	for _, e := range b.entries(b.open(".", unix.O_DIRECTORY)) {
		if e.kind != kinds[e.name] && e.kind != unix.DT_UNKNOWN {
			b.Errorf("%s is listed with type %d", e.name, e.kind)
		}
		if e.ino != b.stat(e.name).Ino {
			b.Errorf("%s is listed with inode %d, and has %d", e.name, e.ino, b.stat(e.name).Ino)
		}
		delete(kinds, e.name)
	}
	if len(kinds) > 0 {
		b.Errorf("not listed: %v", kinds)
	}
	ino := b.stat("dir/below").Ino
	b.ok(os.Rename(b.at("dir/below"), b.at("above")))
	if b.stat("above").Ino != ino {
		b.Error("a rename changed the inode number")
	}
	var up unix.Stat_t
	b.ok(unix.Stat(b.at("dir/.."), &up))
	if up.Ino != b.stat(".").Ino {
		b.Error("dir/.. is not the directory that holds dir")
	}
	st := b.stat("fifo")
	if st.Size != 0 || st.Nlink != 1 {
		b.Errorf("a fifo: %+v", st)
	}
}

func statfs(b *bench) {
	var st, again unix.Statfs_t
	b.ok(unix.Statfs(b.dir, &st))
	b.ok(unix.Fstatfs(b.open(".", unix.O_DIRECTORY), &again))
	switch {
	case st.Namelen != 255 || st.Bsize < 512 || st.Frsize < 512:
		b.Errorf("names of %d bytes, blocks of %d, %d", st.Namelen, st.Bsize, st.Frsize)
	case st.Blocks == 0 || st.Bfree > st.Blocks || st.Bavail > st.Bfree || st.Ffree > st.Files || st.Ffree == 0:
		b.Errorf("%+v", st)
	case again.Blocks != st.Blocks || again.Type != st.Type:
		b.Errorf("by descriptor %+v, by path %+v", again, st)
	}
}
