package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// pathCalls are the calls that take a path.
var pathCalls = []struct {
	name string
	do   func(path string) error
}{
	{"open", func(p string) error { return open(p, unix.O_RDONLY) }},
	{"create", func(p string) error { return open(p, unix.O_CREAT|unix.O_WRONLY) }},
	{"open a directory", func(p string) error { return open(p, unix.O_DIRECTORY) }},
	{"stat", func(p string) error { return unix.Stat(p, new(unix.Stat_t)) }},
	{"lstat", func(p string) error { return unix.Lstat(p, new(unix.Stat_t)) }},
	{"access", func(p string) error { return unix.Access(p, unix.F_OK) }},
	{"mkdir", func(p string) error { return unix.Mkdir(p, 0755) }},
	{"mkfifo", func(p string) error { return unix.Mkfifo(p, 0644) }},
	{"mknod", func(p string) error { return unix.Mknod(p, unix.S_IFREG|0644, 0) }},
	{"symlink", func(p string) error { return unix.Symlink("target", p) }},
	{"readlink", func(p string) error { return second(unix.Readlink(p, make([]byte, 10))) }},
	{"unlink", unix.Unlink},
	{"rmdir", unix.Rmdir},
	{"chdir", unix.Chdir},
	{"chmod", func(p string) error { return unix.Chmod(p, 0644) }},
	{"chown", func(p string) error { return unix.Chown(p, -1, -1) }},
	{"lchown", func(p string) error { return unix.Lchown(p, -1, -1) }},
	{"truncate", func(p string) error { return unix.Truncate(p, 0) }},
	{"utimens", func(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, nil, 0) }},
	{"statfs", func(p string) error { return unix.Statfs(p, new(unix.Statfs_t)) }},
	{"getxattr", func(p string) error { return second(unix.Getxattr(p, "user.a", nil)) }},
	{"setxattr", func(p string) error { return unix.Setxattr(p, "user.a", nil, 0) }},
	{"listxattr", func(p string) error { return second(unix.Listxattr(p, nil)) }},
	{"removexattr", func(p string) error { return unix.Removexattr(p, "user.a") }},
}

// paths gives bad paths to all calls.
func paths(b *bench) {
	b.file("file", "content")
	b.ok(os.Symlink("loop", b.at("loop")))
	b.ok(os.Symlink("other", b.at("another")))
	b.ok(os.Symlink("another", b.at("other")))
	long := strings.Repeat("n", 256)
	for _, c := range []struct {
		path string
		want error
	}{
		{b.at("missing/x"), unix.ENOENT},
		{b.at("file/x"), unix.ENOTDIR},
		{b.at("loop/x"), unix.ELOOP},
		{b.at("other/x"), unix.ELOOP},
		{b.at(long), unix.ENAMETOOLONG},
		{b.at(long + "/x"), unix.ENAMETOOLONG},
		{pathOf(b, "x", 4096), unix.ENAMETOOLONG},
		{"", unix.ENOENT},
	} {
		for _, call := range pathCalls {
			b.gives(fmt.Sprintf("%s %.40q", call.name, strings.TrimPrefix(c.path, b.dir)), call.do(c.path), c.want)
		}
		b.gives("link from "+c.path, unix.Link(c.path, b.at("new")), c.want)
		b.gives("link to "+c.path, unix.Link(b.at("file"), c.path), c.want)
		b.gives("rename from "+c.path, unix.Rename(c.path, b.at("new")), c.want)
		b.gives("rename to "+c.path, unix.Rename(b.at("file"), c.path), c.want)
	}
	for _, name := range []string{long[1:], "\xff\xfe", "new\nline", " ", "-", "...", "\x01"} {
		b.gives(fmt.Sprintf("the name %.20q", name), open(b.at(name), unix.O_CREAT|unix.O_WRONLY), nil)
		b.holds(name, "")
		b.gives(fmt.Sprintf("rename %.20q", name), unix.Rename(b.at(name), b.at(long[1:])), nil)
		b.ok(os.Remove(b.at(long[1:])))
	}
	b.gives("the longest path", open(pathOf(b, "file", 4095), unix.O_RDONLY), nil)
	chain(b)
}

