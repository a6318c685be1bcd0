package localdir

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// cache remembers directories across runs, in an SQLite file. Losing it costs hashing and nothing else, so no
// method fails: what goes wrong is reported, a damaged file is made anew, and without a file nothing is remembered.
//
// It is synchronous = NORMAL: a power cut may undo the last transactions, and never damages it.
type cache struct {
	path   string
	report func(string)
	mu     sync.Mutex
	db     *sql.DB // nil: none
}

// movedMin is the size in bytes from which a file that was moved to another directory is found by its inode. Reading a
// smaller one costs less than keeping a row for it.
const movedMin = 64 << 10

const schema = `
CREATE TABLE IF NOT EXISTS directory (
	id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, fs INTEGER NOT NULL, ino INTEGER NOT NULL, rows BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS directory_inode ON directory (fs, ino);
CREATE TABLE IF NOT EXISTS big (ino INTEGER NOT NULL, directory INTEGER NOT NULL, PRIMARY KEY (ino, directory)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS big_directory ON big (directory);
CREATE TABLE IF NOT EXISTS traits (fs TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;`

func openCache(path string, report func(string)) *cache {
	c := &cache{path: path, report: report}
	if path == "" {
		return c
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed(c.openDB())
	return c
}

func (c *cache) openDB() error {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: c.path, RawQuery: "_pragma=busy_timeout(0)&_pragma=locking_mode(exclusive)" +
		"&_pragma=journal_mode(wal)&_pragma=synchronous(normal)"}
	if f, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil { // it holds names: for its owner only
		return err
	} else if err := f.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	var version int
	err = db.QueryRow("PRAGMA user_version").Scan(&version)
	if err == nil && version > 1 {
		err = fmt.Errorf("version %d is of a later program", version)
	}
	if err == nil {
		_, err = db.Exec(schema)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	c.db = db
	return nil
}

// failed deals with an error: nil does nothing, a damaged file is made anew, after any other it goes on without a cache.
// A file that another process has locked is in use, and never touched.
func (c *cache) failed(err error) {
	if err == nil {
		return
	}
	if c.db != nil {
		err = errors.Join(err, c.db.Close())
		c.db = nil
	}
	if damaged(err) {
		c.report(fmt.Sprintf("hash cache %q: %v; it is made anew, and files are read again", c.path, err))
		if err = errors.Join(c.removeFiles(), c.openDB()); err == nil {
			return
		}
	}
	c.report(fmt.Sprintf("hash cache %q: %v; going on without it, files are read again", c.path, err))
}

// damaged reports whether an error says that the file's bytes are bad, rather than busy or out of reach.
func damaged(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		code := e.Code() & 0xff
		return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB || code == sqlite3.SQLITE_ERROR ||
			code == sqlite3.SQLITE_SCHEMA || code == sqlite3.SQLITE_MISMATCH
	}
	return errors.Is(err, errState)
}

func (c *cache) removeFiles() error {
	var failed error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(c.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// load returns what was remembered of a directory: by its path, else by its inode, since it may have been moved. nil if
// nothing was.
func (c *cache) load(dir string, fs, ino uint64) *state {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return nil
	}
	st, err := c.query("SELECT path, rows FROM directory WHERE path = ? AND fs = ? AND ino = ?", []byte(dir), int64(fs), int64(ino))
	if err == nil && st == nil {
		st, err = c.query("SELECT path, rows FROM directory WHERE fs = ? AND ino = ? LIMIT 1", int64(fs), int64(ino))
	}
	c.failed(err)
	if err != nil || st == nil || st.fs != fs || st.self.ino != ino {
		return nil
	}
	return st
}

func (c *cache) query(query string, args ...any) (*state, error) {
	var path, blob []byte
	err := c.db.QueryRow(query, args...).Scan(&path, &blob)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeState(string(path), blob)
}

// findBig returns the directories that had a big file with this inode, as remembered. There may be several.
func (c *cache) findBig(fs, ino uint64) []*state {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return nil
	}
	rows, err := c.db.Query(`SELECT path, rows FROM big JOIN directory ON directory.id = big.directory
		WHERE big.ino = ? AND fs = ? LIMIT 8`, int64(ino), int64(fs))
	if err != nil {
		c.failed(err)
		return nil
	}
	defer rows.Close()
	var found []*state
	for rows.Next() && err == nil {
		var path, blob []byte
		var st *state
		if err = rows.Scan(&path, &blob); err == nil {
			if st, err = decodeState(string(path), blob); err == nil {
				found = append(found, st)
			}
		}
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		rows.Close()
		c.failed(err)
	}
	return found
}

// save stores encoded directories in one transaction. It reports whether they need not be offered again.
func (c *cache) save(blobs map[string][]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil || len(blobs) == 0 {
		return true
	}
	err := c.transaction(func(tx *sql.Tx) error {
		for dir, blob := range blobs {
			if err := saveDirectory(tx, dir, blob); err != nil {
				return err
			}
		}
		return nil
	})
	c.failed(err)
	return true
}

func (c *cache) transaction(f func(*sql.Tx) error) error {
	tx, err := c.db.Begin()
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func saveDirectory(tx *sql.Tx, dir string, blob []byte) error {
	st, err := decodeState(dir, blob)
	if err != nil {
		return err
	}
	var id int64
	if err := tx.QueryRow(`INSERT INTO directory (path, fs, ino, rows) VALUES (?, ?, ?, ?)
		ON CONFLICT (path) DO UPDATE SET fs = excluded.fs, ino = excluded.ino, rows = excluded.rows RETURNING id`,
		[]byte(dir), int64(st.fs), int64(st.self.ino), blob).Scan(&id); err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM big WHERE directory = ?", id); err != nil {
		return err
	}
	for _, r := range st.rows {
		if r.st.size < movedMin {
			continue
		}
		if _, err := tx.Exec("INSERT OR IGNORE INTO big VALUES (?, ?)", int64(r.st.ino), id); err != nil {
			return err
		}
	}
	return nil
}

// forget drops paths and everything below them.
func (c *cache) forget(paths []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return
	}
	c.failed(c.transaction(func(tx *sql.Tx) error {
		for _, path := range paths {
			below, after := []byte(path+"/"), []byte(path+"0") // '0' follows '/'
			for _, query := range []string{
				"DELETE FROM big WHERE directory IN (SELECT id FROM directory WHERE path = ? OR path >= ? AND path < ?)",
				"DELETE FROM directory WHERE path = ? OR path >= ? AND path < ?"} {
				if _, err := tx.Exec(query, []byte(path), below, after); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

func (c *cache) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return nil
	}
	db := c.db
	c.db = nil
	return db.Close()
}
