package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type sum [sha256.Size]byte

func sumOf(b []byte) sum { return sha256.Sum256(b) }

func head(b []byte) string { return fmt.Sprintf("%q", b[:min(len(b), len("beside-00000000."))]) }

// A desk is one machine's tree with those who edit it. They take turns, so each knows what it takes away; the sync takes
// none.
type desk struct {
	tree   string
	ledger *ledger
	mount  bool
	pace   time.Duration // the longest rest between two edits of one editor

	mu   sync.Mutex
	held []*holder // by all editors
	own  int       // names that only editors of this desk use
}

// An editor is a program that edits. What it takes away it first takes to a name of its own, in one step, so that it
// knows what it was even if a sync put something else there the moment before.
type editor struct {
	*desk
	rng *rand.Rand
}

// A holder keeps a file open and writes to it now and then.
type holder struct {
	file *os.File
	ino  uint64
	dead bool // a user deleted the file
}

func (e *editor) work(ctx context.Context, until time.Time) error {
	for time.Now().Before(until) && ctx.Err() == nil {
		if err := e.turn(); err != nil {
			return err
		}
		time.Sleep(time.Duration(e.rng.Int64N(int64(e.pace))))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.held) > 0 {
		if err := e.letGo(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (e *editor) turn() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.act(e.somewhere())
	for _, fine := range []error{fs.ErrNotExist, fs.ErrExist, errNotDir, errIsDir, errNotEmpty, errInvalid, syscall.ELOOP, syscall.EBUSY} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	return err
}

// somewhere returns one of few paths: what one machine edits is mostly what comes from the other just then.
func (e *editor) somewhere() string {
	path := e.tree
	for range []int{1, 1, 1, 2, 2, 2, 3}[e.rng.IntN(7)] {
		path = filepath.Join(path, names[e.rng.IntN(6)])
	}
	return path
}

// ownPrefix begins the names that only editors use; long enough that no ciphertext happens to hold it.
const ownPrefix = "an editor's own~"

// ours returns a name beside path that only this editor uses.
func (e *editor) ours(path string) string {
	e.own++
	return filepath.Join(filepath.Dir(path), fmt.Sprintf("%s%s%d", ownPrefix, filepath.Base(filepath.Dir(e.tree)), e.own))
}

func (e *editor) act(path string) error {
	switch e.rng.IntN(22) {
	case 0, 1, 2:
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return e.create(path)
	case 3, 4, 5, 6:
		return e.overwrite(path)
	case 7, 8:
		return e.save(path)
	case 9:
		return e.remove(path)
	case 10:
		if err := e.remove(path); err != nil { // its inode is free for the next
			return err
		}
		return e.create(path)
	case 11:
		return e.removeAll(path)
	case 12, 13:
		return moveTo(path, e.somewhere())
	case 14:
		return exchange(path, e.somewhere())
	case 15:
		return chmod(path, []fs.FileMode{0o600, 0o644, 0o755, 0o700}[e.rng.IntN(4)])
	case 16:
		return e.flip(path)
	case 17:
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
			return err
		}
		return os.Link(path, e.somewhere())
	case 18, 19:
		return e.hold(path)
	}
	return e.writeHeld()
}

func (e *editor) size() int {
	switch e.rng.IntN(10) {
	case 0:
		return e.rng.IntN(4 << 20)
	case 1, 2:
		return e.rng.IntN(100 << 10)
	}
	return e.rng.IntN(3000)
}

// create makes a file where nothing is.
func (e *editor) create(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	b := e.ledger.fresh(e.rng, e.size())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		e.ledger.wrote(b, "created at "+path)
	}
	return err
}

// open opens a regular file that is there for reading and writing.
func open(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errIsDir
	}
	return os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
}

func (e *editor) overwrite(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return errors.Join(e.rewrite(f), f.Close())
}

