package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
)

// inotify has a watch on each directory of the tree.
type inotify struct {
	*queue
	watch  *Watch
	mounts mounts
	limit  int
	top    *os.File
	fd     int // of the queue; for its handler, and before it runs

	// Guarded by the queue's lock:
	root  *node
	nodes map[int32]*node
}

// A node is a directory that is watched.
type node struct {
	name  string
	up    *node // nil: the root
	wd    int32
	below map[string]*node
}

const inotifyMask = unix.IN_ATTRIB | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM |
	unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

const limitPath = "/proc/sys/fs/inotify/max_user_watches"

func openInotify(ctx context.Context, w *Watch) (source, error) {
	m, err := mountsOf(w.path)
	if err == nil {
		err = m.told()
	}
	if err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	n := &inotify{watch: w, mounts: m, limit: w.opt.Limit, fd: fd, nodes: map[int32]*node{}}
	if n.queue, err = newQueue(fd, "inotify", n.events); err != nil {
		return nil, err
	}
	if n.limit <= 0 {
		n.limit = userLimit() / 2
	}
	if n.top, err = os.Open(w.path); err != nil {
		return nil, errors.Join(err, n.queue.close())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.root, err = n.add(n.top); err == nil {
		err = n.addBelow(ctx, n.top, n.root)
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// userLimit is how many watches a user may have.
func userLimit() int {
	text, err := os.ReadFile(limitPath)
	if err != nil {
		return 8192 // of old kernels
	}
	limit, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return limit
}

func (n *inotify) run(ctx context.Context) error { return n.queue.run(ctx, n.mounts) }

func (n *inotify) close() error { return errors.Join(n.queue.close(), n.top.Close()) }

// tooMany says what to do about the limit.
func (n *inotify) tooMany() error {
	return fmt.Errorf("the tree has more than %d directories, and a watch each is more than its share of what this system allows; "+
		"raise it: sysctl fs.inotify.max_user_watches=%d", n.limit, max(1<<19, 8*n.limit))
}

// add watches an open directory, and returns its node, which has no place yet if it is new.
func (n *inotify) add(dir *os.File) (*node, error) {
	wd, err := unix.InotifyAddWatch(n.fd, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), inotifyMask)
	if errors.Is(err, unix.ENOSPC) {
		return nil, n.tooMany()
	}
	if err != nil {
		return nil, fmt.Errorf("watch a directory: %w", err)
	}
	nd := n.nodes[int32(wd)]
	if nd == nil {
		if len(n.nodes) >= n.limit {
			return nil, n.tooMany()
		}
		nd = &node{wd: int32(wd)}
		n.nodes[nd.wd] = nd
	}
	return nd, nil
}

// addBelow makes what is watched below a directory what is there. The directory is watched before it is read, so that
// what comes later is told.
func (n *inotify) addBelow(ctx context.Context, dir *os.File, nd *node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil && !isGone(err) {
		return err
	}
	there := map[string]bool{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		there[e.Name()] = true
		if err := n.addName(ctx, dir, nd, e.Name()); err != nil {
			return err
		}
	}
	for name, below := range nd.below {
		if !there[name] {
			n.drop(below)
		}
	}
	return nil
}

// addName makes what is watched by a name in a directory what is there.
func (n *inotify) addName(ctx context.Context, dir *os.File, up *node, name string) error {
	if replica.Reserved(name) {
		return nil
	}
	was := up.below[name]
	f, err := openBelow(dir, name)
	if isGone(err) || errors.Is(err, fs.ErrPermission) {
		// What may not be read, the reconciler can't read either; when it may, that comes as a change of its mode.
		if was != nil {
			n.drop(was)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	nd, err := n.add(f)
	if err != nil {
		return err
	}
	for above := up; above != nil; above = above.up {
		if above == nd {
			return errMounts // it is its own parent: the news of several moves is still to come
		}
	}
	if nd != was {
		nd.unlink() // if it was elsewhere, the news of that is still to come
		if was != nil {
			n.drop(was)
		}
		nd.link(up, name)
	}
	return n.addBelow(ctx, f, nd)
}

// isGone reports whether a directory is not there, or no longer one.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func (nd *node) link(up *node, name string) {
	nd.up, nd.name = up, name
	if up.below == nil {
		up.below = map[string]*node{}
	}
	up.below[name] = nd
}

func (nd *node) unlink() {
	if nd.up != nil {
		delete(nd.up.below, nd.name)
	}
	nd.up = nil
}

// drop ends the watches of a node and of all below it.
func (n *inotify) drop(nd *node) {
	nd.unlink()
	for _, below := range nd.below {
		n.drop(below)
	}
	if n.nodes[nd.wd] == nd {
		delete(n.nodes, nd.wd)
		unix.InotifyRmWatch(n.fd, uint32(nd.wd)) // it fails if the directory is gone
	}
}

// path returns where a node is.
func (nd *node) path() string {
	if nd.up == nil {
		return ""
	}
	return replica.Join(nd.up.path(), nd.name)
}

// events handles what was read at once.
func (n *inotify) events(buf []byte) error {
	for len(buf) >= unix.SizeofInotifyEvent {
		wd, mask := int32(binary.NativeEndian.Uint32(buf)), binary.NativeEndian.Uint32(buf[4:])
		size := int(binary.NativeEndian.Uint32(buf[12:]))
		rest := buf[unix.SizeofInotifyEvent:]
		if size > len(rest) {
			break
		}
		name, _, _ := bytes.Cut(rest[:size], []byte{0})
		buf = rest[size:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			return errOverflow
		}
		if nd := n.nodes[wd]; nd != nil {
			if err := n.event(nd, mask, string(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *inotify) event(nd *node, mask uint32, name string) error {
	switch {
	case mask&unix.IN_IGNORED != 0: // it was removed
		nd.unlink()
		delete(n.nodes, nd.wd)
		return nil
	case mask&unix.IN_UNMOUNT != 0, nd == n.root && mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
		return errMounts
	case name == "" || replica.Reserved(name):
		return nil
	}
	n.ours = true
	dir := nd.path()
	n.watch.tell(dir, false)
	if mask&unix.IN_ISDIR == 0 {
		return nil
	}
	const came = unix.IN_CREATE | unix.IN_MOVED_TO
	if mask&(came|unix.IN_DELETE|unix.IN_MOVED_FROM) == 0 && nd.below[name] != nil {
		return nil
	}
	err := n.addPath(dir, nd, name)
	if mask&came != 0 { // whatever came into it before it was watched, is looked at now
		n.watch.tell(replica.Join(dir, name), true)
	}
	return err
}

// addPath is addName for a directory that is not open.
func (n *inotify) addPath(dir string, up *node, name string) error {
	at := n.top
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" {
			continue
		}
		below, err := openBelow(at, part)
		if at != n.top {
			at.Close()
		}
		if isGone(err) || errors.Is(err, fs.ErrPermission) {
			return nil // the news of that is still to come
		}
		if err != nil {
			return err
		}
		at = below
	}
	if at != n.top {
		defer at.Close()
	}
	return n.addName(context.Background(), at, up, name)
}
