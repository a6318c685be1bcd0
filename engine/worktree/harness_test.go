package worktree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ensync/engine/worktree/journal"
	"ensync/store/object"
)

// memoryBlocks is a store's content in memory.
type memoryBlocks struct {
	mu    sync.Mutex
	data  map[object.Key][]byte
	block chan struct{} // if set, reading waits for it to be closed
	opens int
	local map[object.Key]int64
}

func hashBytes(p []byte) object.Content {
	c := object.Content{Known: true, Size: int64(len(p)), Key: object.Key(sha256.Sum256(p))}
	if len(p) <= object.InlineMax {
		c.Data = bytes.Clone(p)
		if c.Data == nil {
			c.Data = []byte{}
		}
	}
	return c
}

// put makes content fetchable.
func (m *memoryBlocks) put(p []byte) object.Content {
	c := hashBytes(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		m.data = map[object.Key][]byte{}
	}
	m.data[c.Key] = bytes.Clone(p)
	return c
}

func (m *memoryBlocks) has(c object.Content) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.data[c.Key]
	return ok && c.Known
}

type memoryContent struct {
	*bytes.Reader
	block <-chan struct{}
}

func (c memoryContent) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if c.block != nil {
		select {
		case <-c.block:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return c.Reader.ReadAt(p, off)
}

func (memoryContent) Close() error { return nil }

func (m *memoryBlocks) Open(ctx context.Context, c object.Content) (Content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opens++
	p, ok := m.data[c.Key]
	if !ok {
		return nil, errors.New("no such content")
	}
	return memoryContent{bytes.NewReader(p), m.block}, nil
}

// Local says what a test has set.
func (m *memoryBlocks) Local(_ context.Context, c object.Content) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.local[c.Key], nil
}

func (m *memoryBlocks) Hash(ctx context.Context, r io.Reader) (object.Content, error) {
	p, err := io.ReadAll(r)
	if err != nil {
		return object.Content{}, err
	}
	return hashBytes(p), nil
}

// bench is a tree under test with short verbs that fail the test. Paths are as in package replica.
type bench struct {
	testing.TB
	*Tree
	dir    string
	opt    Options
	blocks *memoryBlocks
	key    [32]byte
}

// testOptions are small, so that everything that happens with size happens in tests.
func testOptions() Options {
	return Options{NoTimer: true, Journal: journal.Options{SegmentSize: 1 << 20}, Inodes: 64, Reserve: 1, Delay: 20 * time.Millisecond}
}

func newBench(t testing.TB, opt Options) *bench {
	b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "state"), opt: opt, blocks: &memoryBlocks{}, key: [32]byte{1, 2, 3}}
	b.open()
	t.Cleanup(func() {
		if b.Tree != nil {
			b.verify()
			b.close()
		}
	})
	return b
}

func (b *bench) open() {
	b.Helper()
	t, err := Open(context.Background(), b.dir, b.key, b.blocks, b.opt)
	b.ok(err)
	b.Tree = t
}

func (b *bench) close() {
	b.Helper()
	b.ok(b.Tree.Close(context.Background()))
	b.Tree = nil
}

