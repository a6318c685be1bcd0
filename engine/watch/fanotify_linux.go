package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
)

// fanotify has one mark on the file system that the tree lies on. The kernel tells of every change there: the directory,
// by a handle that a path is found for, and the name. Another file system below the root would have to be held open for
// that, and nobody could unmount it.
//
// A path is asked for when the event is read. If the directory has moved meanwhile, the news of that follows, and makes
// all below the new place look changed.
type fanotify struct {
	*queue
	watch  *Watch
	mounts mounts
	top    *os.File

	// Guarded by the queue's lock:
	places map[string]place // by handle
}

// A place is where a directory is: a path from the root of the tree, or outside of it.
type place struct {
	path   string
	inside bool
}

// maxPlaces bounds the directories whose place is remembered.
const maxPlaces = 1 << 15

const fanotifyMask = unix.FAN_ATTRIB | unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE | unix.FAN_CREATE | unix.FAN_DELETE |
	unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_ONDIR

func openFanotify(w *Watch) (source, error) {
	m, err := mountsOf(w.path)
	if err == nil {
		err = m.told()
	}
	if err == nil && len(m.list) > 1 {
		err = fmt.Errorf("%s is a file system of its own", m.list[1].point)
	}
	if err != nil {
		return nil, err
	}
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_DFID_NAME|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if errors.Is(err, unix.EPERM) {
		return nil, errors.New("it is for root (CAP_SYS_ADMIN)")
	}
	if err != nil {
		return nil, err
	}
	f := &fanotify{watch: w, mounts: m, places: map[string]place{}}
	if f.queue, err = newQueue(fd, "fanotify", f.events); err != nil {
		return nil, err
	}
	if err = f.mark(fd); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// mark marks the file system, and tries whether handles can be opened.
func (f *fanotify) mark(fd int) (err error) {
	if f.top, err = os.Open(f.mounts.tree); err != nil {
		return err
	}
	err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, fanotifyMask, int(f.top.Fd()), "")
	if err != nil {
		return fmt.Errorf("mark a file system of type %s: %w", f.mounts.list[0].kind, err)
	}
	handle, _, err := unix.NameToHandleAt(int(f.top.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("name_to_handle_at", err)
	}
	if p, err := f.find(handle); err != nil || !p.inside {
		return fmt.Errorf("on a file system of type %s, directories can't be found by their handles: %w", f.mounts.list[0].kind, err)
	}
	return nil
}

func (f *fanotify) run(ctx context.Context) error { return f.queue.run(ctx, f.mounts) }

func (f *fanotify) close() error {
	err := f.queue.close()
	if f.top != nil {
		err = errors.Join(err, f.top.Close())
	}
	return err
}

const (
	metadataSize = unix.FAN_EVENT_METADATA_LEN
	infoHeader   = 4 // type, padding, length
)

// events handles what was read at once.
func (f *fanotify) events(buf []byte) error {
	for len(buf) >= metadataSize {
		size, mask := int(binary.NativeEndian.Uint32(buf)), binary.NativeEndian.Uint64(buf[8:])
		head := int(binary.NativeEndian.Uint16(buf[6:]))
		if head < metadataSize || size < head || size > len(buf) || buf[4] != unix.FANOTIFY_METADATA_VERSION {
			return errors.New("an event that this version does not understand")
		}
		if mask&unix.FAN_Q_OVERFLOW != 0 {
			return errOverflow
		}
		if err := f.event(mask, buf[head:size]); err != nil {
			return err
		}
		buf = buf[size:]
	}
	return nil
}

// event handles one event with what is known of it.
func (f *fanotify) event(mask uint64, info []byte) error {
	if len(info) == 0 {
		return nil // of a file without a name
	}
	handle, name, ok := parseInfo(info)
	if !ok {
		return errors.New("an event without a directory")
	}
	moved := mask&unix.FAN_ONDIR != 0 && mask&(unix.FAN_MOVED_FROM|unix.FAN_MOVED_TO) != 0
	if moved {
		clear(f.places)
		if at, err := linkOf(f.top); err != nil || at != f.mounts.tree {
			return errors.Join(errMounts, err)
		}
	}
	p, err := f.place(handle)
	if err != nil || !p.inside || replica.Reserved(name) {
		return err
	}
	f.ours = true
	f.watch.tell(p.path, false)
	switch {
	case name == "." || name == "": // of the directory itself, which is an entry of the one above
		f.watch.tell(replica.Parent(p.path), false)
	case mask&unix.FAN_ONDIR != 0 && mask&(unix.FAN_CREATE|unix.FAN_MOVED_TO) != 0:
		f.watch.tell(replica.Join(p.path, name), true)
	}
	return nil
}

// parseInfo takes an information record of the form DFID_NAME apart, see fanotify(7).
func parseInfo(info []byte) (handle unix.FileHandle, name string, ok bool) {
	const fixed = infoHeader + 8 + 8 // and the id of the file system, size and type of the handle
	if len(info) < fixed || info[0] != unix.FAN_EVENT_INFO_TYPE_DFID_NAME && info[0] != unix.FAN_EVENT_INFO_TYPE_DFID {
		return handle, "", false
	}
	size, length := int(binary.NativeEndian.Uint16(info[2:])), int(binary.NativeEndian.Uint32(info[12:]))
	if size > len(info) || length < 0 || length > size-fixed {
		return handle, "", false
	}
	handle = unix.NewFileHandle(int32(binary.NativeEndian.Uint32(info[16:])), info[fixed:fixed+length])
	rest, _, _ := bytes.Cut(info[fixed+length:size], []byte{0})
	return handle, string(rest), true
}

// place returns where the directory of a handle is.
func (f *fanotify) place(handle unix.FileHandle) (place, error) {
	key := fmt.Sprintf("%d %s", handle.Type(), handle.Bytes())
	if p, ok := f.places[key]; ok {
		return p, nil
	}
	p, err := f.find(handle)
	if errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOENT) {
		return place{}, nil // it is gone, which is a change of the directory above it
	}
	if err != nil {
		return p, err
	}
	if len(f.places) >= maxPlaces {
		clear(f.places)
	}
	f.places[key] = p
	return p, nil
}

// find asks the kernel where a directory is.
func (f *fanotify) find(handle unix.FileHandle) (place, error) {
	fd, err := unix.OpenByHandleAt(int(f.top.Fd()), handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return place{}, os.NewSyscallError("open_by_handle_at", err)
	}
	dir := os.NewFile(uintptr(fd), "")
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return place{}, err
	}
	if st.Nlink == 0 {
		return place{}, unix.ENOENT
	}
	path, err := linkOf(dir)
	if err != nil || !within(path, f.mounts.tree) {
		return place{}, err
	}
	path = strings.TrimPrefix(strings.TrimPrefix(path, f.mounts.tree), "/")
	for name := range strings.SplitSeq(path, "/") {
		if replica.Reserved(name) {
			return place{}, nil
		}
	}
	return place{path, true}, nil
}

// linkOf returns the path of an open directory as the kernel has it now.
func linkOf(dir *os.File) (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
}
