package conformance

import (
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// locks takes locks of all three kinds. A process does not stand in its own way with POSIX locks, but with those of an
// open file description it does.
func locks(b *bench) {
	b.file("file", "0123456789")
	one, two := b.open("file", unix.O_RDWR), b.open("file", unix.O_RDWR)
	const try = unix.LOCK_NB
	b.all([]call{
		{"flock", unix.Flock(one, unix.LOCK_EX), nil},
		{"flock again", unix.Flock(one, unix.LOCK_EX|try), nil},
		{"flock of another", unix.Flock(two, unix.LOCK_EX|try), unix.EWOULDBLOCK},
		{"shared flock of another", unix.Flock(two, unix.LOCK_SH|try), unix.EWOULDBLOCK},
		{"to shared", unix.Flock(one, unix.LOCK_SH|try), nil},
		{"shared flock", unix.Flock(two, unix.LOCK_SH|try), nil},
		{"to exclusive with another", unix.Flock(one, unix.LOCK_EX|try), unix.EWOULDBLOCK},
		{"unlock", unix.Flock(two, unix.LOCK_UN), nil},
		{"to exclusive", unix.Flock(one, unix.LOCK_EX|try), nil},
	})
	waited := make(chan error, 1)
	go func() { waited <- unix.Flock(two, unix.LOCK_EX) }()
	select {
	case err := <-waited:
		b.Errorf("a lock was given twice: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	b.close(one) // a closed file is unlocked
	b.gives("waiting for a lock", <-waited, nil)

	one = b.open("file", unix.O_RDWR)
	rd := b.open("file", unix.O_RDONLY)
	lock := func(fd, cmd int, kind int16, from, length int64) error {
		return unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: kind, Start: from, Len: length})
	}
	const ofd, posix = unix.F_OFD_SETLK, unix.F_SETLK
	b.all([]call{
		{"lock of a range", lock(one, ofd, unix.F_WRLCK, 0, 5), nil},
		{"lock across it", lock(two, ofd, unix.F_WRLCK, 4, 5), unix.EAGAIN},
		{"shared lock across it", lock(two, ofd, unix.F_RDLCK, 4, 5), unix.EAGAIN},
		{"lock beside it", lock(two, ofd, unix.F_WRLCK, 5, 10), nil},
		{"unlock of a part", lock(one, ofd, unix.F_UNLCK, 2, 1), nil},
		{"lock of that part", lock(two, ofd, unix.F_WRLCK, 2, 1), nil},
		{"POSIX lock of the process across it", lock(one, posix, unix.F_WRLCK, 2, 1), unix.EAGAIN},
		{"for writing by one that is open for reading", lock(rd, ofd, unix.F_WRLCK, 100, 1), unix.EBADF},
		{"for reading", lock(rd, ofd, unix.F_RDLCK, 100, 1), nil},
		{"behind the end", lock(one, posix, unix.F_WRLCK, 1000, 5), nil},
		{"from the end backwards", lock(one, posix, unix.F_WRLCK, 2000, -10), nil},
		{"before the beginning", lock(one, posix, unix.F_WRLCK, 5, -10), unix.EINVAL},
	})
	who := unix.Flock_t{Type: unix.F_WRLCK, Start: 1990, Len: 1}
	b.ok(unix.FcntlFlock(uintptr(two), unix.F_OFD_GETLK, &who))
	if who.Type != unix.F_WRLCK || who.Pid != int32(os.Getpid()) || who.Start != 1990 || who.Len != 10 {
		b.Errorf("who holds a lock: %+v", who)
	}
	otherProcess(b)
}

// otherProcess asks flock(1), which is on every Linux, from outside.
func otherProcess(b *bench) {
	tool, err := exec.LookPath("flock")
	if err != nil {
		return
	}
	fd := b.open("other", unix.O_RDWR|unix.O_CREAT)
	b.ok(unix.Flock(fd, unix.LOCK_EX))
	if err := exec.Command(tool, "-n", b.at("other"), "true").Run(); err == nil {
		b.Error("another process was given our lock")
	}
	b.ok(unix.Flock(fd, unix.LOCK_UN))
	if out, err := exec.Command(tool, "-n", b.at("other"), "true").CombinedOutput(); err != nil {
		b.Errorf("another process was refused a free lock: %v, %s", err, out)
	}
}