// pathOf is a path to a name, padded to a length.
func pathOf(b *bench, name string, length int) string {
	pad := length - len(b.dir) - len("/") - len(name)
	return b.dir + strings.Repeat("/", pad%2) + strings.Repeat("/.", pad/2) + "/" + name
}

// chain follows 40 symlinks, which is as many as Linux does.
func chain(b *bench) {
	for i := range 41 {
		b.ok(os.Symlink(fmt.Sprint("link", i), b.at(fmt.Sprint("link", i+1))))
	}
	b.file("link0", "content")
	b.gives("40 symlinks", open(b.at("link40"), unix.O_RDONLY), nil)
	b.gives("41 symlinks", open(b.at("link41"), unix.O_RDONLY), unix.ELOOP)
}

func creating(b *bench) {
	b.file("file", "content")
	b.mkdir("dir")
	b.ok(os.Symlink("made-through-link", b.at("dangling")))
	b.ok(os.Symlink("dir", b.at("link-to-dir")))
	const create = unix.O_CREAT | unix.O_WRONLY
	b.all([]call{
		{"exclusively, over a file", open(b.at("file"), create|unix.O_EXCL), unix.EEXIST},
		{"exclusively, over a directory", open(b.at("dir"), create|unix.O_EXCL), unix.EEXIST},
		{"exclusively, over a dangling symlink", open(b.at("dangling"), create|unix.O_EXCL), unix.EEXIST},
		{"without following a symlink", open(b.at("dangling"), create|unix.O_NOFOLLOW), unix.ELOOP},
		{"through a dangling symlink", open(b.at("dangling"), create), nil},
		{"over a directory", open(b.at("dir"), create), unix.EISDIR},
		{"with a slash behind", open(b.at("new")+"/", create), unix.EISDIR},
		{"a file as a directory", open(b.at("file"), unix.O_DIRECTORY), unix.ENOTDIR},
		{"a file with a slash behind", open(b.at("file")+"/", unix.O_RDONLY), unix.ENOTDIR},
		{"a directory for writing", open(b.at("dir"), unix.O_WRONLY), unix.EISDIR},
		{"a directory for reading and writing", open(b.at("dir"), unix.O_RDWR), unix.EISDIR},
		{"a directory to truncate it", open(b.at("dir"), unix.O_RDONLY|unix.O_TRUNC), unix.EISDIR},
		{"a symlink itself", open(b.at("link-to-dir"), unix.O_NOFOLLOW), unix.ELOOP},
		{"a symlink as a directory", open(b.at("link-to-dir"), unix.O_DIRECTORY), nil},
		{"a symlink as a path", open(b.at("link-to-dir"), unix.O_PATH|unix.O_NOFOLLOW), nil},
		{"mkdir over a file", unix.Mkdir(b.at("file"), 0755), unix.EEXIST},
		{"mkdir over a symlink", unix.Mkdir(b.at("dangling"), 0755), unix.EEXIST},
		{"mkdir with a slash behind", unix.Mkdir(b.at("slash")+"/", 0755), nil},
		{"mkdir of .", unix.Mkdir(b.at("dir")+"/.", 0755), unix.EEXIST},
		{"mknod over a file", unix.Mknod(b.at("file"), unix.S_IFREG|0644, 0), unix.EEXIST},
		{"mkfifo over a directory", unix.Mkfifo(b.at("dir"), 0644), unix.EEXIST},
		{"symlink over a file", unix.Symlink("x", b.at("file")), unix.EEXIST},
		{"an empty symlink", unix.Symlink("", b.at("empty")), unix.ENOENT},
		{"the longest symlink", unix.Symlink(strings.Repeat("t", 4095), b.at("sym")), nil},
		{"a longer symlink", unix.Symlink(strings.Repeat("t", 4096), b.at("longer")), unix.ENAMETOOLONG},
		{"readlink of a file", second(unix.Readlink(b.at("file"), make([]byte, 10))), unix.EINVAL},
	})
	b.holds("made-through-link", "")
	b.holds("file", "content")
	buf := make([]byte, 5000)
	for size, want := range map[int]int{5000: 4095, 3: 3} {
		if n, err := unix.Readlink(b.at("sym"), buf[:size]); n != want || err != nil {
			b.Errorf("readlink into %d bytes: %d, %v", size, n, err)
		}
	}
	if size := b.stat("sym").Size; size != 4095 {
		b.Errorf("a symlink of 4095 bytes has size %d", size)
	}
	negative(b)
}

