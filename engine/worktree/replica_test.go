package worktree

import (
	"io"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"ensync/engine/replica"
	"ensync/engine/replica/replicatest"
	"ensync/store/object"
)

// user edits a tree through its file system face, as a program under the mount does.
type user struct{ b *bench }

func (u user) dir(p string) (Ino, error) {
	ino := RootIno
	for _, name := range strings.Split(p, "/") {
		if name == "" {
			continue
		}
		a, err := u.b.Lookup(ctx, ino, name)
		if err == syscall.ENOENT {
			a, err = u.b.Make(ctx, ino, name, Make{Mode: typeDir | 0o755})
		}
		if err != nil {
			return 0, err
		}
		u.b.Forget(a.Ino, 1)
		ino = a.Ino
	}
	return ino, nil
}

func (u user) make(p string, m Make) (Ino, error) {
	dir, name := path.Split(p)
	d, err := u.dir(dir)
	if err != nil {
		return 0, err
	}
	a, err := u.b.Make(ctx, d, name, m)
	u.b.Forget(a.Ino, 1)
	return a.Ino, err
}

func (u user) Write(p, data string) error {
	ino, err := u.b.at(p)
	if err == syscall.ENOENT {
		ino, err = u.make(p, Make{Mode: typeFile | 0o644})
	}
	if err != nil {
		return err
	}
	size := uint64(0)
	if _, err = u.b.SetAttr(ctx, ino, SetAttr{Size: &size}); err == nil {
		_, err = u.b.Tree.Write(ctx, ino, []byte(data), 0, false)
	}
	return err
}

func (u user) Mkdir(p string) error {
	_, err := u.make(p, Make{Mode: typeDir | 0o755})
	return err
}

func (u user) Symlink(p, target string) error {
	_, err := u.make(p, Make{Mode: typeSymlink | 0o777, Target: target})
	return err
}

func (u user) set(p string, s SetAttr) error {
	ino, err := u.b.at(p)
	if err == nil {
		_, err = u.b.SetAttr(ctx, ino, s)
	}
	return err
}

func (u user) Chmod(p string, mode uint32) error { return u.set(p, SetAttr{Mode: &mode}) }

func (u user) Touch(p string, modTime int64) error {
	at := time.Unix(0, modTime)
	return u.set(p, SetAttr{Mtime: &at})
}

func (u user) Chown(p string, user, group object.Owner) error {
	var s SetAttr
	if _, n := user.Split(); user != "" {
		s.UID = &n
	}
	if _, n := group.Split(); group != "" {
		s.GID = &n
	}
	return u.set(p, s)
}

func (u user) SetXattr(p, name string, value []byte) error {
	ino, err := u.b.at(p)
	if err != nil {
		return err
	}
	if value == nil {
		return u.b.RemoveXattr(ctx, ino, name)
	}
	return u.b.Tree.SetXattr(ctx, ino, name, value, 0)
}

func (u user) Remove(p string) error {
	ino, err := u.b.at(p)
	if err != nil {
		return err
	}
	if list, err := u.b.ReadDir(ctx, ino); err == nil {
		for _, e := range list {
			if err := u.Remove(replica.Join(p, e.Name)); err != nil {
				return err
			}
		}
	}
	return u.b.remove(p)
}

func (u user) Rename(from, to string) error { return u.b.rename(from, to, 0) }

func (u user) Data(p string) (string, error) {
	ino, err := u.b.at(p)
	if err != nil {
		return "", err
	}
	a, err := u.b.GetAttr(ctx, ino)
	if err != nil {
		return "", err
	}
	if a.Mode&typeMask == typeSymlink {
		return u.b.Readlink(ctx, ino)
	}
	buf := make([]byte, a.Size)
	n, err := u.b.Read(ctx, ino, buf, 0)
	return string(buf[:n]), err
}

func TestClient(t *testing.T) {
	replicatest.Run(t, func(t *testing.T) replicatest.Subject {
		opt := testOptions()
		opt.Eager, opt.Owner, opt.Xattrs, opt.Chown = true, true, true, true
		b := newBench(t, opt)
		return replicatest.Subject{Client: b.Tree, User: user{b}, Hash: func(p []byte) object.Content {
			return b.blocks.put(p)
		}}
	})
}

