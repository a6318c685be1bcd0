package conformance

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

func readingAndWriting(b *bench) {
	b.file("file", "content")
	rd, wr, rw := b.open("file", unix.O_RDONLY), b.open("file", unix.O_WRONLY), b.open("file", unix.O_RDWR)
	dir := b.open(".", unix.O_DIRECTORY)
	path := b.open("file", unix.O_PATH)
	buf := make([]byte, 10)
	b.all([]call{
		{"read of a directory", second(unix.Read(dir, buf)), unix.EISDIR},
		{"write to a directory", second(unix.Write(dir, buf)), unix.EBADF},
		{"truncate of a directory", unix.Ftruncate(dir, 0), unix.EINVAL},
		{"read of a file that is open for writing", second(unix.Read(wr, buf)), unix.EBADF},
		{"write to one that is open for reading", second(unix.Write(rd, buf)), unix.EBADF},
		{"read by a path alone", second(unix.Read(path, buf)), unix.EBADF},
		{"read at a negative offset", second(unix.Pread(rd, buf, -1)), unix.EINVAL},
		{"write at a negative offset", second(unix.Pwrite(wr, buf, -1)), unix.EINVAL},
		{"seek to a negative offset", second(unix.Seek(rd, -1, 0)), unix.EINVAL},
		{"seek in a strange way", second(unix.Seek(rd, 0, 99)), unix.EINVAL},
		{"write behind the largest offset", second(unix.Pwrite(wr, buf, math.MaxInt64-10)), unix.EFBIG},
		{"sync of one that is open for reading", unix.Fsync(rd), nil},
		{"sync of data", unix.Fdatasync(wr), nil},
		{"sync of a directory", unix.Fsync(dir), nil},
		{"sync of all", unix.Syncfs(rd), nil},
		{"an unknown ioctl", unix.IoctlSetInt(rd, 0x1234, 0), unix.ENOTTY},
	})
	for _, c := range []struct {
		off, length int64
		want        string
	}{{0, 3, "con"}, {5, 10, "nt"}, {7, 10, ""}, {1000, 10, ""}, {0, 0, ""}} {
		n, err := unix.Pread(rw, buf[:c.length], c.off)
		if string(buf[:max(n, 0)]) != c.want || err != nil {
			b.Errorf("read of %d at %d: %q, %v", c.length, c.off, buf[:max(n, 0)], err)
		}
	}
	if n, err := unix.Write(wr, nil); n != 0 || err != nil {
		b.Errorf("write of nothing: %d, %v", n, err)
	}
	if n, err := unix.Pwritev(rw, [][]byte{[]byte("CON"), []byte("TENT"), {}, []byte("!")}, 0); n != 8 || err != nil {
		b.Errorf("pwritev: %d, %v", n, err)
	}
	b.holds("file", "CONTENT!")
	b.ok(second(unix.Pwrite(wr, []byte("end"), 70000)))
	b.holds("file", "CONTENT!"+strings.Repeat("\x00", 70000-8)+"end")
}