func (b *bench) verify() {
	b.Helper()
	b.ok(b.Check(context.Background()))
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// Sync makes everything durable.
func (b *bench) Sync(ctx context.Context) error { return b.SyncAll(ctx) }

// crash leaves the directory as a power cut now would at the kindest: what the process has handed to the kernel is
// there. It opens the copy.
func (b *bench) crash() {
	b.Helper()
	old := b.Tree
	b.copyState()
	old.Close(context.Background())
	b.open()
}

// copyState moves the bench to a copy of the state directory.
func (b *bench) copyState() {
	b.Helper()
	to := filepath.Join(b.TempDir(), "copy")
	b.ok(os.CopyFS(to, os.DirFS(b.dir)))
	b.dir = to
}

var ctx = context.Background()

// at returns the inode of a path, without reference.
func (b *bench) at(p string) (Ino, error) {
	ino := RootIno
	for _, name := range strings.Split(p, "/") {
		if name == "" {
			continue
		}
		a, err := b.Lookup(ctx, ino, name)
		if err != nil {
			return 0, err
		}
		b.Forget(a.Ino, 1)
		ino = a.Ino
	}
	return ino, nil
}

func (b *bench) parent(p string) (Ino, string) {
	b.Helper()
	dir, name := path.Split(p)
	ino, err := b.at(dir)
	b.ok(err)
	return ino, name
}

func (b *bench) must(p string) Ino {
	b.Helper()
	ino, err := b.at(p)
	b.ok(err)
	return ino
}

func (b *bench) mkdir(p string) Ino {
	b.Helper()
	return b.make(p, Make{Mode: typeDir | 0o755})
}

func (b *bench) make(p string, m Make) Ino {
	b.Helper()
	d, name := b.parent(p)
	a, err := b.Make(ctx, d, name, m)
	b.ok(err)
	b.Forget(a.Ino, 1)
	return a.Ino
}

// write makes the file hold data, truncating it first if it is there.
func (b *bench) write(p, data string) Ino {
	b.Helper()
	ino, err := b.at(p)
	if err == syscall.ENOENT {
		ino = b.make(p, Make{Mode: typeFile | 0o644})
	} else {
		b.ok(err)
		b.truncate(ino, 0)
	}
	b.writeAt(ino, data, 0)
	return ino
}

func (b *bench) truncate(ino Ino, size uint64) {
	b.Helper()
	_, err := b.SetAttr(ctx, ino, SetAttr{Size: &size})
	b.ok(err)
}

func (b *bench) writeAt(ino Ino, data string, off uint64) {
	b.Helper()
	n, err := b.Write(ctx, ino, []byte(data), off, false)
	b.ok(err)
	if n != len(data) {
		b.Fatalf("wrote %d of %d bytes", n, len(data))
	}
}

func (b *bench) readAll(ino Ino) string {
	b.Helper()
	a, err := b.GetAttr(ctx, ino)
	b.ok(err)
	buf := make([]byte, a.Size+10)
	n, err := b.Read(ctx, ino, buf, 0)
	b.ok(err)
	if uint64(n) != a.Size {
		b.Fatalf("read %d bytes of %d", n, a.Size)
	}
	return string(buf[:n])
}

func (b *bench) wantFile(p, data string) {
	b.Helper()
	if got := b.readAll(b.must(p)); got != data {
		b.Fatalf("%s holds %.60q (%d bytes), want %.60q (%d bytes)", p, got, len(got), data, len(data))
	}
}

func (b *bench) wantErr(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("got error %v, want %v", err, want)
	}
}

func (b *bench) names(p string) string {
	b.Helper()
	entries, err := b.ReadDir(ctx, b.must(p))
	b.ok(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return strings.Join(names, " ")
}

func (b *bench) remove(p string) error {
	d, name := b.parent(p)
	a, err := b.Lookup(ctx, d, name)
	if err != nil {
		return err
	}
	b.Forget(a.Ino, 1)
	if a.Mode&typeMask == typeDir {
		return b.Rmdir(ctx, d, name)
	}
	return b.Unlink(ctx, d, name)
}

func (b *bench) rename(from, to string, flags uint32) error {
	d1, n1 := b.parent(from)
	d2, n2 := b.parent(to)
	return b.Rename(ctx, d1, n1, d2, n2, flags)
}

// pattern returns n bytes that no other seed has anywhere.
func pattern(seed, n int) string {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return string(b)
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond)
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (b *bench) removeState(name string) {
	b.Helper()
	matches, err := filepath.Glob(filepath.Join(b.dir, name+"*"))
	b.ok(err)
	for _, m := range matches {
		b.ok(os.RemoveAll(m))
	}
}