// entry returns what List shows of one name, hashed.
func (b *bench) entry(p string) object.Entry {
	b.Helper()
	dir, name := path.Split(p)
	dir = strings.TrimSuffix(dir, "/")
	list, err := b.List(ctx, dir)
	b.ok(err)
	for _, e := range list {
		if e.Name == name {
			if e.Kind == object.File && !e.Content.Known {
				e, err = b.Hash(ctx, dir, e)
				b.ok(err)
			}
			return e
		}
	}
	b.Fatalf("%s is not listed", p)
	return object.Entry{}
}

// remote makes the reconciler apply an entry.
func (b *bench) remote(dir string, c replica.Change) replica.Result {
	return b.Apply(ctx, dir, []replica.Change{c})[0]
}

func (b *bench) dirty(dir string, want bool) {
	b.Helper()
	got, err := b.Dirty(ctx, dir)
	b.ok(err)
	if got != want {
		b.Errorf("Dirty(%q) = %v, want %v", dir, got, want)
	}
}

// settleAll agrees on everything as it is.
func (b *bench) settleAll(dir string) {
	b.Helper()
	list, err := b.List(ctx, dir)
	b.ok(err)
	for i, e := range list {
		if e.Kind == object.File && !e.Content.Known {
			list[i], err = b.Hash(ctx, dir, e)
			b.ok(err)
			p, err := b.Open(ctx, dir, list[i])
			b.ok(err)
			data, err := io.ReadAll(p)
			b.ok(err)
			b.ok(p.Close())
			b.blocks.put(data)
		}
	}
	b.ok(b.Sync(ctx))
	b.ok(b.Settle(ctx, dir, list))
	for _, e := range list {
		if e.Kind == object.Directory {
			b.settleAll(replica.Join(dir, e.Name))
		}
	}
}

// TestDirtyMarks: what changed is found in a few looks, also after a crash, and nothing else is.
func TestDirtyMarks(t *testing.T) {
	b := newBench(t, testOptions())
	for _, d := range []string{"a", "a/b", "a/b/c", "x", "x/y"} {
		b.mkdir(d)
	}
	big := pattern(3, 2*unit+5)
	b.write("a/b/c/f", big)
	b.write("x/y/g", "g")
	b.settleAll("")
	for _, d := range []string{"", "a", "a/b", "a/b/c", "x", "x/y"} {
		b.dirty(d, false)
	}
	if n := b.inodes[b.must("a/b/c/f")]; n.ext.count != 0 || !n.base.Known {
		t.Error("settled file still has extents")
	}
	b.wantFile("a/b/c/f", big)
	b.ok(b.Sync(ctx))
	b.crash()
	b.dirty("", false)
	b.writeAt(b.must("a/b/c/f"), "!", 1)
	b.ok(b.Sync(ctx))
	b.crash()
	b.dirty("", true)
	b.dirty("a/b/c", true)
	b.dirty("x", false)
	b.settleAll("")
	b.dirty("", false)
	b.ok(b.remove("x/y/g"))
	b.dirty("x/y", true)
	b.ok(b.Settle(ctx, "x/y", []object.Entry{{Name: "g"}}))
	b.dirty("", false)
	b.write("x/temporary", "t") // never listed: leaves nothing behind
	b.ok(b.remove("x/temporary"))
	b.dirty("", false)
	b.ok(b.rename("a/b", "x/b", 0))
	b.dirty("x/b/c", true)
	b.dirty("a", true)
	b.ok(b.Settle(ctx, "a", []object.Entry{{Name: "b"}}))
	b.dirty("a", false)
	b.settleAll("")
	b.dirty("", false)
	b.verify()
}

