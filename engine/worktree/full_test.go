package worktree

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ensync/engine/worktree/journal"
)

// smallDisk returns a directory on an ext4 of its own.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs the right to mount")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-m", "0", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs an ext4 on a loop device: %v: %s", err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// fill takes what is left of a disk.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// TestDiskFilledByOthers: a disk that is filled through the tree, and then by others. What was accepted is there, writing fails, deleting
// works and gives room, and all goes on.
func TestDiskFilledByOthers(t *testing.T) {
	disk := smallDisk(t, 96<<20)
	opt := testOptions()
	opt.Reserve = 0
	opt.Journal = journal.Options{SegmentSize: 4 << 20}
	b := newBench(t, opt)
	b.close()
	b.dir = filepath.Join(disk, "state")
	b.open()
	b.ok(b.checkpoint(ctx))
	later := func() { b.space.at = b.space.at.Add(-2 * time.Second) } // the disk is looked at again

	piece, files := pattern(5, 256<<10), 0
	var err error
	for ; err == nil && files < 1000; files++ {
		var a Attr
		if a, err = b.Make(ctx, RootIno, fmt.Sprint("f", files), Make{Mode: typeFile | 0o644}); err == nil {
			_, err = b.Write(ctx, a.Ino, []byte(piece), 0, false)
			b.Forget(a.Ino, 1)
		}
		later()
	}
	b.wantErr(err, syscall.ENOSPC)
	if files < 100 {
		t.Errorf("only %d files of %d bytes on a disk of 96 MiB", files, len(piece))
	}
	b.ok(b.Sync(ctx)) // what was accepted has room
	b.ok(b.checkpoint(ctx))

	// The catalogue gets much to write, for which it has no room when others have taken all.
	for i := range files / 4 {
		b.ok(b.remove(fmt.Sprint("f", i)))
	}
	b.ok(b.checkpoint(ctx))
	for i := range 3000 {
		later()
		b.mkdir(fmt.Sprint("d", i))
	}
	b.ok(b.Sync(ctx))
	fill(t, filepath.Join(disk, "other"))
	later()
	_, err = b.Make(ctx, RootIno, "new", Make{Mode: typeFile | 0o644})
	b.wantErr(err, syscall.ENOSPC)
	_, err = b.Write(ctx, b.must(fmt.Sprint("f", files/4)), []byte("edit"), 0, false)
	b.wantErr(err, syscall.ENOSPC)
	b.wantFile(fmt.Sprint("f", files/4), piece)

	// Deleting gives room, though the catalogue itself can't grow, and nobody starts anything anew.
	for i := files / 4; i < files*3/4; i++ {
		b.ok(b.remove(fmt.Sprint("f", i)))
	}
	b.ok(b.checkpoint(ctx))
	later()
	b.write("new", piece)
	b.ok(b.Fsync(ctx, b.must("new")))
	b.ok(b.checkpoint(ctx))
	if _, err := os.Stat(filepath.Join(b.dir, ballastName)); err != nil {
		t.Errorf("the ballast for the next time: %v", err)
	}

	fill(t, filepath.Join(disk, "other2"))
	b.ok(os.Remove(filepath.Join(disk, "other2")))
	b.close()
	b.open()
	b.wantFile("new", piece)
	b.wantFile(fmt.Sprint("f", files-2), piece)
	b.verify()
	b.close()
	b.dir = filepath.Join(t.TempDir(), "elsewhere") // the disk goes before the bench
	b.open()
}

// TestWriteOnFullDisk: a disk that became full since it was last looked at. How much was written is told exactly, and is what the
// file has.
func TestWriteOnFullDisk(t *testing.T) {
	disk := smallDisk(t, 32<<20)
	opt := testOptions()
	opt.Reserve, opt.Buffer = 0, 300_000
	opt.Space = func() (total, free uint64, err error) { return 1 << 40, 1 << 40, nil }
	b := newBench(t, opt)
	b.close()
	b.dir = filepath.Join(disk, "state")
	b.open()
	source := b.write("source", pattern(3, 90_000))
	b.ok(b.Sync(ctx))
	fill(t, filepath.Join(disk, "others"))
	type file struct {
		ino  Ino
		want string
	}
	files := []*file{{ino: b.write("small", "")}, {ino: b.write("large", "")}, {ino: b.write("copied", "")}}
	refused := 0
	for i := 0; refused < 30 && i < 2000; i++ {
		f := files[i%3]
		p, off := pattern(i, []int{5000, 150_000, 30_000}[i%3]), uint64(len(f.want))
		var n int
		var err error
		if i%3 == 2 {
			var k uint64
			p = pattern(3, 90_000)[i%100:][:30_000]
			k, err = b.CopyRange(ctx, source, uint64(i%100), f.ino, off, 30_000)
			n = int(k)
		} else {
			n, err = b.Write(ctx, f.ino, []byte(p), off, false)
		}
		if err != nil {
			b.wantErr(err, syscall.ENOSPC)
			refused++
		}
		f.want += p[:n]
		if a, err := b.GetAttr(ctx, f.ino); err != nil || int(a.Size) != len(f.want) {
			t.Fatalf("call %d wrote %d bytes: the size is %d, want %d (%v)", i, n, a.Size, len(f.want), err)
		}
	}
	if refused < 30 {
		t.Error("the disk never was full")
	}
	b.ok(os.Remove(filepath.Join(disk, "others")))
	for _, f := range files {
		b.truncate(f.ino, uint64(len(f.want))+200_000)
		b.ok(b.Fsync(ctx, f.ino))
		f.want += strings.Repeat("\x00", 200_000)
	}
	b.crash()
	for i, name := range []string{"small", "large", "copied"} {
		if got := b.readAll(b.must(name)); got != files[i].want {
			t.Errorf("%s: %d bytes, want %d, or they differ", name, len(got), len(files[i].want))
		}
	}
}
