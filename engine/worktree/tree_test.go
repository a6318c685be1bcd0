package worktree

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

// TestBasics: what a program does with files holds at once, after a crash and after a clean restart.
func TestBasics(t *testing.T) {
	b := newBench(t, testOptions())
	b.mkdir("d")
	b.write("d/small", "hello")
	big := pattern(1, 3*unit+1234)
	b.write("d/big", big)
	b.make("link", Make{Mode: typeSymlink | 0o777, Target: "d/small"})
	b.mkdir("d/e")
	b.wantErr(b.remove("d"), syscall.ENOTEMPTY)
	b.ok(b.rename("d/small", "d/e/moved", 0))
	check := func() {
		t.Helper()
		b.wantFile("d/e/moved", "hello")
		b.wantFile("d/big", big)
		if got := b.names("") + "|" + b.names("d"); got != "d link|big e" {
			t.Fatalf("names: %s", got)
		}
		b.verify()
	}
	check()
	b.ok(b.Sync(ctx))
	b.crash()
	check()
	b.close()
	b.open()
	check()
	for _, p := range []string{"d/e/moved", "d/e", "d/big", "link", "d"} {
		b.ok(b.remove(p))
	}
	b.ok(b.Sync(ctx))
	b.crash()
	if got := b.names(""); got != "" {
		t.Fatalf("names after removal: %s", got)
	}
}

func TestNames(t *testing.T) {
	b := newBench(t, testOptions())
	long := strings.Repeat("x", 256)
	file := Make{Mode: typeFile | 0o600}
	_, err := b.Make(ctx, RootIno, long, file)
	b.wantErr(err, syscall.ENAMETOOLONG)
	_, err = b.Lookup(ctx, RootIno, long)
	b.wantErr(err, syscall.ENAMETOOLONG)
	b.make(long[:255], file)
	_, err = b.Make(ctx, RootIno, long[:255], file)
	b.wantErr(err, syscall.EEXIST)
	b.mkdir("d")
	b.mkdir("d/e")
	b.write("f", "f")
	b.write("g", "g")
	b.wantErr(b.rename("d", "d/e/x", 0), syscall.EINVAL)
	b.wantErr(b.rename("d", "d/d", 0), syscall.EINVAL)
	b.wantErr(b.rename("d", "d/e", RenameExchange), syscall.EINVAL)
	b.wantErr(b.rename("f", "g", RenameNoReplace), syscall.EEXIST)
	b.wantErr(b.rename("f", "h", RenameExchange), syscall.ENOENT)
	b.wantErr(b.rename("f", "d", 0), syscall.EISDIR)
	b.wantErr(b.rename("d", "f", 0), syscall.ENOTDIR)
	b.wantErr(b.Rmdir(ctx, RootIno, "f"), syscall.ENOTDIR)
	b.wantErr(b.Unlink(ctx, RootIno, "d"), syscall.EISDIR)
	b.mkdir("full")
	b.write("full/x", "x")
	b.mkdir("empty")
	b.wantErr(b.rename("empty", "full", 0), syscall.ENOTEMPTY)
	b.ok(b.rename("full", "empty", 0))
	b.wantFile("empty/x", "x")
	b.ok(b.rename("f", "d", RenameExchange))
	b.wantFile("d", "f")
	if got := b.names("f"); got != "e" {
		t.Fatalf("exchanged directory holds %s", got)
	}
	b.ok(b.rename("f/e", "e", 0))
	b.verify()
	b.ok(b.Sync(ctx))
	b.crash()
	if got := b.names(""); !strings.HasPrefix(got, "d e empty f g") {
		t.Fatal(got)
	}
}

func TestLinkCounts(t *testing.T) {
	b := newBench(t, testOptions())
	nlink := func(p string, want uint32) {
		t.Helper()
		a, err := b.GetAttr(ctx, b.must(p))
		b.ok(err)
		if a.Nlink != want {
			t.Errorf("%q has %d links, want %d", p, a.Nlink, want)
		}
	}
	b.mkdir("a")
	b.mkdir("b")
	b.mkdir("a/x")
	b.write("b/f", "1")
	nlink("", 4)
	nlink("a", 3)
	b.ok(b.rename("a/x", "b/f", RenameExchange))
	nlink("a", 2)
	nlink("b", 3)
	b.ok(b.rename("b/f", "a/d", 0))
	nlink("a", 3)
	nlink("b", 2)
	b.ok(b.rename("a/d", "b", 0))
	nlink("a", 2)
	nlink("", 4)
	ino := b.must("a/x")
	a, err := b.Link(ctx, ino, RootIno, "l")
	b.ok(err)
	b.Forget(a.Ino, 1)
	nlink("l", 2)
	b.ok(b.remove("a/x"))
	nlink("l", 1)
	b.wantFile("l", "1")
	b.verify()
}