// TestRemovedBeforeSettled: what the reconciler made and somebody removed at once is still a change to tell.
func TestRemovedBeforeSettled(t *testing.T) {
	b := newBench(t, testOptions())
	f := object.Entry{Name: "f", Kind: object.File, Mode: 0o644, Content: b.blocks.put([]byte("remote"))}
	r := b.remote("", replica.Change{New: &f})
	b.ok(r.Err)
	b.ok(b.remove("f"))
	b.ok(b.Sync(ctx))
	b.ok(b.Settle(ctx, "", []object.Entry{*r.Entry}))
	b.dirty("", true)
	b.crash()
	b.dirty("", true)
	b.ok(b.Settle(ctx, "", []object.Entry{{Name: "f"}}))
	b.dirty("", false)
	b.verify()
}

// TestRemoteChange: a remote change makes a new inode; who has the old one open keeps it, and what is written to it
// becomes a conflict copy.
func TestRemoteChange(t *testing.T) {
	b := newBench(t, testOptions())
	b.write("f.txt", "old")
	b.settleAll("")
	old := b.entry("f.txt")
	ino := b.must("f.txt")
	b.ok(b.Ref(ctx, ino))
	new := old
	new.Content = b.blocks.put([]byte(pattern(4, 5000)))
	r := b.remote("", replica.Change{Old: &old, New: &new})
	b.ok(r.Err)
	if !r.Entry.Equal(new) {
		t.Errorf("reported %+v", r.Entry)
	}
	if n := <-b.Notices(); n.Parent != RootIno || n.Name != "f.txt" || n.Removed != ino {
		t.Errorf("notice %+v", n)
	}
	if b.blocks.opens != 0 {
		t.Error("content was fetched before anyone read it")
	}
	b.wantFile("f.txt", pattern(4, 5000))
	if got := b.readAll(ino); got != "old" {
		t.Errorf("the open file holds %q", got)
	}
	b.writeAt(ino, "edited", 0)
	b.ok(b.Fsync(ctx, ino))
	b.crash() // the kernel's references end with it
	b.wantFile("f.txt", pattern(4, 5000))
	b.wantFile("f~1.txt", "edited")
	b.dirty("", true)

	b.settleAll("")
	old = b.entry("f.txt")
	ino = b.must("f.txt")
	b.ok(b.Ref(ctx, ino))
	b.ok(b.remote("", replica.Change{Old: &old}).Err)
	b.writeAt(ino, "again", 0)
	b.dirty("", true)
	b.wantFile("f.txt", "again"+pattern(4, 5000)[5:])
	b.Forget(ino, 1)
	b.wantFile("f.txt", "again"+pattern(4, 5000)[5:])
}

// TestStaleApply: what was changed since the reconciler looked is not overwritten.
func TestStaleApply(t *testing.T) {
	b := newBench(t, testOptions())
	b.write("f", "1")
	old := b.entry("f")
	b.writeAt(b.must("f"), "2", 0)
	at := time.Unix(0, old.ModTime)
	_, err := b.SetAttr(ctx, b.must("f"), SetAttr{Mtime: &at})
	b.ok(err)
	new := old
	new.Content = b.blocks.put([]byte("3"))
	b.wantErr(b.remote("", replica.Change{Old: &old, New: &new}).Err, replica.ErrChanged)
	b.wantErr(b.remote("", replica.Change{Old: &old}).Err, replica.ErrChanged)
	b.wantFile("f", "2")
	b.ok(b.Settle(ctx, "", []object.Entry{old}))
	b.dirty("", true)
	b.wantFile("f", "2")
}

// TestSnapshot: what the reconciler reads is of one instant, while the file is rewritten and the log cleaned.
func TestSnapshot(t *testing.T) {
	b := newBench(t, testOptions())
	data := pattern(5, 5*unit)
	ino := b.write("f", data)
	e := b.entry("f")
	r, err := b.Open(ctx, "", e)
	b.ok(err)
	b.truncate(ino, 0)
	b.writeAt(ino, pattern(6, 5*unit), 0)
	for range 3 {
		b.ok(b.Sync(ctx))
		b.ok(b.checkpoint(ctx))
	}
	got, err := io.ReadAll(r)
	b.ok(err)
	if string(got) != data {
		t.Error("the snapshot changed")
	}
	b.ok(r.Close())
	b.List(ctx, "")
	_, err = b.Open(ctx, "", e)
	b.wantErr(err, replica.ErrChanged)
}

