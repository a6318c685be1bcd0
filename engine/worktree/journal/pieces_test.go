package journal

import (
	"bytes"
	"errors"
	"testing"
)

// TestPartsOfFrames reads every kind of part of a large frame, from memory and from the disk.
func TestPartsOfFrames(t *testing.T) {
	dir := newSimDir()
	l, _ := mustOpen(t, dir, 0, testOptions())
	defer func() { mustClose(t, l) }()
	for _, length := range []int{1, pieceSize - 1, pieceSize, pieceSize + 1, 3*pieceSize + 5, MaxData} {
		want := pattern(length, byte(length))
		pos, err := l.AppendData(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, when := range []string{"in memory", "on disk"} {
			for _, off := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3 * pieceSize, length - 1, length} {
				for _, n := range []int{0, 1, pieceSize - 1, pieceSize, 2*pieceSize + 1, length + 100} {
					if off > length {
						continue
					}
					part := want[off:min(off+n, length)]
					got := make([]byte, n)
					read, err := l.ReadData(pos, got, uint32(off))
					if err != nil || !bytes.Equal(got[:read], part) {
						t.Fatalf("%d bytes %s, %d at %d: %d, %v", length, when, n, off, read, err)
					}
				}
			}
			mustSync(t, l)
		}
	}
}

// TestPiecesAreBound changes, swaps and moves pieces: what reads one of them finds it, others don't care.
func TestPiecesAreBound(t *testing.T) {
	dir := newSimDir()
	l, _ := mustOpen(t, dir, 0, Options{SegmentSize: 1 << 20})
	defer func() { mustClose(t, l) }()
	pos, err := l.AppendData(pattern(MaxData, 1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.AppendData(pattern(MaxData, 1))
	if err != nil {
		t.Fatal(err)
	}
	mustSync(t, l)
	disk := dir.names[segmentName(pos.Segment)].data
	whole := bytes.Clone(disk)
	piece := func(p Pos, i int) []byte {
		from := int(p.Offset) + frameHead + int(sealedEnd(i*pieceSize))
		return disk[from : from+pieceSize+tagSize]
	}
	for what, damage := range map[string]func(){
		"changed":              func() { piece(pos, 3)[5] ^= 1 },
		"tag changed":          func() { piece(pos, 3)[pieceSize] ^= 1 },
		"another of the frame": func() { copy(piece(pos, 3), piece(pos, 4)) },
		"another frame's":      func() { copy(piece(pos, 3), piece(other, 3)) },
		"gone":                 func() { clear(piece(pos, 3)) },
	} {
		copy(disk, whole)
		damage()
		buf := make([]byte, 10)
		for i := range MaxData / pieceSize {
			_, err := l.ReadData(pos, buf, uint32(i*pieceSize+100))
			if damaged := errors.As(err, new(*DamagedError)); damaged != (i == 3) {
				t.Errorf("%s: piece %d: %v", what, i, err)
			}
		}
		if _, err := readAll(l, pos); !errors.As(err, new(*DamagedError)) {
			t.Errorf("%s: all: %v", what, err)
		}
		if _, err := readAll(l, other); err != nil {
			t.Errorf("%s: the other: %v", what, err)
		}
	}
}
