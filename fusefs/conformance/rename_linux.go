package conformance

import (
	"os"

	"golang.org/x/sys/unix"
)

func renaming(b *bench) {
	b.file("file", "content")
	b.file("other", "other")
	b.mkdir("dir")
	b.ok(os.Symlink("file", b.at("sym")))
	ino, other := b.stat("file").Ino, b.open("other", unix.O_RDONLY)
	b.all([]call{
		{"to itself", unix.Rename(b.at("file"), b.at("file")), nil},
		{"of nothing", unix.Rename(b.at("none"), b.at("x")), unix.ENOENT},
		{"over a directory", unix.Rename(b.at("file"), b.at("dir")), unix.EISDIR},
		{"of a file with a slash behind", unix.Rename(b.at("file")+"/", b.at("x")), unix.ENOTDIR},
		{"of a file to a name with a slash behind", unix.Rename(b.at("file"), b.at("x")+"/"), unix.ENOTDIR},
		{"over a file", unix.Rename(b.at("file"), b.at("other")), nil},
		{"of a symlink", unix.Rename(b.at("sym"), b.at("dir/sym")), nil},
		{"over a dangling symlink", unix.Rename(b.at("other"), b.at("dir/sym")), nil},
	})
	if b.stat("dir/sym").Ino != ino {
		b.Error("a renamed file has another inode number")
	}
	if n := b.fstat(other).Nlink; n != 0 {
		b.Errorf("a replaced file has %d links", n)
	}
	b.holds("dir/sym", "content")
	b.file("a", "a")
	b.ok(unix.Link(b.at("a"), b.at("a2")))
	b.file("b", "b")
	b.ok(unix.Rename(b.at("b"), b.at("a")))
	b.links("one of two links was replaced", "a2", 1, "a", 1)
	b.holds("a2", "a")
}

func renamingDirectories(b *bench) {
	b.ok(os.MkdirAll(b.at("full/sub/deep"), 0755))
	b.mkdir("empty")
	b.mkdir("to")
	b.file("file", "")
	b.ok(os.Symlink("full", b.at("sym")))
	b.all([]call{
		{"over a file", unix.Rename(b.at("empty"), b.at("file")), unix.ENOTDIR},
		{"over a symlink to a directory", unix.Rename(b.at("empty"), b.at("sym")), unix.ENOTDIR},
		{"over a full directory", unix.Rename(b.at("empty"), b.at("full")), unix.ENOTEMPTY},
		{"into itself", unix.Rename(b.at("full"), b.at("full/x")), unix.EINVAL},
		{"below itself", unix.Rename(b.at("full"), b.at("full/sub/deep/x")), unix.EINVAL},
		{"over its own parent", unix.Rename(b.at("full/sub"), b.at("full")), unix.ENOTEMPTY},
		{"over its own child", unix.Rename(b.at("full"), b.at("full/sub")), unix.EINVAL},
		{"of .", unix.Rename(b.at("full")+"/.", b.at("x")), unix.EBUSY},
		{"of ..", unix.Rename(b.at("full/sub")+"/..", b.at("x")), unix.EBUSY},
		{"to .", unix.Rename(b.at("empty"), b.at("full")+"/."), unix.EBUSY},
		{"with slashes behind", unix.Rename(b.at("empty")+"/", b.at("moved")+"/"), nil},
		{"back", unix.Rename(b.at("moved"), b.at("empty")), nil},
		{"a file into it", unix.Rename(b.at("file"), b.at("to/file")), nil},
	})
	b.links("before", ".", 5, "full", 3, "to", 2)
	fd := b.open("full/sub", unix.O_DIRECTORY)
	b.ok(unix.Rename(b.at("full/sub"), b.at("to/sub")))
	b.links("after a move to another directory", ".", 5, "full", 2, "to", 3, "to/sub", 3)
	var up unix.Stat_t
	b.ok(unix.Fstatat(fd, "..", &up, 0))
	if up.Ino != b.stat("to").Ino {
		b.Error(".. of a moved directory is not its new parent")
	}
	b.ok(unix.Rename(b.at("to/sub"), b.at("empty")))
	b.links("after a move over an empty directory", ".", 5, "to", 2, "empty", 3)
	b.ok(unix.Rename(b.at("full"), b.at("to/full")))
	b.ok(unix.Rename(b.at("empty/deep"), b.at("to/full")))
	b.links("after another", ".", 4, "to", 3, "empty", 2)
}

func exchanging(b *bench) {
	b.ok(os.MkdirAll(b.at("dir/sub/deep"), 0755))
	b.file("file", "file")
	b.file("other", "other")
	b.ok(os.MkdirAll(b.at("dir2/sub2"), 0755))
	b.ok(os.Symlink("x", b.at("sym")))
	rename := func(from, to string, flags uint) error {
		return unix.Renameat2(unix.AT_FDCWD, b.at(from), unix.AT_FDCWD, b.at(to), flags)
	}
	const none, both = unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE
	b.all([]call{
		{"noreplace", rename("file", "new", none), nil},
		{"noreplace over a file", rename("new", "other", none), unix.EEXIST},
		{"noreplace over itself", rename("new", "new", none), unix.EEXIST},
		{"noreplace over a dangling symlink", rename("new", "sym", none), unix.EEXIST},
		{"noreplace over an empty directory", rename("dir2/sub2", "dir/sub/deep", none), unix.EEXIST},
		{"noreplace of nothing", rename("none", "x", none), unix.ENOENT},
		{"both flags", rename("new", "other", none|both), unix.EINVAL},
		{"an unknown flag", rename("new", "other", 1<<8), unix.EINVAL},
		{"exchange with nothing", rename("new", "none", both), unix.ENOENT},
		{"exchange of nothing", rename("none", "new", both), unix.ENOENT},
		{"exchange with a directory above", rename("dir/sub/deep", "dir", both), unix.EINVAL},
		{"exchange with a directory below", rename("dir", "dir/sub/deep", both), unix.EINVAL},
		{"exchange with a directory that holds it", rename("dir/sub", "dir", both), unix.EINVAL},
		{"exchange with itself", rename("new", "new", both), nil},
		{"exchange", rename("new", "other", both), nil},
	})
	b.holds("new", "other")
	b.holds("other", "file")
	b.links("before", ".", 4, "dir", 3, "dir2", 3)
	b.ok(rename("dir/sub", "new", both))
	b.links("after exchange with a file", ".", 5, "dir", 2, "new", 3)
	b.holds("dir/sub", "other")
	b.ok(rename("new", "dir2/sub2", both))
	b.links("after exchange of directories", ".", 5, "dir2", 3, "dir2/sub2", 3, "new", 2)
	if _, err := os.Lstat(b.at("dir2/sub2/deep")); err != nil {
		b.Error(err)
	}
	b.ok(rename("sym", "dir2/sub2/deep", both))
	b.links("after exchange with a symlink", ".", 6, "dir2/sub2", 2, "sym", 2)
}
