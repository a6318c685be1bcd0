package conformance

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// owned makes a file or, with a slash behind its name, a directory of a user.
func (b *bench) owned(name string, u user, mode uint32) {
	b.Helper()
	if name[len(name)-1] == '/' {
		b.ok(os.Mkdir(b.at(name), 0755))
	} else {
		b.file(name, "content")
	}
	b.ok(unix.Chown(b.at(name), u.id, u.id))
	b.ok(unix.Chmod(b.at(name), mode))
}

// by is a call by a user.
func (b *bench) by(u user, what string, want error, f func() error) {
	b.Helper()
	b.gives(what, as(u, f), want)
}

func permissions(b *bench) {
	b.owned("private", alice, 0600)
	b.owned("group", alice, 0640)
	b.owned("readonly", alice, 0444)
	b.owned("closed/", alice, 0700)
	b.owned("listed/", alice, 0744) // may be listed, not entered
	b.owned("entered/", alice, 0711)
	b.owned("shared/", alice, 0777)
	b.file("closed/file", "")
	b.file("listed/file", "")
	b.file("entered/file", "")
	for _, c := range []struct {
		who  user
		what string
		want error
		do   func() error
	}{
		{alice, "read", nil, func() error { return open(b.at("private"), unix.O_RDWR) }},
		{bob, "read", unix.EACCES, func() error { return open(b.at("private"), unix.O_RDONLY) }},
		{bob, "truncate", unix.EACCES, func() error { return unix.Truncate(b.at("private"), 0) }},
		{bob, "chmod", unix.EPERM, func() error { return unix.Chmod(b.at("private"), 0777) }},
		{bob, "chown", unix.EPERM, func() error { return unix.Chown(b.at("private"), bob.id, -1) }},
		{bob, "read by the group", unix.EACCES, func() error { return open(b.at("group"), unix.O_RDONLY) }},
		{user{bob.id, []int{alice.id}}, "read in the group", nil, func() error { return open(b.at("group"), unix.O_RDONLY) }},
		{user{bob.id, []int{alice.id}}, "write in the group", unix.EACCES, func() error { return open(b.at("group"), unix.O_WRONLY) }},
		{alice, "write to what is read-only", unix.EACCES, func() error { return open(b.at("readonly"), unix.O_WRONLY) }},
		{alice, "access", unix.EACCES, func() error { return unix.Access(b.at("readonly"), unix.W_OK) }},
		{bob, "access to what may be read", nil, func() error { return unix.Access(b.at("readonly"), unix.R_OK) }},
		{bob, "O_NOATIME of another's file", unix.EPERM, func() error { return open(b.at("readonly"), unix.O_NOATIME) }},
		{alice, "O_NOATIME", nil, func() error { return open(b.at("readonly"), unix.O_NOATIME) }},
		{bob, "stat in a closed directory", unix.EACCES, func() error { return second(os.Stat(b.at("closed/file"))) }},
		{bob, "list a closed directory", unix.EACCES, func() error { return open(b.at("closed"), unix.O_DIRECTORY) }},
		{bob, "list", nil, func() error { return open(b.at("listed"), unix.O_DIRECTORY) }},
		{bob, "stat where one may only list", unix.EACCES, func() error { return second(os.Stat(b.at("listed/file"))) }},
		{bob, "stat where one may only enter", nil, func() error { return second(os.Stat(b.at("entered/file"))) }},
		{bob, "list where one may only enter", unix.EACCES, func() error { return open(b.at("entered"), unix.O_DIRECTORY) }},
		{bob, "the directory by its own name in it", unix.EACCES, func() error { return unix.Access(b.at("closed")+"/.", unix.F_OK) }},
		{bob, "create where one may not", unix.EACCES, func() error { return open(b.at("entered/x"), unix.O_CREAT|unix.O_WRONLY) }},
		{bob, "mkdir where one may not", unix.EACCES, func() error { return unix.Mkdir(b.at("entered/x"), 0755) }},
		{bob, "mkfifo where one may not", unix.EACCES, func() error { return unix.Mkfifo(b.at("entered/x"), 0644) }},
		{bob, "symlink where one may not", unix.EACCES, func() error { return unix.Symlink("y", b.at("entered/x")) }},
		{bob, "unlink where one may not", unix.EACCES, func() error { return unix.Unlink(b.at("entered/file")) }},
		{bob, "rename from where one may not", unix.EACCES, func() error { return unix.Rename(b.at("entered/file"), b.at("shared/x")) }},
		{bob, "create", nil, func() error { return open(b.at("shared/bobs"), unix.O_CREAT|unix.O_WRONLY) }},
		{bob, "rename to where one may not", unix.EACCES, func() error { return unix.Rename(b.at("shared/bobs"), b.at("entered/x")) }},
		{bob, "link to where one may not", unix.EACCES, func() error { return unix.Link(b.at("shared/bobs"), b.at("entered/x")) }},
		{bob, "tmpfile where one may not", unix.EACCES, func() error { return open(b.at("entered"), unix.O_TMPFILE|unix.O_WRONLY) }},
		{bob, "mknod of a device", unix.EPERM, func() error { return unix.Mknod(b.at("shared/dev"), unix.S_IFCHR|0644, 0x103) }},
		{bob, "rename over another's file in a directory for all", nil, func() error {
			return unix.Rename(b.at("shared/bobs"), b.at("shared/bobs2"))
		}},
	} {
		b.by(c.who, c.what, c.want, c.do)
	}
	if st := b.stat("shared/bobs2"); int(st.Uid) != bob.id || int(st.Gid) != bob.id {
		b.Errorf("what bob made belongs to %d:%d", st.Uid, st.Gid)
	}
	// A directory that goes to another parent is itself written to: its ".." changes.
	b.owned("shared/sub/", alice, 0755)
	b.owned("shared/other/", bob, 0777)
	b.by(bob, "rename of another's directory in place", nil, func() error { return unix.Rename(b.at("shared/sub"), b.at("shared/sub2")) })
	b.by(bob, "rename of another's directory to another parent", unix.EACCES, func() error {
		return unix.Rename(b.at("shared/sub2"), b.at("shared/other/sub"))
	})
	b.by(alice, "rename of one's own to another parent", nil, func() error {
		return unix.Rename(b.at("shared/sub2"), b.at("shared/other/sub"))
	})
}