// TestSnapshotOfDirectory: what is read of a directory is of the instant when it was listed: a file that was changed,
// replaced, renamed or removed after that is read as it was then.
func TestSnapshotOfDirectory(t *testing.T) {
	b := newBench(t, testOptions())
	was := map[string]string{"appended": pattern(1, 3*unit+5), "emptied": pattern(2, 900), "gone": pattern(3, 70_000),
		"moved": pattern(4, 50), "replaced": pattern(5, 5000), "touched": pattern(6, 10), "same": pattern(7, 2*unit), "punched": pattern(8, unit)}
	for name, data := range was {
		b.write(name, data)
	}
	list, err := b.List(ctx, "")
	b.ok(err)
	at := func(name string) Ino { return b.must(name) }
	b.writeAt(at("appended"), "x", uint64(len(was["appended"])))
	b.writeAt(at("appended"), "y", 0)
	b.truncate(at("emptied"), 0)
	b.writeAt(at("emptied"), "z", 0)
	b.ok(b.remove("gone"))
	b.ok(b.rename("moved", "elsewhere", 0))
	b.write("tmp", "new")
	b.ok(b.rename("tmp", "replaced", 0))
	mode := uint32(0o600)
	_, err = b.SetAttr(ctx, at("touched"), SetAttr{Mode: &mode})
	b.ok(err)
	b.ok(b.Allocate(ctx, at("punched"), 0, 5000, allocPunchHole|allocKeepSize))
	for range 3 { // nothing of it may be given back
		b.ok(b.Sync(ctx))
		b.ok(b.checkpoint(ctx))
		b.ok(b.tidy(ctx))
	}
	for _, e := range list {
		hashed, err := b.Hash(ctx, "", e)
		b.ok(err)
		if !hashed.Content.Same(hashBytes([]byte(was[e.Name]))) {
			t.Errorf("%s has the hash of something else", e.Name)
		}
		for _, e := range []object.Entry{e, hashed} {
			r, err := b.Open(ctx, "", e)
			b.ok(err)
			got, err := io.ReadAll(r)
			b.ok(err)
			b.ok(r.Close())
			if string(got) != was[e.Name] {
				t.Errorf("%s is read as %d bytes that it did not hold", e.Name, len(got))
			}
		}
	}
	b.settle("", list...)
	b.dirty("", true)
	b.ok(b.Save(ctx))
	for dir, names := range b.shown {
		t.Errorf("of directory %d, %d names are still remembered", dir, len(names))
	}
	for range 2 {
		b.write("scratch", pattern(9, 30*unit))
		b.ok(b.Sync(ctx))
		b.ok(b.checkpoint(ctx))
	}
	if st := b.log.Stats(); st.LiveBytes > 40*unit {
		t.Errorf("%d bytes are alive in the log", st.LiveBytes)
	}
}

// TestCapabilitiesGoWithContent: a new version of a file keeps its owner and attributes, but no rights that were given to
// other bytes.
func TestCapabilitiesGoWithContent(t *testing.T) {
	b := newBench(t, testOptions())
	u := user{b}
	for _, err := range []error{u.Write("f", "old"), u.SetXattr("f", "security.capability", []byte("1")),
		u.SetXattr("f", "trusted.t", []byte("2")), u.Chown("f", ":5", "")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	old := b.entry("f")
	updated := old
	updated.Content = b.blocks.put([]byte("new content"))
	b.ok(b.remote("", replica.Change{Old: &old, New: &updated}).Err)
	ino, err := b.at("f")
	if err != nil {
		t.Fatal(err)
	}
	names, err := b.ListXattr(ctx, ino)
	a, _ := b.GetAttr(ctx, ino)
	if err != nil || len(names) != 1 || names[0] != "trusted.t" || a.UID != 5 {
		t.Errorf("attributes %q, owner %d, %v", names, a.UID, err)
	}
}
