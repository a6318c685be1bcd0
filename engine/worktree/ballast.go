package worktree

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ballast is a file that takes room on the disk until the catalogue needs it. When others have filled the disk, deleting a
// file must still lead to a checkpoint, for only that gives the room back that the log holds for it. Only who makes a
// checkpoint uses it.
type ballast struct {
	path  string
	there bool
}

const (
	ballastName = "ballast"
	ballastSize = 8 << 20 // more than what one checkpoint writes, twice: it goes through SQLite's own log
)

// weigh makes the file if it is missing and there is room.
func (t *Tree) weigh() {
	b := &t.ballast
	if b.there {
		return
	}
	if info, err := os.Stat(b.path); err == nil && info.Size() == ballastSize {
		b.there = true
		return
	}
	if _, free, err := t.opt.Space(); err != nil || free < 2*ballastSize {
		return
	}
	if b.there = writeZeros(b.path) == nil; !b.there {
		os.Remove(b.path) // tried again after the next checkpoint
	}
}

func writeZeros(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for n := 0; n < ballastSize && err == nil; n += len(zeros) {
		_, err = f.Write(zeros)
	}
	if err == nil {
		err = f.Sync() // until then, nobody knows whether there is room for it
	}
	return errors.Join(err, f.Close())
}

// release removes the file and reports whether that freed anything.
func (b *ballast) release() bool {
	was := b.there
	b.there = false
	return os.Remove(b.path) == nil || was
}

func newBallast(stateDir string) ballast { return ballast{path: filepath.Join(stateDir, ballastName)} }

// isFull reports whether the disk is full, in the words of the system or of SQLite, which takes some of these for failures of
// the disk.
func isFull(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		code := e.Code() & 0xff
		return code == sqlite3.SQLITE_FULL || code == sqlite3.SQLITE_IOERR
	}
	return isNoSpace(err) || errors.Is(err, syscall.EDQUOT)
}