// sticky has directories where only the owner may take a name away.
func sticky(b *bench) {
	b.owned("tmp/", alice, 01777)
	for _, name := range []string{"bobs", "bobs2", "bobs3"} {
		b.owned("tmp/"+name, bob, 0666)
	}
	b.owned("tmp/bobsdir/", bob, 0777)
	b.owned("tmp/carols", user{id: 60003}, 0666)
	b.owned("plain/", alice, 0777)
	carol := user{id: 60003}
	for _, c := range []struct {
		who  user
		what string
		want error
		do   func() error
	}{
		{carol, "unlink of another's", unix.EPERM, func() error { return unix.Unlink(b.at("tmp/bobs")) }},
		{carol, "rmdir of another's", unix.EPERM, func() error { return unix.Rmdir(b.at("tmp/bobsdir")) }},
		{carol, "rename of another's", unix.EPERM, func() error { return unix.Rename(b.at("tmp/bobs"), b.at("tmp/x")) }},
		{carol, "rename over another's", unix.EPERM, func() error { return unix.Rename(b.at("tmp/carols"), b.at("tmp/bobs")) }},
		{carol, "exchange with another's", unix.EPERM, func() error {
			return unix.Renameat2(-100, b.at("tmp/carols"), -100, b.at("tmp/bobs"), unix.RENAME_EXCHANGE)
		}},
		{carol, "rename of one's own", nil, func() error { return unix.Rename(b.at("tmp/carols"), b.at("tmp/carols2")) }},
		{carol, "out of it", nil, func() error { return unix.Rename(b.at("tmp/carols2"), b.at("plain/carols")) }},
		{bob, "unlink by its owner", nil, func() error { return unix.Unlink(b.at("tmp/bobs")) }},
		{alice, "unlink by the directory's owner", nil, func() error { return unix.Unlink(b.at("tmp/bobs2")) }},
		{bob, "rmdir by its owner", nil, func() error { return unix.Rmdir(b.at("tmp/bobsdir")) }},
		{bob, "unlink of another's without the sticky bit", nil, func() error { return unix.Unlink(b.at("plain/carols")) }},
		{bob, "a sticky file", nil, func() error { return unix.Chmod(b.at("tmp/bobs3"), 01666) }},
	} {
		b.by(c.who, c.what, c.want, c.do)
	}
}

