package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

var testKey = [32]byte{1, 2, 3}

// testOptions have small segments, and no background flush unless the test asks for it.
func testOptions() Options { return Options{SegmentSize: 128 << 10, Flush: time.Hour} }

func mustOpen(t testing.TB, dir directory, after LSN, opt Options) (*Log, map[LSN]string) {
	t.Helper()
	l, records, err := tryOpen(dir, after, opt)
	if err != nil {
		t.Fatal(err)
	}
	return l, records
}

func tryOpen(dir directory, after LSN, opt Options) (*Log, map[LSN]string, error) {
	records := map[LSN]string{}
	next := after + 1
	l, err := open(dir, testKey, after, opt, func(lsn LSN, p []byte) error {
		if lsn != next {
			return fmt.Errorf("replay of %d where %d is next", lsn, next)
		}
		next++
		records[lsn] = string(p)
		return nil
	})
	return l, records, err
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func mustSync(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i*7) + byte(i>>8)
	}
	return b
}

func readAll(l *Log, pos Pos) ([]byte, error) {
	b := make([]byte, pos.Length)
	n, err := l.ReadData(pos, b, 0)
	return b[:n], err
}

func TestAppendReadReopen(t *testing.T) {
	dir := osDirectory{t.TempDir()}
	l, _ := mustOpen(t, dir, 0, testOptions())
	var positions []Pos
	for i := range 40 {
		pos, err := l.AppendData(pattern(i*1500+1, byte(i)))
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, pos)
		lsn, err := l.AppendRecord(fmt.Appendf(nil, "record %d", i))
		if err != nil || lsn != LSN(i+1) {
			t.Fatalf("record %d: LSN %d, %v", i, lsn, err)
		}
		if i%7 == 0 {
			mustSync(t, l)
			if l.Durable() != lsn {
				t.Fatalf("durable %d after the sync of %d", l.Durable(), lsn)
			}
		}
	}
	check := func(l *Log) {
		t.Helper()
		for i, pos := range positions {
			want := pattern(i*1500+1, byte(i))
			if got, err := readAll(l, pos); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("data %d: %v", i, err)
			}
			part := make([]byte, 10)
			off := pos.Length / 2
			if n, err := l.ReadData(pos, part, off); err != nil || !bytes.Equal(part[:n], want[off:min(int(off)+10, len(want))]) {
				t.Fatalf("part of data %d: %v", i, err)
			}
		}
	}
	check(l)
	mustClose(t, l)
	for _, after := range []LSN{0, 1, 17, 39, 40} {
		l, records := mustOpen(t, dir, after, testOptions())
		if len(records) != 40-int(after) {
			t.Fatalf("after %d: %d records replayed", after, len(records))
		}
		for lsn, r := range records {
			if r != fmt.Sprintf("record %d", lsn-1) {
				t.Fatalf("record %d is %q", lsn, r)
			}
		}
		check(l)
		mustClose(t, l)
	}
	_, _, err := tryOpen(dir, 41, testOptions())
	if damage := new(DamagedError); !errors.As(err, &damage) {
		t.Fatalf("a log older than its catalogue: %v", err)
	}
	_, err = open(dir, [32]byte{9}, 0, testOptions(), nil)
	if damage := new(DamagedError); !errors.As(err, &damage) {
		t.Fatalf("another key: %v", err)
	}
}

func TestLimits(t *testing.T) {
	l, _ := mustOpen(t, osDirectory{t.TempDir()}, 0, testOptions())
	defer mustClose(t, l)
	for _, n := range []int{0, MaxData + 1} {
		if _, err := l.AppendData(make([]byte, n)); err == nil {
			t.Errorf("data of %d bytes accepted", n)
		}
	}
	for _, n := range []int{0, MaxRecord + 1} {
		if _, err := l.AppendRecord(make([]byte, n)); err == nil {
			t.Errorf("record of %d bytes accepted", n)
		}
	}
	if _, err := l.AppendRecord(make([]byte, MaxRecord)); err != nil {
		t.Error(err)
	}
	if pos, err := l.AppendData(make([]byte, MaxData)); err != nil {
		t.Error(err)
	} else if _, err := readAll(l, pos); err != nil {
		t.Error(err)
	}
	if err := l.Sync(context.Background(), 2); err == nil {
		t.Error("synced a record that does not exist")
	}
	if err := l.Sync(context.Background(), 1); err != nil {
		t.Error(err)
	}
}

// TestInitializedAhead holds what a commit of little costs: zeros for the next ones, once, and never over frames.
func TestInitializedAhead(t *testing.T) {
	d := newSimDir()
	l, _ := mustOpen(t, d, 0, Options{SegmentSize: 2 << 20, Flush: time.Hour})
	defer mustClose(t, l)
	ahead := func() (n int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, e := range d.trace {
			n += bit(e.kind == evWrite && len(e.data) == initializeAhead)
		}
		return n
	}
	commit := func(size int) Pos {
		pos, err := l.AppendData(pattern(size, 1))
		if err != nil {
			t.Fatal(err)
		}
		mustSync(t, l)
		return pos
	}
	var all []Pos
	for range 5 {
		all = append(all, commit(MaxData), commit(MaxData))
	}
	if n := ahead(); n != 0 {
		t.Errorf("initialized %d times for large commits", n)
	}
	for range 60 {
		all = append(all, commit(4000))
	}
	if n := ahead(); n != 1 {
		t.Errorf("initialized %d times for 60 small commits, want once", n)
	}
	for _, pos := range all {
		if got, err := readAll(l, pos); err != nil || !bytes.Equal(got, pattern(int(pos.Length), 1)) {
			t.Fatalf("frame at %d: %v", pos.Offset, err)
		}
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestAppendedWhileCommitting: what others append while a small commit is being written stays what it is, also if so much
// is appended that it is written along.
func TestAppendedWhileCommitting(t *testing.T) {
	dir := newSimDir()
	opt := testOptions()
	opt.SegmentSize = 8 << 20
	l, _ := mustOpen(t, dir, 0, opt)
	if _, err := l.AppendRecord([]byte("small")); err != nil {
		t.Fatal(err)
	}
	var positions []Pos
	dir.mu.Lock()
	dir.fail = func(e event) error {
		if e.kind != evWrite || positions != nil {
			return nil
		}
		for i := range 2*chunkSize/MaxData + 2 {
			pos, err := l.AppendData(pattern(MaxData, byte(i)))
			if err != nil {
				t.Error(err)
			}
			positions = append(positions, pos)
		}
		return nil
	}
	dir.mu.Unlock()
	mustSync(t, l)
	mustSync(t, l)
	for i, pos := range positions {
		if b, err := readAll(l, pos); err != nil || !bytes.Equal(b, pattern(MaxData, byte(i))) {
			t.Errorf("frame %d, which was appended during a commit: %v", i, err)
		}
	}
	if len(positions) == 0 {
		t.Error("nothing was appended during a commit")
	}
	mustClose(t, l)
}
