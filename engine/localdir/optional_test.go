//go:build linux

package localdir_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"ensync/engine/localdir"
	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// TestAttributeBeforeExchange: an owner or attribute set between the last look and the exchange is not lost.
func TestAttributeBeforeExchange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	u := optionalUser{user{t.TempDir()}}
	d := open(t, u.root, "", localdir.Options{Owner: true, Xattrs: true})
	for what, edit := range map[string]func() error{
		"attribute": func() error { return u.SetXattr("f", "user.a", []byte("1")) },
		"owner":     func() error { return u.Chown("f", ":7", "") },
	} {
		if err := errors.Join(u.Write("f", "old"), u.Chown("f", ":5", ":5")); err != nil {
			t.Fatal(err)
		}
		entries, err := d.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		c := newFile("f", "new")
		c.Old = &entries[0]
		done := false
		localdir.BeforeExchange(t, func() {
			if !done {
				done = true
				if err := edit(); err != nil {
					t.Error(err)
				}
			}
		})
		res := d.Apply(t.Context(), "", []replica.Change{c})
		if !errors.Is(res[0].Err, replica.ErrChanged) {
			t.Errorf("%s: %v, not ErrChanged", what, res[0].Err)
		}
		if data, err := u.Data("f"); err != nil || data != "old" {
			t.Errorf("%s: the file holds %q, %v", what, data, err)
		}
	}
}

// TestAccessControlList: who was let in to a file by its owner is let in to its next version.
func TestAccessControlList(t *testing.T) {
	u := user{t.TempDir()}
	d := open(t, u.root, "", localdir.Options{})
	if err := u.Write("f", "old"); err != nil {
		t.Fatal(err)
	}
	const name = "system.posix_acl_access"
	acl := []byte{2, 0, 0, 0}
	for _, e := range [][3]byte{{1, 6, 0xff}, {2, 4, 7}, {4, 4, 0xff}, {16, 4, 0xff}, {32, 0, 0xff}} { // owner, user 7, group, mask, others
		id := []byte{e[2], 0, 0, 0}
		if e[2] == 0xff {
			id = []byte{0xff, 0xff, 0xff, 0xff}
		}
		acl = append(append(acl, e[0], 0, e[1], 0), id...)
	}
	if err := unix.Setxattr(u.at("f"), name, acl, 0); err != nil {
		t.Skip("no access control lists here: ", err)
	}
	entries, err := d.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	c := newFile("f", "new")
	c.Old, c.New.Mode = &entries[0], entries[0].Mode
	if res := d.Apply(t.Context(), "", []replica.Change{c}); res[0].Err != nil || res[0].Entry.Mode != entries[0].Mode {
		t.Fatal(res[0].Entry, res[0].Err)
	}
	got := make([]byte, 100)
	n, err := unix.Getxattr(u.at("f"), name, got)
	if err != nil || string(got[:max(n, 0)]) != string(acl) {
		t.Errorf("it has %x, %v, not %x", got[:max(n, 0)], err, acl)
	}
}

// TestAttributesTooLargeToTravel stay with the file, whatever comes in.
func TestAttributesTooLargeToTravel(t *testing.T) {
	root, err := os.MkdirTemp("/dev/shm", "") // ext4 has no room for so many
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	u := optionalUser{user{root}}
	d := open(t, root, "", localdir.Options{Owner: true, Xattrs: true})
	big := make([]byte, 60_000)
	if err := errors.Join(u.Write("f", "old"), u.SetXattr("f", "user.a", big), u.SetXattr("f", "user.b", big)); err != nil {
		t.Skip(err)
	}
	entries, err := d.List(t.Context(), "")
	if err != nil || entries[0].Xattrs != object.XattrsTooLarge {
		t.Fatalf("listed %q, %v", entries[0].Xattrs, err)
	}
	c := newFile("f", "new")
	c.Old = &entries[0]
	if res := d.Apply(t.Context(), "", []replica.Change{c}); res[0].Err != nil || res[0].Entry.Xattrs != object.XattrsTooLarge {
		t.Fatalf("%+v, %v", res[0].Entry, res[0].Err)
	}
	if n, err := unix.Getxattr(u.at("f"), "user.b", make([]byte, len(big))); err != nil || n != len(big) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestOwnerThatCantBeSet: the file comes all the same, it is said once, and no set-uid file of root's is made of another's.
func TestOwnerThatCantBeSet(t *testing.T) {
	var said []string
	root := t.TempDir()
	d := open(t, root, "", localdir.Options{Owner: true, Xattrs: true, Report: func(s string) { said = append(said, s) }})
	localdir.WithoutOwners(t)
	for _, name := range []string{"a", "b"} {
		c := newFile(name, "data")
		c.New.User, c.New.Group = ":54321", ":54321"
		res := d.Apply(t.Context(), "", []replica.Change{c})
		if res[0].Err != nil || res[0].Entry.User == c.New.User || res[0].Entry.User == "" {
			t.Errorf("%+v, %v", res[0].Entry, res[0].Err)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], "owners can't be set here") {
		t.Errorf("said %q", said)
	}
	if os.Geteuid() != 0 {
		return
	}
	c := newFile("c", "data")
	c.New.User, c.New.Mode = ":54321", 0o4755
	if res := d.Apply(t.Context(), "", []replica.Change{c}); res[0].Err == nil {
		t.Error("a set-uid file of another user's is root's")
	}
	if _, err := os.Lstat(root + "/c"); err == nil {
		t.Error("it is there")
	}
	d.Apply(t.Context(), "", []replica.Change{{New: &object.Entry{Name: "d", Kind: object.Directory, Mode: 0o2755, User: ":54321"}}})
	if _, err := os.Lstat(root + "/d"); err != nil {
		t.Error(err) // a directory gives nobody rights
	}
}
