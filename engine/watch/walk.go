package watch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
)

// walker looks at the whole tree again and again. It can't tell what changed, only that something did.
type walker struct{ watch *Watch }

// How often a walk comes: it takes at most a hundredth of one processor, as long as that leaves it any sense.
const (
	walkShare   = 100
	longestWalk = 10 * time.Minute
	walkFor     = time.Hour // before something better is tried again

	coarsestClock = 2 * time.Second // FAT's
)

var errWalkedLong = errors.New("walked for long")

// run walks in a thread of its own, which has the lowest priority and ends with it.
func (s *walker) run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		spent := beIdle()
		ended <- s.walk(ctx, spent)
	}()
	return <-ended
}

// walk looks and waits. spent tells the processor time that it took so far.
//
// What changed while a sync was looking may be in a walk already, so the first one is told, too. And a change within the
// step of the clock after a walk may look as what it saw, so what is as young as that is told once more.
func (s *walker) walk(ctx context.Context, spent func() time.Duration) error {
	var seen fingerprint
	var failed bool
	young := true
	for begin := time.Now(); time.Since(begin) < walkFor; {
		before, start := spent(), time.Now()
		now, newest, err := look(ctx, s.watch.path)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if young || now != seen || (err != nil) != failed {
			s.watch.signal()
		}
		seen, failed = now, err != nil
		age := start.Sub(newest)
		young = age < coarsestClock && age > -24*time.Hour
		wait := min(max(s.watch.opt.Pause, walkShare*(spent()-before)), longestWalk)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return errWalkedLong
}

// flush has nothing to tell: with a walker, everything is dirty at all times.
func (s *walker) flush() error { return nil }
func (s *walker) close() error { return nil }

// A fingerprint stands for everything that a listing shows of a tree: names, kinds, inodes, modes, sizes and times.
type fingerprint [sha256.Size]byte

// look lists a tree, and tells the time of its newest change. What can't be read counts as it is: unreadable; the error is
// that of the first such directory.
func look(ctx context.Context, root string) (fingerprint, time.Time, error) {
	l := looker{ctx: ctx, hash: sha256.New()}
	f, err := os.Open(root)
	if err == nil {
		err = l.look(f)
	}
	return fingerprint(l.hash.Sum(nil)), time.Unix(0, l.newest), err
}

type looker struct {
	ctx    context.Context
	hash   hash.Hash
	newest int64
}

// look hashes what is in a directory, which it closes.
func (l *looker) look(dir *os.File) error {
	defer dir.Close()
	if err := l.ctx.Err(); err != nil {
		return err
	}
	names, failed := dir.Readdirnames(-1)
	slices.Sort(names)
	for _, name := range names {
		if replica.Reserved(name) {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			continue // gone again
		}
		l.newest = max(l.newest, st.Ctim.Nano())
		l.hash.Write([]byte(name + "\x00"))
		for _, n := range []int64{int64(st.Dev), int64(st.Ino), int64(st.Mode), st.Size, st.Mtim.Nano(), st.Ctim.Nano()} {
			l.hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		below, err := openBelow(dir, name)
		if err == nil {
			err = l.look(below)
		}
		if err != nil {
			l.hash.Write([]byte("unreadable\x00"))
			failed = cmp.Or(failed, err)
		}
	}
	l.hash.Write([]byte{0}) // the end of the directory
	return failed
}

// openBelow opens a directory in another one, and follows no symbolic link. No path is too long for it.
func openBelow(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
