package worktree

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ensync/engine/worktree/journal"
)

// records returns every record in the log, which must be whole. The tree is closed over it.
func (b *bench) records() [][]byte {
	b.Helper()
	b.ok(b.Sync(ctx))
	b.copyState()
	var records [][]byte
	l, err := journal.Open(filepath.Join(b.dir, logName), b.key, 0, b.opt.Journal, func(_ journal.LSN, p []byte) error {
		records = append(records, bytes.Clone(p))
		return nil
	})
	b.ok(err)
	b.ok(l.Close(ctx))
	return records
}

// eachPrefix opens a tree from the first records of the log, for every number of them from first on, and calls check.
func (b *bench) eachPrefix(first int, records [][]byte, check func(*bench)) {
	b.Helper()
	for n := first; n <= len(records); n++ {
		c := &bench{TB: b.TB, dir: filepath.Join(b.TempDir(), fmt.Sprint(n)), opt: b.opt, blocks: b.blocks, key: b.key}
		l, err := journal.Open(filepath.Join(c.dir, logName), c.key, 0, c.opt.Journal, nil)
		b.ok(err)
		for _, r := range records[:n] {
			_, err := l.AppendRecord(r)
			b.ok(err)
		}
		b.ok(l.Close(ctx))
		c.open()
		c.verify()
		check(c)
		c.close()
	}
}

// TestEveryPrefix: at every record, the tree is whole, and a save in any of the usual ways shows the old content or the
// new, whenever the timer strikes.
func TestEveryPrefix(t *testing.T) {
	opt := testOptions()
	clock := &clock{now: time.Unix(1e9, 0)}
	opt.Now, opt.Delay = clock.Now, time.Second
	opt.Checkpoint = time.Hour
	b := newBench(t, opt)
	tick := func() {
		t.Helper()
		clock.advance(opt.Delay + 1100*time.Millisecond)
		b.ok(b.Tick(ctx))
	}
	b.mkdir("d")
	b.write("d/truncated", "old content")
	b.write("d/replaced", "old content")
	b.ok(b.Sync(ctx))
	first := int(b.log.Last())

	ino := b.must("d/truncated")
	b.truncate(ino, 0)
	clock.advance(900 * time.Millisecond)
	b.ok(b.Tick(ctx))
	b.writeAt(ino, "new ", 0)
	clock.advance(900 * time.Millisecond)
	b.ok(b.Tick(ctx))
	b.writeAt(ino, "content", 4)
	tick()
	b.write("d/.tmp", "new ")
	b.writeAt(b.must("d/.tmp"), "content", 4)
	b.ok(b.rename("d/.tmp", "d/replaced", 0))
	tick()
	b.mkdir("d/e")
	b.ok(b.rename("d/replaced", "d/e/x", 0))
	b.ok(b.rename("d/e", "e", 0))
	b.ok(b.rename("d", "e", RenameExchange))
	records := b.records()
	if len(records) < first+6 {
		t.Fatalf("only %d records", len(records))
	}
	b.eachPrefix(first, records, func(c *bench) {
		for _, name := range []string{"truncated", "replaced", "x"} {
			found := false
			for _, dir := range []string{"d/", "e/", "d/e/"} {
				ino, err := c.at(dir + name)
				if err != nil {
					continue
				}
				found = true
				if got := c.readAll(ino); got != "old content" && got != "new content" {
					t.Errorf("%s%s holds %q", dir, name, got)
				}
			}
			if !found && name == "truncated" {
				t.Errorf("%s is nowhere", name)
			}
		}
	})
}

// TestRebuild: without its catalogue, a tree is built anew from a log that is whole, and refused from one that is not.
func TestRebuild(t *testing.T) {
	b := newBench(t, testOptions())
	b.mkdir("d")
	b.write("d/f", pattern(1, 70_000))
	b.ok(b.checkpoint(ctx))
	b.close()
	b.removeState(catalogueName)
	b.open()
	b.wantFile("d/f", pattern(1, 70_000))
	for i := range 40 {
		b.write("d/f", pattern(i, 100_000))
		b.ok(b.checkpoint(ctx))
	}
	b.close()
	if _, err := os.Stat(filepath.Join(b.dir, logName, fmt.Sprintf("%016x.seg", 1))); err == nil {
		t.Fatal("the log still has its first segment")
	}
	b.removeState(catalogueName)
	if tree, err := Open(ctx, b.dir, b.key, b.blocks, b.opt); err == nil {
		tree.Close(ctx)
		t.Fatal("a log without its beginning was taken for a whole one")
	} else if !strings.Contains(err.Error(), "catalogue is missing") {
		t.Error(err)
	}
}

