package worktree

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
