//go:build linux

package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	_ "modernc.org/sqlite" // registers the driver
)

// childFlag begins the arguments of our own program when it is a process of its own: what works with memory that is
// mapped from a file is killed when the file is gone.
const childFlag = "-child"

func child(args []string) {
	var err error
	switch args[0] {
	case "sqlite":
		err = insertForever(args[1], args[2])
	case "sqlite-check":
		err = checkDatabase(args[1])
	case "map":
		first, _ := strconv.Atoi(args[2])
		err = mapForever(args[1], first)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runChild runs a child until ctx ends or it does, and returns the last number that it printed.
func runChild(ctx context.Context, said func(int), args ...string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{childFlag}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			said(n)
		}
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%q: %w: %s", args, err, stderr.String())
	}
	return nil
}

// transactions is a database; each transaction inserts the next numbers.
type transactions struct {
	dir, mode string
	acked     atomic.Int64
	found     int64 // by the last check
}

func (t *transactions) path() string { return filepath.Join(t.dir, "database") }

func (t *transactions) begin() error { return os.Mkdir(t.dir, 0o700) }

func (t *transactions) work(ctx context.Context, _ *rand.Rand, promised func() bool) error {
	said := func(n int) {
		if promised() {
			t.acked.Store(int64(n))
		}
	}
	return runChild(ctx, said, "sqlite", t.path(), t.mode)
}

func (t *transactions) check(_ limits, afterCut bool) (time.Duration, error) {
	found, err := count(t.path())
	if acked := t.acked.Load(); err == nil && (found < acked || !afterCut && found != t.found) {
		err = fmt.Errorf("%s: %d numbers, %d had been committed, %d were there before", t.path(), found, acked, t.found)
	}
	t.acked.Store(found)
	t.found = found
	return 0, err
}

// count returns how many numbers a database has, if it is whole.
func count(path string) (found int64, err error) {
	err = runChild(context.Background(), func(n int) { found = int64(n) }, "sqlite-check", path)
	return found, err
}

// insertForever: EXTRA, because with FULL a journal that was deleted, and the commit with it, can come back on any file system.
func insertForever(path, mode string) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode("+mode+")&_pragma=synchronous(EXTRA)&_pragma=busy_timeout(5000)&_pragma=wal_autocheckpoint(20)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, pad BLOB)"); err != nil {
		return err
	}
	n := 0
	if err := db.QueryRow("SELECT coalesce(max(n), 0) FROM t").Scan(&n); err != nil {
		return err
	}
	for {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		for range 3 {
			n++
			if _, err := tx.Exec("INSERT INTO t VALUES(?, randomblob(300))", n); err != nil {
				return err
			}
		}
		if _, err := tx.Exec("UPDATE t SET pad = randomblob(200) WHERE n % 50 = ?", n%50); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// checkDatabase prints how many numbers there are, if there is no gap, and the database is whole.
func checkDatabase(path string) error {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		fmt.Println(0)
		return nil
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	whole, tables, n, last := "", 0, 0, 0
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&whole); err != nil {
		return err
	}
	if err := db.QueryRow("SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return err
	}
	if tables > 0 {
		if err := db.QueryRow("SELECT count(*), coalesce(max(n), 0) FROM t").Scan(&n, &last); err != nil {
			return err
		}
	}
	if whole != "ok" || n != last || n%3 != 0 {
		return fmt.Errorf("%s: integrity %q, %d numbers, the last is %d", path, whole, n, last)
	}
	fmt.Println(n)
	return nil
}

// mapper writes versions of a page through a memory mapping, and syncs it.
type mapper struct {
	dir    string
	synced int
	begun  int // the last that may be there
}

func (m *mapper) path() string { return filepath.Join(m.dir, "page") }

func (m *mapper) begin() error {
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return err
	}
	if err := writeSynced(m.path(), blockOf(0, 0)); err != nil {
		return err
	}
	return dirSync(m.dir)
}

func (m *mapper) work(ctx context.Context, _ *rand.Rand, promised func() bool) error {
	m.begun++
	said := func(n int) {
		m.begun = n + 1
		if promised() {
			m.synced = n
		}
	}
	return runChild(ctx, said, "map", m.path(), strconv.Itoa(m.begun))
}

func mapForever(path string, version int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for ; ; version++ {
		copy(page, blockOf(0, version))
		if err := unix.Msync(page, unix.MS_SYNC); err != nil {
			return err
		}
		fmt.Println(version)
	}
}

// check: a page is written as a whole, but who writes into it while it goes to the disk may have it half new.
func (m *mapper) check(_ limits, _ bool) (time.Duration, error) {
	b, err := readAll(m.path())
	if err != nil || len(b) != blockBytes {
		return 0, fmt.Errorf("%s: %d bytes, %v", m.path(), len(b), err)
	}
	oldest, newest := m.begun+1, 0
	for at := 8; at < blockBytes; at += 16 {
		v := int(binary.BigEndian.Uint64(b[at:]))
		oldest, newest = min(oldest, v), max(newest, v)
	}
	if oldest < m.synced || newest > m.begun {
		return 0, fmt.Errorf("%s: versions %d to %d, %d was synced, %d begun", m.path(), oldest, newest, m.synced, m.begun)
	}
	m.synced, m.begun = oldest, newest
	return 0, nil
}