func owners(b *bench) {
	b.owned("file", alice, 0644)
	b.owned("dir/", alice, 0755)
	b.by(alice, "to one's other group", nil, func() error { return unix.Chown(b.at("file"), -1, alice.groups[0]) })
	b.by(alice, "back", nil, func() error { return unix.Chown(b.at("file"), alice.id, alice.id) })
	b.by(alice, "to a strange group", unix.EPERM, func() error { return unix.Chown(b.at("file"), -1, bob.id) })
	b.by(alice, "give away", unix.EPERM, func() error { return unix.Chown(b.at("file"), bob.id, -1) })
	b.by(alice, "to oneself", nil, func() error { return unix.Chown(b.at("file"), alice.id, -1) })
	b.by(bob, "change nothing of another's", nil, func() error { return unix.Chown(b.at("file"), -1, -1) })
	b.by(bob, "to its own group of another's", unix.EPERM, func() error { return unix.Chown(b.at("file"), -1, alice.id) })

	b.ok(unix.Chown(b.at("dir"), alice.id, alice.groups[0]))
	b.ok(unix.Chmod(b.at("dir"), 02777))
	b.by(bob, "create in a setgid directory", nil, func() error { return open(b.at("dir/file"), unix.O_CREAT|unix.O_WRONLY) })
	b.by(bob, "mkdir in it", nil, func() error { return unix.Mkdir(b.at("dir/sub"), 0755) })
	b.by(bob, "symlink in it", nil, func() error { return unix.Symlink("x", b.at("dir/sym")) })
	b.by(bob, "mkfifo in it", nil, func() error { return unix.Mkfifo(b.at("dir/fifo"), 0644) })
	b.by(bob, "tmpfile in it", nil, func() error {
		fd, err := unix.Open(b.at("dir"), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0644)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Linkat(unix.AT_FDCWD, fdPath(fd), unix.AT_FDCWD, b.at("dir/tmpfile"), unix.AT_SYMLINK_FOLLOW)
	})
	for _, name := range []string{"file", "sub", "sym", "fifo", "tmpfile"} {
		if st := b.stat("dir/" + name); int(st.Uid) != bob.id || int(st.Gid) != alice.groups[0] {
			b.Errorf("%s in a setgid directory belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
	b.mode("a directory in a setgid one", "dir/sub", 02755)
	b.mode("a file in it", "dir/file", 0644)
	b.by(bob, "an executable setgid file of a strange group", nil, func() error {
		fd, err := unix.Open(b.at("dir/exec"), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 02775)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
	b.mode("which is not setgid", "dir/exec", 0755)
}

// changes are the calls that take setuid and setgid away, if the caller may not give them.
var changes = []struct {
	what string
	do   func(path string) error
}{
	{"write", func(p string) error { return writeAt(p, 2) }},
	{"truncate", func(p string) error { return unix.Truncate(p, 2) }},
	{"truncating open", func(p string) error { return open(p, unix.O_WRONLY|unix.O_TRUNC) }},
	{"fallocate", allocate(0)},
	{"fallocate of what is there", allocate(unix.FALLOC_FL_KEEP_SIZE)},
	{"a hole", allocate(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)},
	{"zeros", allocate(unix.FALLOC_FL_ZERO_RANGE)},
	{"copy_file_range", copySelf},
}

// setID wants setuid and setgid cleared by whoever is not to have them.
func setID(b *bench) {
	b.owned("file", alice, 0777)
	member := user{bob.id, []int{alice.id}}
	for _, change := range changes {
		for _, c := range []struct {
			who          user
			name         string
			before, want uint32
		}{
			{bob, "a stranger", 06777, 0777},
			{bob, "a stranger", 06666, 0666},
			{bob, "a stranger", 04766, 0766},
			{bob, "a stranger", 02676, 0676},
			{bob, "a stranger", 02666, 0666},
			{bob, "a stranger", 01777, 01777},
			{member, "one of the group", 06777, 0777},
			{member, "one of the group", 06666, 02666},
			{alice, "the owner", 06777, 0777},
			{alice, "the owner", 02666, 02666},
			{user{}, "root", 06777, 06777},
		} {
			what := change.what + " by " + c.name
			b.ok(os.WriteFile(b.at("file"), []byte("content"), 0))
			b.ok(unix.Chmod(b.at("file"), c.before))
			do := func() error { return change.do(b.at("file")) }
			if c.who.id != 0 {
				b.by(c.who, what, nil, do)
			} else {
				b.gives(what, do(), nil)
			}
			b.mode(fmt.Sprintf("%s, of mode %o", what, c.before), "file", c.want)
		}
	}
	for _, c := range []struct {
		who    user
		before uint32
		want   uint32
		what   string
		do     func() error
	}{
		{alice, 06777, 0777, "chown to one's other group", func() error { return unix.Chown(b.at("file"), -1, alice.groups[0]) }},
		{alice, 06777, 0777, "chown to the same", func() error { return unix.Chown(b.at("file"), alice.id, -1) }},
		{alice, 02766, 02766, "chown of what the group may not execute", func() error { return unix.Chown(b.at("file"), alice.id, -1) }},
		{alice, 0644, 04755, "chmod", func() error { return unix.Chmod(b.at("file"), 04755) }},
		{alice, 0644, 02755, "chmod in the group", func() error { return unix.Chmod(b.at("file"), 02755) }},
	} {
		b.ok(unix.Chmod(b.at("file"), c.before))
		b.by(c.who, c.what, nil, c.do)
		b.mode(c.what, "file", c.want)
	}
	b.ok(unix.Chmod(b.at("file"), 06777))
	b.ok(unix.Chown(b.at("file"), alice.id, alice.id))
	b.mode("chown by root", "file", 0777)
	// Who is not in the group cannot make a file setgid.
	b.ok(unix.Chown(b.at("file"), alice.id, bob.id))
	b.by(alice, "chmod out of the group", nil, func() error { return unix.Chmod(b.at("file"), 02755) })
	b.mode("chmod out of the group", "file", 0755)
	b.owned("dir/", alice, 06777)
	b.by(alice, "chown of a directory", nil, func() error { return unix.Chown(b.at("dir"), -1, alice.groups[0]) })
	b.mode("chown of a directory", "dir", 06777)
	capabilities(b)
}

// capabilities go when a file is written to, whoever writes.
func capabilities(b *bench) {
	b.file("program", "content")
	// struct vfs_ns_cap_data, version 2, CAP_NET_BIND_SERVICE permitted
	value := []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	for what, do := range map[string]func() error{
		"write":    func() error { return writeAt(b.at("program"), 2) },
		"truncate": func() error { return unix.Truncate(b.at("program"), 3) },
		"chown":    func() error { return unix.Chown(b.at("program"), 1, 1) },
	} {
		if err := unix.Setxattr(b.at("program"), "security.capability", value, 0); err != nil {
			b.Fatalf("setting capabilities: %v", err)
		}
		b.ok(do())
		b.gives("capabilities after "+what, second(unix.Getxattr(b.at("program"), "security.capability", nil)), unix.ENODATA)
	}
}

// with opens a file for reading and writing.
func with(path string, f func(fd int) error) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

func writeAt(path string, off int64) error {
	return with(path, func(fd int) error { return second(unix.Pwrite(fd, []byte("written"), off)) })
}

func allocate(mode uint32) func(path string) error {
	return func(path string) error {
		return with(path, func(fd int) error { return unix.Fallocate(fd, mode, 0, 5000) })
	}
}

func copySelf(path string) error {
	return with(path, func(fd int) error {
		var from, to int64 = 0, 20
		return second(unix.CopyFileRange(fd, &from, fd, &to, 2, 0))
	})
}

func timesOfOthers(b *bench) {
	b.owned("shared", alice, 0666)
	b.owned("private", alice, 0600)
	stamp := []unix.Timespec{{Sec: 5}, {Sec: 6}}
	omitted := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
	set := func(name string, ts []unix.Timespec) func() error {
		return func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, b.at(name), ts, 0) }
	}
	b.by(alice, "a time", nil, set("shared", stamp))
	b.by(bob, "a time of another's file", unix.EPERM, set("shared", stamp))
	b.by(bob, "now, of another's that one may write to", nil, set("shared", nil))
	b.by(bob, "now, of another's that one may not", unix.EACCES, set("private", nil))
	b.by(bob, "one time only", unix.EPERM, set("shared", omitted))
	b.by(bob, "neither time", nil, set("private", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}))
}

func xattrsOfOthers(b *bench) {
	b.owned("shared", alice, 0644)
	b.owned("private", alice, 0600)
	b.owned("tmp/", alice, 01777)
	b.ok(unix.Setxattr(b.at("shared"), "trusted.a", []byte("t"), 0))
	b.ok(unix.Setxattr(b.at("private"), "user.a", []byte("u"), 0))
	b.ok(unix.Setxattr(b.at("shared"), "user.a", []byte("u"), 0))
	get := func(name, attribute string) func() error {
		return func() error { return second(unix.Getxattr(b.at(name), attribute, nil)) }
	}
	set := func(name, attribute string) func() error {
		return func() error { return unix.Setxattr(b.at(name), attribute, []byte("x"), 0) }
	}
	b.by(bob, "get", nil, get("shared", "user.a"))
	b.by(bob, "get of what one may not read", unix.EACCES, get("private", "user.a"))
	b.by(bob, "set of what one may not write", unix.EACCES, set("shared", "user.a"))
	b.by(alice, "set", nil, set("shared", "user.a"))
	b.by(alice, "set a trusted attribute", unix.EPERM, set("shared", "trusted.a"))
	b.by(alice, "get a trusted attribute", unix.ENODATA, get("shared", "trusted.a"))
	b.by(alice, "set a security attribute", unix.EPERM, set("shared", "security.a"))
	b.by(bob, "set of another's sticky directory", unix.EPERM, set("tmp", "user.a"))
	b.by(alice, "set of one's own", nil, set("tmp", "user.a"))
	b.by(bob, "list", nil, func() error {
		buf := make([]byte, 1000)
		n, err := unix.Listxattr(b.at("shared"), buf)
		if err == nil && string(buf[:n]) != "user.a\x00" {
			b.Errorf("another user sees the attributes %q", buf[:n])
		}
		return err
	})
}
