package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"ensync/store/block"
	"ensync/store/object"
	"ensync/store/pack"
)

// schema: an object row says that an index object was read. Its packs go with it when it is gone from the store.
const schema = `
CREATE TABLE IF NOT EXISTS objects (name TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packs (
	n INTEGER PRIMARY KEY, name BLOB NOT NULL, object TEXT NOT NULL, author TEXT NOT NULL, size INTEGER NOT NULL,
	UNIQUE (name, object));
CREATE INDEX IF NOT EXISTS packs_object ON packs (object);
CREATE TABLE IF NOT EXISTS blocks (
	id BLOB NOT NULL, pack INTEGER NOT NULL, kind INTEGER NOT NULL, depth INTEGER NOT NULL,
	offset INTEGER NOT NULL, length INTEGER NOT NULL,
	PRIMARY KEY (id, pack)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks_pack ON blocks (pack);
PRAGMA user_version = 2;`

const schemaVersion = 2

// Location is one place where a block lies.
type Location struct {
	Pack   pack.Name
	Size   int64 // of the whole pack, in bytes
	Entry  pack.Entry
	Author string // the group that signed the index object which says so
}

// DB is the local database. It may be used concurrently, also by other processes on the same file. All it holds can be
// had from the store again: if the file can't be used any more, because somebody cleaned the cache or its disk is full, an
// empty database takes its place, which Generation tells.
type DB struct {
	path string // none: in memory

	mu         sync.Mutex // guards what follows
	file       *file
	generation uint64
	old        []*file // replaced; others may still be reading
}

// file is an open database.
type file struct {
	sql    *sql.DB
	at     os.FileInfo // what was opened, none if in memory
	lookup *sql.Stmt
	some   atomic.Bool // some block is known: until then lookups need not ask
}

// gone reports whether the file is no longer what its path names. New connections would then see another one.
func (f *file) gone(path string) bool {
	if f.at == nil {
		return false
	}
	now, err := os.Stat(path)
	return err != nil || !os.SameFile(f.at, now)
}

// Open opens or makes the database of a store in dir; an empty dir means in memory. A database that can't be used is
// removed and made anew.
func Open(ctx context.Context, dir string, store [16]byte) (*DB, error) {
	db := &DB{}
	if dir != "" {
		db.path = filepath.Join(dir, fmt.Sprintf("index-%x.db", store))
	}
	var err error
	if db.file, err = openAnew(ctx, db.path); err != nil && ctx.Err() == nil {
		db.file, err = openAnew(ctx, "") // a cache fails nobody
	}
	return db, db.wrap(err)
}

func openAnew(ctx context.Context, path string) (*file, error) {
	if path == "" {
		return open(ctx, "")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := open(ctx, path)
	if err == nil || ctx.Err() != nil {
		return f, err
	}
	// RACE: another process may have the damaged file open; it goes on with its own copy, which costs both a rebuild.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return open(ctx, path)
}

func open(ctx context.Context, path string) (*file, error) {
	dsn := ":memory:"
	if path != "" {
		u := url.URL{Scheme: "file", Path: path}
		dsn = u.String() + "?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate"
	}
	conn, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	if path == "" {
		conn.SetMaxOpenConns(1)
	} else {
		conn.SetMaxOpenConns(4)
	}
	f := &file{sql: conn}
	err = f.prepare(ctx)
	if err == nil && path != "" {
		f.at, err = os.Stat(path)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return f, nil
}

func (f *file) prepare(ctx context.Context) error {
	var version int
	if err := f.sql.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version != 0 && version != schemaVersion {
		return fmt.Errorf("made by another version of ensync (%d)", version)
	}
	if _, err := f.sql.ExecContext(ctx, schema); err != nil {
		return err
	}
	if err := f.count(ctx); err != nil {
		return err
	}
	var err error
	f.lookup, err = f.sql.PrepareContext(ctx, `SELECT p.name, p.size, p.author, b.kind, b.depth, b.offset, b.length
		FROM blocks b JOIN packs p ON p.n = b.pack WHERE b.id = ?`)
	return err
}

func (f *file) count(ctx context.Context) error {
	var some bool
	err := f.sql.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM blocks)`).Scan(&some)
	if some {
		f.some.Store(true)
	}
	return err
}

func (f *file) close() error { return errors.Join(f.lookup.Close(), f.sql.Close()) }

// Close gives back what the database holds.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, f := range db.old {
		f.close() // its file is lost anyway
	}
	return db.file.close()
}

// Generation changes when an empty database took the place of one that could not be used.
func (db *DB) Generation() uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.generation
}

// do lets fn work on the database: a second time on one made anew, and then on one in memory, if it fails.
func (db *DB) do(ctx context.Context, fn func(*file) error) error {
	db.mu.Lock()
	f := db.file
	db.mu.Unlock()
	err := fn(f)
	for _, path := range []string{db.path, ""} {
		if err == nil || ctx.Err() != nil || db.path == "" {
			break
		}
		if next := db.replace(ctx, f, path); next != nil {
			f = next
			err = fn(f)
		}
	}
	return db.wrap(err)
}

// replace puts a new file in the place of one that failed, unless somebody did already; nil if there is none to be had.
func (db *DB) replace(ctx context.Context, failed *file, path string) *file {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.file != failed {
		return db.file
	}
	f, err := openAnew(ctx, path)
	if err != nil {
		return nil
	}
	db.old = append(db.old, db.file)
	db.file = f
	db.generation++
	return f
}

func (db *DB) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("index database %s: %w; it can be deleted and is then built anew", db.path, err)
}

var errGone = errors.New("the file was removed or replaced")

// Add stores the record of an index object of size bytes, all or nothing. One that is there already changes nothing.
func (db *DB) Add(ctx context.Context, name string, size int64, rec Record) error {
	return db.do(ctx, func(f *file) error {
		err := f.update(ctx, func(tx *sql.Tx) error { return add(ctx, tx, name, size, rec) })
		if err == nil {
			f.some.Store(true)
		}
		return err
	})
}

func add(ctx context.Context, tx *sql.Tx, name string, size int64, rec Record) error {
	res, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO objects VALUES (?, ?)`, name, size)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	insert, err := tx.PrepareContext(ctx, `INSERT OR IGNORE INTO blocks VALUES (?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, p := range rec.Packs {
		res, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO packs (name, object, author, size) VALUES (?, ?, ?, ?)`,
			p.Name[:], name, rec.Author, p.Size)
		if err != nil {
			return err
		}
		if fresh, err := res.RowsAffected(); err != nil || fresh == 0 {
			return err // Parse lets no record tell of a pack twice
		}
		n, err := res.LastInsertId()
		if err != nil {
			return err
		}
		for _, e := range p.Table {
			if _, err := insert.ExecContext(ctx, e.ID[:], n, e.Type.Kind, e.Type.Depth, e.Offset, e.Length); err != nil {
				return err
			}
		}
	}
	return nil
}

