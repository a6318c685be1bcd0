package worktree

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ensync/engine/worktree/journal"
)

// TestExtents: the map of extents is what an array of bytes would be.
func TestExtents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 3000
		var m extents
		var want [size]byte
		live := map[journal.Pos]int{}
		for i := range rapid.IntRange(1, 300).Draw(t, "steps") {
			off := rapid.Uint64Range(0, size-1).Draw(t, "off")
			n := min(rapid.Uint64Range(1, 60).Draw(t, "len"), size-off)
			e := extent{off: off, len: n, kind: extentKind(rapid.IntRange(0, 3).Draw(t, "kind"))}
			fill := byte(0)
			switch e.kind {
			case hole:
				fill = 1
			case logged:
				e.pos, fill = journal.Pos{Segment: uint64(i), Length: uint32(n)}, byte(2+i%100)
			case held:
				fill = byte(102 + i%100)
				e.data, e.dirty = make([]byte, n), i%2 == 0
				for j := range e.data {
					e.data[j] = fill
				}
			}
			var r refs
			m.set(e, &r)
			for _, p := range r.add {
				live[p]++
			}
			for _, p := range r.drop {
				if live[p]--; live[p] == 0 {
					delete(live, p)
				}
			}
			for j := off; j < off+n; j++ {
				want[j] = fill
			}
		}
		var got [size]byte
		last, count, used := uint64(0), 0, map[journal.Pos]int{}
		m.each(0, size, func(e extent) bool {
			if count++; e.off < last {
				t.Fatalf("extents overlap at %d", e.off)
			}
			last = e.end()
			for j := e.off; j < e.end(); j++ {
				switch e.kind {
				case hole:
					got[j] = 1
				case logged:
					got[j] = byte(2 + e.pos.Segment%100)
				case held:
					got[j] = e.data[j-e.off]
				}
			}
			if e.kind == logged {
				used[e.pos]++
			}
			return true
		})
		if got != want || count != m.count || fmt.Sprint(used) != fmt.Sprint(live) {
			t.Fatalf("extents differ: count %d of %d, references %v, counted %v", m.count, count, used, live)
		}
	})
}

func FuzzRecord(f *testing.F) {
	s := &state{mode: typeFile | 0o644, nlink: 1, size: 5, target: "t", xattrs: map[string][]byte{"k": []byte("v")}, base: hashBytes([]byte("x"))}
	f.Add(encode([]op{{code: opInode, ino: 7, mask: fEnd - 1, state: s, links: []place{{1, "n"}}, ext: []extent{
		{off: 0, len: 3, kind: held, data: []byte("abc")}, {off: 5, len: 9, kind: hole}, {off: 100, len: 7},
		{off: 70, len: 8, kind: logged, skip: 2, pos: journal.Pos{Segment: 3, Offset: 4096, Length: 10}}}}}))
	f.Add(encode([]op{{code: opName, ino: 1, child: 2, name: "n"}, {code: opGone, ino: 3}, {code: opListed, ino: 1},
		{code: opSettled, ino: 1, name: "n"}, {code: opStale, ino: 4}}))
	f.Add([]byte{recordVersion, byte(opInode), 1, 0xff, 0xff, 0x3f})
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := decode(b)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatal(err)
			}
			return
		}
		again, err := decode(encode(ops))
		if err != nil || fmt.Sprintf("%+v", len(again)) != fmt.Sprintf("%+v", len(ops)) {
			t.Fatalf("%v: %d operations became %d", err, len(ops), len(again))
		}
		if string(encode(again)) != string(encode(ops)) {
			t.Fatal("encoding is not stable")
		}
	})
}

// TestSparse: a large file with little in it takes little, and says where.
func TestSparse(t *testing.T) {
	b := newBench(t, testOptions())
	ino := b.write("f", "start")
	const far = 1 << 40
	b.writeAt(ino, "end", far)
	a, _ := b.GetAttr(ctx, ino)
	if a.Size != far+3 || a.Blocks > 32 {
		t.Errorf("size %d, %d blocks", a.Size, a.Blocks)
	}
	b.ok(b.Sync(ctx))
	b.crash()
	seek := func(off uint64, whence uint32, want uint64) {
		t.Helper()
		if got, err := b.Seek(ctx, ino, off, whence); err != nil || got != want {
			t.Errorf("seek %d from %d: %d, %v, want %d", whence, off, got, err, want)
		}
	}
	seek(0, seekData, 0)
	seek(0, seekHole, 5)
	seek(5, seekData, far)
	seek(far, seekHole, far+3)
	_, err := b.Seek(ctx, ino, far+3, seekData)
	b.wantErr(err, syscall.ENXIO)
	buf := make([]byte, 10)
	if n, err := b.Read(ctx, ino, buf, far-5); n != 8 || err != nil || string(buf[:n]) != "\x00\x00\x00\x00\x00end" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	b.truncate(ino, 3)
	b.truncate(ino, 10)
	b.wantFile("f", "sta\x00\x00\x00\x00\x00\x00\x00")
}

