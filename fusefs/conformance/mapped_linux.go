package conformance

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// mapped uses files as memory.
func mapped(b *bench) {
	const size = 4 * holeUnit
	fd := b.open("file", unix.O_RDWR|unix.O_CREAT)
	rd := b.open("file", unix.O_RDONLY)
	b.ok(unix.Ftruncate(fd, size))
	_, err := unix.Mmap(rd, 0, size, unix.PROT_WRITE, unix.MAP_SHARED)
	b.gives("a shared mapping for writing of one that is open for reading", err, unix.EACCES)
	_, err = unix.Mmap(b.open(".", unix.O_DIRECTORY), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	b.gives("a mapping of a directory", err, unix.ENODEV)
	shared, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	b.ok(err)
	private, err := unix.Mmap(rd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	b.ok(err)

	fill(shared[:holeUnit], 'a')
	fill(shared[2*holeUnit:3*holeUnit], 'c')
	b.layout("written to a mapping", fd, "a.c.")
	b.ok(unix.Msync(shared, unix.MS_SYNC))
	b.layout("and synced", fd, "a.c.")
	fill(private[:holeUnit], 'p')
	b.layout("written to a private mapping", fd, "a.c.")
	b.ok(second(unix.Pwrite(fd, bytes.Repeat([]byte("B"), holeUnit), holeUnit)))
	b.maps("after a write", shared, "aBc.")
	b.maps("the private one after a write", private, "pBc.")
	b.ok(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 2*holeUnit, holeUnit))
	b.maps("after a hole", shared, "aB..")
	b.ok(unix.Ftruncate(fd, holeUnit))
	b.ok(unix.Ftruncate(fd, size))
	b.layout("cut and grown", fd, "a...")
	b.maps("cut and grown", shared, "a...")
	b.ok(unix.Munmap(private))
	b.ok(os.Remove(b.at("file")))
	b.close(fd)
	shared[5] = 'y'
	b.ok(unix.Msync(shared, unix.MS_SYNC))
	buf := make([]byte, 100)
	if n, err := unix.Pread(rd, buf, 0); n != 100 || err != nil || buf[5] != 'y' {
		b.Errorf("through the mapping of a removed file: %d, %v, %q", n, err, buf[5])
	}
	b.ok(unix.Munmap(shared))
}

func fill(p []byte, letter byte) { copy(p, bytes.Repeat([]byte{letter}, len(p))) }

// maps wants the content of a mapping; see layout.
func (b *bench) maps(what string, m []byte, want string) {
	b.Helper()
	for i, letter := range []byte(want) {
		if letter == '.' {
			letter = 0
		}
		if unit := m[i*holeUnit:][:holeUnit]; !bytes.Equal(unit, bytes.Repeat([]byte{letter}, holeUnit)) {
			b.Errorf("%s: unit %d of %s begins with %q", what, i, want, unit[:10])
		}
	}
}

// mappedTimes wants to see that a file was written to through a mapping, when that is synced or given up.
func mappedTimes(b *bench) {
	fd := b.open("file", unix.O_RDWR|unix.O_CREAT)
	b.ok(unix.Ftruncate(fd, holeUnit))
	for what, done := range map[string]func([]byte) error{
		"msync":  func(m []byte) error { return unix.Msync(m, unix.MS_SYNC) },
		"fsync":  func([]byte) error { return unix.Fsync(fd) },
		"munmap": unix.Munmap,
	} {
		before := stampsOf(b.fstat(fd))
		m, err := unix.Mmap(fd, 0, holeUnit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok(err)
		tick()
		m[100]++
		b.ok(done(m))
		if got := stampsOf(b.fstat(fd)).changed(before); got != "mtime ctime" {
			b.Errorf("a write to a mapping and %s changes %q", what, got)
		}
		unix.Munmap(m)
	}
}