// Forget drops what an index object said, because it is gone from the store.
func (db *DB) Forget(ctx context.Context, name string) error {
	return db.update(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{
			`DELETE FROM blocks WHERE pack IN (SELECT n FROM packs WHERE object = ?)`,
			`DELETE FROM packs WHERE object = ?`,
			`DELETE FROM objects WHERE name = ?`,
		} {
			if _, err := tx.ExecContext(ctx, q, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (db *DB) update(ctx context.Context, fn func(*sql.Tx) error) error {
	return db.do(ctx, func(f *file) error { return f.update(ctx, fn) })
}

func (f *file) update(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := f.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Lookup returns where a block lies, nothing if that is not known.
func (db *DB) Lookup(ctx context.Context, id object.ID) (found []Location, err error) {
	err = db.do(ctx, func(f *file) error {
		found, err = f.find(ctx, id)
		return err
	})
	return found, err
}

func (f *file) find(ctx context.Context, id object.ID) ([]Location, error) {
	if !f.some.Load() {
		return nil, nil
	}
	rows, err := f.lookup.QueryContext(ctx, id[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []Location
	for rows.Next() {
		l := Location{Entry: pack.Entry{ID: id}}
		var name []byte
		var kind block.Kind
		if err := rows.Scan(&name, &l.Size, &l.Author, &kind, &l.Entry.Type.Depth, &l.Entry.Offset, &l.Entry.Length); err != nil {
			return nil, err
		}
		l.Entry.Type.Kind = kind
		copy(l.Pack[:], name)
		found = append(found, l)
	}
	return found, rows.Err()
}

// Packs calls fn for every pack known, with its table.
func (db *DB) Packs(ctx context.Context, fn func(Pack) error) error {
	var all []packRow
	var err error
	if err := db.do(ctx, func(f *file) error {
		all, err = f.packs(ctx, `SELECT n, name, size FROM packs ORDER BY name`)
		return err
	}); err != nil {
		return err
	}
	for _, r := range all {
		if err := db.do(ctx, func(f *file) error {
			r.pack.Table, err = f.table(ctx, r.n)
			return err
		}); err != nil {
			return err
		}
		if err := fn(r.pack); err != nil {
			return err
		}
	}
	return nil
}

// PackNames returns the names of all packs known, in order.
func (db *DB) PackNames(ctx context.Context) (all []pack.Name, err error) {
	err = db.do(ctx, func(f *file) error {
		all = nil
		rows, err := f.sql.QueryContext(ctx, `SELECT DISTINCT name FROM packs ORDER BY name`)
		if err != nil {
			return err
		}
		return each(rows, func() error {
			var name []byte
			err := rows.Scan(&name)
			all = append(all, pack.Name{})
			copy(all[len(all)-1][:], name)
			return err
		})
	})
	return all, err
}

// Bytes returns what all blocks known take in their packs.
func (db *DB) Bytes(ctx context.Context) (n int64, err error) {
	err = db.do(ctx, func(f *file) error {
		return f.sql.QueryRowContext(ctx, `SELECT COALESCE(SUM(length), 0) FROM
			(SELECT DISTINCT p.name, b.id, b.length FROM blocks b JOIN packs p ON p.n = b.pack)`).Scan(&n)
	})
	return n, err
}

type packRow struct {
	n    int64
	pack Pack
}

func (f *file) packs(ctx context.Context, query string, args ...any) ([]packRow, error) {
	rows, err := f.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []packRow
	for rows.Next() {
		var r packRow
		var name []byte
		if err := rows.Scan(&r.n, &name, &r.pack.Size); err != nil {
			return nil, err
		}
		copy(r.pack.Name[:], name)
		all = append(all, r)
	}
	return all, rows.Err()
}

func (f *file) table(ctx context.Context, n int64) ([]pack.Entry, error) {
	rows, err := f.sql.QueryContext(ctx, `SELECT id, kind, depth, offset, length FROM blocks WHERE pack = ? ORDER BY offset`, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var table []pack.Entry
	for rows.Next() {
		var e pack.Entry
		var id []byte
		var kind block.Kind
		if err := rows.Scan(&id, &kind, &e.Type.Depth, &e.Offset, &e.Length); err != nil {
			return nil, err
		}
		e.Type.Kind = kind
		copy(e.ID[:], id)
		table = append(table, e)
	}
	return table, rows.Err()
}
