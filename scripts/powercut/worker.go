//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// worker is a program that works in a directory of its own, and knows what it was promised.
type worker interface {
	begin() error
	// work goes on until ctx ends or an error comes, which it returns. What a call returned is a promise if promised says so
	// afterwards: a disk that is being cut may still say yes.
	work(ctx context.Context, rng *rand.Rand, promised func() bool) error
	// check compares what is there with what was promised. After a cut that may be less than what was done: then the
	// worker goes on from it, and returns the age of the oldest that is lost of what nobody had synced.
	check(l limits, afterCut bool) (oldest time.Duration, err error)
}

func makeWorkers(tree string, rng *rand.Rand) []worker {
	at := func(name string) string { return filepath.Join(tree, name) }
	return []worker{
		newSaver(at("saver")), newRewriter(at("rewriter")), &appender{dir: at("appender")}, &namer{dir: at("namer")},
		&blocks{dir: at("blocks")}, &transactions{dir: at("delete"), mode: "delete"}, &transactions{dir: at("wal"), mode: "wal"},
		&mapper{dir: at("mapped")},
	}
}

func sumOf(r io.Reader) []byte {
	h := sha256.New()
	io.Copy(h, r)
	return h.Sum(nil)
}

// content is what version v of a file holds: its name and number, then bytes that no other version has.
func content(name string, v int) []byte {
	sizes := []int{40, 400, 1900, 5000, 70_000, 300_000}
	rng := rand.NewChaCha8([32]byte(sumOf(bytes.NewReader(fmt.Appendf(nil, "%s %d", name, v)))))
	b := make([]byte, sizes[rng.Uint64()%uint64(len(sizes))])
	rng.Read(b)
	copy(b, fmt.Sprintf("%s %d\n", name, v))
	return b
}

// versionOf returns which version a file is. It must be one, whole.
func versionOf(path string) (int, error) {
	b, err := readAll(path)
	if err != nil || b == nil {
		return 0, err
	}
	name, v := "", 0
	if _, err := fmt.Sscanf(string(b[:min(len(b), 40)]), "%s %d\n", &name, &v); err != nil {
		return 0, fmt.Errorf("%s: %d bytes, which begin with %.40q", path, len(b), b)
	}
	if name != filepath.Base(path) || !bytes.Equal(b, content(name, v)) {
		return 0, fmt.Errorf("%s: %d bytes, which begin like version %d, are not it", path, len(b), v)
	}
	return v, nil
}

// pause is now and then a rest, mostly none.
func pause(ctx context.Context, rng *rand.Rand) {
	if rng.IntN(12) == 0 {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rng.IntN(200)) * time.Millisecond):
		}
	}
}

// history is what was done to a file.
type history struct {
	path   string
	last   int         // the last version that was begun
	floor  int         // the last that must be there
	ended  []time.Time // when each version after floor was complete
	exact  int         // what was found after the last cut
	finish int         // the last that was completed
}

func (h *history) complete(v int) {
	h.finish = v
	h.ended = append(h.ended, time.Now())
}

// check finds the version that is there. Those not promised must be there too when they are old enough.
func (h *history) check(l limits, afterCut bool) (oldest time.Duration, err error) {
	v, err := versionOf(h.path)
	switch {
	case err != nil:
		return 0, err
	case !afterCut && v != h.exact:
		return 0, fmt.Errorf("%s: version %d; before it was %d", h.path, v, h.exact)
	case v < h.floor || v > h.last:
		return 0, fmt.Errorf("%s: version %d, where %d to %d may be", h.path, v, h.floor, h.last)
	}
	if next := v + 1 - (h.finish - len(h.ended) + 1); v < h.finish && next >= 0 && next < len(h.ended) {
		oldest = l.cut.Sub(h.ended[next])
		if oldest > l.second {
			err = fmt.Errorf("%s: version %d; %d is lost, which was complete %v before the cut", h.path, v, v+1, oldest)
		}
	}
	h.exact, h.floor, h.ended, h.finish = v, v, nil, v
	return oldest, err
}

// histories are of a few files in a directory.
type histories struct {
	dir   string
	files []*history
}

func newHistories(dir, name string, n int) histories {
	s := histories{dir: dir}
	for i := range n {
		s.files = append(s.files, &history{path: filepath.Join(dir, fmt.Sprint(name, i))})
	}
	return s
}

func (s histories) any(rng *rand.Rand) *history { return s.files[rng.IntN(len(s.files))] }

func (s histories) check(l limits, afterCut bool) (oldest time.Duration, err error) {
	for _, h := range s.files {
		age, err := h.check(l, afterCut)
		if oldest = max(oldest, age); err != nil {
			return oldest, err
		}
	}
	return oldest, nil
}

// saver saves files as editors do: a new file, fsync, rename, and fsync of the directory.
type saver struct{ histories }

func newSaver(dir string) *saver { return &saver{newHistories(dir, "saved", 5)} }

func (s *saver) begin() error { return os.Mkdir(s.dir, 0o700) }

func (s *saver) work(ctx context.Context, rng *rand.Rand, promised func() bool) error {
	for ctx.Err() == nil {
		h := s.any(rng)
		h.last++
		name := filepath.Base(h.path)
		tmp := filepath.Join(s.dir, ".tmp-"+name)
		if err := writeSynced(tmp, content(name, h.last)); err != nil {
			return err
		}
		if err := os.Rename(tmp, h.path); err != nil {
			return err
		}
		h.complete(h.last)
		if rng.IntN(2) == 0 {
			if err := dirSync(s.dir); err != nil {
				return err
			}
			if promised() {
				h.floor = h.last
			}
		}
		pause(ctx, rng)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

func (s *saver) check(l limits, afterCut bool) (oldest time.Duration, err error) {
	oldest, err = s.histories.check(l, afterCut)
	if err == nil && afterCut {
		for _, h := range s.files {
			os.Remove(filepath.Join(s.dir, ".tmp-"+filepath.Base(h.path)))
		}
	}
	return oldest, err
}

// rewriter empties files and writes them anew, in pieces, and never syncs.
type rewriter struct{ histories }

func newRewriter(dir string) *rewriter { return &rewriter{newHistories(dir, "rewritten", 4)} }

func (r *rewriter) begin() error {
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return err
	}
	for _, h := range r.files {
		h.last, h.floor, h.finish = 1, 1, 1
		if err := writeSynced(h.path, content(filepath.Base(h.path), 1)); err != nil {
			return err
		}
	}
	return dirSync(r.dir)
}

func (r *rewriter) work(ctx context.Context, rng *rand.Rand, _ func() bool) error {
	for ctx.Err() == nil {
		h := r.any(rng)
		h.last++
		if err := r.rewrite(h, rng); err != nil {
			return err
		}
		h.complete(h.last)
		pause(ctx, rng)
	}
	return nil
}

func (r *rewriter) rewrite(h *history, rng *rand.Rand) error {
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for b := content(filepath.Base(h.path), h.last); len(b) > 0; {
		n := min(len(b), 1+rng.IntN(100_000))
		if _, err := f.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
