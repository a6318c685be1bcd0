package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is what getdents(2) tells of a name.
type entry struct {
	name string
	ino  uint64
	off  int64 // where the next one is
	kind byte
}

// next reads as many entries of an open directory as fit into size bytes.
func (b *bench) next(fd, size int) (list []entry) {
	b.Helper()
	buf := make([]byte, size)
	n, err := unix.Getdents(fd, buf)
	b.ok(err)
	for buf = buf[:n]; len(buf) > 0; {
		e := entry{ino: binary.NativeEndian.Uint64(buf), off: int64(binary.NativeEndian.Uint64(buf[8:])), kind: buf[18]}
		length := binary.NativeEndian.Uint16(buf[16:])
		name, _, _ := bytes.Cut(buf[19:length], []byte{0})
		e.name = string(name)
		list = append(list, e)
		buf = buf[length:]
	}
	return list
}

// entries reads all entries of an open directory from where it is, with "." and "..".
func (b *bench) entries(fd int) (list []entry) {
	b.Helper()
	for {
		more := b.next(fd, 4096)
		if len(more) == 0 {
			return list
		}
		list = append(list, more...)
	}
}

func readingDirectories(b *bench) {
	const files = 300
	b.mkdir("dir")
	for i := range files {
		b.file(fmt.Sprintf("dir/%d%s", i, strings.Repeat("n", i%100)), "")
	}
	fd := b.open("dir", unix.O_DIRECTORY)
	list := b.entries(fd)
	names := make(map[string]int)
	for _, e := range list {
		names[e.name]++
	}
	if len(list) != files+2 || len(names) != files+2 || names["."] != 1 || names[".."] != 1 {
		b.Fatalf("%d entries, %d names of %d", len(list), len(names), files+2)
	}
	b.gives("too little room for a name", second(unix.Getdents(seekTo(b, fd, 0), make([]byte, 20))), unix.EINVAL)
	for _, at := range []int{0, 1, 2, 57, files / 2, files, files + 1} { // as telldir and seekdir do
		got := b.entries(seekTo(b, fd, list[at].off))
		if len(got) != len(list)-at-1 || len(got) > 0 && got[0].name != list[at+1].name {
			b.Errorf("from entry %d on are %d of %d", at, len(got), len(list)-at-1)
		}
	}
	b.file("dir/later", "")
	if got := b.entries(seekTo(b, fd, 0)); len(got) != files+3 {
		b.Errorf("rewound after one more was made: %d of %d", len(got), files+3)
	}
	b.ok(os.Remove(b.at("dir/later")))
	if got := b.entries(seekTo(b, fd, 0)); len(got) != files+2 {
		b.Errorf("rewound after it was removed: %d of %d", len(got), files+2)
	}
	other := b.open("dir", unix.O_DIRECTORY)
	first := b.next(seekTo(b, fd, 0), 1000)
	if got := b.entries(other); len(got) != files+2 {
		b.Errorf("another reader finds %d of %d", len(got), files+2)
	}
	if got := b.entries(fd); len(first)+len(got) != files+2 {
		b.Errorf("%d and %d are not %d", len(first), len(got), files+2)
	}
	b.mkdir("empty")
	if got := b.entries(b.open("empty", unix.O_DIRECTORY)); len(got) != 2 {
		b.Errorf("an empty directory holds %v", got)
	}
}

func seekTo(b *bench, fd int, off int64) int {
	b.Helper()
	_, err := unix.Seek(fd, off, 0)
	b.ok(err)
	return fd
}

// directoriesThatChange removes what it has read and makes new names, while another reader lists the directory anew each
// time: every name that was there and stays is read once.
func directoriesThatChange(b *bench) {
	for _, c := range []struct {
		warm        bool
		files, size int
	}{
		{false, 1000, 4096},
		{true, 1000, 4096},
		// Names this short fill the pages of a listing that the kernel keeps exactly, each 128th time.
		{false, 300, 64},
		{true, 300, 64},
	} {
		dir := fmt.Sprint("d", c.warm, c.files)
		b.mkdir(dir)
		for i := range c.files {
			b.file(fmt.Sprint(dir, "/file", i), "")
		}
		if c.warm {
			b.entries(b.open(dir, unix.O_DIRECTORY))
		}
		b.readWhileChanging(dir, c.files, c.size)
	}
}

func (b *bench) readWhileChanging(dir string, files, size int) {
	fd := b.open(dir, unix.O_DIRECTORY)
	seen := make(map[string]int)
	for round := 0; ; round++ {
		list := b.next(fd, size)
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			if seen[e.name]++; e.name != "." && e.name != ".." {
				b.ok(os.Remove(b.at(dir + "/" + e.name)))
			}
		}
		if round%8 == 0 {
			b.file(fmt.Sprint(dir, "/new", round), "")
		}
		second(os.ReadDir(b.at(dir)))
	}
	for i := range files {
		if n := seen[fmt.Sprint("file", i)]; n != 1 {
			b.Fatalf("%s: file%d was read %d times", dir, i, n)
		}
	}
}

// events watches the directory.
func events(b *bench) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	b.ok(err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, b.dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVE|unix.IN_DELETE|unix.IN_ATTRIB)
	b.ok(err)
	b.file("file", "content")
	b.ok(os.Chmod(b.at("file"), 0600))
	b.ok(os.Rename(b.at("file"), b.at("moved")))
	b.ok(os.Remove(b.at("moved")))
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	b.ok(err)
	seen := uint32(0)
	for buf = buf[:n]; len(buf) > 0; buf = buf[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(buf[12:]):] {
		seen |= binary.NativeEndian.Uint32(buf[4:])
	}
	if want := uint32(unix.IN_CREATE | unix.IN_MODIFY | unix.IN_MOVE | unix.IN_DELETE | unix.IN_ATTRIB); seen&want != want {
		b.Errorf("events %x, want %x", seen, want)
	}
}
