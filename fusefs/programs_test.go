//go:build linux

package fusefs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/fusefs"
)

// run runs a shell script in a directory.
func run(t testing.TB, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// TestPrograms uses the mount as people do.
func TestPrograms(t *testing.T) {
	trees(t, func(t *testing.T, tree fusefs.Tree) {
		dir := mount(t, tree, fusefs.Options{}).MountPoint()
		source := t.TempDir()
		run(t, source, `i=0; while [ $i -lt 50 ]; do mkdir -p d$((i%7))/e; echo "content $i" > d$((i%7))/e/f$i; i=$((i+1)); done
			ln -s d0 link; ln d0/e/f0 hard; chmod 4755 hard; mkfifo fifo; truncate -s 1M sparse; head -c 3000000 /dev/urandom > big`)
		t.Run("tar", func(t *testing.T) {
			run(t, dir, "mkdir tar; tar -C "+source+" -cf - . | tar -C tar -xpf -; diff -r --no-dereference -x fifo "+source+" tar")
			if got := run(t, dir, "find tar -name fifo -type p; stat -c %a tar/hard"); got != "tar/fifo\n4755\n" {
				t.Errorf("%q", got)
			}
		})
		t.Run("git", func(t *testing.T) {
			run(t, dir, `mkdir repo; cd repo; git init -q; cp -r ../tar/d* .; git add .
				git -c user.name=a -c user.email=b commit -qm first; git mv d1 moved; git rm -qr d2
				git -c user.name=a -c user.email=b commit -qm second; git checkout -q HEAD~1; test -z "$(git status --porcelain)"
				git gc -q; git fsck --strict`)
		})
		t.Run("rm", func(t *testing.T) {
			many := filepath.Join(dir, "many")
			run(t, dir, `mkdir many; cd many; seq 5000 | xargs touch; test $(find . -type f | wc -l) = 5000`)
			run(t, dir, "rm -rf many tar repo")
			if _, err := os.Lstat(many); err == nil {
				t.Error("still there")
			}
			if list := names(t, dir); len(list) != 0 {
				t.Errorf("left: %v", list)
			}
		})
	})
}

// TestMapped writes through a mapping, as databases do, and reads back by the other way. It does so in a process of its
// own: a page fault stops a thread without telling Go, whose collector would wait for it, and the server for that.
func TestMapped(t *testing.T) {
	systems(t, func(t *testing.T, dir string) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "FUSEFS_TEST_MAP="+filepath.Join(dir, "db"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// useMapping is what the process of TestMapped does.
func useMapping(path string) error {
	const size = 1 << 20
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT, 0644)
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		return err
	}
	m, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := range m {
		m[i] = byte(i / 7)
	}
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, m) {
		return fmt.Errorf("the file is not what was written to the mapping: %w", err)
	}
	if _, err := unix.Pwrite(fd, []byte("by write"), 5000); err != nil {
		return err
	}
	if got := string(m[5000:5008]); got != "by write" {
		return fmt.Errorf("the mapping holds %q", got)
	}
	return unix.Munmap(m)
}

// TestManyAtOnce lets goroutines work in one directory.
func TestManyAtOnce(t *testing.T) {
	trees(t, func(t *testing.T, tree fusefs.Tree) {
		dir := mount(t, tree, fusefs.Options{}).MountPoint()
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 60 {
					path := filepath.Join(dir, fmt.Sprintf("w%d-%d", w, i))
					text := strings.Repeat(path, 1+i)
					mustFile(t, path, text)
					if err := os.Rename(path, path+"r"); err != nil {
						t.Error(err)
					}
					if got := content(path + "r"); got != text {
						t.Errorf("%s holds %.50q", path, got)
					}
					os.ReadDir(dir)
					if err := os.Remove(path + "r"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if list := names(t, dir); len(list) != 0 {
			t.Errorf("left: %v", list)
		}
	})
}
