package worktree

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"ensync/engine/replica"
	"ensync/store/object"
)

// wantPinned compares what is pinned (a directory with a slash), and the files that stay here for it.
func (b *bench) wantPinned(pins, files string) {
	b.Helper()
	var p, f []string
	b.ok(b.Pins(ctx, func(path string, dir bool) error {
		err := b.Files(ctx, path, func(x File) error {
			f = append(f, x.Path)
			return nil
		})
		if dir {
			path += "/"
		}
		p = append(p, path)
		return err
	}))
	slices.Sort(f)
	if got := strings.Join(p, " "); got != pins || strings.Join(f, " ") != files {
		b.Errorf("pinned %q, which are %q; want %q, %q", p, f, pins, files)
	}
}

func TestPins(t *testing.T) {
	b := newBench(t, testOptions())
	for _, d := range []string{"a", "a/b", "c"} {
		b.mkdir(d)
	}
	for _, f := range []string{"a/1", "a/b/2", "c/3", "c/4"} {
		b.write(f, f)
	}
	for _, path := range []string{"a", "a", "a/b/2", "c/3"} {
		b.ok(b.Pin(ctx, path))
	}
	b.wantPinned("a/ a/b/2 c/3", "a/1 a/b/2 a/b/2 c/3")
	b.wantErr(b.Pin(ctx, "no"), replica.ErrNotExist)
	b.make("pipe", Make{Mode: typeFIFO | 0o644})
	if b.Pin(ctx, "pipe") == nil {
		t.Error("a pipe was pinned")
	}

	// It outlives a crash, before and after a checkpoint, and a directory takes it along.
	b.crash()
	b.wantPinned("a/ a/b/2 c/3", "a/1 a/b/2 a/b/2 c/3")
	b.ok(b.checkpoint(ctx))
	b.close()
	b.open()
	b.mkdir("e")
	b.ok(b.rename("a", "e/f", 0))
	b.write("e/f/new", "new")
	b.wantPinned("c/3 e/f/ e/f/b/2", "c/3 e/f/1 e/f/b/2 e/f/b/2 e/f/new")

	// A file that is saved by a rename has the name that is pinned.
	b.write("c/tmp", "better")
	b.ok(b.rename("c/tmp", "c/3", 0))
	state := func(path, want string) {
		t.Helper()
		if got, err := b.GetXattr(ctx, b.must(path), stateXattr); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", path, got, err, want)
		}
	}
	state("c/3", "dirty pinned")
	state("c/4", "dirty")
	state("e/f/b/2", "dirty pinned")
	state("e/f/b", "dirty pinned")

	_, err := b.Unpin(ctx, "e/f/b/2")
	b.wantErr(err, ErrPinnedAbove)
	if was, err := b.Unpin(ctx, "e"); err != nil || !was { // with all that is pinned below
		t.Errorf("%v, %v", was, err)
	}
	b.wantPinned("c/3", "c/3")
	b.ok(b.remove("c/3"))
	if was, err := b.Unpin(ctx, "c/3"); err != nil || !was { // though it is gone
		t.Errorf("%v, %v", was, err)
	}
	if was, err := b.Unpin(ctx, "c/4"); err != nil || was {
		t.Errorf("%v, %v", was, err)
	}
	b.wantPinned("", "")
}

// TestState: what the extended attributes tell, and that nothing lists them, copies them, or takes them.
func TestState(t *testing.T) {
	b := newBench(t, testOptions())
	data := pattern(1, 300_000)
	c := b.blocks.put([]byte(data))
	b.remote("", replica.Change{New: &object.Entry{Name: "f", Kind: object.File, Mode: 0o644, Content: c}})
	ino := b.must("f")
	b.settleAll("")
	state := func(want, local string) {
		t.Helper()
		s, err := b.GetXattr(ctx, ino, stateXattr)
		l, lerr := b.GetXattr(ctx, ino, localXattr)
		if err != nil || lerr != nil || string(s) != want || string(l) != local {
			t.Errorf("%q, %q, %v, %v; want %q, %q", s, l, err, lerr, want, local)
		}
	}
	here := func(n int64) { b.blocks.local = map[object.Key]int64{c.Key: n} }
	state("remote", "0")
	here(100_000)
	state("partly", "100000")
	here(300_000)
	state("clean", "300000")
	here(0)
	b.writeAt(ino, "edit", 1000)
	state("dirty partly", "4")
	amount, err := b.Amount(ctx)
	if err != nil || amount != (Amount{Files: 1, Bytes: 300_000, Local: 4}) {
		t.Errorf("%+v, %v", amount, err)
	}
	b.writeAt(ino, data, 0)
	state("dirty", "300000")
	b.ok(b.checkpoint(ctx))
	if amount, err := b.Amount(ctx); err != nil || amount != (Amount{Files: 1, Bytes: 300_000, Local: 300_000}) {
		t.Errorf("%+v, %v", amount, err)
	}

	if names, err := b.ListXattr(ctx, ino); err != nil || len(names) != 0 {
		t.Errorf("%q, %v", names, err)
	}
	b.wantErr(b.SetXattr(ctx, ino, stateXattr, []byte("clean"), 0), syscall.EPERM)
	b.wantErr(b.RemoveXattr(ctx, ino, localXattr), syscall.EPERM)
	_, err = b.GetXattr(ctx, b.mkdir("d"), localXattr)
	b.wantErr(err, errNoXattr)
}

// TestUnsyncedIsBounded: what is not in the store yet has a bound of its own, which statfs tells, and which opens again.
func TestUnsyncedIsBounded(t *testing.T) {
	opt := testOptions()
	opt.Unsynced = 1 << 20
	opt.Buffer = 1 << 20
	b := newBench(t, opt)
	ino := b.write("f", "")
	data, n := []byte(pattern(3, 64<<10)), 0
	var err error
	for ; err == nil && n < 100; n++ {
		_, err = b.Write(ctx, ino, data, uint64(n*len(data)), false)
	}
	b.wantErr(err, syscall.ENOSPC)
	st, err := b.StatFS(ctx)
	if err != nil || st.Available > 64<<10 {
		t.Errorf("%+v, %v", st, err)
	}
	b.ok(b.Fsync(ctx, ino))
	b.ok(b.remove("f"))
	b.ok(b.checkpoint(ctx))
	b.ok(b.checkpoint(ctx))
	b.space.at = b.space.at.Add(-2 * spaceAge)
	b.write("g", string(data))
}
