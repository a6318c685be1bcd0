package worktree

import (
	"maps"
	"slices"
	"time"

	"ensync/store/object"
)

// The type bits of st_mode, the same on every system that we know.
const (
	typeMask    = 0o170000
	typeSocket  = 0o140000
	typeSymlink = 0o120000
	typeFile    = 0o100000
	typeBlock   = 0o060000
	typeDir     = 0o040000
	typeChar    = 0o020000
	typeFIFO    = 0o010000

	setuid     = 0o4000
	setgid     = 0o2000
	groupExec  = 0o0010
	permission = 0o7777
)

// state is what records and the catalogue hold of an inode, apart from its extents and names.
type state struct {
	mode, uid, gid, rdev uint32
	nlink                uint32
	atime, mtime, ctime  int64 // nanoseconds since 1970
	size                 uint64
	gen                  uint64 // counts the changes of content
	target               string
	xattrs               map[string][]byte
	base                 object.Content // what the store has; extents lie on top. Unknown: nothing, all zeros
	hash                 object.Content // of generation hashGen
	hashGen              uint64
	heir                 heir
}

// heir remembers of an inode whose name a remote change took where it was. Written to afterwards, it gets a new name
// there, as a conflict copy.
type heir struct {
	dir    Ino // 0: the inode lost its name to nobody
	name   string
	edited bool
}

// place is a name in a directory.
type place struct {
	dir  Ino
	name string
}

// inode is an inode in memory. The fields are guarded by Tree.mu.
type inode struct {
	state
	ino   Ino
	links []place // every name it has; one for a directory
	ext   extents
	dir   *directory // loaded names; nil: not loaded, or no directory

	// What the reconciler must look at; see dirty.go. Directories only, persistent.
	dirtyNames, dirtyDirs uint32
	stale                 bool

	// Changes that no record holds yet; see flush.go.
	pend pending

	unsaved bool // differs from the catalogue
	saving  bool // a checkpoint is writing it
	paged   bool // the catalogue holds its extents in rows of their own
	used    bool // for the clock that evicts
}

// directory is the loaded content of a directory.
type directory struct {
	names   map[string]entry
	changed map[string]bool // since the last checkpoint
	live    int             // names with an inode
}

// entry is what a name in a directory means.
type entry struct {
	ino   Ino  // 0: nothing any more, but the reconciler has not been told (a tombstone)
	dirty bool // changed since it was settled
	fresh bool // never listed to the reconciler: may vanish without tombstone
}

func (n *inode) kind() uint32  { return n.mode & typeMask }
func (n *inode) isDir() bool   { return n.kind() == typeDir }
func (n *inode) isFile() bool  { return n.kind() == typeFile }
func (n *inode) isDirty() bool { return n.stale || n.dirtyNames+n.dirtyDirs > 0 }

// parent returns the directory that holds a directory.
func (n *inode) parent() Ino {
	if len(n.links) == 0 {
		return n.ino
	}
	return n.links[0].dir
}

// isBase reports whether a file's content is what the store has.
func (n *inode) isBase() bool {
	return n.base.Known && n.ext.count == 0 && int64(n.size) == n.base.Size
}

// content returns what is known of a file's content without reading it.
func (n *inode) content() object.Content {
	switch {
	case n.isBase():
		return n.base
	case n.hash.Known && n.hashGen == n.gen:
		return n.hash
	}
	return object.Content{Size: int64(n.size)}
}

// blockSize is the unit in which st_blocks grows, in bytes.
const blockSize = 4096

func (n *inode) attr() Attr {
	a := Attr{Ino: n.ino, Mode: n.mode, Nlink: n.nlink, UID: n.uid, GID: n.gid, Rdev: n.rdev, Size: n.size,
		Atime: time.Unix(0, n.atime), Mtime: time.Unix(0, n.mtime), Ctime: time.Unix(0, n.ctime)}
	switch n.kind() {
	case typeDir:
		a.Size, a.Blocks = blockSize, blockSize/512
	case typeSymlink:
		a.Size = uint64(len(n.target))
	case typeFile:
		taken := n.ext.data
		if n.base.Known && n.base.Size > 0 { // as if all of it were here: never sparse to those who trust st_blocks
			taken = max(n.size, 1)
		}
		a.Blocks = (taken + blockSize - 1) / blockSize * (blockSize / 512)
	}
	return a
}

// entry returns what the reconciler sees.
func (n *inode) entry(name string) object.Entry {
	e := object.Entry{Name: name, Kind: object.Special}
	switch n.kind() {
	case typeFile:
		e.Kind, e.Mode, e.ModTime, e.Content = object.File, n.mode&permission, n.mtime, n.content()
	case typeDir:
		e.Kind, e.Mode = object.Directory, n.mode&permission
	case typeSymlink:
		e.Kind, e.Target = object.Symlink, n.target
	}
	return e
}

func (n *inode) removeLink(p place) {
	if i := slices.Index(n.links, p); i >= 0 {
		n.links = slices.Delete(n.links, i, i+1)
	}
}

// recorded returns the inode as records have it: while a file is being rewritten, as it was before.
func (n *inode) recorded() *inode {
	old := n.pend.old
	if old == nil {
		return n
	}
	s := n.state // records may have changed other fields since
	s.assign(n.pend.mask, &old.state)
	old.state, old.links, old.paged = s, n.links, n.paged
	return old
}

// assign copies the fields of s that mask names.
func (n *state) assign(mask fields, s *state) {
	if mask&fMode != 0 {
		n.mode, n.uid, n.gid, n.rdev = s.mode, s.uid, s.gid, s.rdev
	}
	if mask&fTimes != 0 {
		n.mtime, n.ctime = s.mtime, s.ctime
	}
	if mask&fAtime != 0 {
		n.atime = s.atime
	}
	if mask&fNlink != 0 {
		n.nlink, n.ctime = s.nlink, s.ctime
	}
	if mask&fSize != 0 {
		n.size, n.gen = s.size, s.gen
	}
	if mask&fTarget != 0 {
		n.target = s.target
	}
	if mask&fXattrs != 0 {
		n.xattrs = maps.Clone(s.xattrs)
	}
	if mask&fBase != 0 {
		n.base = s.base
	}
	if mask&fHash != 0 {
		n.hash, n.hashGen = s.hash, s.hashGen
	}
	if mask&fHeir != 0 {
		n.heir = s.heir
	}
}

// nanos converts a time, clamped to what fits.
func nanos(t time.Time) int64 {
	const limit = 9223372036 // seconds: the years 1677 to 2262
	switch s := t.Unix(); {
	case s >= limit:
		return limit * 1e9
	case s <= -limit:
		return -limit * 1e9
	}
	return t.UnixNano()
}
