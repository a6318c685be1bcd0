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
