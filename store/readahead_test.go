package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"ensync/store/backend/link"
	"ensync/store/backend/memory"
)

// farFile returns a store behind a line that has one file, and a reader of it.
func farFile(t *testing.T, line link.Line, size int) (*link.Backend, *Reader, []byte) {
	t.Helper()
	near := memory.New()
	far := link.Wrap(near, line)
	maker, err := Create(t.Context(), near, Params{}, pass, "key", Options{Compression: None})
	if err != nil {
		t.Fatal(err)
	}
	w, err := maker.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := noise(11, size)
	c, err := w.PutContent(t.Context(), bytes.NewReader(data))
	if err == nil {
		err = w.Flush(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	maker.Close()
	s, err := Open(t.Context(), far, pass, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := s.OpenContent(t.Context(), c)
	t.Cleanup(func() { r.Close(); s.Close() })
	if _, err := r.ReadAt(make([]byte, 1), int64(size)-1); err != nil { // the index and the list are here now
		t.Fatal(err)
	}
	far.Reset()
	return far, r, data
}

// TestReadAheadFillsTheLine: reading in order takes about the time of the bytes, not that of a round trip for each block.
func TestReadAheadFillsTheLine(t *testing.T) {
	line := link.Line{RoundTrip: 100 * time.Millisecond, Down: 16 << 20}
	far, r, data := farFile(t, line, 32<<20)
	start := time.Now()
	got := make([]byte, 0, len(data))
	buf := make([]byte, 128<<10)
	for {
		n, err := r.ReadAt(buf, int64(len(got)))
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	took, traffic := time.Since(start), far.Traffic()
	t.Logf("%v for %d bytes, %+v", took.Round(time.Millisecond), len(got), traffic)
	if !bytes.Equal(got, data) {
		t.Error("other bytes")
	}
	// 2 s are the bytes. Each block by itself would be 30 round trips, one after the other; how long it takes is for who looks at
	// a computer that is not busy.
	if traffic.Depth > 20 || traffic.Down > int64(len(data))*11/10 {
		t.Errorf("%v, %+v", took, traffic)
	}
}

// TestRandomReadsFetchNoMore: who reads here and there gets the blocks that hold it, and no others.
func TestRandomReadsFetchNoMore(t *testing.T) {
	far, r, data := farFile(t, link.Line{}, 32<<20)
	const reads = 6
	for i := range reads {
		off := int64((i*5%reads)*(len(data)/reads) + 1<<20)
		p := make([]byte, 4096)
		if _, err := r.ReadAt(p, off); err != nil || !bytes.Equal(p, data[off:off+4096]) {
			t.Fatal(err)
		}
	}
	r.Close() // waits for what is on its way
	if got := far.Traffic(); got.Gets > 2*reads {
		t.Errorf("%d reads: %+v", reads, got)
	}
}

// TestWhoGivesUpFetchesNothing: a reader that gives up returns at once, and so does what was on its way for it.
func TestWhoGivesUpFetchesNothing(t *testing.T) {
	far, r, _ := farFile(t, link.Line{RoundTrip: 50 * time.Millisecond, Down: 2 << 20}, 16<<20)
	buf := make([]byte, 256<<10)
	if _, err := r.ReadAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	for off := int64(0); ; off += int64(len(buf)) {
		if _, err := r.ReadAtContext(ctx, buf, off); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v to give up", took)
	}
	r.ahead.Wait()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("%v later, something was still being fetched", took)
	}
	gets := far.Traffic().Gets
	time.Sleep(100 * time.Millisecond)
	if now := far.Traffic().Gets; now != gets {
		t.Errorf("%d requests after the reader gave up", now-gets)
	}
}

// TestWhoGivesUpAtOnce: what is to come ahead may be called off before it has begun.
func TestWhoGivesUpAtOnce(t *testing.T) {
	_, r, _ := farFile(t, link.Line{}, 8<<20)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // what is started runs when we wait
	for i := range 50 {
		off := int64(i%4) << 20
		st := r.follow(off, off+2*aheadAfter)
		r.leave(st, true)
		r.ahead.Wait()
	}
}
