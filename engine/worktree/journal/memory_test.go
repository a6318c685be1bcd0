package journal

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// TestMemoryUsedAgain reads frames while they wait to be written and while their memory is being used again, and holds
// the garbage down that a large write leaves.
func TestMemoryUsedAgain(t *testing.T) {
	const frames, size = 2048, 16 << 10 // 32 MiB
	l, _ := mustOpen(t, osDirectory{t.TempDir()}, 0, Options{})
	defer mustClose(t, l)
	var patterns [256][]byte
	for i := range patterns {
		patterns[i] = pattern(size, byte(i))
	}
	payload := func(i int) []byte { return patterns[i%256] }
	recent := make(chan int, 64)
	var pos [frames]Pos
	var before, after runtime.MemStats
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			buf := make([]byte, size)
			for i := range recent {
				for _, k := range []int{i, rand.IntN(i + 1)} {
					if _, err := l.ReadData(pos[k], buf, 0); err != nil || !bytes.Equal(buf, payload(k)) {
						t.Errorf("frame %d: %v", k, err)
						return
					}
				}
			}
		})
	}
	for i := range frames {
		p, err := l.AppendData(payload(i))
		if err != nil {
			t.Fatal(err)
		}
		pos[i] = p
		select {
		case recent <- i:
		default:
		}
	}
	close(recent)
	readers.Wait()

	data := payload(0)
	runtime.ReadMemStats(&before)
	for range frames {
		if _, err := l.AppendData(data); err != nil {
			t.Fatal(err)
		}
	}
	mustSync(t, l)
	runtime.ReadMemStats(&after)
	if garbage := after.TotalAlloc - before.TotalAlloc; garbage > frames*size/4 {
		t.Errorf("%d MiB of garbage for %d MiB of frames", garbage>>20, frames*size>>20)
	}
}
