//go:build linux

package fusefs_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"ensync/engine/worktree"
	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

var _ fusefs.Tree = (*fusetest.Tree)(nil)

// mount mounts a tree through the real kernel and unmounts it at the end of the test.
func mount(t testing.TB, tree fusefs.Tree, opt fusefs.Options) *fusefs.Server {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatalf("this test needs the kernel's FUSE: %v; load the module fuse, and give a container the device", err)
	}
	opt.MountPoint = t.TempDir()
	if opt.OnError == nil {
		opt.OnError = func(op string, ino worktree.Ino, err error) { t.Errorf("%s of inode %d: %v", op, ino, err) }
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := fusefs.Mount(ctx, tree, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Unmount(ctx); err != nil {
			t.Error(err)
			s.Detach(ctx)
		}
	})
	return s
}

// systems are the file systems that a test of behaviour runs on: the system's own shows that the test is right.
func systems(t *testing.T, test func(t *testing.T, dir string)) {
	t.Run("native", func(t *testing.T) { test(t, t.TempDir()) })
	trees(t, func(t *testing.T, tree fusefs.Tree) { test(t, mount(t, tree, fusefs.Options{}).MountPoint()) })
	t.Run("uncached", func(t *testing.T) {
		test(t, mount(t, fusetest.New(), fusefs.Options{NoCache: true}).MountPoint())
	})
}

func TestPosix(t *testing.T) { systems(t, posix) }

// TestPosixOneProcessor lets the requests and those who ask share a processor, where some waits never end that
// otherwise would.
func TestPosixOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	trees(t, func(t *testing.T, tree fusefs.Tree) { posix(t, mount(t, tree, fusefs.Options{}).MountPoint()) })
}

// posix runs the tests that the FUSE library has.
func posix(t *testing.T, dir string) {
	for name, test := range posixtest.All {
		t.Run(name, func(t *testing.T) {
			// It locks twice in one process and wants the second lock refused, which POSIX locks never are.
			if name == "FcntlFlockLocksFile" {
				t.Skip("the test is wrong on any file system")
			}
			if name == "OpenSymlinkRace" && filepath.Base(filepath.Dir(t.Name())) == "native" {
				t.Skip("the test looks for a server that follows symlinks, and takes the system itself for one")
			}
			sub := filepath.Join(dir, name)
			if err := os.Mkdir(sub, 0755); err != nil {
				t.Fatal(err)
			}
			test(t, sub)
		})
	}
}

// treeKinds are the trees that tests mount.
var treeKinds = map[string]func(t *testing.T) fusefs.Tree{
	"memory": func(*testing.T) fusefs.Tree { return fusetest.New() },
}

// trees runs a test on each kind of tree.
func trees(t *testing.T, test func(t *testing.T, tree fusefs.Tree)) {
	for kind, open := range treeKinds {
		t.Run(kind, func(t *testing.T) { test(t, open(t)) })
	}
}