// appending has many write at the end at once: each record is there once and whole.
func appending(b *bench) {
	const writers, records = 4, 100
	b.file("log", "")
	record := func(w, i int) string {
		return fmt.Sprintf("%d %d %s\n", w, i, strings.Repeat(string(rune('a'+w)), (w*1000+i*37)%5000))
	}
	var all sync.WaitGroup
	for w := range writers {
		fd := b.open("log", unix.O_WRONLY|unix.O_APPEND)
		all.Go(func() {
			for i := range records {
				if n, err := unix.Write(fd, []byte(record(w, i))); err != nil || n != len(record(w, i)) {
					b.Errorf("append: %d, %v", n, err)
				}
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(b.at("log"))
	b.ok(err)
	next := [writers]int{}
	for line := range strings.Lines(string(text)) {
		var w, i int
		if _, err := fmt.Sscan(line, &w, &i); err != nil || w >= writers || i != next[w] || line != record(w, i) {
			b.Fatalf("%.40q is not what was appended: %v", line, err)
		}
		next[w]++
	}
	for w, n := range next {
		if n != records {
			b.Errorf("%d of %d records of writer %d", n, records, w)
		}
	}
	b.file("file", "content")
	fd := b.open("file", unix.O_RDWR|unix.O_APPEND)
	b.ok(second(unix.Pwrite(fd, []byte(" more"), 0))) // Linux appends, whatever the offset
	b.holds("file", "content more")
	b.ok(unix.Ftruncate(fd, 3))
	b.ok(second(unix.Write(fd, []byte("X"))))
	b.holds("file", "conX")
	b.ok(second(unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)))
	b.ok(second(unix.Pwrite(fd, []byte("Y"), 0)))
	b.holds("file", "YonX")
}

func truncating(b *bench) {
	b.file("file", strings.Repeat("x", 10000))
	fd, rd := b.open("file", unix.O_RDWR), b.open("file", unix.O_RDONLY)
	b.all([]call{
		{"to less", unix.Ftruncate(fd, 100), nil},
		{"to more", unix.Truncate(b.at("file"), 5000), nil},
		{"to a negative size", unix.Ftruncate(fd, -1), unix.EINVAL},
		{"by path to a negative size", unix.Truncate(b.at("file"), -1), unix.EINVAL},
		{"of one that is open for reading", unix.Ftruncate(rd, 0), unix.EINVAL},
		{"of a directory", unix.Truncate(b.dir, 0), unix.EISDIR},
		{"of nothing", unix.Truncate(b.at("none"), 0), unix.ENOENT},
		{"of a file of another descriptor", unix.Ftruncate(9999, 0), unix.EBADF},
	})
	b.holds("file", strings.Repeat("x", 100)+strings.Repeat("\x00", 4900))
	b.ok(unix.Ftruncate(fd, 1<<40))
	if st := b.fstat(fd); st.Size != 1<<40 || st.Blocks > 1000 {
		b.Errorf("a sparse TiB has size %d, %d blocks", st.Size, st.Blocks)
	}
	buf := make([]byte, 10)
	if n, err := unix.Pread(fd, buf, 1<<40-5); n != 5 || err != nil || !bytes.Equal(buf, make([]byte, 10)) {
		b.Errorf("the end of a sparse TiB: %d, %v, %q", n, err, buf)
	}
	b.ok(open(b.at("file"), unix.O_RDONLY|unix.O_TRUNC))
	b.holds("file", "")
}

// sizeLimit writes up to what the process may, and further.
func sizeLimit(b *bench) {
	const limit = 10000
	var was unix.Rlimit
	b.ok(unix.Getrlimit(unix.RLIMIT_FSIZE, &was))
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	fd := b.open("file", unix.O_RDWR|unix.O_CREAT)
	b.ok(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: was.Max}))
	n, err := unix.Pwrite(fd, make([]byte, 2*limit), 100)
	calls := []call{
		{"write at the limit", second(unix.Pwrite(fd, []byte("x"), limit)), unix.EFBIG},
		{"truncate to the limit", unix.Ftruncate(fd, limit), nil},
		{"truncate behind the limit", unix.Ftruncate(fd, limit+1), unix.EFBIG},
		{"allocate behind the limit", unix.Fallocate(fd, 0, limit, 1), unix.EFBIG},
	}
	b.ok(unix.Setrlimit(unix.RLIMIT_FSIZE, &was))
	if n != limit-100 || err != nil {
		b.Errorf("write across the limit: %d, %v", n, err)
	}
	b.all(calls)
	if size := b.fstat(fd).Size; size != limit {
		b.Errorf("size %d, limit %d", size, limit)
	}
}

// holes uses a unit that no file system's blocks are larger than.
const holeUnit = 64 << 10

func holes(b *bench) {
	fd := b.open("file", unix.O_RDWR|unix.O_CREAT)
	b.gives("data in an empty file", second(unix.Seek(fd, 0, unix.SEEK_DATA)), unix.ENXIO)
	b.gives("a hole in an empty file", second(unix.Seek(fd, 0, unix.SEEK_HOLE)), unix.ENXIO)
	b.ok(second(unix.Pwrite(fd, bytes.Repeat([]byte("x"), holeUnit), 4*holeUnit)))
	b.ok(unix.Ftruncate(fd, 10*holeUnit))
	for _, c := range []struct {
		off    int64
		whence int
		want   int64
		err    error
	}{
		{0, unix.SEEK_DATA, 4 * holeUnit, nil},
		{0, unix.SEEK_HOLE, 0, nil},
		{4 * holeUnit, unix.SEEK_DATA, 4 * holeUnit, nil},
		{4*holeUnit + 100, unix.SEEK_DATA, 4*holeUnit + 100, nil},
		{4 * holeUnit, unix.SEEK_HOLE, 5 * holeUnit, nil},
		{5 * holeUnit, unix.SEEK_DATA, 0, unix.ENXIO},
		{7*holeUnit + 5, unix.SEEK_HOLE, 7*holeUnit + 5, nil},
		{10 * holeUnit, unix.SEEK_HOLE, 0, unix.ENXIO},
		{11 * holeUnit, unix.SEEK_DATA, 0, unix.ENXIO},
		{-1, unix.SEEK_DATA, 0, unix.ENXIO},
	} {
		got, err := unix.Seek(fd, c.off, c.whence)
		if err != c.err || err == nil && got != c.want {
			b.Errorf("seek %d from %d: %d, %v; want %d, %v", c.whence, c.off, got, err, c.want, c.err)
		}
	}
	if blocks := b.fstat(fd).Blocks; blocks < holeUnit/512 || blocks >= 3*holeUnit/512 {
		b.Errorf("%d blocks for %d bytes of data", blocks, holeUnit)
	}
}

// layout is the content of a file by units: a letter for a unit of data, '.' for zeros.
func (b *bench) layout(what string, fd int, want string) {
	b.Helper()
	buf := make([]byte, (len(want)+1)*holeUnit)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil || n != len(want)*holeUnit {
		b.Errorf("%s: %d bytes, %v; want %d", what, n, err, len(want)*holeUnit)
		return
	}
	for i, letter := range []byte(want) {
		if letter == '.' {
			letter = 0
		}
		unit := buf[i*holeUnit:][:holeUnit]
		if !bytes.Equal(unit, bytes.Repeat([]byte{letter}, holeUnit)) {
			b.Errorf("%s: unit %d of %s begins with %q", what, i, want, unit[:10])
		}
	}
}

func (b *bench) units(fd int, letters string) {
	b.Helper()
	b.ok(unix.Ftruncate(fd, 0))
	for i, letter := range []byte(letters) {
		if letter != '.' {
			b.ok(second(unix.Pwrite(fd, bytes.Repeat([]byte{letter}, holeUnit), int64(i*holeUnit))))
		}
	}
}

func allocating(b *bench) {
	const keep, punch, zero = unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE
	const collapse, insert = unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE
	fd := b.open("file", unix.O_RDWR|unix.O_CREAT)
	rd, dir := b.open("file", unix.O_RDONLY), b.open(".", unix.O_DIRECTORY)
	b.ok(unix.Mkfifo(b.at("fifo"), 0644))
	fifo := b.open("fifo", unix.O_RDWR|unix.O_NONBLOCK)
	do := func(mode uint32, from, units int64) error {
		return unix.Fallocate(fd, mode, from*holeUnit, units*holeUnit)
	}
	b.all([]call{
		{"no length", unix.Fallocate(fd, 0, 0, 0), unix.EINVAL},
		{"a negative length", unix.Fallocate(fd, 0, 0, -1), unix.EINVAL},
		{"a negative offset", unix.Fallocate(fd, 0, -1, 1), unix.EINVAL},
		{"behind the largest offset", unix.Fallocate(fd, 0, math.MaxInt64, 1), unix.EFBIG},
		{"open for reading", unix.Fallocate(rd, 0, 0, 1), unix.EBADF},
		{"a directory", unix.Fallocate(dir, 0, 0, 1), unix.EBADF},
		{"a pipe", unix.Fallocate(fifo, 0, 0, 1), unix.ESPIPE},
		{"an unknown mode", unix.Fallocate(fd, 0x100, 0, 1), unix.EOPNOTSUPP},
		{"a hole without keeping the size", do(punch, 0, 1), unix.EOPNOTSUPP},
		{"a hole and zeros", do(punch|keep|zero, 0, 1), unix.EOPNOTSUPP},
	})
	b.units(fd, "ab")
	b.ok(do(0, 1, 3))
	b.layout("allocated", fd, "ab..")
	b.ok(do(keep, 4, 4))
	b.layout("allocated behind the end", fd, "ab..")
	b.units(fd, "abcdef")
	b.ok(do(punch|keep, 1, 2))
	b.layout("punched", fd, "a..def")
	if off, err := unix.Seek(fd, holeUnit, unix.SEEK_DATA); off != 3*holeUnit || err != nil {
		b.Errorf("behind a hole is data at %d, %v", off, err)
	}
	b.ok(do(punch|keep, 5, 9))
	b.layout("punched over the end", fd, "a..de.")
	b.ok(do(punch|keep, 90, 9))
	b.layout("punched behind the end", fd, "a..de.")
	b.ok(do(zero, 4, 3))
	b.layout("zeroed over the end", fd, "a..d...")
	b.ok(do(zero|keep, 3, 9))
	b.layout("zeroed with the size kept", fd, "a......")
	b.units(fd, "a")
	b.ok(unix.Fallocate(fd, punch|keep, 10, 20))
	buf := make([]byte, 40)
	b.ok(second(unix.Pread(fd, buf, 0)))
	if want := strings.Repeat("a", 10) + strings.Repeat("\x00", 20) + strings.Repeat("a", 10); string(buf) != want {
		b.Errorf("a hole of 20 bytes: %q", buf)
	}
	// These may be supported; what is refused must not change anything.
	for mode, want := range map[uint32]string{collapse: "acd", insert: "a.bcd"} {
		b.units(fd, "abcd")
		switch err := do(mode, 1, 1); err {
		case nil:
			b.layout("moved", fd, want)
		case unix.EOPNOTSUPP:
			b.layout("not moved", fd, "abcd")
		default:
			b.Errorf("fallocate %x: %v", mode, err)
		}
	}
}

func copying(b *bench) {
	src, dst := b.open("src", unix.O_RDWR|unix.O_CREAT), b.open("dst", unix.O_RDWR|unix.O_CREAT)
	rd, app := b.open("dst", unix.O_RDONLY), b.open("dst", unix.O_WRONLY|unix.O_APPEND)
	dir := b.open(".", unix.O_DIRECTORY)
	b.units(src, "ab.d")
	do := func(from int, off int64, to int, off2 int64, length int) (int, error) {
		return unix.CopyFileRange(from, &off, to, &off2, length, 0)
	}
	b.all([]call{
		{"onto itself", second(do(src, 0, src, 10, 100)), unix.EINVAL},
		{"to one that is open for reading", second(do(src, 0, rd, 0, 100)), unix.EBADF},
		{"to one that is open for appending", second(do(src, 0, app, 0, 100)), unix.EBADF},
		{"from a directory", second(do(dir, 0, dst, 0, 100)), unix.EISDIR},
		{"with flags", second(unix.CopyFileRange(src, nil, dst, nil, 100, 1)), unix.EINVAL},
		{"to a negative offset", second(do(src, 0, dst, -5, 100)), unix.EOVERFLOW},
	})
	whole := func(from int, off int64, to int, off2 int64, length int) (done int) {
		for done < length {
			n, err := do(from, off+int64(done), to, off2+int64(done), length-done)
			b.ok(err)
			if n == 0 {
				break
			}
			done += n
		}
		return done
	}
	if n := whole(src, 0, dst, 0, 100*holeUnit); n != 4*holeUnit {
		b.Errorf("copied %d bytes of 4 units", n)
	}
	b.layout("copied", dst, "ab.d")
	whole(src, 0, dst, 4*holeUnit, 2*holeUnit)
	b.layout("copied behind the end", dst, "ab.dab")
	whole(dst, 0, dst, 2*holeUnit, 2*holeUnit)
	b.layout("copied within", dst, "ababab")
	if n := whole(src, 4*holeUnit, dst, 0, 100); n != 0 {
		b.Errorf("copied %d bytes from behind the end", n)
	}
	b.units(src, "xy")
	b.layout("the copy of what was then overwritten", dst, "ababab")
	_, err := unix.Seek(src, 0, 0)
	b.ok(err)
	_, err = unix.Seek(dst, holeUnit, 0)
	b.ok(err)
	n, err := unix.CopyFileRange(src, nil, dst, nil, holeUnit, 0)
	if at, _ := unix.Seek(src, 0, 1); n != holeUnit || err != nil || at != holeUnit {
		b.Errorf("copied %d, %v; now at %d", n, err, at)
	}
	b.layout("copied by position", dst, "axabab")
}

// pipes sends files through sockets and pipes inside the kernel.
func pipes(b *bench) {
	text := strings.Repeat("0123456789abcdef", 5000)
	b.file("src", text)
	src, dst := b.open("src", unix.O_RDONLY), b.open("dst", unix.O_RDWR|unix.O_CREAT)
	for done := 0; done < len(text); {
		n, err := unix.Sendfile(dst, src, nil, len(text)-done)
		if n <= 0 {
			b.Fatalf("sendfile at %d: %d, %v", done, n, err)
		}
		done += n
	}
	b.holds("dst", text)
	var p [2]int
	b.ok(unix.Pipe2(p[:], unix.O_CLOEXEC))
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	spliced := b.open("spliced", unix.O_RDWR|unix.O_CREAT)
	var in, out int64
	for int(out) < len(text) {
		n, err := unix.Splice(src, &in, p[1], nil, 5000, 0)
		if n <= 0 {
			b.Fatalf("splice at %d: %d, %v", in, n, err)
		}
		for n > 0 {
			m, err := unix.Splice(p[0], nil, spliced, &out, int(n), 0)
			if m <= 0 {
				b.Fatalf("splice at %d: %d, %v", out, m, err)
			}
			n -= m
		}
	}
	b.holds("spliced", text)
}

// direct reads and writes around the page cache.
func direct(b *bench) {
	fd, err := unix.Open(b.at("file"), unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT|unix.O_CLOEXEC, 0644)
	if err == unix.EINVAL {
		b.Skip("no O_DIRECT here")
	}
	b.ok(err)
	defer unix.Close(fd)
	cached := b.open("file", unix.O_RDWR)
	block, err := unix.Mmap(-1, 0, holeUnit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	b.ok(err)
	defer unix.Munmap(block)
	b.units(cached, "abc")
	b.layout("cached", cached, "abc")
	fill(block, 'B')
	b.ok(second(unix.Pwrite(fd, block, holeUnit)))
	b.layout("after a direct write", cached, "aBc")
	fill(block, 'D')
	b.ok(second(unix.Pwrite(fd, block, 3*holeUnit)))
	b.layout("after a direct write at the end", cached, "aBcD")
	b.ok(second(unix.Pwrite(cached, []byte("cached"), 0)))
	if n, err := unix.Pread(fd, block, 0); n != holeUnit || err != nil || !bytes.HasPrefix(block, []byte("cacheda")) {
		b.Errorf("a direct read after a cached write: %d, %v, %.10q", n, err, block)
	}
}