// TestCanary: neither a name nor a run of content is anywhere in the state directory.
func TestCanary(t *testing.T) {
	b := newBench(t, testOptions())
	names := []string{"canary-directory-name", "canary-file-name", "canary-link-name", "canary-gone-name"}
	secret := strings.Repeat("canary: sixteen bytes and more. ", 5000)
	b.mkdir(names[0])
	b.write(names[0]+"/"+names[1], secret)
	b.write(names[0]+"/"+names[3], secret[:500])
	b.make(names[2], Make{Mode: typeSymlink | 0o777, Target: "canary-target-of-a-link"})
	b.ok(b.SetXattr(ctx, b.must(names[2]), "user.canary-attribute", []byte("canary-attribute-value"), 0))
	b.ok(b.Sync(ctx))
	b.ok(b.checkpoint(ctx))
	b.ok(b.remove(names[0] + "/" + names[3]))
	b.ok(b.rename(names[0]+"/"+names[1], "canary-other-name", 0))
	b.close()
	err := filepath.WalkDir(b.dir, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if info, _ := e.Info(); info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
		data, err := os.ReadFile(p)
		if bytes.Contains(data, []byte("canary")) || bytes.Contains(data, []byte("sixteen bytes")) {
			t.Errorf("%s holds plaintext", p)
		}
		return err
	})
	b.ok(err)
	if info, _ := os.Stat(b.dir); info.Mode().Perm() != 0o700 {
		t.Errorf("state directory has mode %v", info.Mode())
	}
	b.open()
}

// TestFullDisk: nothing is accepted that would not fit, and what is there can be removed.
func TestFullDisk(t *testing.T) {
	opt := testOptions()
	free := uint64(1 << 30)
	opt.Space = func() (uint64, uint64, error) { return 1 << 30, free, nil }
	clock := &clock{now: time.Unix(1e9, 0)}
	opt.Now = clock.Now
	opt.Reserve = 1 << 20
	b := newBench(t, opt)
	ino := b.write("f", "f")
	free = 1<<20 + 100
	clock.advance(2 * time.Second)
	_, err := b.Write(ctx, ino, make([]byte, 200), 0, false)
	b.wantErr(err, syscall.ENOSPC)
	_, err = b.Make(ctx, RootIno, "g", Make{Mode: typeFile})
	b.wantErr(err, syscall.ENOSPC)
	b.wantErr(b.Allocate(ctx, ino, 0, 1000, 0), syscall.ENOSPC)
	b.wantFile("f", "f")
	b.ok(b.remove("f"))
	b.ok(b.Sync(ctx))
	if s, _ := b.StatFS(ctx); s.Available != 100 {
		t.Errorf("available %d", s.Available)
	}
}

// TestTidy: what was overwritten gives its space back, also where little of a segment is left alive.
func TestTidy(t *testing.T) {
	b := newBench(t, testOptions())
	keep := pattern(9, 10_000)
	for i := range 60 {
		b.write(fmt.Sprintf("keep%d", i), keep)
		b.write("scratch", pattern(i, 3*unit))
		b.ok(b.Sync(ctx))
	}
	before := b.log.Stats()
	for range 40 {
		b.write("other", pattern(1, 1000))
		b.ok(b.checkpoint(ctx))
		b.ok(b.tidy(ctx))
	}
	b.verify()
	after := b.log.Stats()
	if after.Segments > before.Segments/2 || len(b.log.Sparse()) > 1 {
		t.Errorf("%d segments, then %d, %d of them sparse", before.Segments, after.Segments, len(b.log.Sparse()))
	}
	for i := range 60 {
		b.wantFile(fmt.Sprintf("keep%d", i), keep)
	}
	b.crash()
	b.wantFile("keep59", keep)
}
