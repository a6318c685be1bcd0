package dir

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ensync/store/backend"
)

var _ backend.Notifier = (*Dir)(nil)

// remote are file systems that other machines change without this kernel being told.
var remote = []int64{unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
	unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC,
	0x01161970} // GFS2

// Notify implements backend.Notifier by a watch on the directory of the object's states, which keeps nothing mounted.
func (d *Dir) Notify(ctx context.Context, name string) (<-chan struct{}, error) {
	if err := backend.CheckName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(d.path, name+suffix)
	fail := func(err error) (<-chan struct{}, error) { return nil, fmt.Errorf("watch %s: %w", path, err) }
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fail(err)
	}
	if slices.Contains(remote, int64(fs.Type)) {
		return fail(errors.ErrUnsupported)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fail(err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVE_SELF|unix.IN_ONLYDIR); err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	changed := make(chan struct{}, 1)
	d.calls.Go(func() {
		defer close(changed)
		defer f.Close()
		defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Now()) })()
		tellChanges(f, changed)
	})
	return changed, nil
}

// tellChanges passes on that there were events, until the directory is gone or reading ends.
func tellChanges(f *os.File, changed chan<- struct{}) {
	buf := make([]byte, 16*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			if binary.NativeEndian.Uint32(b[4:])&(unix.IN_IGNORED|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 {
				return
			}
			b = b[min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:]))):]
		}
	}
}
