package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Run asks a directory that the caller may write to, and leaves nothing in it. It belongs into a process that does not
// serve the file system itself: a thread that waits in a page fault of a mapping would make that process wait for itself.
//
// What needs several users is asked if the caller is root and the file system lets other users in.
func Run(t *testing.T, dir string) {
	defer unix.Umask(unix.Umask(022))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := &bench{T: t, dir: filepath.Join(dir, test.name), fds: make(map[int]bool)}
			b.ok(os.Mkdir(b.dir, 0755))
			b.ok(os.Chmod(b.dir, 0755))
			defer os.RemoveAll(b.dir)
			if test.users {
				b.needUsers()
			}
			test.run(b)
		})
	}
}

// tests are asked in this order. Those with users need several of them.
var tests = []struct {
	name  string
	users bool
	run   func(*bench)
}{
	{"paths", false, paths},
	{"creating", false, creating},
	{"linking", false, linking},
	{"unlinked", false, unlinked},
	{"tmpfile", false, tmpfile},
	{"removing", false, removing},
	{"renaming", false, renaming},
	{"renaming-directories", false, renamingDirectories},
	{"exchanging", false, exchanging},

	{"reading-and-writing", false, readingAndWriting},
	{"appending", false, appending},
	{"truncating", false, truncating},
	{"size-limit", false, sizeLimit},
	{"holes", false, holes},
	{"allocating", false, allocating},
	{"copying", false, copying},
	{"pipes", false, pipes},
	{"direct", false, direct},
	{"mapped", false, mapped},
	{"times-of-mapped", false, mappedTimes},

	{"modes", false, modes},
	{"times", false, times},
	{"setting-times", false, settingTimes},
	{"inodes", false, inodes},
	{"statfs", false, statfs},
	{"xattrs", false, xattrs},
	{"locks", false, locks},
	{"nodes", false, nodes},
	{"programs", false, programs},
	{"reading-directories", false, readingDirectories},
	{"directories-that-change", false, directoriesThatChange},
	{"events", false, events},

	{"permissions", true, permissions},
	{"sticky", true, sticky},
	{"owners", true, owners},
	{"set-id", true, setID},
	{"times-of-others", true, timesOfOthers},
	{"xattrs-of-others", true, xattrsOfOthers},
	{"changed-root", true, changedRoot},
}

// bench is one test with a directory of its own.
type bench struct {
	*testing.T
	dir string
	fds map[int]bool // which the test has open
}

func (b *bench) at(name string) string { return filepath.Join(b.dir, name) }

// ok ends the test on an error.
func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// gives tells of a call that ended with another error than it should.
func (b *bench) gives(what string, got, want error) {
	b.Helper()
	if !errors.Is(got, want) {
		b.Errorf("%s: %v, want %v", what, got, want)
	}
}

// call is a call with the error that it should give.
type call struct {
	what string
	got  error
	want error
}

func (b *bench) all(calls []call) {
	b.Helper()
	for _, c := range calls {
		b.gives(c.what, c.got, c.want)
	}
}

func second[T any](_ T, err error) error { return err }

// file makes a file.
func (b *bench) file(name, content string) string {
	b.Helper()
	b.ok(os.WriteFile(b.at(name), []byte(content), 0644))
	return b.at(name)
}

func (b *bench) mkdir(name string) string {
	b.Helper()
	b.ok(os.Mkdir(b.at(name), 0755))
	return b.at(name)
}

// open opens a file until the test ends, or close is called.
func (b *bench) open(name string, flags int) int {
	b.Helper()
	fd, err := unix.Open(b.at(name), flags|unix.O_CLOEXEC, 0644)
	if err != nil {
		b.Fatalf("open %s: %v", name, err)
	}
	b.fds[fd] = true
	b.Cleanup(func() {
		if b.fds[fd] {
			b.close(fd)
		}
	})
	return fd
}

func (b *bench) close(fd int) {
	b.Helper()
	delete(b.fds, fd)
	b.ok(unix.Close(fd))
}

// holds wants a file's content.
func (b *bench) holds(name, want string) {
	b.Helper()
	got, err := os.ReadFile(b.at(name))
	if err != nil || string(got) != want {
		b.Errorf("%s holds %.60q (%d bytes), %v; want %.60q", name, got, len(got), err, want)
	}
}

func (b *bench) stat(name string) unix.Stat_t {
	b.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(b.at(name), &st); err != nil {
		b.Fatalf("stat %s: %v", name, err)
	}
	return st
}

func (b *bench) fstat(fd int) unix.Stat_t {
	b.Helper()
	var st unix.Stat_t
	b.ok(unix.Fstat(fd, &st))
	return st
}

// mode wants the permission bits of an inode.
func (b *bench) mode(what, name string, want uint32) {
	b.Helper()
	if got := b.stat(name).Mode & 07777; got != want {
		b.Errorf("%s: mode %o, want %o", what, got, want)
	}
}

// links wants link counts, as name, count, name, count.
func (b *bench) links(what string, counts ...any) {
	b.Helper()
	for i := 0; i < len(counts); i += 2 {
		if got := b.stat(counts[i].(string)).Nlink; int(got) != counts[i+1].(int) {
			b.Errorf("%s: %s has %d links, want %d", what, counts[i], got, counts[i+1])
		}
	}
}

// open opens and closes.
func open(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0644)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// tick lets the clock go on by more than file systems can tell apart.
func tick() { time.Sleep(12 * time.Millisecond) }

// user is somebody, with the groups he is in besides his own.
type user struct {
	id     int
	groups []int
}

// The users of the tests, whom the system need not know.
var (
	alice = user{60001, []int{60010}}
	bob   = user{60002, nil}
)

// needUsers ends the test if the caller can't be other users, or they are not let in.
func (b *bench) needUsers() {
	if os.Getuid() != 0 {
		b.Skip("only root can be other users")
	}
	if err := as(alice, func() error { return second(os.Lstat(b.dir)) }); errors.Is(err, unix.EACCES) {
		b.Skip("other users are not let in")
	}
}

// as runs f with the rights of a user, in a thread that is used for nothing else before it ends.
func as(u user, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		groups := []uint32{uint32(u.id)}
		for _, g := range u.groups {
			groups = append(groups, uint32(g))
		}
		id := uintptr(u.id)
		for _, c := range [][4]uintptr{
			{unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0]))},
			{unix.SYS_SETRESGID, id, id, id},
			{unix.SYS_SETRESUID, id, id, id},
		} {
			if _, _, errno := unix.RawSyscall(c[0], c[1], c[2], c[3]); errno != 0 {
				result <- fmt.Errorf("becoming user %d: %w", u.id, errno)
				return
			}
		}
		result <- f()
	}()
	return <-result
}
