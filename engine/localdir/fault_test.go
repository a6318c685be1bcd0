package localdir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ensync/engine/localdir"
	"ensync/engine/replica"
	"ensync/store/object"
)

func TestZerosTakeNoSpace(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "", localdir.Options{})
	const size = 16 << 20
	data := make([]byte, size)
	copy(data[size/2:], "in the middle")
	c := newFile("f", string(data))
	if r := d.Apply(t.Context(), "", []replica.Change{c})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(root, "f"), &st); err != nil || st.Size != size || st.Blocks*512 > size/16 {
		t.Errorf("size %d, %d bytes taken, error %v", st.Size, st.Blocks*512, err)
	}
	if got, err := os.ReadFile(filepath.Join(root, "f")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("it reads back differently, error %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	root := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root).CombinedOutput(); err != nil {
		t.Skipf("no small file system here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", root).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	d := open(t, root, "", localdir.Options{})
	big := strings.Repeat("x", 2<<20)
	results := d.Apply(t.Context(), "", []replica.Change{newFile("small", "1"), newFile("big", big), newFile("other", "2")})
	if results[0].Err != nil && !errors.Is(results[0].Err, syscall.ENOSPC) {
		t.Errorf("small: %v", results[0].Err)
	}
	if !errors.Is(results[1].Err, syscall.ENOSPC) {
		t.Errorf("big: %v, not ENOSPC", results[1].Err)
	}
	if r := d.Apply(t.Context(), "", []replica.Change{newFile("after", "3")})[0]; r.Err != nil {
		t.Errorf("afterwards: %v", r.Err)
	}
	for name := range contents(t, root) {
		if len(name) > 10 {
			t.Errorf("a part of the big file is left: %d bytes", len(name))
		}
	}
}

// TestWithoutRights runs in a child that is an ordinary user, so that permissions count.
func TestWithoutRights(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := child("unprivileged", root)
	if os.Getuid() == 0 {
		for dir := root; dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			if dir == os.TempDir() {
				os.Chmod(dir, 0o1777)
				break
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		binary := filepath.Join(root, "..", "test.binary")
		data, err := os.ReadFile(os.Args[0])
		if err == nil {
			err = os.WriteFile(binary, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path = binary
	}
	if out, err := cmd.Output(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// withoutRights prints what is wrong.
func withoutRights(root string) {
	ctx, u := context.Background(), user{root}
	for _, err := range []error{u.Write("closed/f", "1"), u.Write("secret", "2"), u.Write("open", "3"), u.Write("blind/f", "4"),
		u.Chmod("secret", 0), u.Chmod("blind", 0o600), u.Chmod("closed", 0)} {
		must(0, err)
	}
	d := must(localdir.Open(root, "", sha{}, localdir.Options{}))
	entries := must(d.List(ctx, ""))
	if len(entries) != 4 {
		fmt.Println("listed", entries)
	}
	for _, e := range entries {
		_, err := d.Hash(ctx, "", e)
		if (e.Name == "secret") != errors.Is(err, os.ErrPermission) && e.Kind == object.File {
			fmt.Println("hash", e.Name, err)
		}
	}
	if _, err := d.List(ctx, "closed"); !errors.Is(err, os.ErrPermission) || errors.Is(err, replica.ErrNotExist) {
		fmt.Println("closed directory:", err)
	}
	blind := must(d.List(ctx, "blind"))
	if len(blind) != 1 || blind[0].Name != "f" || blind[0].Kind != object.Special || blind[0].Target == "" {
		fmt.Println("entry that can't be looked at:", blind)
	}
	for _, dir := range []string{"closed", "blind"} {
		if r := d.Apply(ctx, dir, []replica.Change{newFile("new", "5")})[0]; !errors.Is(r.Err, os.ErrPermission) {
			fmt.Println("create in", dir, r.Err)
		}
	}
	secret := entries[3]
	updated := secret
	updated.Mode, updated.ModTime = 0o600, 77
	r := d.Apply(ctx, "", []replica.Change{{Old: &secret, New: &updated}})[0]
	if r.Err != nil || r.Entry.Mode != 0o600 || r.Entry.ModTime != 77 {
		fmt.Println("chmod of an unreadable file:", r)
	}
	must(0, errors.Join(u.Chmod("closed", 0o700), u.Chmod("blind", 0o700), d.Close()))
}

// TestNothingLeadsOutside swaps directories for symbolic links to a place outside.
func TestNothingLeadsOutside(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	u := user{root}
	d := open(t, root, "", localdir.Options{})
	for _, err := range []error{u.Write("d/f", "inside"), user{outside}.Write("f", "outside")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	entries, err := d.List(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.Hash(t.Context(), "d", entries[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(u.Remove("d"), u.Symlink("d", outside)); err != nil {
		t.Fatal(err)
	}
	update := newFile("f", "server's")
	update.Old = &e
	for _, c := range []replica.Change{update, newFile("new", "1"), {Old: &e}, {Old: &e, Rename: "g"}} {
		if r := d.Apply(t.Context(), "d", []replica.Change{c})[0]; !errors.Is(r.Err, replica.ErrNotExist) {
			t.Errorf("%+v: %v", c, r.Err)
		}
	}
	for _, dir := range []string{"d", "..", "../" + filepath.Base(outside), "d/..", "/", outside, "./d", "d//x"} {
		if got, err := d.List(t.Context(), dir); err == nil {
			t.Errorf("%q lists %v", dir, got)
		}
	}
	names, err := os.ReadDir(outside)
	if data, _ := (user{outside}).Data("f"); err != nil || len(names) != 1 || data != "outside" {
		t.Errorf("outside has %v, f holds %q, error %v", names, data, err)
	}
}

func TestIdentity(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	identity := func() string {
		t.Helper()
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		d := open(t, root, "", localdir.Options{})
		id, err := d.Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := identity()
	if second := identity(); second != first {
		t.Errorf("%q becomes %q", first, second)
	}
	d := open(t, root, "", localdir.Options{})
	if err := os.Rename(root, root+" moved"); err != nil {
		t.Fatal(err)
	}
	if other := identity(); other == first {
		t.Errorf("another directory is %q, too", other)
	}
	if id, err := d.Identity(); err == nil {
		t.Errorf("the root was exchanged, and yet it is %q", id)
	}
}

// TestCancelledTransfer ends a transfer that would last for ever.
func TestCancelledTransfer(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "", localdir.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	c := newFile("f", "")
	c.New.Content = object.Content{}
	c.Source = func(context.Context) (io.ReadCloser, error) { return endless{cancel}, nil }
	if r := d.Apply(ctx, "", []replica.Change{c})[0]; !errors.Is(r.Err, context.Canceled) {
		t.Errorf("%v", r.Err)
	}
	if names, err := os.ReadDir(root); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

type endless struct{ cancel func() }

func (e endless) Read(p []byte) (int, error) { e.cancel(); return len(p), nil }
func (e endless) Close() error               { return nil }
