package localdir

import (
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// stat is what tells one state of a file from another. Times are nanoseconds since 1970.
type stat struct {
	dev, ino            uint64
	mode                uint32 // st_mode, with the kind
	uid, gid            uint32 // 0 in what comes from the cache
	size                int64
	mtime, ctime, btime int64 // btime is 0 where the file system does not tell
}

func (s stat) kind() object.Kind {
	switch s.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return object.File
	case unix.S_IFDIR:
		return object.Directory
	case unix.S_IFLNK:
		return object.Symlink
	}
	return object.Special
}

// same reports whether two looks saw the same state: nobody changed anything in between, as far as the clock of the file
// system can tell (see racy). The times and size of a directory move with its entries and do not count.
func (s stat) same(o stat) bool {
	return s.moved(o) && (s.kind() == object.Directory || s.ctime == o.ctime)
}

// moved is same without the ctime, which a rename changes, too.
func (s stat) moved(o stat) bool {
	if s.dev != o.dev || s.ino != o.ino || s.mode != o.mode {
		return false
	}
	return s.kind() == object.Directory || s.size == o.size && s.mtime == o.mtime
}