// TestUnlinkedWhileOpen: an inode without name lives until the kernel forgets it, and not longer, also across a crash.
func TestUnlinkedWhileOpen(t *testing.T) {
	b := newBench(t, testOptions())
	big := pattern(2, 2*unit)
	ino := b.write("f", big)
	b.ok(b.Ref(ctx, ino))
	b.ok(b.remove("f"))
	if got := b.readAll(ino); got != big {
		t.Fatal("content changed by unlink")
	}
	b.writeAt(ino, "more", 10)
	b.ok(b.Fsync(ctx, ino))
	b.verify()
	b.Forget(ino, 1)
	_, err := b.GetAttr(ctx, ino)
	b.wantErr(err, syscall.ESTALE)
	tmp, err := b.MakeUnnamed(ctx, RootIno, Make{Mode: typeFile | 0o600})
	b.ok(err)
	b.writeAt(tmp.Ino, "tmp", 0)
	b.ok(b.Sync(ctx))
	b.crash()
	if len(b.orphans) != 0 {
		t.Fatalf("orphans after reopening: %v", b.orphans)
	}
	_, err = b.GetAttr(ctx, tmp.Ino)
	b.wantErr(err, syscall.ESTALE)
	tmp, err = b.MakeUnnamed(ctx, RootIno, Make{Mode: typeFile | 0o600})
	b.ok(err)
	b.writeAt(tmp.Ino, "tmp", 0)
	_, err = b.Link(ctx, tmp.Ino, RootIno, "named")
	b.ok(err)
	b.Forget(tmp.Ino, 2)
	b.ok(b.Sync(ctx))
	b.crash()
	b.wantFile("named", "tmp")
}

func TestSecondProcess(t *testing.T) {
	b := newBench(t, testOptions())
	if _, err := Open(ctx, b.dir, b.key, b.blocks, b.opt); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second open: %v", err)
	}
}

func TestAttributes(t *testing.T) {
	b := newBench(t, testOptions())
	d := b.make("d", Make{Mode: typeDir | setgid | 0o775, GID: 7})
	f := b.make("d/f", Make{Mode: typeFile | 0o644, GID: 1})
	e := b.make("d/e", Make{Mode: typeDir | 0o755, GID: 1})
	a, _ := b.GetAttr(ctx, f)
	if a.GID != 7 || a.Mode != typeFile|0o644 {
		t.Errorf("file in a setgid directory: gid %d mode %o", a.GID, a.Mode)
	}
	if a, _ = b.GetAttr(ctx, e); a.GID != 7 || a.Mode&setgid == 0 {
		t.Errorf("directory in a setgid directory: gid %d mode %o", a.GID, a.Mode)
	}
	mode := uint32(0o6755)
	_, err := b.SetAttr(ctx, f, SetAttr{Mode: &mode})
	b.ok(err)
	b.writeAt(f, "x", 0)
	if a, _ = b.GetAttr(ctx, f); a.Mode&permission != mode {
		t.Errorf("write without killPriv: mode %o", a.Mode)
	}
	if _, err = b.Write(ctx, f, []byte("x"), 0, true); err != nil {
		t.Fatal(err)
	}
	if a, _ = b.GetAttr(ctx, f); a.Mode&permission != 0o755 {
		t.Errorf("write with killPriv: mode %o", a.Mode)
	}
	b.ok(b.SetXattr(ctx, f, "user.a", []byte("1"), xattrCreate))
	b.wantErr(b.SetXattr(ctx, f, "user.a", []byte("1"), xattrCreate), syscall.EEXIST)
	b.wantErr(b.SetXattr(ctx, f, "user.b", nil, xattrReplace), errNoXattr)
	b.ok(b.SetXattr(ctx, d, "user.dir", []byte("2"), 0))
	b.ok(b.Sync(ctx))
	b.crash()
	if v, err := b.GetXattr(ctx, f, "user.a"); err != nil || string(v) != "1" {
		t.Errorf("xattr after a crash: %q, %v", v, err)
	}
	b.ok(b.RemoveXattr(ctx, f, "user.a"))
	if l, _ := b.ListXattr(ctx, f); len(l) != 0 {
		t.Errorf("xattrs after removal: %v", l)
	}
}

func TestMissingState(t *testing.T) {
	b := newBench(t, testOptions())
	b.write("f", "f")
	b.close()
	defer func() { b.Tree = nil }()
	b.copyState()
	b.removeState("log")
	if _, err := Open(ctx, b.dir, b.key, b.blocks, b.opt); err == nil || !strings.Contains(err.Error(), "log") {
		t.Fatalf("open without the log: %v", err)
	}
	b.key[0]++
	b.copyState()
	if _, err := Open(ctx, b.dir, b.key, b.blocks, b.opt); !errors.Is(err, errSeal) {
		t.Fatalf("open with another key: %v", err)
	}
}
