//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// appender appends lines to a log, and syncs it now and then.
type appender struct {
	dir    string
	lines  int // written
	synced int
	first  int // of ended
	ended  []time.Time
}

func (a *appender) path() string { return filepath.Join(a.dir, "log") }

func (a *appender) begin() error { return os.Mkdir(a.dir, 0o700) }

func logLine(i int) string { return fmt.Sprintf("%08d %*s\n", i, i*37%150, "|") }

func (a *appender) work(ctx context.Context, rng *rand.Rand, promised func() bool) error {
	f, err := os.OpenFile(a.path(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for ctx.Err() == nil {
		if _, err := f.WriteString(logLine(a.lines)); err != nil {
			return err
		}
		a.lines++
		a.ended = append(a.ended, time.Now())
		if rng.IntN(200) == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
			if promised() {
				a.synced = a.lines
			}
		}
		if rng.IntN(5) == 0 {
			time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
		}
	}
	return nil
}

// check: the log ends within or after a line that was written; what is there is what was written.
func (a *appender) check(l limits, afterCut bool) (oldest time.Duration, err error) {
	b, err := readAll(a.path())
	if err != nil {
		return 0, err
	}
	var want []byte
	found := 0
	for ; len(want) < len(b); found++ {
		want = append(want, logLine(found)...)
	}
	whole := len(want) == len(b)
	if !bytes.HasPrefix(want, b) {
		return 0, fmt.Errorf("%s: %d bytes, which are not what was written", a.path(), len(b))
	}
	if !whole {
		found--
	}
	if found < a.synced || found > a.lines || !afterCut && (found != a.lines || !whole) {
		return 0, fmt.Errorf("%s: %d lines; %d were synced, %d written", a.path(), found, a.synced, a.lines)
	}
	if next := found - a.first; found < a.lines && next < len(a.ended) && next >= 0 {
		if oldest = l.cut.Sub(a.ended[next]); oldest > l.second {
			return oldest, fmt.Errorf("%s: line %d was written %v before the cut, and is lost", a.path(), found, oldest)
		}
	}
	if !afterCut {
		return oldest, nil
	}
	a.lines, a.synced, a.first, a.ended = found, found, found, nil
	if whole {
		return oldest, nil
	}
	end := 0
	for i := range found {
		end += len(logLine(i))
	}
	return oldest, os.Truncate(a.path(), int64(end))
}

// blocks overwrites blocks in the middle of a large file, and syncs it now and then.
type blocks struct {
	dir         string
	last, floor [blockCount]int
}

const (
	blockCount = 600
	blockBytes = 4096
)

func (b *blocks) path() string { return filepath.Join(b.dir, "blocks") }

func blockOf(i, version int) []byte {
	out := make([]byte, blockBytes)
	for at := 0; at < blockBytes; at += 16 {
		binary.BigEndian.PutUint64(out[at:], uint64(i))
		binary.BigEndian.PutUint64(out[at+8:], uint64(version))
	}
	return out
}

func (b *blocks) begin() error {
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return err
	}
	var all []byte
	for i := range blockCount {
		all = append(all, blockOf(i, 0)...)
	}
	if err := writeSynced(b.path(), all); err != nil {
		return err
	}
	return dirSync(b.dir)
}

func (b *blocks) work(ctx context.Context, rng *rand.Rand, promised func() bool) error {
	f, err := os.OpenFile(b.path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for ctx.Err() == nil {
		for range 1 + rng.IntN(60) {
			i := rng.IntN(blockCount)
			b.last[i]++
			if _, err := f.WriteAt(blockOf(i, b.last[i]), int64(i)*blockBytes); err != nil {
				return err
			}
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if promised() {
			b.floor = b.last
		}
		pause(ctx, rng)
	}
	return nil
}

func (b *blocks) check(_ limits, afterCut bool) (time.Duration, error) {
	data, err := readAll(b.path())
	if err != nil || len(data) != blockCount*blockBytes {
		return 0, fmt.Errorf("%s: %d bytes, %v", b.path(), len(data), err)
	}
	for i := range blockCount {
		block := data[i*blockBytes:][:blockBytes]
		v := int(binary.BigEndian.Uint64(block[8:]))
		if v < b.floor[i] || v > b.last[i] || !bytes.Equal(block, blockOf(i, v)) || !afterCut && v != b.last[i] {
			return 0, fmt.Errorf("%s: block %d is version %d, or none; %d to %d may be there", b.path(), i, v, b.floor[i], b.last[i])
		}
		b.floor[i], b.last[i] = v, v
	}
	return 0, nil
}
