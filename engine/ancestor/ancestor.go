// Package ancestor remembers the last state that client and server agreed on: the third tree of the three-way
// reconciliation.
//
// One row of a SQLite database holds one directory: its agreed entries, and the mark of the server's tree at which
// the directory and everything below it was last found in sync. Beside it lie the entries that could not be brought
// in sync, with reasons, until they are.
//
// The database of a mounted tree is sealed: row keys are a PRF of the path, bodies are AES-256-GCM under a key of
// this replica. The database beside an ordinary directory is not: the plaintext is next door.
package ancestor

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the database driver

	"ensync/engine/replica"
	"ensync/store/object"
)

// Dir is what was agreed on for one directory.
type Dir struct {
	// Mark is the server's mark at which everything here and below was in sync; empty if it was not, or is not known.
	Mark    string
	Entries []replica.Entry // sorted by name
}

// Find returns the entry of that name; kind Absent if there is none.
func (d Dir) Find(name string) replica.Entry {
	i := sort.Search(len(d.Entries), func(i int) bool { return d.Entries[i].Name >= name })
	if i < len(d.Entries) && d.Entries[i].Name == name {
		return d.Entries[i]
	}
	return replica.Entry{Name: name}
}

// Issue is an entry that is not in sync, and why.
type Issue struct {
	Path   string    `json:"path"`
	Kind   IssueKind `json:"kind"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Of a conflict: Of is the name, in the same directory, that the other version of a copy has; empty if Path has both,
	// one on this machine and one in the store. Author is whose the version in the store, or the copy, is; Other whose
	// the other one is.
	Of     string        `json:"of,omitempty"`
	Author object.Author `json:"author,omitzero"`
	Other  object.Author `json:"other,omitzero"`
	// Seen is which version (object.Entry.Version) the store had of Path, and SeenOf, for a copy, of Of: what a user decides
	// on. Empty where nobody knows.
	Seen   string `json:"seen,omitempty"`
	SeenOf string `json:"seen_of,omitempty"`
}

// InSync reports whether both sides have the same, all the same: a conflict copy is only something to be looked at, and so
// is what has another name here.
func (i Issue) InSync() bool { return i.Kind == Copied || i.Kind == Aside }

// IssueKind says what is wrong with an entry.
type IssueKind string

// The kinds of issues.
const (
	Failed     IssueKind = "failed"     // an operation on it failed; it is tried again
	Unsynced   IssueKind = "unsynced"   // the rules let nothing be done
	Conflicted IssueKind = "conflicted" // both sides changed it, and the rules let nothing be done
	Aside      IssueKind = "aside"      // it is in sync, and has another name on this machine; see LocalName
	Copied     IssueKind = "copied"     // a conflict copy: both versions were kept, this one under another name
)

// DB is the ancestor of one pair of trees. Methods may be called concurrently.
type DB struct {
	db     *sql.DB
	sealer sealer
	path   string
	get    *sql.Stmt

	ordering  sync.Mutex // guards lastOrder
	lastOrder int64

	announcing sync.Mutex // guards what follows
	announcer  *sql.Conn  // does not wait for stable storage
	announced  uint64
}

const schema = `
CREATE TABLE IF NOT EXISTS dir      (pkey BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS issue    (pkey BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prepared (tag BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS announced (tag TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS name     (pkey BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta     (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
`

// ErrDamaged says that the database can't be trusted. Without an ancestor nothing is ever deleted: whoever moves the
// file away gets a careful first sync.
var ErrDamaged = errors.New("the record of the last sync is damaged")

// Open opens or creates the database at path. A key seals it; nil leaves it in clear.
func Open(path string, key *[32]byte) (*DB, error) {
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	} else if err := f.Close(); err != nil {
		return nil, err
	}
	// DURABLE: synchronous=FULL makes a commit survive a power cut; the barrier of a sync counts on it.
	dsn := "file:" + escape(path) + "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d := &DB{db: db, path: path, sealer: newSealer(key)}
	if _, err := db.Exec(schema); err != nil {
		return nil, errors.Join(d.explain(err), db.Close())
	}
	if d.get, err = db.Prepare("SELECT body FROM dir WHERE pkey = ?"); err != nil {
		return nil, errors.Join(d.explain(err), db.Close())
	}
	if err := d.checkKey(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// escape keeps a path from being read as parameters of the data source name.
func escape(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// checkKey makes sure that a sealed database is opened with its own key, and a clear one without.
func (d *DB) checkKey() error {
	const name, text = "sealed", "ensync ancestor 1"
	var body []byte
	err := d.db.QueryRow("SELECT body FROM meta WHERE name = ?", name).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = d.db.Exec("INSERT INTO meta VALUES (?, ?)", name, d.sealer.seal([]byte(text), name))
		return d.explain(err)
	}
	if err != nil {
		return d.explain(err)
	}
	if plain, err := d.sealer.open(body, name); err != nil || string(plain) != text {
		return fmt.Errorf("open %s: %w, or belongs to another key; move it away to start with a careful first sync",
			d.path, ErrDamaged)
	}
	return nil
}

func (d *DB) explain(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); strings.Contains(text, "malformed") || strings.Contains(text, "not a database") ||
		strings.Contains(text, "corrupt") {
		return fmt.Errorf("open %s: %w (%v); move it away to start with a careful first sync, which deletes nothing",
			d.path, ErrDamaged, err)
	}
	return fmt.Errorf("%s: %w", d.path, err)
}

// Close closes the database.
func (d *DB) Close() error {
	d.announcing.Lock()
	defer d.announcing.Unlock()
	var err error
	if d.announcer != nil {
		err = d.announcer.Close()
	}
	return errors.Join(err, d.get.Close(), d.db.Close())
}

// Dir returns what was agreed on for a directory; an empty Dir if nothing was.
func (d *DB) Dir(ctx context.Context, path string) (Dir, error) {
	return d.read(d.get.QueryRowContext(ctx, d.sealer.name(path)), path)
}

func (d *DB) read(row *sql.Row, path string) (Dir, error) {
	var body []byte
	if err := row.Scan(&body); errors.Is(err, sql.ErrNoRows) {
		return Dir{}, nil
	} else if err != nil {
		return Dir{}, d.explain(err)
	}
	plain, err := d.sealer.open(body, path)
	if err != nil {
		return Dir{}, fmt.Errorf("read the record of %q in %s: %w", path, d.path, ErrDamaged)
	}
	dir, err := decodeDir(plain)
	if err != nil {
		return Dir{}, fmt.Errorf("read the record of %q in %s: %w: %w", path, d.path, ErrDamaged, err)
	}
	return dir, nil
}

// Empty reports whether nothing was ever agreed on.
func (d *DB) Empty(ctx context.Context) (bool, error) {
	dir, err := d.Dir(ctx, "")
	return err == nil && len(dir.Entries) == 0, err
}

// Meta returns a remembered value; nil if there is none.
func (d *DB) Meta(ctx context.Context, name string) ([]byte, error) {
	var body []byte
	err := d.db.QueryRowContext(ctx, "SELECT body FROM meta WHERE name = ?", name).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, d.explain(err)
	}
	return d.sealer.open(body, name)
}

// SetMeta remembers a value durably.
func (d *DB) SetMeta(ctx context.Context, name string, value []byte) error {
	old, err := d.Meta(ctx, name)
	if err == nil && old != nil && bytes.Equal(old, value) {
		return nil
	}
	_, err = d.db.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES (?, ?)", name, d.sealer.seal(value, name))
	return d.explain(err)
}

// Issues returns everything that is not in sync, sorted by path.
func (d *DB) Issues(ctx context.Context) ([]Issue, error) {
	rows, err := d.db.QueryContext(ctx, "SELECT pkey, body FROM issue")
	if err != nil {
		return nil, d.explain(err)
	}
	defer rows.Close()
	var all []Issue
	for rows.Next() {
		var key, body []byte
		if err := rows.Scan(&key, &body); err != nil {
			return nil, d.explain(err)
		}
		list, err := d.openIssues(key, body)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all, d.explain(rows.Err())
}

// subtree calls fn for dir and every directory below it that has a record.
func (d *DB) subtree(ctx context.Context, tx *sql.Tx, dir string, fn func(path string, rec Dir) error) error {
	rec, err := d.read(tx.QueryRowContext(ctx, "SELECT body FROM dir WHERE pkey = ?", d.sealer.name(dir)), dir)
	if err != nil {
		return err
	}
	for _, e := range rec.Entries {
		if e.Kind == object.Directory {
			if err := d.subtree(ctx, tx, replica.Join(dir, e.Name), fn); err != nil {
				return err
			}
		}
	}
	return fn(dir, rec)
}

// Count returns how many files and links are agreed on, in all directories.
func (d *DB) Count(ctx context.Context) (int, error) {
	tx, err := d.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, d.explain(err)
	}
	defer tx.Rollback()
	total := 0
	err = d.subtree(ctx, tx, "", func(_ string, rec Dir) error {
		for _, e := range rec.Entries {
			if e.Kind != object.Directory {
				total++
			}
		}
		return nil
	})
	return total, err
}