// negative makes names that were looked up in vain before.
func negative(b *bench) {
	for i, create := range []func(path string) error{
		func(p string) error { return open(p, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY) },
		func(p string) error { return unix.Mkdir(p, 0755) },
		func(p string) error { return unix.Symlink("x", p) },
		func(p string) error { return unix.Mkfifo(p, 0644) },
		func(p string) error { return unix.Link(b.at("file"), p) },
		func(p string) error { return unix.Rename(b.at("slash"), p) },
	} {
		p := b.at(fmt.Sprint("negative", i))
		for range 2 {
			b.gives("before it is there", unix.Lstat(p, new(unix.Stat_t)), unix.ENOENT)
		}
		b.ok(create(p))
		b.gives("when it is there", unix.Lstat(p, new(unix.Stat_t)), nil)
		b.ok(os.Remove(p))
		b.gives("when it is gone again", unix.Lstat(p, new(unix.Stat_t)), unix.ENOENT)
	}
}

func linking(b *bench) {
	b.file("file", "content")
	b.mkdir("dir")
	b.ok(os.Symlink("file", b.at("sym")))
	b.all([]call{
		{"link", unix.Link(b.at("file"), b.at("dir/hard")), nil},
		{"link of a symlink", unix.Link(b.at("sym"), b.at("sym2")), nil},
		{"link through a symlink", unix.Linkat(-100, b.at("sym"), -100, b.at("hard2"), unix.AT_SYMLINK_FOLLOW), nil},
		{"link of a directory", unix.Link(b.at("dir"), b.at("dir2")), unix.EPERM},
		{"link over a file", unix.Link(b.at("file"), b.at("sym")), unix.EEXIST},
		{"link over itself", unix.Link(b.at("file"), b.at("file")), unix.EEXIST},
		{"link over a directory", unix.Link(b.at("file"), b.at("dir")), unix.EEXIST},
		{"link of nothing", unix.Link(b.at("none"), b.at("new")), unix.ENOENT},
	})
	b.links("after link", "file", 3, "dir/hard", 3, "hard2", 3, "sym2", 2, "dir", 2)
	if b.stat("file").Ino != b.stat("dir/hard").Ino || b.stat("sym").Ino != b.stat("sym2").Ino {
		b.Error("links have different inode numbers")
	}
	b.ok(os.WriteFile(b.at("hard2"), []byte("changed"), 0))
	b.holds("dir/hard", "changed")
	b.ok(os.Chmod(b.at("hard2"), 0600))
	b.mode("of another link", "file", 0600)
	b.ok(os.Remove(b.at("file")))
	b.links("after unlink", "dir/hard", 2)
	b.ok(os.Rename(b.at("hard2"), b.at("dir/hard"))) // two links of one inode: nothing happens
	b.links("after a rename over itself", "dir/hard", 2, "hard2", 2)
	otherDevice(b)
}

