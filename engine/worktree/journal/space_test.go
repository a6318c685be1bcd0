package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestCheckpointGivesSpaceBack(t *testing.T) {
	dir := osDirectory{t.TempDir()}
	l, _ := mustOpen(t, dir, 0, testOptions())
	var all []Pos
	for i := range 12 {
		pos, err := l.AppendData(pattern(40000, byte(i)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.AppendRecord([]byte("refer")); err != nil {
			t.Fatal(err)
		}
		if err := l.Live(pos); err != nil {
			t.Fatal(err)
		}
		all = append(all, pos)
	}
	mustSync(t, l)
	if err := l.Checkpoint(l.Last()); err != nil {
		t.Fatal(err)
	}
	if n := l.Stats().Segments; n < 4 {
		t.Fatalf("%d segments before Ready", n)
	}
	l.Ready()
	kept := all[4]
	for _, pos := range all {
		if pos != kept {
			l.Release(pos)
		}
	}
	held := l.Last()
	lsn, err := l.AppendRecord([]byte("forget"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Checkpoint(lsn); err == nil {
		t.Fatal("a checkpoint of a record that is not durable")
	}
	mustSync(t, l)
	if err := l.Checkpoint(held - 1); err != nil {
		t.Fatal(err)
	}
	for _, pos := range all { // released after that checkpoint
		if _, err := readAll(l, pos); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Checkpoint(lsn); err != nil {
		t.Fatal(err)
	}
	st := l.Stats()
	if st.Segments != 2 || st.LiveBytes != 40000 {
		t.Fatalf("%+v", st)
	}
	if runtime.GOOS == "linux" && st.PunchedByte < 30000 {
		t.Fatalf("punched %d", st.PunchedByte)
	}
	if b, err := readAll(l, kept); err != nil || !bytes.Equal(b, pattern(40000, 4)) {
		t.Fatal(err)
	}
	if f := l.Frames(kept.Segment); len(f) != 1 || f[0] != kept {
		t.Fatalf("frames: %v", f)
	}
	if c := l.Cold(5); len(c) != 1 || c[0].Number != kept.Segment || c[0].Live != 40000 {
		t.Fatalf("cold: %v", c)
	}
	mustClose(t, l)
	l, _ = mustOpen(t, dir, lsn, testOptions())
	defer mustClose(t, l)
	if err := l.Live(kept); err != nil {
		t.Fatal(err)
	}
	if err := l.Live(all[0]); !errors.As(err, new(*DamagedError)) {
		t.Fatalf("live data in a deleted segment: %v", err)
	}
	l.Ready()
	if err := l.Checkpoint(lsn); err != nil {
		t.Fatal(err)
	}
	if b, err := readAll(l, kept); err != nil || !bytes.Equal(b, pattern(40000, 4)) {
		t.Fatal(err)
	}
}

func TestSparseSegmentsCanBeMoved(t *testing.T) {
	l, _ := mustOpen(t, osDirectory{t.TempDir()}, 0, testOptions())
	defer mustClose(t, l)
	l.Ready()
	live := map[Pos]byte{}
	for i := range 300 { // too small for holes
		pos, err := l.AppendData(pattern(3000, byte(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Live(pos); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			live[pos] = byte(i)
		} else {
			l.Release(pos)
		}
	}
	checkpoint := func() {
		t.Helper()
		lsn, err := l.AppendRecord([]byte("r"))
		if err != nil {
			t.Fatal(err)
		}
		mustSync(t, l)
		if err := l.Checkpoint(lsn); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint()
	before := l.Stats()
	sparse := l.Sparse()
	if len(sparse) < 5 {
		t.Fatalf("sparse: %v", sparse)
	}
	for _, s := range sparse {
		for _, pos := range l.Frames(s.Number) {
			b, err := readAll(l, pos)
			if err != nil || !bytes.Equal(b, pattern(3000, live[pos])) {
				t.Fatal(err)
			}
			to, err := l.AppendData(b)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Live(to); err != nil {
				t.Fatal(err)
			}
			l.Release(pos)
			live[to] = live[pos]
			delete(live, pos)
		}
	}
	checkpoint()
	if st := l.Stats(); st.DiskBytes > before.DiskBytes/2 || st.LiveBytes != before.LiveBytes {
		t.Fatalf("before %+v, after %+v", before, st)
	}
	for pos, seed := range live {
		if b, err := readAll(l, pos); err != nil || !bytes.Equal(b, pattern(3000, seed)) {
			t.Fatal(err)
		}
	}
}

// fullDisk returns a directory on a file system of the given size.
func fullDisk(t *testing.T, size int) string {
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := osDirectory{fullDisk(t, 4<<20)}
	opt := Options{SegmentSize: 512 << 10, Flush: time.Hour}
	l, _ := mustOpen(t, dir, 0, opt)
	l.Ready()
	var all []Pos
	for {
		pos, err := l.AppendData(pattern(MaxData, byte(len(all))))
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil || len(all) > 1000 {
			t.Fatal(err)
		}
		if err := l.Live(pos); err != nil {
			t.Fatal(err)
		}
		all = append(all, pos)
	}
	for { // fill the last bytes too
		if _, err := l.AppendRecord(make([]byte, 3000)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
	}
	mustSync(t, l)
	mustClose(t, l)

	// Opening on the full disk works, and so do deletes.
	last := l.Last()
	l, _ = mustOpen(t, dir, 0, opt)
	for _, pos := range all {
		if err := l.Live(pos); err != nil {
			t.Fatal(err)
		}
	}
	l.Ready()
	if _, err := l.AppendData(make([]byte, MaxData)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("append on a full disk: %v", err)
	}
	for i, pos := range all {
		lsn, err := l.AppendReserved([]byte("a delete"))
		if err != nil || lsn != last+LSN(i)+1 {
			t.Fatalf("delete %d: %d, %v", i, lsn, err)
		}
		l.Release(pos)
		mustSync(t, l)
		if i == 10 {
			if _, err := l.AppendRecord([]byte("an ordinary record")); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("an ordinary record in the reserve: %v", err)
			}
		}
		if i == 12 {
			break
		}
	}
	for _, pos := range all[13:] {
		l.Release(pos)
	}
	lsn, err := l.AppendReserved([]byte("the rest"))
	if err != nil {
		t.Fatal(err)
	}
	mustSync(t, l)
	for _, pos := range all {
		if b, err := readAll(l, pos); err != nil || !bytes.Equal(b, pattern(MaxData, b[0])) {
			t.Fatal(err)
		}
	}
	if err := l.Checkpoint(lsn); err != nil {
		t.Fatal(err)
	}
	if !l.Stats().HasReserve {
		t.Fatal("no reserve though there is space")
	}
	if _, err := l.AppendData(make([]byte, MaxData)); err != nil {
		t.Fatalf("append after space was freed: %v", err)
	}
	mustClose(t, l)
	l, records := mustOpen(t, dir, lsn-5, opt)
	if len(records) != 5 {
		t.Fatalf("%d records", len(records))
	}
	mustClose(t, l)
}

func TestConcurrentUse(t *testing.T) {
	dir := osDirectory{t.TempDir()}
	opt := Options{SegmentSize: 1 << 20, Flush: time.Millisecond}
	l, _ := mustOpen(t, dir, 0, opt)
	l.Ready()
	var wg sync.WaitGroup
	var mu sync.Mutex
	kept := map[Pos]byte{}
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for i := range 60 {
				seed := byte(w*60 + i)
				pos, err := l.AppendData(pattern(1+rng.IntN(MaxData), seed))
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := readAll(l, pos); err != nil || !bytes.Equal(b, pattern(int(pos.Length), seed)) {
					t.Errorf("read back: %v", err)
				}
				b, _ := json.Marshal(pos)
				lsn, err := l.AppendRecord(b)
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.Live(pos); err != nil {
					t.Error(err)
				}
				if rng.IntN(3) == 0 {
					if err := l.Sync(context.Background(), lsn); err != nil || l.Durable() < lsn {
						t.Errorf("sync: %v", err)
					}
				}
				if rng.IntN(2) == 0 {
					l.Release(pos)
				} else {
					mu.Lock()
					kept[pos] = seed
					mu.Unlock()
				}
				if rng.IntN(10) == 0 {
					if err := l.Checkpoint(l.Durable()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	after := l.Stats().Checkpoint
	mustClose(t, l)
	l, records := mustOpen(t, dir, after, opt)
	defer mustClose(t, l)
	if len(records) != 480-int(after) {
		t.Errorf("%d records after %d", len(records), after)
	}
	for pos, seed := range kept {
		if b, err := readAll(l, pos); err != nil || !bytes.Equal(b, pattern(int(pos.Length), seed)) {
			t.Fatal(err)
		}
	}
}

func TestBackgroundFlush(t *testing.T) {
	l, _ := mustOpen(t, osDirectory{t.TempDir()}, 0, Options{SegmentSize: 128 << 10, Flush: time.Millisecond})
	defer mustClose(t, l)
	if _, err := l.AppendRecord([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Durable() < 1; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("never flushed")
		}
	}
}

// slowDir holds every fdatasync until it is let go.
type slowDir struct {
	*simDir
	begun, let chan struct{}
}

func TestSyncEndsWithItsContext(t *testing.T) {
	dir := slowDir{newSimDir(), make(chan struct{}), make(chan struct{})}
	l, _ := mustOpen(t, dir.simDir, 0, testOptions())
	dir.mu.Lock()
	dir.fail = func(e event) error {
		if e.kind == evSync {
			dir.begun <- struct{}{}
			<-dir.let
		}
		return nil
	}
	dir.mu.Unlock()
	if _, err := l.AppendRecord([]byte("x")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Sync(ctx, 0) }()
	<-dir.begun
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := l.AppendRecord([]byte("appends do not wait for a sync")); err != nil {
		t.Fatal(err)
	}
	// All who come now share one more fdatasync.
	syncs := l.Stats().Syncs
	for range 5 {
		go func() { done <- l.Sync(context.Background(), 2) }()
	}
	go func() {
		for range dir.begun {
			dir.let <- struct{}{}
		}
	}()
	dir.let <- struct{}{}
	for range 5 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Stats().Syncs - syncs; n > 3 {
		t.Errorf("%d flushes for five who waited together", n)
	}
	mustClose(t, l)
	close(dir.begun)
}
