//go:build linux || darwin || freebsd

package fusefs

import (
	"context"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ensync/engine/worktree"
)

// A directory is read in the order of its names' hashes, and the offset of an entry is that hash: a position that means
// the same to every reader, before and after other names come and go. So nothing is skipped or repeated when names are
// removed while reading, and a listing that the kernel kept can be continued here.
//
// The kernel keeps listings (FOPEN_CACHE_DIR), with one fault: a reader in the middle of a kept listing whose place was
// removed, while another reader had the listing made anew, may take its end for the end of the directory (Linux 6.18). So
// only one open handle of a directory at a time may use the kernel's listing. That needs OPENDIR: a directory that is
// opened without a message always uses it, and TestReadDirWhileChanging then misses names.

// Offsets below firstCookie stand for "." and "..". The low bits tell names of equal hash apart.
const (
	dotCookie       = 1
	dotDotCookie    = 2
	firstCookie     = 1 << 8
	cookieLow       = 1<<8 - 1
	direntHeader    = 24  // struct fuse_dirent without the name
	direntPlusExtra = 128 // struct fuse_entry_out
)

// openDirs are the open directories.
type openDirs struct {
	seed maphash.Seed

	mu      sync.Mutex
	next    uint64
	handles map[uint64]*openDir
	keeper  map[worktree.Ino]uint64 // the handle that uses the kernel's listing of a directory
}

// openDir is one open directory. Its listing is read when first needed, often never.
type openDir struct {
	ino worktree.Ino

	mu      sync.Mutex
	listing []listed // sorted by cookie; nil: not read yet
}

type listed struct {
	cookie uint64
	worktree.DirEntry
}

func (d *openDirs) init() {
	d.seed = maphash.MakeSeed()
	d.handles = make(map[uint64]*openDir)
	d.keeper = make(map[worktree.Ino]uint64)
}

// open makes a handle and tells whether it may use the kernel's listing.
func (d *openDirs) open(ino worktree.Ino) (fh uint64, keeps bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	d.handles[d.next] = &openDir{ino: ino}
	if _, taken := d.keeper[ino]; !taken {
		d.keeper[ino] = d.next
		keeps = true
	}
	return d.next, keeps
}

func (d *openDirs) get(fh uint64) *openDir {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.handles[fh]
}

func (d *openDirs) close(fh uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.handles[fh]
	if h == nil {
		return
	}
	delete(d.handles, fh)
	if d.keeper[h.ino] == fh {
		delete(d.keeper, h.ino)
	}
}

// sorted gives each entry its offset. Names of equal hash, of which a directory of a million has none but once in a
// million years, are numbered by name: there, adding or removing one while reading may hide or repeat another.
func (d *openDirs) sorted(entries []worktree.DirEntry) []listed {
	l := make([]listed, len(entries))
	for i, e := range entries {
		hash := maphash.String(d.seed, e.Name) & math.MaxInt64 &^ cookieLow
		l[i] = listed{cookie: max(hash, firstCookie), DirEntry: e}
	}
	slices.SortFunc(l, func(a, b listed) int {
		if a.cookie != b.cookie {
			if a.cookie < b.cookie {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i := 1; i < len(l); i++ {
		if l[i].cookie == l[i-1].cookie&^cookieLow && l[i-1].cookie&cookieLow < cookieLow {
			l[i].cookie = l[i-1].cookie + 1
		}
	}
	return l
}

func (r *requests) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	r.begin(opOpendir)
	fh, keeps := r.dirs.open(worktree.Ino(in.NodeId))
	out.Fh = fh
	if r.opt.NoCache {
		return fuse.OK
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if keeps {
		out.OpenFlags |= fuse.FOPEN_CACHE_DIR
	}
	return fuse.OK
}

func (r *requests) ReleaseDir(in *fuse.ReleaseIn) {
	r.counts[opReleasedir].Add(1)
	r.dirs.close(in.Fh)
}

func (r *requests) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	ctx := r.begin(opReaddir)
	return r.readDir(ctx, opReaddir, in, func(e listed) bool {
		return out.AddDirEntry(dirEntry(e))
	})
}

func (r *requests) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	ctx := r.begin(opReaddirplus)
	room := int(in.Size)
	return r.readDir(ctx, opReaddirplus, in, func(e listed) bool {
		room -= direntPlusExtra + (direntHeader+len(e.Name)+7)&^7
		if room < 0 {
			return false
		}
		if e.cookie < firstCookie { // "." and "..": the kernel takes no attributes for them
			return out.AddDirLookupEntry(dirEntry(e)) != nil
		}
		// The listing may be older than this request, and what is answered here the kernel believes: look now.
		a, err := r.tree.Lookup(ctx, worktree.Ino(in.NodeId), e.Name)
		if toErrno(err) == syscall.ENOENT {
			room += direntPlusExtra + (direntHeader+len(e.Name)+7)&^7
			return true
		}
		if err != nil {
			return out.AddDirLookupEntry(dirEntry(e)) != nil
		}
		e.Attr = a
		plus := out.AddDirLookupEntry(dirEntry(e))
		if plus == nil {
			r.tree.Forget(a.Ino, 1)
			return false
		}
		r.entry(a, plus)
		return true
	})
}

func dirEntry(e listed) fuse.DirEntry {
	return fuse.DirEntry{Name: e.Name, Ino: uint64(e.Attr.Ino), Mode: e.Attr.Mode, Off: e.cookie}
}

// readDir hands the entries behind the offset to add until it says that no more fit.
func (r *requests) readDir(ctx context.Context, o op, in *fuse.ReadIn, add func(listed) bool) fuse.Status {
	d := r.dirs.get(in.Fh)
	if d == nil {
		return fuse.EBADF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if in.Offset == 0 || d.listing == nil { // opened, rewound, or continued from the kernel's listing
		entries, err := r.tree.ReadDir(ctx, d.ino)
		if err != nil {
			return r.status(o, in.NodeId, err)
		}
		d.listing = r.dirs.sorted(entries)
	}
	if in.Offset < dotCookie && !add(listed{dotCookie, dotEntry(".", d.ino)}) {
		return fuse.OK
	}
	if in.Offset < dotDotCookie {
		parent, err := r.tree.Parent(ctx, d.ino)
		if err != nil {
			parent = d.ino // removed meanwhile
		}
		if !add(listed{dotDotCookie, dotEntry("..", parent)}) {
			return fuse.OK
		}
	}
	from, _ := slices.BinarySearchFunc(d.listing, in.Offset, func(e listed, offset uint64) int {
		if e.cookie <= offset {
			return -1
		}
		return 1
	})
	for _, e := range d.listing[from:] {
		if !add(e) {
			break
		}
	}
	return fuse.OK
}

func dotEntry(name string, ino worktree.Ino) worktree.DirEntry {
	return worktree.DirEntry{Name: name, Attr: worktree.Attr{Ino: ino, Mode: syscall.S_IFDIR}}
}