// TestManyExtents: small writes everywhere keep the map small and survive in rows of their own.
func TestManyExtents(t *testing.T) {
	b := newBench(t, testOptions())
	const size = 4 << 20
	want := make([]byte, size)
	ino := b.write("f", string(want))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 4000 {
		off := r.IntN(size - 100)
		p := pattern(i, 1+r.IntN(100))
		b.writeAt(ino, p, uint64(off))
		copy(want[off:], p)
		if i%500 == 499 {
			b.ok(b.Fsync(ctx, ino))
			b.ok(b.checkpoint(ctx))
		}
	}
	b.wantFile("f", string(want))
	b.ok(b.Sync(ctx))
	n := b.inodes[ino]
	if !n.paged || n.ext.count > 2*maxPieces*size/unit {
		t.Errorf("paged %v, %d extents", n.paged, n.ext.count)
	}
	b.crash()
	b.wantFile("f", string(want))
	b.close()
	b.open()
	b.wantFile("f", string(want))
	b.truncate(ino, unit)
	b.ok(b.checkpoint(ctx))
	b.close()
	b.open()
	b.wantFile("f", string(want[:unit]))
}

// TestSlowStore: while content is being fetched, everything else goes on, and who waits can give up.
func TestSlowStore(t *testing.T) {
	b := newBench(t, testOptions())
	b.write("f", pattern(1, 9000))
	b.settleAll("")
	b.blocks.block = make(chan struct{})
	ino := b.must("f")
	c, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() {
		_, err := b.Read(c, ino, make([]byte, 10), 0)
		done <- err
	}()
	b.write("g", "g")
	b.writeAt(ino, "new", 0)
	b.ok(b.Sync(ctx))
	cancel()
	b.wantErr(<-done, context.Canceled)
	close(b.blocks.block)
	b.wantFile("f", "new"+pattern(1, 9000)[3:])
}

// TestConcurrent: many at once, with the timer running.
func TestConcurrent(t *testing.T) {
	opt := testOptions()
	opt.NoTimer = false
	opt.Delay, opt.Checkpoint = 4*time.Millisecond, 10*time.Millisecond
	opt.Inodes = 20
	b := newBench(t, opt)
	var wg sync.WaitGroup
	for w := range 6 {
		dir := fmt.Sprintf("d%d", w)
		b.mkdir(dir)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 60 {
				p := fmt.Sprintf("%s/f%d", dir, i%7)
				data := pattern(i, 1+i*1500)
				ino := b.write(p, data)
				if i%9 == 0 {
					b.ok(b.Fsync(ctx, ino))
				}
				if i%5 == 0 {
					b.ok(b.rename(p, dir+"/moved", 0))
					b.wantFile(dir+"/moved", data)
				} else {
					b.wantFile(p, data)
				}
				if _, err := b.List(ctx, dir); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	b.ok(b.Sync(ctx))
	b.verify()
	b.crash()
	b.verify()
}

// TestMemory: a tree much larger than what may be in memory stays small.
func TestMemory(t *testing.T) {
	opt := testOptions()
	opt.Inodes = 500
	b := newBench(t, opt)
	for d := range 20 {
		dir := fmt.Sprintf("d%d", d)
		b.mkdir(dir)
		for i := range 200 {
			b.write(fmt.Sprintf("%s/f%d", dir, i), "small")
		}
		b.ok(b.Sync(ctx))
		b.ok(b.checkpoint(ctx))
	}
	if len(b.inodes) > 1000 {
		t.Errorf("%d inodes in memory", len(b.inodes))
	}
	b.wantFile("d0/f0", "small")
	b.verify()
}

// BenchmarkCreate is create, write and close of a small file, as untar does it.
func BenchmarkCreate(b *testing.B) {
	opt := Options{}
	t := newBench(b, opt)
	for d := range b.N/1000 + 1 {
		t.mkdir(fmt.Sprint(d))
	}
	dirs := make([]Ino, b.N/1000+1)
	for d := range dirs {
		dirs[d] = t.must(fmt.Sprint(d))
	}
	data := make([]byte, 1000)
	b.ResetTimer()
	for i := range b.N {
		a, err := t.Make(ctx, dirs[i/1000], fmt.Sprintf("file-%d", i), Make{Mode: typeFile | 0o644})
		if err == nil {
			_, err = t.Write(ctx, a.Ino, data, 0, false)
		}
		t.ok(err)
		t.Forget(a.Ino, 1)
	}
	b.StopTimer()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-heap")
	b.ReportMetric(float64(t.log.Stats().Records)/float64(b.N), "records/op")
}

// FuzzRow: what lies in the catalogue opens only if it was sealed for its place; and what is behind the seal is read or refused.
func FuzzRow(f *testing.F) {
	s, err := newSealer([32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	ad := rowAD('i', 7)
	good := s.seal([]byte("a row"), ad)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(encode([]op{{code: opInode, ino: 7, state: &state{}, ext: []extent{{off: 0, len: 3, kind: held, data: []byte("abc")}}}})[3:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := s.open(b, ad); err == nil && string(plain) != "a row" {
			t.Errorf("%q was opened", plain)
		}
		d := decoder{b: b}
		var last uint64
		for _, e := range d.extents() {
			if e.off < last || e.len == 0 || e.end() > maxSize {
				t.Fatalf("extent %+v after %d", e, last)
			}
			last = e.end()
		}
	})
}
