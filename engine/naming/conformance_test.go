//go:build linux

package naming_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ensync/engine/ancestor"
	"ensync/engine/localdir"
	"ensync/engine/localdir/foldtest"
	"ensync/engine/naming"
	"ensync/engine/replica/memory"
	"ensync/engine/replica/replicatest"
	"ensync/store/object"
)

// sha hashes as replica/memory does.
type sha struct{}

func (sha) Hash(_ context.Context, r io.Reader) (object.Content, error) {
	data, err := io.ReadAll(r)
	return memory.SHA256(data), err
}

// user edits a directory with the calls that programs use.
type user struct {
	root  string
	store bool // paths are in the names of the store
}

// at is where the user finds a path: what the store calls so may be kept aside.
func (u user) at(path string) string {
	at := filepath.Join(u.root, path)
	if !u.store {
		return at
	}
	entries, _ := os.ReadDir(filepath.Dir(at))
	for _, e := range entries { // the file system would also find A~aside1
		if e.Name() == filepath.Base(at)+"~aside1" {
			return at + "~aside1"
		}
	}
	return at
}

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

// open opens a directory by the store's names, with what is remembered of it in state. The caller closes the first two.
func open(t *testing.T, root, state string) (*localdir.Dir, *ancestor.DB, *naming.Tree) {
	t.Helper()
	d, err := localdir.Open(root, filepath.Join(state, "files.sqlite"), sha{}, localdir.Options{Report: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	db, err := ancestor.Open(filepath.Join(state, "ancestor.sqlite"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := naming.Open(t.Context(), d, db, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	return d, db, tree
}

// TestConformance: on a file system that folds names, too, a store's names are bytes.
func TestConformance(t *testing.T) {
	for name, opt := range map[string]foldtest.Options{"folding": {Fold: true}, "poor": {Fold: true, NoExchange: true}} {
		if testing.Short() && name != "poor" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			replicatest.Run(t, func(t *testing.T) replicatest.Subject {
				root := foldtest.New(t, opt)
				d, db, tree := open(t, root, scratch(t))
				t.Cleanup(func() {
					if err := errors.Join(d.Close(), db.Close()); err != nil {
						t.Error(err)
					}
				})
				return replicatest.Subject{Client: tree, User: user{root, true}, Hash: memory.SHA256}
			})
		})
	}
}