// otherDevice tries to leave the file system.
func otherDevice(b *bench) {
	away, err := os.MkdirTemp("/dev/shm", "")
	if err != nil {
		return
	}
	defer os.Remove(away)
	var here, there unix.Stat_t
	b.ok(unix.Stat(b.dir, &here))
	b.ok(unix.Stat(away, &there))
	if here.Dev == there.Dev {
		return
	}
	target := filepath.Join(away, "x")
	b.all([]call{
		{"link to another device", unix.Link(b.at("hard2"), target), unix.EXDEV},
		{"rename to another device", unix.Rename(b.at("hard2"), target), unix.EXDEV},
		{"rename of a directory to another device", unix.Rename(b.at("dir"), target), unix.EXDEV},
		{"rename from another device", unix.Rename(away, b.at("new")), unix.EXDEV},
	})
}

// unlinked uses a file that is open and has no name.
func unlinked(b *bench) {
	b.file("file", "content")
	fd := b.open("file", unix.O_RDWR)
	b.ok(os.Remove(b.at("file")))
	b.gives("the name", unix.Access(b.at("file"), 0), unix.ENOENT)
	b.file("file", "another")
	ino := b.fstat(fd).Ino
	if ino == b.stat("file").Ino {
		b.Error("the inode number of an open file was used again")
	}
	b.all([]call{
		{"write", second(unix.Pwrite(fd, []byte("CON"), 0)), nil},
		{"chmod", unix.Fchmod(fd, 0640), nil},
		{"chown", unix.Fchown(fd, -1, os.Getgid()), nil},
		{"truncate", unix.Ftruncate(fd, 6), nil},
		{"fallocate", unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 10000), nil},
		{"utimens", unix.Futimes(fd, []unix.Timeval{{Sec: 1}, {Sec: 2}}), nil},
		{"setxattr", unix.Fsetxattr(fd, "user.a", []byte("x"), 0), nil},
		{"getxattr", second(unix.Fgetxattr(fd, "user.a", nil)), nil},
		{"fsync", unix.Fsync(fd), nil},
		{"give it a name", unix.Linkat(-100, fdPath(fd), -100, b.at("new"), unix.AT_SYMLINK_FOLLOW), unix.ENOENT},
	})
	st := b.fstat(fd)
	if st.Nlink != 0 || st.Size != 6 || st.Mode != unix.S_IFREG|0640 || st.Mtim.Sec != 2 || st.Ino != ino {
		b.Errorf("an open file without a name: %+v", st)
	}
	again, err := os.OpenFile(fdPath(fd), os.O_RDWR, 0)
	b.ok(err)
	defer again.Close()
	buf := make([]byte, 10)
	if n, err := again.Read(buf); string(buf[:n]) != "CONten" {
		b.Errorf("opened again by its descriptor: %q, %v", buf[:n], err)
	}
	b.ok(second(again.WriteAt([]byte("x"), 9)))
	if st := b.fstat(fd); st.Size != 10 {
		b.Errorf("size %d after a write through another descriptor", st.Size)
	}
	b.holds("file", "another")
	replaced(b)
}

// replaced has a file open whose name another one takes.
func replaced(b *bench) {
	b.file("old", "old")
	b.file("new", "new")
	fd := b.open("old", unix.O_RDONLY)
	b.ok(os.Rename(b.at("new"), b.at("old")))
	buf := make([]byte, 10)
	n, err := unix.Read(fd, buf)
	if string(buf[:n]) != "old" || err != nil || b.fstat(fd).Nlink != 0 {
		b.Errorf("a file that was replaced: %q, %v, %d links", buf[:n], err, b.fstat(fd).Nlink)
	}
	b.holds("old", "new")
}

