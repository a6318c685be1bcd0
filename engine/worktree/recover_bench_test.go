package worktree

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
)

// BenchmarkOpen opens a tree whose process was killed, with so much in its log that no store has: as few large files, as
// pieces of 4 KiB in files, and as small files.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name                 string
		files, pieces, piece int
	}{
		{"1GiB-in-4-files", 4, 4096, unit},
		{"1GiB-of-4KiB-pieces-in-64-files", 64, 4096, 4096},
		{"100000-files-of-4KiB", 100_000, 1, 4096},
		{"100000-files-of-100B", 100_000, 1, 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			opt := Options{Reserve: 1}
			t := &bench{TB: b, dir: filepath.Join(b.TempDir(), "state"), opt: opt, blocks: &memoryBlocks{}, key: [32]byte{1}}
			t.open()
			data := pattern(1, c.piece)
			for i := range c.files {
				if i%1000 == 0 {
					t.mkdir(fmt.Sprint("d", i/1000))
				}
				ino := t.make(fmt.Sprintf("d%d/f%d", i/1000, i), Make{Mode: typeFile | 0o644})
				for j := range c.pieces {
					t.writeAt(ino, data, uint64(j*c.piece))
				}
			}
			t.ok(t.SyncAll(ctx))
			t.copyState() // as it is while the process runs
			b.Logf("%+v", t.log.Stats())
			t.Tree.Close(ctx)
			for b.Loop() {
				t.open()
				b.StopTimer()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.Sys)/(1<<20), "MiB")
				t.ok(t.closeFiles(ctx)) // without a checkpoint
				b.StartTimer()
			}
		})
	}
}
