package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"ensync/store/block"
	"ensync/store/object"
)

// sink takes the blocks of a stream. put returns the key of a block when the sink has taken charge of it; it does
// not keep plain. It is called by several goroutines at once.
type sink interface {
	put(ctx context.Context, t block.Type, mac *block.MAC, plain []byte) (object.Key, error)
}

// hashOnly is a sink that stores nothing.
type hashOnly struct{}

func (hashOnly) put(_ context.Context, t block.Type, mac *block.MAC, plain []byte) (object.Key, error) {
	return mac.Sum(t, plain), nil
}

// maxPending is how many blocks of a stream may be under way while their places in the list wait for them.
const maxPending = 64

// buffers holds copies of blocks for the time that they are worked on.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// streamWriter makes a stream of blocks, and of those the lists above them. It belongs to one goroutine; the blocks are
// worked on by others, all of which have ended when finish or abandon returns.
type streamWriter struct {
	ctx        context.Context
	s          *Store
	to         sink
	mac        *block.MAC
	leaf, list block.Kind
	pending    []*future
	levels     []listLevel
}

// future is a block being worked on.
type future struct {
	done chan struct{}
	ref  object.Ref
	err  error
}

// listLevel is the unfinished list at one depth: levels[0] lists leaves.
type listLevel struct {
	refs   []object.Ref
	closed int // lists of this level that were put
}

func (s *Store) newStream(ctx context.Context, to sink, mac *block.MAC, leaf, list block.Kind) *streamWriter {
	return &streamWriter{ctx: ctx, s: s, to: to, mac: mac, leaf: leaf, list: list}
}

// add appends a block to the stream. It copies plain.
func (w *streamWriter) add(plain []byte) error {
	if len(w.pending) == maxPending {
		if err := w.settle(); err != nil {
			return err
		}
	}
	select {
	case w.s.work <- struct{}{}:
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
	buf := buffers.Get().(*[]byte)
	*buf = append((*buf)[:0], plain...)
	f := &future{done: make(chan struct{}), ref: object.Ref{Length: int64(len(plain))}}
	w.pending = append(w.pending, f)
	go func() {
		defer close(f.done)
		defer func() { <-w.s.work }()
		f.ref.Key, f.err = w.to.put(w.ctx, block.Type{Kind: w.leaf}, w.mac, *buf)
		buffers.Put(buf)
	}()
	return nil
}

// settle waits for the oldest pending block and puts it into its list.
func (w *streamWriter) settle() error {
	f := w.pending[0]
	w.pending = w.pending[1:]
	<-f.done
	if f.err != nil {
		return f.err
	}
	return w.enlist(0, f.ref)
}

// enlist appends to the list at a level, and closes it where it ends.
func (w *streamWriter) enlist(level int, r object.Ref) error {
	if level == len(w.levels) {
		if level == object.MaxDepth {
			return errors.New("file is too large for the store's block size")
		}
		w.levels = append(w.levels, listLevel{})
	}
	l := &w.levels[level]
	l.refs = append(l.refs, r)
	if object.ListEnds(len(l.refs), r) {
		return w.close(level)
	}
	return nil
}

// close puts the unfinished list of a level and enlists it one level up.
func (w *streamWriter) close(level int) error {
	l := &w.levels[level]
	var b []byte
	var r object.Ref
	for _, item := range l.refs {
		b = object.AppendRef(b, item)
		r.Length += item.Length
	}
	var err error
	if r.Key, err = w.to.put(w.ctx, block.Type{Kind: w.list, Depth: uint8(level + 1)}, w.mac, b); err != nil {
		return err
	}
	l.refs, l.closed = l.refs[:0], l.closed+1
	return w.enlist(level+1, r)
}

// finish returns what the stream is named by: its only block, or the one list above all. An empty stream is one
// empty block.
func (w *streamWriter) finish() (uint8, object.Key, error) {
	if len(w.pending) == 0 && len(w.levels) == 0 {
		if err := w.add(nil); err != nil {
			return 0, object.Key{}, err
		}
	}
	for len(w.pending) > 0 {
		if err := w.settle(); err != nil {
			return 0, object.Key{}, err
		}
	}
	for level := 0; ; level++ {
		l := &w.levels[level]
		if l.closed == 0 && len(l.refs) == 1 {
			return uint8(level), l.refs[0].Key, nil
		}
		if len(l.refs) > 0 {
			if err := w.close(level); err != nil {
				return 0, object.Key{}, err
			}
		}
	}
}

// abandon waits until no block of the stream is being worked on.
func (w *streamWriter) abandon() {
	for _, f := range w.pending {
		<-f.done
	}
}

// putContent reads r to its end and gives its blocks to a sink.
func (s *Store) putContent(ctx context.Context, to sink, r io.Reader) (object.Content, error) {
	small := make([]byte, object.InlineMax+1)
	n, err := readHead(r, small)
	if err == io.EOF {
		key := s.data.Sum(block.Type{Kind: block.Data}, small[:n])
		return object.Content{Known: true, Size: int64(n), Key: key, Data: bytes.Clone(small[:n])}, nil // not all of small
	}
	if err != nil {
		return object.Content{}, err
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	case <-ctx.Done():
		return object.Content{}, ctx.Err()
	}
	return s.putLong(ctx, to, &joined{head: small, tail: r})
}

// readHead fills p from r. io.EOF says that r ended before, and nothing else does: io.ReadFull would hand on an error of
// r that wraps io.ErrUnexpectedEOF, such as that of a cut-off object, and the part before it would pass for the whole.
func readHead(r io.Reader, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := r.Read(p[n:])
		n += m
		if err != nil && n < len(p) {
			return n, err
		}
	}
	return n, nil
}

var cutBuffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *Store) putLong(ctx context.Context, to sink, r io.Reader) (object.Content, error) {
	w := s.newStream(ctx, to, s.data, block.Data, block.DataList)
	defer w.abandon()
	buf := cutBuffers.Get().(*[]byte)
	cut := s.cutter.NewReader(r, *buf)
	defer func() { *buf = cut.Buffer(); cutBuffers.Put(buf) }()
	c := object.Content{Known: true}
	for {
		b, err := cut.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return object.Content{}, err
		}
		if c.Size += int64(len(b)); c.Size > object.MaxSize {
			return object.Content{}, fmt.Errorf("%d bytes and more: file is too large", c.Size)
		}
		if err := w.add(b); err != nil {
			return object.Content{}, err
		}
	}
	var err error
	c.Depth, c.Key, err = w.finish()
	return c, err
}

// joined is io.MultiReader of a few bytes and the rest, without hiding the kind of an error.
type joined struct {
	head []byte
	tail io.Reader
}

func (j *joined) Read(p []byte) (int, error) {
	if len(j.head) > 0 {
		n := copy(p, j.head)
		j.head = j.head[n:]
		return n, nil
	}
	return j.tail.Read(p)
}
