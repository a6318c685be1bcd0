package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func benchLog(b *testing.B) *Log {
	dir, err := os.MkdirTemp(os.Getenv("ENSYNC_BENCH_DIR"), "journal")
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(dir, testKey, 0, Options{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	l.Ready()
	b.Cleanup(func() {
		l.Close(context.Background())
		os.RemoveAll(dir)
	})
	return l
}

func BenchmarkAppend64K(b *testing.B) {
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			l := benchLog(b)
			p := pattern(MaxData, 1)
			b.SetBytes(MaxData)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					for range b.N / n {
						pos, err := l.AppendData(p)
						if err != nil {
							b.Error(err)
							return
						}
						l.Release(pos)
						if pos.Offset == blockSize { // a new segment: keep the disk use small
							lsn, _ := l.AppendRecord(p[:100])
							if err := l.Sync(context.Background(), lsn); err != nil {
								b.Error(err)
							}
							if err := l.Checkpoint(lsn); err != nil {
								b.Error(err)
							}
						}
					}
				})
			}
			wg.Wait()
			mustSync(b, l)
		})
	}
}

func BenchmarkSync4K(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			l := benchLog(b)
			p := pattern(4096, 1)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					for range max(1, b.N/n) {
						if _, err := l.AppendData(p); err != nil {
							b.Error(err)
						}
						lsn, err := l.AppendRecord(p[:100])
						if err == nil {
							err = l.Sync(context.Background(), lsn)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func BenchmarkRawFdatasync(b *testing.B) {
	dir := osDirectory{b.TempDir()}
	f, err := dir.Create("raw", 64<<20)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p := pattern(8192, 1)
	b.ResetTimer()
	for i := range b.N {
		if _, err := f.WriteAt(p, int64(i%8000)*8192); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecover1GiB(b *testing.B) {
	for _, size := range []int{4096, MaxData} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "log")
			l, err := Open(dir, testKey, 0, Options{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			p := pattern(size, 1)
			for range 1 << 30 / size {
				if _, err := l.AppendData(p); err != nil {
					b.Fatal(err)
				}
				if _, err := l.AppendRecord(p[:200]); err != nil {
					b.Fatal(err)
				}
			}
			mustClose(b, l)
			b.ResetTimer()
			for b.Loop() {
				l, err := Open(dir, testKey, 0, Options{}, func(LSN, []byte) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
				mustClose(b, l)
			}
		})
	}
}

func BenchmarkReadData(b *testing.B) {
	for _, size := range []int{4096, MaxData} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := benchLog(b)
			pos, err := l.AppendData(pattern(size, 1))
			if err != nil {
				b.Fatal(err)
			}
			mustSync(b, l)
			dst := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := l.ReadData(pos, dst, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
