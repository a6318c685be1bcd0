package conformance

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func xattrs(b *bench) {
	b.file("file", "content")
	b.mkdir("dir")
	b.ok(os.Symlink("file", b.at("sym")))
	b.ok(unix.Mkfifo(b.at("fifo"), 0644))
	file, buf := b.at("file"), make([]byte, 3)
	long := strings.Repeat("n", 250)
	b.all([]call{
		{"get nothing", second(unix.Getxattr(file, "user.a", nil)), unix.ENODATA},
		{"remove nothing", unix.Removexattr(file, "user.a"), unix.ENODATA},
		{"replace nothing", unix.Setxattr(file, "user.a", []byte("long"), unix.XATTR_REPLACE), unix.ENODATA},
		{"create", unix.Setxattr(file, "user.a", []byte("long"), unix.XATTR_CREATE), nil},
		{"create again", unix.Setxattr(file, "user.a", nil, unix.XATTR_CREATE), unix.EEXIST},
		{"replace", unix.Setxattr(file, "user.a", []byte("longer"), unix.XATTR_REPLACE), nil},
		{"both flags", unix.Setxattr(file, "user.c", nil, unix.XATTR_REPLACE|unix.XATTR_CREATE), unix.ENODATA},
		{"an unknown flag", unix.Setxattr(file, "user.a", nil, 8), unix.EINVAL},
		{"get into too little", second(unix.Getxattr(file, "user.a", buf)), unix.ERANGE},
		{"list into too little", second(unix.Listxattr(file, buf)), unix.ERANGE},
		{"a value that is too large", unix.Setxattr(file, "user.b", make([]byte, 65537), 0), unix.E2BIG},
		{"the longest name", unix.Setxattr(file, "user."+long, []byte("x"), 0), nil},
		{"a longer name", unix.Setxattr(file, "user.n"+long, nil, 0), unix.ERANGE},
		{"get a longer name", second(unix.Getxattr(file, "user.n"+long, nil)), unix.ERANGE},
		{"no name", unix.Setxattr(file, "", nil, 0), unix.ERANGE},
		{"a name without an end", unix.Setxattr(file, "user.", nil, 0), unix.EINVAL},
		{"an unknown space", unix.Setxattr(file, "unknown.a", nil, 0), unix.EOPNOTSUPP},
		{"get of an unknown space", second(unix.Getxattr(file, "unknown.a", nil)), unix.EOPNOTSUPP},
		{"no space", unix.Setxattr(file, "a", nil, 0), unix.EOPNOTSUPP},
		{"of a directory", unix.Setxattr(b.at("dir"), "user.a", []byte("d"), 0), nil},
		{"through a symlink", unix.Setxattr(b.at("sym"), "user.s", []byte("s"), 0), nil},
		{"of a symlink", unix.Lsetxattr(b.at("sym"), "user.s", []byte("s"), 0), unix.EPERM},
		{"of a fifo", unix.Setxattr(b.at("fifo"), "user.a", nil, 0), unix.EPERM},
		{"get of a symlink", second(unix.Lgetxattr(b.at("sym"), "user.s", nil)), unix.ENODATA},
		{"empty", unix.Setxattr(file, "user.empty", nil, 0), nil},
		{"binary", unix.Setxattr(file, "user.bin", []byte("\x00\xff\n"), 0), nil},
	})
	b.xattr("file", "user.a", "longer")
	b.xattr("file", "user."+long, "x")
	b.xattr("file", "user.empty", "")
	b.xattr("file", "user.bin", "\x00\xff\n")
	b.xattr("file", "user.s", "s")
	b.listed("file", "user.a", "user.bin", "user.empty", "user.s", "user."+long)
	b.ok(unix.Removexattr(file, "user.bin"))
	b.ok(os.Rename(file, b.at("moved")))
	b.ok(unix.Link(b.at("moved"), b.at("hard")))
	b.xattr("hard", "user.a", "longer")
	fd := b.open("moved", unix.O_RDONLY)
	b.ok(unix.Fremovexattr(fd, "user.a"))
	b.gives("removed", second(unix.Getxattr(b.at("hard"), "user.a", nil)), unix.ENODATA)
	b.gives("by a path alone", second(unix.Fgetxattr(b.open("moved", unix.O_PATH), "user.s", nil)), unix.EBADF)
	privileged(b)
}

// privileged are the spaces that only root may write to.
func privileged(b *bench) {
	b.file("plain", "")
	want := error(nil)
	if os.Getuid() != 0 {
		want = unix.EPERM
	}
	b.gives("set a trusted attribute", unix.Setxattr(b.at("plain"), "trusted.a", []byte("t"), 0), want)
	b.gives("set a security attribute", unix.Setxattr(b.at("plain"), "security.a", []byte("s"), 0), want)
	if want == nil {
		b.ok(unix.Lsetxattr(b.at("sym"), "trusted.a", []byte("t"), 0))
		b.xattr("plain", "trusted.a", "t")
		b.listed("plain", "security.a", "trusted.a")
	} else {
		b.gives("get a trusted attribute", second(unix.Getxattr(b.at("plain"), "trusted.a", nil)), unix.ENODATA)
		b.listed("plain")
	}
}

func (b *bench) xattr(name, attribute, want string) {
	b.Helper()
	size, err := unix.Getxattr(b.at(name), attribute, nil)
	if size != len(want) || err != nil {
		b.Errorf("%.20s of %s takes %d, %v", attribute, name, size, err)
	}
	buf := make([]byte, len(want)+1)
	n, err := unix.Getxattr(b.at(name), attribute, buf)
	if err != nil || string(buf[:n]) != want {
		b.Errorf("%.20s of %s: %q, %v; want %q", attribute, name, buf[:max(n, 0)], err, want)
	}
}

// listed wants the names of all attributes, but for a label that the system itself gives.
func (b *bench) listed(name string, want ...string) {
	b.Helper()
	size, err := unix.Listxattr(b.at(name), nil)
	b.ok(err)
	buf := make([]byte, size)
	n, err := unix.Listxattr(b.at(name), buf)
	b.ok(err)
	var got []string
	for attribute := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if attribute != "" && attribute != "security.selinux" {
			got = append(got, attribute)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if n != size || !slices.Equal(got, want) {
		b.Errorf("attributes of %s: %.30q in %d of %d bytes; want %.30q", name, got, n, size, want)
	}
}
