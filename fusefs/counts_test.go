//go:build linux

package fusefs_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

// requestsOf counts the requests that a function causes, without those that the kernel sends when it likes.
func requestsOf(s *fusefs.Server, f func()) map[string]uint64 {
	before := s.Stats()
	f()
	diff := make(map[string]uint64)
	for name, n := range s.Stats() {
		if name != "FORGET" && n > before[name] {
			diff[name] = n - before[name]
		}
	}
	return diff
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustFile(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0644))
}

// TestRequests counts round trips: they are what a mount costs. A GETATTR of the directory follows each change in it, as
// the kernel checks permissions with attributes that it takes for old then; and before it writes to a file, it asks
// once for the capabilities that writing would clear (GETXATTR).
func TestRequests(t *testing.T) {
	s := mount(t, fusetest.New(), fusefs.Options{})
	dir := s.MountPoint()
	f := filepath.Join(dir, "f")
	mustFile(t, filepath.Join(dir, "warm-up"), "x")
	_, err := os.ReadFile(filepath.Join(dir, "warm-up"))
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0755))
	for i := range 100 {
		mustFile(t, filepath.Join(dir, "d", fmt.Sprint(i)), "")
	}
	listed := func() {
		names, err := os.ReadDir(filepath.Join(dir, "d"))
		if err != nil || len(names) != 100 {
			t.Errorf("%d names, %v", len(names), err)
		}
	}
	buf := make([]byte, 100)
	read := func() {
		fd, err := unix.Open(f, unix.O_RDONLY, 0)
		must(t, err)
		n, err := unix.Read(fd, buf)
		must(t, err)
		must(t, unix.Close(fd))
		if string(buf[:n]) != "content" {
			t.Errorf("read %q", buf[:n])
		}
	}
	stat := func() {
		_, err := os.Lstat(f)
		must(t, err)
	}
	for _, c := range []struct {
		what string
		do   func()
		want map[string]uint64
	}{
		{"create, write, close", func() { mustFile(t, f, "content") }, map[string]uint64{"LOOKUP": 1, "MKNOD": 1, "GETXATTR": 1, "WRITE": 1}},
		{"stat after a change", stat, map[string]uint64{"GETATTR": 2}},
		{"stat", stat, nil},
		{"first read", read, map[string]uint64{"READ": 1}},
		{"read", read, nil},
		{"rewrite", func() { mustFile(t, f, "content") }, map[string]uint64{"GETXATTR": 2, "SETATTR": 1, "WRITE": 1}},
		{"stat of a missing name", func() { os.Lstat(f + "1") }, map[string]uint64{"LOOKUP": 1}},
		{"again", func() { os.Lstat(f + "1") }, nil},
		{"symlink", func() { must(t, os.Symlink("f", f+"l")) }, map[string]uint64{"LOOKUP": 1, "SYMLINK": 1}},
		{"first readlink", func() { os.Readlink(f + "l") }, map[string]uint64{"GETATTR": 1, "READLINK": 1}},
		{"readlink", func() { os.Readlink(f + "l") }, nil},
		{"unlink", func() { must(t, os.Remove(f+"l")) }, map[string]uint64{"UNLINK": 1}},
		{"first list", listed, map[string]uint64{"GETATTR": 2, "OPENDIR": 1, "READDIRPLUS": 3, "RELEASEDIR": 1}},
		{"list", listed, map[string]uint64{"OPENDIR": 1, "RELEASEDIR": 1}},
	} {
		got := requestsOf(s, func() {
			releases := s.Stats()["RELEASEDIR"]
			c.do()
			for c.want["RELEASEDIR"] > 0 && s.Stats()["RELEASEDIR"] == releases { // comes when the kernel likes
				runtime.Gosched()
			}
		})
		if n := got["READDIRPLUS"]; n > 1 {
			got["READDIRPLUS"] = 3 // how many fit into one is the kernel's choice
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
