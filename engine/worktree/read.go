package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"ensync/engine/worktree/journal"
	"ensync/store/object"
)

// view is what a range of a file held at one instant: extents that don't change any more, and a reference to each data
// frame among them, which release takes back.
type view struct {
	pieces []extent
	base   object.Content
	frames []journal.Pos
}

// view returns the content of [off, end), which must not end after the file. t.mu is held.
func (t *Tree) view(n *inode, off, end uint64) *view {
	v := &view{base: n.base}
	n.ext.pieces(off, end, func(e extent) bool {
		switch {
		case e.kind == logged:
			v.frames = append(v.frames, e.pos)
		case e.dirty:
			e.data = append([]byte(nil), e.data...)
		}
		v.pieces = append(v.pieces, e)
		return true
	})
	t.reference(v.frames)
	return v
}

func (t *Tree) releaseView(v *view) {
	t.release(v.frames)
	v.frames = nil
}

// shareRead is how many bytes of a large read one processor opens at least.
const shareRead = 256 << 10

// processors is how many share a large read: those of the machine, also where more threads may run Go code.
var processors = runtime.GOMAXPROCS(0)

// fill reads the part of v that starts at off into buf, with as many processors as it is worth: while a program reads in
// order, the kernel asks for one large piece after the other. t.mu is not held.
func (t *Tree) fill(ctx context.Context, v *view, buf []byte, off uint64) error {
	shares := min(len(buf)/shareRead, processors)
	if shares < 2 || !v.isLocal() {
		return t.fillPart(ctx, v, buf, off)
	}
	t.readAhead(v)
	share := (len(buf)/shares/unit + 1) * unit // a little more, so that all are covered
	errs := make([]error, shares)
	var others sync.WaitGroup
	for i := 1; i < shares; i++ {
		from, to := min(i*share, len(buf)), min((i+1)*share, len(buf))
		others.Go(func() { errs[i] = t.fillPart(ctx, v, buf[from:to], off+uint64(from)) })
	}
	errs[0] = t.fillPart(ctx, v, buf[:share], off)
	others.Wait()
	return errors.Join(errs...)
}

// isLocal reports whether nothing of v is in the store.
func (v *view) isLocal() bool {
	return !slices.ContainsFunc(v.pieces, func(e extent) bool { return e.kind == nowhere })
}

// readAhead tells the log which frames are read now, and that those behind them probably are next.
func (t *Tree) readAhead(v *view) {
	if len(v.frames) == 0 {
		return
	}
	first, last := v.frames[0], v.frames[len(v.frames)-1]
	n := int64(len(v.frames)) * unit
	if run := int64(last.Offset) - int64(first.Offset); first.Segment == last.Segment && run > 0 && run < 2*n {
		t.log.ReadAhead(first, 2*n)
	}
}

// fillPart is fill by one processor.
func (t *Tree) fillPart(ctx context.Context, v *view, buf []byte, off uint64) error {
	end := off + uint64(len(buf))
	for _, e := range v.pieces {
		if e.end() <= off || e.off >= end {
			continue
		}
		e = e.clip(off, end)
		dst := buf[e.off-off : e.end()-off]
		var err error
		switch e.kind {
		case held:
			copy(dst, e.data)
		case hole:
			clear(dst)
		case logged:
			var n int
			n, err = t.log.ReadData(e.pos, dst, e.skip)
			if err == nil && n < len(dst) {
				err = io.ErrUnexpectedEOF
			}
		default:
			err = t.readBase(ctx, v.base, dst, e.off)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readBase reads content of the store; after its end are zeros.
func (t *Tree) readBase(ctx context.Context, c object.Content, dst []byte, off uint64) error {
	have := dst[:0]
	if c.Known && off < uint64(c.Size) {
		have = dst[:min(uint64(len(dst)), uint64(c.Size)-off)]
	}
	clear(dst[len(have):])
	if len(have) == 0 {
		return nil
	}
	if int64(len(c.Data)) == c.Size {
		copy(have, c.Data[off:])
		return nil
	}
	r, err := t.bases.open(ctx, c)
	if err != nil {
		return fmt.Errorf("content in the store: %w", err)
	}
	n, err := r.ReadAtContext(ctx, have, int64(off))
	t.bases.done(r)
	if n == len(have) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("content in the store: %w", err)
}

// Read fills buf from off; fewer bytes than len(buf) only at the end of the file. Content that is elsewhere is fetched,
// for which no lock is held.
func (t *Tree) Read(ctx context.Context, ino Ino, buf []byte, off uint64) (int, error) {
	t.mu.Lock()
	n, err := t.getFile(ino)
	if err != nil || off >= n.size {
		t.mu.Unlock()
		return 0, err
	}
	end := min(n.size, off+uint64(len(buf)))
	v := t.view(n, off, end)
	t.trim()
	t.mu.Unlock()
	defer t.releaseView(v)
	if err := t.fill(ctx, v, buf[:end-off], off); err != nil {
		return 0, fmt.Errorf("read inode %d at %d: %w", ino, off, err)
	}
	return int(end - off), nil
}

// The values of whence in Seek, those of Linux.
const (
	seekData = 3
	seekHole = 4
)

// Seek is lseek(2) with SEEK_DATA or SEEK_HOLE. Content that is elsewhere is data.
func (t *Tree) Seek(ctx context.Context, ino Ino, off uint64, whence uint32) (uint64, error) {
	if whence != seekData && whence != seekHole {
		return 0, syscall.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.getFile(ino)
	if err != nil {
		return 0, err
	}
	if off >= n.size {
		return 0, syscall.ENXIO
	}
	base := uint64(0)
	if n.base.Known {
		base = uint64(n.base.Size)
	}
	found := n.size
	ok := whence == seekHole
	n.ext.pieces(off, n.size, func(e extent) bool {
		isData := e.kind == logged || e.kind == held || e.kind == nowhere && e.off < base
		switch {
		case isData == (whence == seekData):
			found, ok = e.off, true
			return false
		case whence == seekHole && e.kind == nowhere && e.end() > base:
			found = base
			return false
		}
		return true
	})
	if !ok {
		return 0, syscall.ENXIO
	}
	return found, nil
}
