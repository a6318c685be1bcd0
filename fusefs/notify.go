//go:build linux || darwin || freebsd

package fusefs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ensync/engine/worktree"
)

// invalidator is what the kernel can be told.
type invalidator interface {
	entryChanged(parent uint64, name string)
	entryRemoved(parent, child uint64, name string)
	inodeChanged(ino uint64, off, length int64)
}

// notifier passes the tree's notices on to the kernel, in order, from one goroutine of its own: the kernel takes the
// lock of the directory that it invalidates, which a request that waits for us may hold.
type notifier struct {
	kernel  invalidator
	tree    Tree
	events  *reenactor // nil: nobody is told
	notices <-chan worktree.Notice
	ctx     context.Context
	cancel  context.CancelFunc
	stopped chan struct{}
}

// newNotifier tells a kernel of a tree's changes until stop. What the kernel answers does not matter: it says ENOENT when
// it had nothing to forget.
func newNotifier(kernel *fuse.Server, tree Tree, events *reenactor) *notifier {
	ctx, cancel := context.WithCancel(context.Background())
	return &notifier{kernel: fuseKernel{kernel}, tree: tree, events: events, notices: tree.Notices(), ctx: ctx, cancel: cancel,
		stopped: make(chan struct{})}
}

// fuseKernel is the kernel's side of a connection.
type fuseKernel struct{ *fuse.Server }

func (k fuseKernel) entryChanged(parent uint64, name string) { k.EntryNotify(parent, name) }
func (k fuseKernel) entryRemoved(parent, child uint64, name string) {
	k.DeleteNotify(parent, child, name)
}
func (k fuseKernel) inodeChanged(ino uint64, off, length int64) { k.InodeNotify(ino, off, length) }

// maxBatch bounds how many notices are told before the directories that they name are invalidated.
const maxBatch = 256

func (n *notifier) run() {
	defer close(n.stopped)
	for {
		select {
		case <-n.ctx.Done():
			return
		case first, open := <-n.notices:
			if !open {
				return
			}
			n.tell(first)
		}
	}
}

func (n *notifier) stop() {
	n.cancel()
	<-n.stopped
	n.events.stop()
}

// tell passes on a notice and those that wait behind it. A directory's listing is invalidated once, after its entries:
// to invalidate an entry the kernel waits for the readers of the directory, so whoever read before the change has
// stored what he read by then, and it goes.
func (n *notifier) tell(first worktree.Notice) {
	batch := []worktree.Notice{first}
	for len(batch) < maxBatch {
		next, ok := poll(n.notices)
		if !ok {
			break
		}
		batch = append(batch, next)
	}
	seen := make(map[worktree.Ino]bool)
	var parents []worktree.Ino
	var changes []change
	for _, notice := range batch {
		gone := n.look(notice.Removed)
		if notice.Name != "" {
			changes = append(changes, change{notice, gone.directory})
		}
		n.one(notice, gone)
		n.tree.Passed(notice)
		if notice.Name != "" && !seen[notice.Parent] {
			seen[notice.Parent] = true
			parents = append(parents, notice.Parent)
		}
	}
	for _, p := range parents {
		n.kernel.inodeChanged(uint64(p), 0, 0)
	}
	for _, notice := range batch {
		if notice.Told != nil {
			close(notice.Told)
		}
	}
	n.events.add(changes)
}

func poll(c <-chan worktree.Notice) (worktree.Notice, bool) {
	select {
	case n, ok := <-c:
		return n, ok
	default:
		return worktree.Notice{}, false
	}
}

func (n *notifier) one(notice worktree.Notice, gone removed) {
	const attributesOnly = -1 // as an offset
	switch {
	case notice.Name == "":
		if notice.Inode != 0 {
			n.kernel.inodeChanged(uint64(notice.Inode), 0, 0)
		}
	case notice.Removed == 0:
		n.kernel.entryChanged(uint64(notice.Parent), notice.Name)
	default:
		// To the kernel, a removed inode is dead for good: not so one that has another name, or was moved.
		if gone.dead {
			n.kernel.entryRemoved(uint64(notice.Parent), uint64(notice.Removed), notice.Name)
		} else {
			n.kernel.entryChanged(uint64(notice.Parent), notice.Name)
		}
		n.kernel.inodeChanged(uint64(notice.Removed), attributesOnly, 0)
	}
}

// removed is what can be known of an inode that a name meant before.
type removed struct {
	dead      bool // it has no name any more
	directory bool // as far as the tree still knows
}

func (n *notifier) look(ino worktree.Ino) removed {
	if ino == 0 {
		return removed{}
	}
	a, err := n.tree.GetAttr(n.ctx, ino)
	if err != nil {
		return removed{dead: errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESTALE)}
	}
	return removed{dead: a.Nlink == 0, directory: a.Mode&syscall.S_IFMT == syscall.S_IFDIR}
}

// change is a notice of a name that was passed on, with what could be known of it only then.
type change struct {
	worktree.Notice
	removedDir bool
}
