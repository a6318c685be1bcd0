package localdir_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"ensync/engine/localdir"
	"ensync/engine/replica/memory"
	"ensync/engine/replica/replicatest"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// sha hashes as replica/memory does, and counts the bytes.
type sha struct{ read *int64 }

func (s sha) Hash(ctx context.Context, r io.Reader) (object.Content, error) {
	data, err := io.ReadAll(r)
	if s.read != nil {
		*s.read += int64(len(data))
	}
	return memory.SHA256(data), err
}

// user edits a directory with the calls that programs use.
type user struct{ root string }

func (u user) at(path string) string { return filepath.Join(u.root, path) }

func (u user) Write(path, data string) error {
	if err := os.MkdirAll(filepath.Dir(u.at(path)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(u.at(path), []byte(data), 0o644)
}

func (u user) Mkdir(path string) error              { return os.MkdirAll(u.at(path), 0o755) }
func (u user) Symlink(path, target string) error    { return os.Symlink(target, u.at(path)) }
func (u user) Chmod(path string, mode uint32) error { return os.Chmod(u.at(path), os.FileMode(mode)) }
func (u user) Remove(path string) error             { return os.RemoveAll(u.at(path)) }
func (u user) Rename(from, to string) error         { return os.Rename(u.at(from), u.at(to)) }

func (u user) Touch(path string, modTime int64) error {
	return os.Chtimes(u.at(path), time.Time{}, time.Unix(0, modTime))
}

func (u user) Data(path string) (string, error) {
	if target, err := os.Readlink(u.at(path)); err == nil {
		return target, nil
	}
	data, err := os.ReadFile(u.at(path))
	return string(data), err
}

// optionalUser is root.
type optionalUser struct{ user }

func (u optionalUser) Chown(path string, user, group object.Owner) error {
	number := func(o object.Owner) int {
		if o == "" {
			return -1
		}
		_, n := o.Split()
		return int(n)
	}
	return os.Lchown(u.at(path), number(user), number(group))
}

func (u optionalUser) SetXattr(path, name string, value []byte) error {
	if value == nil {
		return unix.Removexattr(u.at(path), name)
	}
	return unix.Setxattr(u.at(path), name, value, 0)
}

func open(t *testing.T, root, state string, opt localdir.Options) *localdir.Dir {
	t.Helper()
	d, err := localdir.Open(root, state, sha{}, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestConformance(t *testing.T) { conformance(t) }

func TestConformanceWithoutExchange(t *testing.T) {
	localdir.WithoutExchange(t)
	conformance(t)
}

func TestConformanceOnPoorFileSystem(t *testing.T) {
	localdir.WithoutExchange(t)
	localdir.WithoutLeases(t)
	localdir.WithCoarseClock(t)
	conformance(t)
}

func conformance(t *testing.T) {
	replicatest.Run(t, func(t *testing.T) replicatest.Subject {
		root := t.TempDir()
		d := open(t, root, filepath.Join(t.TempDir(), "cache.sqlite"),
			localdir.Options{Report: func(s string) { t.Log(s) }, Owner: true, Xattrs: true})
		s := replicatest.Subject{Client: d, User: user{root}, Hash: memory.SHA256}
		if os.Geteuid() == 0 && runtime.GOOS == "linux" {
			s.User = optionalUser{user{root}}
		}
		return s
	})
}