// rewrite changes the bytes of an open file in one of the ways that there are, having read them.
func (e *editor) rewrite(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	old, err := io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
	if err != nil {
		return err
	}
	how := e.rng.IntN(6)
	b := e.ledger.fresh(e.rng, len(old))
	e.ledger.tookAway(old)
	switch {
	case len(old) > len(b) || how == 0: // another size
		b = e.ledger.fresh(e.rng, e.size())
		err = errors.Join(f.Truncate(0), writePieces(f, b))
	case how == 1 && len(old) == len(b):
		err = writeMapped(f, b)
	case how == 2:
		b = append(old, b[:min(len(b), 500)]...)
		_, err = f.WriteAt(b[len(old):], int64(len(old)))
	default:
		err = errors.Join(writePieces(f, b), f.Truncate(int64(len(b))))
	}
	if err == nil && e.rng.IntN(2) == 0 { // as if nothing had happened
		times := []unix.Timeval{unix.NsecToTimeval(info.ModTime().UnixNano()), unix.NsecToTimeval(info.ModTime().UnixNano())}
		err = unix.Futimes(int(f.Fd()), times)
	}
	if err == nil {
		e.ledger.wrote(b, fmt.Sprintf("rewritten (%d) as %s, %d bytes", how, f.Name(), len(b)))
	}
	return err
}

func writePieces(f *os.File, b []byte) error {
	for done := 0; done < len(b); {
		n := min(len(b)-done, 1+len(b)/3)
		if _, err := f.WriteAt(b[done:done+n], int64(done)); err != nil {
			return err
		}
		done += n
	}
	return nil
}

func writeMapped(f *os.File, b []byte) error {
	m, err := unix.Mmap(int(f.Fd()), 0, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, b)
	return unix.Munmap(m)
}

// save writes beside and then changes places, as editors do.
func (e *editor) save(path string) error {
	beside := e.ours(path)
	if err := e.create(beside); err != nil {
		return err
	}
	if e.rng.IntN(2) == 0 {
		time.Sleep(time.Duration(e.rng.IntN(1000)) * time.Microsecond)
	}
	err := exchange(beside, path)
	if errors.Is(err, fs.ErrNotExist) {
		return moveTo(beside, path)
	}
	if err != nil {
		return err
	}
	return e.drop(beside)
}

func (e *editor) remove(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.Remove(path)
	}
	aside := e.ours(path)
	if err := moveTo(path, aside); err != nil {
		return err
	}
	return e.drop(aside)
}

// drop deletes what lies under a name of ours, having looked at it. A directory, which came there as a file was expected,
// stays.
func (e *editor) drop(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.IsDir() {
		return err
	}
	if info.Mode().IsRegular() {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		e.ledger.tookAway(b)
		if st := info.Sys().(*syscall.Stat_t); st.Nlink == 1 {
			for _, h := range e.held {
				h.dead = h.dead || h.ino == st.Ino
			}
		}
	}
	return os.Remove(path)
}

// removeAll empties and removes a directory, from the bottom up.
func (e *editor) removeAll(path string) error {
	list, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, x := range list {
		below := filepath.Join(path, x.Name())
		if x.IsDir() {
			err = e.removeAll(below)
		} else if !strings.HasPrefix(x.Name(), ownPrefix) && !strings.HasPrefix(x.Name(), ".ensync") {
			err = e.remove(below)
		}
		if err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// flip makes something else of what is at path.
func (e *editor) flip(path string) error {
	if err := e.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if e.rng.IntN(2) == 0 {
		return os.Symlink(fmt.Sprintf("target-%d", e.rng.IntN(5)), path)
	}
	return os.MkdirAll(filepath.Join(path, names[e.rng.IntN(len(names))]), 0o755)
}

// hold opens a file for long.
func (e *editor) hold(path string) error {
	if len(e.held) >= 6 {
		return e.letGo()
	}
	f, err := open(path)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	e.held = append(e.held, &holder{file: f, ino: st.Sys().(*syscall.Stat_t).Ino})
	return nil
}

// writeHeld writes to a file that was opened before; whatever the sync has put at its name since, this is not lost.
func (e *editor) writeHeld() error {
	if len(e.held) == 0 {
		return nil
	}
	h := e.held[e.rng.IntN(len(e.held))]
	if h.dead {
		return nil
	}
	if err := e.intact(h); err != nil {
		return err
	}
	return e.rewrite(h.file)
}

// intact returns an error if something else than a user deleted a file that is open for writing.
func (e *editor) intact(h *holder) error {
	info, err := h.file.Stat()
	if err != nil {
		return err
	}
	if st := info.Sys().(*syscall.Stat_t); st.Nlink == 0 && !h.dead && !e.mount {
		return fmt.Errorf("%s was open for writing, and the sync deleted it", h.file.Name())
	}
	return nil
}

func (e *editor) letGo() error {
	h := e.held[0]
	e.held = e.held[1:]
	return errors.Join(e.intact(h), h.file.Close())
}