func tmpfile(b *bench) {
	fd := b.open(".", unix.O_TMPFILE|unix.O_RDWR)
	if st := b.fstat(fd); st.Nlink != 0 || st.Mode != unix.S_IFREG|0644 {
		b.Errorf("a file without name has %d links, mode %o", st.Nlink, st.Mode)
	}
	b.ok(second(unix.Write(fd, []byte("content"))))
	b.gives("without a directory", open(b.at("none"), unix.O_TMPFILE|unix.O_RDWR), unix.ENOENT)
	b.gives("read-only", open(b.dir, unix.O_TMPFILE|unix.O_RDONLY), unix.EINVAL)
	if list, err := os.ReadDir(b.dir); err != nil || len(list) != 0 {
		b.Errorf("there is %v, %v", list, err)
	}
	b.ok(unix.Linkat(-100, fdPath(fd), -100, b.at("named"), unix.AT_SYMLINK_FOLLOW))
	b.gives("a second time", unix.Linkat(-100, fdPath(fd), -100, b.at("named"), unix.AT_SYMLINK_FOLLOW), unix.EEXIST)
	b.holds("named", "content")
	b.links("with a name", "named", 1)
	b.ok(second(unix.Pwrite(fd, []byte("C"), 0)))
	b.holds("named", "Content")
	b.ok(unix.Linkat(-100, b.at("named"), -100, b.at("second"), 0))
	b.links("with two", "named", 2)

	fd = b.open(".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_EXCL)
	b.gives("that must stay without name", unix.Linkat(-100, fdPath(fd), -100, b.at("x"), unix.AT_SYMLINK_FOLLOW), unix.ENOENT)
	if os.Getuid() == 0 {
		fd = b.open(".", unix.O_TMPFILE|unix.O_WRONLY)
		b.ok(unix.Linkat(fd, "", -100, b.at("by-fd"), unix.AT_EMPTY_PATH))
		b.links("by its descriptor alone", "by-fd", 1)
	}
}

func removing(b *bench) {
	b.file("file", "")
	b.ok(os.MkdirAll(b.at("full/sub"), 0755))
	b.mkdir("empty")
	b.ok(os.Symlink("empty", b.at("link")))
	b.all([]call{
		{"unlink of a directory", unix.Unlink(b.at("empty")), unix.EISDIR},
		{"unlink with a slash behind", unix.Unlink(b.at("file") + "/"), unix.ENOTDIR},
		{"rmdir of a file", unix.Rmdir(b.at("file")), unix.ENOTDIR},
		{"rmdir of a symlink", unix.Rmdir(b.at("link")), unix.ENOTDIR},
		{"rmdir of a full directory", unix.Rmdir(b.at("full")), unix.ENOTEMPTY},
		{"rmdir of .", unix.Rmdir(b.at("empty") + "/."), unix.EINVAL},
		{"rmdir of ..", unix.Rmdir(b.at("full/sub") + "/.."), unix.ENOTEMPTY},
		{"rmdir", unix.Rmdir(b.at("empty")), nil},
		{"rmdir again", unix.Rmdir(b.at("empty")), unix.ENOENT},
		{"unlink of a dangling symlink", unix.Unlink(b.at("link")), nil},
	})
	b.links("after rmdir", ".", 3, "full", 3)
	b.mkdir("gone")
	fd := b.open("gone", unix.O_DIRECTORY)
	b.ok(unix.Rmdir(b.at("gone")))
	b.all([]call{
		{"create in a removed directory", second(unix.Openat(fd, "x", unix.O_CREAT|unix.O_WRONLY, 0644)), unix.ENOENT},
		{"mkdir in a removed directory", unix.Mkdirat(fd, "x", 0755), unix.ENOENT},
		{"symlink in a removed directory", unix.Symlinkat("y", fd, "x"), unix.ENOENT},
		{"link into a removed directory", unix.Linkat(-100, b.at("file"), fd, "x", 0), unix.ENOENT},
		{"rename into a removed directory", unix.Renameat(-100, b.at("file"), fd, "x"), unix.ENOENT},
		{"list a removed directory", second(unix.Getdents(fd, make([]byte, 4096))), unix.ENOENT},
	})
	if n := b.fstat(fd).Nlink; n != 0 {
		b.Errorf("a removed directory has %d links", n)
	}
}
