package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"
)

// smallOptions are for tests that open a log thousands of times.
func smallOptions() Options { return Options{SegmentSize: 16 << 10, Flush: time.Hour} }

// snapshot is the directory as it is, as a new one.
func (d *simDir) snapshot() *simDir {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := newSimDir()
	for name, f := range d.names {
		out.names[name] = &simFile{dir: out, data: slices.Clone(f.data)}
	}
	return out
}

// history writes frames of the given sizes, with a record after each, into a log, and closes it.
func history(t testing.TB, dir directory, opt Options, sizes ...int) (positions []Pos) {
	t.Helper()
	l, _ := mustOpen(t, dir, 0, opt)
	for i, n := range sizes {
		pos, err := l.AppendData(pattern(n, byte(i)))
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, pos)
		if _, err := l.AppendRecord(fmt.Appendf(nil, "record %d", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	return positions
}

// intact says whether a log opens and holds all of history, and if not, that the error is of the right kind.
func intact(dir directory, positions []Pos) (bool, error) {
	l, records, err := tryOpen(dir, 0, smallOptions())
	if err != nil {
		if !errors.As(err, new(*DamagedError)) {
			return false, fmt.Errorf("not a DamagedError: %w", err)
		}
		return false, nil
	}
	defer l.Close(context.Background())
	if len(records) != len(positions) {
		return false, fmt.Errorf("%d records of %d without an error", len(records), len(positions))
	}
	for i, pos := range positions {
		if records[LSN(i+1)] != fmt.Sprintf("record %d", i+1) {
			return false, fmt.Errorf("record %d is %q", i+1, records[LSN(i+1)])
		}
		b, err := readAll(l, pos)
		if errors.As(err, new(*DamagedError)) {
			return false, nil
		}
		if err != nil || !bytes.Equal(b, pattern(len(b), byte(i))) {
			return false, fmt.Errorf("data %d: %v", i, err)
		}
	}
	return true, nil
}

func TestEveryFlippedByteIsFoundOrHarmless(t *testing.T) {
	dir := newSimDir()
	positions := history(t, dir, smallOptions(), 300, 1, 90, 500)
	name := segmentName(1)
	f := dir.names[name]
	used := len(bytes.TrimRight(f.data, "\x00"))
	lastMark := used - markSize // it vouches, and nothing vouches for it
	found := 0
	for at := range used {
		if zeros := at >= headerFields+tagSize && at < blockSize; (zeros || testing.Short()) && at%31 != 0 {
			continue
		}
		f.data[at] ^= 0x20
		whole, err := intact(dir.snapshot(), positions)
		f.data[at] ^= 0x20
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		padding := at >= headerFields+tagSize && at < blockSize || at >= int(positions[3].Offset)+500+frameExtra*2+8+markSize
		if whole && !padding && at < lastMark {
			t.Errorf("byte %d flipped, and nobody noticed", at)
		}
		if !whole {
			found++
		}
	}
	if found < 1000 && !testing.Short() {
		t.Errorf("only %d flips found", found)
	}
}

func TestDamageInOlderSegments(t *testing.T) {
	dir := newSimDir()
	sizes := slices.Repeat([]int{50000}, 9)
	positions := history(t, dir, testOptions(), sizes...)
	l, _ := mustOpen(t, dir, 0, testOptions())
	mustClose(t, l)
	rng := rand.New(rand.NewPCG(1, 2))
	names, _ := dir.List()
	for _, name := range names[:len(names)-2] { // without the reserve and the newest, which is empty
		size := len(dir.names[name].data)
		for range 60 {
			at := rng.IntN(size)
			twin := dir.snapshot()
			twin.names[name].data[at] ^= 1
			if _, err := intact(twin, positions); err != nil {
				t.Fatalf("%s at %d: %v", name, at, err)
			}
			twin = dir.snapshot()
			twin.names[name].data = twin.names[name].data[:at]
			if whole, err := intact(twin, positions); err != nil || whole {
				t.Fatalf("%s cut at %d: whole %v, %v", name, at, whole, err)
			}
		}
	}
}

func TestMissingSwappedAndForeignSegments(t *testing.T) {
	dir := newSimDir()
	positions := history(t, dir, testOptions(), slices.Repeat([]int{60000}, 8)...)
	other := newSimDir()
	history(t, other, testOptions(), slices.Repeat([]int{60000}, 8)...)
	one, two, three := segmentName(1), segmentName(2), segmentName(3)
	for what, change := range map[string]func(*simDir){
		"first missing":  func(d *simDir) { delete(d.names, one) },
		"middle missing": func(d *simDir) { delete(d.names, two) },
		"swapped":        func(d *simDir) { d.names[one], d.names[two] = d.names[two], d.names[one] },
		"twice":          func(d *simDir) { d.names[three] = d.names[two] },
		"another log's":  func(d *simDir) { d.names[two] = &simFile{dir: d, data: other.names[two].data} },
		"empty":          func(d *simDir) { d.names[two].data = nil },
	} {
		twin := dir.snapshot()
		change(twin)
		if whole, err := intact(twin, positions); whole || err != nil {
			t.Errorf("%s: whole %v, %v", what, whole, err)
		}
	}
	// Frames of equal size that change places within a segment.
	twin := dir.snapshot()
	d, a, b := twin.names[one].data, positions[0], positions[1]
	for i := range int(a.Length) + frameExtra {
		d[int(a.Offset)+i], d[int(b.Offset)+i] = d[int(b.Offset)+i], d[int(a.Offset)+i]
	}
	if whole, err := intact(twin, positions); whole || err != nil {
		t.Errorf("frames swapped: whole %v, %v", whole, err)
	}
}

// TestTailCutAnywhere cuts and garbles what follows the last vouched commit.
func TestTailCutAnywhere(t *testing.T) {
	dir := newSimDir()
	l, _ := mustOpen(t, dir, 0, testOptions())
	add := func(n int) {
		for range n {
			if _, err := l.AppendData(pattern(100, 1)); err != nil {
				t.Fatal(err)
			}
			if _, err := l.AppendRecord(pattern(40, byte(l.Last()+1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(3)
	mustSync(t, l)
	if err := l.flush(true); err != nil {
		t.Fatal(err)
	}
	from := int(l.cur.durable)
	add(4)
	if err := l.flush(false); err != nil {
		t.Fatal(err)
	}
	to := int(l.cur.tail)
	abandon(l)
	name := segmentName(1)
	step := 3
	if testing.Short() {
		step = 17
	}
	for at := from; at < to; at += step {
		for _, zero := range []bool{true, false} {
			twin := dir.snapshot()
			if zero {
				clear(twin.names[name].data[at:])
			} else {
				twin.names[name].data[at] ^= 0x55
			}
			l, records, err := tryOpen(twin, 0, smallOptions())
			if err != nil {
				t.Fatalf("at %d: %v", at, err)
			}
			want := 3 + (at-from)/(100+40+2*frameExtra)
			if len(records) < 3 || len(records) > 7 || len(records) != min(want, 7) {
				t.Fatalf("at %d: %d records, want %d", at, len(records), want)
			}
			for lsn, r := range records {
				if r != string(pattern(40, byte(lsn))) {
					t.Fatalf("at %d: record %d is another", at, lsn)
				}
			}
			if zero && at > from && at < to-blockSize && l.Stats().TornBytes == 0 && want < 7 {
				_, rest := 0, (at-from)%(100+40+2*frameExtra)
				if rest > 0 && rest != 100+frameExtra {
					t.Fatalf("at %d: no torn bytes counted", at)
				}
			}
			mustClose(t, l)
		}
	}
}

func TestFailedWritesAndSyncsAreFinal(t *testing.T) {
	for _, kind := range []eventKind{evWrite, evSync} {
		dir := newSimDir()
		opt := testOptions()
		told := make(chan error, 2)
		opt.OnError = func(err error) { told <- err }
		l, _ := mustOpen(t, dir, 0, opt)
		pos, err := l.AppendData([]byte("kept"))
		if err != nil {
			t.Fatal(err)
		}
		mustSync(t, l)
		broken := true
		dir.mu.Lock()
		dir.fail = func(e event) error {
			if broken && e.kind == kind {
				broken = false // only once: a second try would seem to work
				return syscall.EIO
			}
			return nil
		}
		dir.mu.Unlock()
		lost, err := l.AppendData([]byte("not durable"))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := l.Sync(context.Background(), 0); !errors.Is(err, syscall.EIO) {
				t.Fatalf("sync after a failure: %v", err)
			}
			if _, err := l.AppendRecord([]byte("x")); !errors.Is(err, syscall.EIO) {
				t.Fatalf("append after a failure: %v", err)
			}
		}
		if err := <-told; !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		for _, p := range []Pos{pos, lost} {
			if _, err := readAll(l, p); err != nil {
				t.Fatalf("reading after a failure: %v", err)
			}
		}
		if err := l.Close(context.Background()); !errors.Is(err, syscall.EIO) {
			t.Fatalf("close after a failure: %v", err)
		}
		l, _ = mustOpen(t, dir, 0, testOptions())
		if _, err := readAll(l, pos); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
	}
}

// TestNoNonceTwice collects the nonces (segment id, counter) of all frames over many crashes.
func TestNoNonceTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	o := newOwner(t, rng, newSimDir())
	seen := map[string]string{} // nonce -> ciphertext
	collect := func(d *simDir) {
		for _, e := range d.trace {
			if e.kind != evWrite || e.off == 0 || len(e.data) < frameHead || binary.BigEndian.Uint32(e.data) != frameMagic {
				continue
			}
			for at := 0; at+frameHead <= len(e.data); {
				f, err := parseFrame(e.data[at:], e.off+int64(at))
				if err != nil {
					break
				}
				nonce := fmt.Sprintf("%x %d", e.file.data[16:32], f.counter)
				text := string(e.data[at : at+int(f.size())])
				if old, ok := seen[nonce]; ok && old != text {
					t.Fatal("one nonce, two frames")
				}
				seen[nonce] = text
				at += int(f.end() - f.off)
			}
		}
	}
	ids := map[[16]byte]*simFile{}
	for range 15 {
		for range 20 {
			o.step()
		}
		abandon(o.log)
		collect(o.dir)
		for name, f := range o.dir.names {
			if name == reserveName || name == newName {
				continue
			}
			for _, e := range o.dir.trace {
				if e.file == f && e.kind == evWrite && e.off == 0 && bytes.HasPrefix(e.data, []byte(segmentMagic)) {
					id := [16]byte(e.data[16:32])
					if g := ids[id]; g != nil && !bytes.Equal(g.data[:blockSize], e.data[:blockSize]) {
						t.Fatal("one segment id, two segments")
					}
					ids[id] = f
				}
			}
		}
		dir, promised, checkpoint := o.dir.crash(rng, len(o.dir.trace), loseSectors)
		before := len(dir.trace)
		if err := o.reopen(dir, promised, checkpoint); err != nil {
			t.Fatal(err)
		}
		for _, e := range o.dir.trace[before:] { // recovery never writes into what it found, but to cut it
			if f := dir.trace; e.kind == evWrite && e.file != nil && slices.ContainsFunc(f[:before], func(b event) bool { return b.file == e.file && b.name != reserveName }) {
				t.Fatal("a segment found at start was written to")
			}
		}
	}
	abandon(o.log)
	if len(seen) < 300 {
		t.Fatalf("only %d frames seen", len(seen))
	}
}

func TestNothingReadableOnDisk(t *testing.T) {
	dir := newSimDir()
	l, _ := mustOpen(t, dir, 0, testOptions())
	canary := bytes.Repeat([]byte("canary "), 100)
	if _, err := l.AppendData(canary); err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendRecord(canary); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	for name, f := range dir.names {
		if bytes.Contains(f.data, []byte("canary")) {
			t.Errorf("%s holds plaintext", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	dir := newSimDir()
	history(f, dir, testOptions(), 30, 2000, 5)
	good := bytes.TrimRight(dir.names[segmentName(1)].data, "\x00")
	f.Add(good, uint16(0), []byte{})
	f.Add(good, uint16(blockSize+4), []byte{9, 9, 9})
	f.Add(good[:blockSize], uint16(8), []byte{1})
	f.Add([]byte(segmentMagic), uint16(0), []byte{})
	f.Add(good, uint16(blockSize+8), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte, at uint16, patch []byte) {
		dir := newSimDir()
		data = slices.Clone(data)
		if int(at) < len(data) {
			copy(data[at:], patch)
		}
		dir.names[segmentName(1)] = &simFile{dir: dir, data: data}
		l, records, err := tryOpen(dir, 0, testOptions())
		if err != nil {
			return
		}
		for lsn, r := range records {
			if r != fmt.Sprintf("record %d", lsn) {
				t.Errorf("record %d is %q", lsn, r)
			}
		}
		abandon(l)
	})
}
