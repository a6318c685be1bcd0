//go:build linux

package fusefs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

// some reads the next names of an open directory, as many as fit into size bytes, until there are no more.
func some(t testing.TB, fd, size int) (list []string, more bool) {
	t.Helper()
	buf := make([]byte, size)
	n, err := unix.Getdents(fd, buf)
	must(t, err)
	more = n > 0
	for buf = buf[:n]; len(buf) > 0; {
		reclen := binary.NativeEndian.Uint16(buf[16:])
		name, _, _ := bytes.Cut(buf[19:reclen], []byte{0})
		if s := string(name); s != "." && s != ".." {
			list = append(list, s)
		}
		buf = buf[reclen:]
	}
	return list, more
}

func openDir(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestReadDirWhileChanging removes what it has read and makes new names, while another reader lists the directory anew
// each time: every name that was there and stays is read once.
func TestReadDirWhileChanging(t *testing.T) {
	systems(t, func(t *testing.T, dir string) {
		for _, c := range []struct {
			warm        bool
			files, size int
		}{
			{false, 1000, 4096},
			{true, 1000, 4096},
			// Names this short fill the pages of the kernel's listing exactly, each 128th time.
			{false, 300, 64},
			{true, 300, 64},
		} {
			warm, files := c.warm, c.files
			d := filepath.Join(dir, fmt.Sprint("d", warm, files))
			must(t, os.Mkdir(d, 0755))
			for i := range files {
				mustFile(t, filepath.Join(d, fmt.Sprint("file", i)), "")
			}
			if warm {
				names(t, d)
			}
			fd := openDir(t, d)
			seen := make(map[string]int)
			for round := 0; ; round++ {
				list, more := some(t, fd, c.size)
				if !more {
					break
				}
				for _, name := range list {
					seen[name]++
					must(t, os.Remove(filepath.Join(d, name)))
				}
				if round%8 == 0 {
					mustFile(t, filepath.Join(d, fmt.Sprint("new", round)), "")
				}
				names(t, d)
			}
			for i := range files {
				if n := seen[fmt.Sprint("file", i)]; n != 1 {
					t.Fatalf("%+v: file%d was read %d times", c, i, n)
				}
			}
		}
	})
}

// TestRemoveAll is rm -r with another reader at work.
func TestRemoveAll(t *testing.T) {
	dir := mount(t, fusetest.New(), fusefs.Options{}).MountPoint()
	for round := range 3 {
		d := filepath.Join(dir, fmt.Sprint(round), "sub")
		must(t, os.MkdirAll(d, 0755))
		for i := range 1000 {
			mustFile(t, filepath.Join(d, fmt.Sprint(i)), "")
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					os.ReadDir(d)
				}
			}
		}()
		err := os.RemoveAll(filepath.Dir(d))
		close(stop)
		<-stopped
		must(t, err)
	}
}
