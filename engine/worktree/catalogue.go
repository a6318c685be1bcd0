package worktree

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	_ "modernc.org/sqlite" // registers the driver

	"ensync/engine/worktree/journal"
)

// catalogue is the checkpoint of the tree in SQLite: what the log said up to one LSN. Names, numbers of children and
// everything about inodes is sealed; a row is found by the number of an inode or by a keyed pseudonym.
type catalogue struct {
	*sealer
	path                            string
	db                              *sql.DB
	inodeQ, rangeQ, extentQ, namesQ *sql.Stmt
	writer                          *sql.Conn
}

// schemaVersion is PRAGMA user_version of a catalogue that this version reads.
const schemaVersion = 1

const schema = `
CREATE TABLE inode(ino INTEGER PRIMARY KEY, flag INTEGER NOT NULL, rec BLOB NOT NULL);
CREATE INDEX special ON inode(flag) WHERE flag != 0;
CREATE TABLE extent(ino INTEGER, region INTEGER, rec BLOB NOT NULL, PRIMARY KEY(ino, region)) WITHOUT ROWID;
CREATE TABLE dentry(pkey BLOB, nkey BLOB, rec BLOB NOT NULL, PRIMARY KEY(pkey, nkey)) WITHOUT ROWID;
CREATE TABLE meta(key INTEGER PRIMARY KEY, rec BLOB NOT NULL);
PRAGMA user_version = 1;`

// Flags of an inode's row, for the scan at start.
const (
	rowLogged = 1 // has extents in the log
	rowOrphan = 2 // has no name
	rowPaged  = 4 // has rows in extent
	rowPins   = 8 // says what is pinned
)

// progress is what the catalogue says of itself.
type progress struct {
	lsn  journal.LSN // everything up to this record is in it
	next Ino         // the first number that no inode ever had
}

// openCatalogue opens or creates the file; fresh says that it was not there.
func openCatalogue(ctx context.Context, path string, s *sealer) (c *catalogue, p progress, fresh bool, err error) {
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, p, false, fmt.Errorf("catalogue: %w", err)
	} else if err := f.Close(); err != nil {
		return nil, p, false, fmt.Errorf("catalogue: %w", err)
	}
	dsn := "file:" + escapeDSN(path) + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)" +
		"&_pragma=wal_autocheckpoint(0)&_pragma=cache_size(-4096)&_pragma=secure_delete(0)&_pragma=temp_store(MEMORY)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, p, false, fmt.Errorf("catalogue %s: %w", path, err)
	}
	db.SetMaxOpenConns(3)
	c = &catalogue{sealer: s, path: path, db: db}
	p, fresh, err = c.start(ctx)
	if err != nil {
		c.close()
		return nil, p, false, fmt.Errorf("catalogue %s: %w", path, err)
	}
	return c, p, fresh, nil
}

// escapeDSN escapes what means something in a file: URI.
func escapeDSN(path string) string {
	var b []byte
	for i := range len(path) {
		if c := path[i]; c == '?' || c == '#' || c == '%' {
			b = fmt.Appendf(b, "%%%02x", c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func (c *catalogue) start(ctx context.Context) (p progress, fresh bool, err error) {
	if c.writer, err = c.db.Conn(ctx); err != nil {
		return p, false, err
	}
	var version int
	if err = c.writer.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return p, false, err
	}
	switch version {
	case schemaVersion:
	case 0:
		fresh = true
		if _, err = c.writer.ExecContext(ctx, "BEGIN;"+schema+"COMMIT;"); err != nil {
			return p, false, err
		}
	default:
		return p, false, fmt.Errorf("version %d, this program knows %d: use the newer program that wrote it", version, schemaVersion)
	}
	for _, q := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&c.inodeQ, "SELECT rec FROM inode WHERE ino = ?"},
		{&c.rangeQ, "SELECT ino, rec FROM inode WHERE ino BETWEEN ? AND ?"},
		{&c.extentQ, "SELECT region, rec FROM extent WHERE ino = ? ORDER BY region"},
		{&c.namesQ, "SELECT nkey, rec FROM dentry WHERE pkey = ?"},
	} {
		if *q.stmt, err = c.db.PrepareContext(ctx, q.text); err != nil {
			return p, false, err
		}
	}
	p, ok, err := c.progress(ctx)
	return p, fresh || !ok, err
}

func (c *catalogue) progress(ctx context.Context) (p progress, ok bool, err error) {
	var rec []byte
	err = c.writer.QueryRowContext(ctx, "SELECT rec FROM meta WHERE key = 1").Scan(&rec)
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil // made, but nothing was ever saved to it
	}
	if err != nil {
		return p, false, err
	}
	plain, err := c.open(rec, rowAD('m', 1))
	if err != nil || len(plain) != 16 {
		return p, false, fmt.Errorf("its state %w", errSeal)
	}
	return progress{journal.LSN(binary.BigEndian.Uint64(plain)), Ino(binary.BigEndian.Uint64(plain[8:]))}, true, nil
}

func (c *catalogue) close() error {
	if c.writer != nil {
		c.writer.Close()
	}
	return c.db.Close()
}

// empty reports whether nothing was ever saved.
func (c *catalogue) hasRows(ctx context.Context) (bool, error) {
	var n int
	err := c.writer.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM inode LIMIT 1)").Scan(&n)
	return n > 0, err
}

// errNoRow says that the catalogue has no such inode.
var errNoRow = errors.New("not in the catalogue")

// inode loads one inode with its extents, without names of a directory.
func (c *catalogue) inode(ino Ino) (*inode, error) {
	var rec []byte
	if err := c.inodeQ.QueryRow(int64(ino)).Scan(&rec); errors.Is(err, sql.ErrNoRows) {
		return nil, errNoRow
	} else if err != nil {
		return nil, fmt.Errorf("catalogue %s: inode %d: %w", c.path, ino, err)
	}
	n, err := c.decodeInode(ino, rec)
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: inode %d: %w", c.path, ino, err)
	}
	return n, nil
}

// inodes loads those of a range of numbers that are wanted.
func (c *catalogue) inodes(first, last Ino, wanted func(Ino) bool, found func(*inode)) error {
	rows, err := c.rangeQ.Query(int64(first), int64(last))
	if err != nil {
		return fmt.Errorf("catalogue %s: %w", c.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var ino int64
		var rec sql.RawBytes
		if err := rows.Scan(&ino, &rec); err != nil {
			return fmt.Errorf("catalogue %s: %w", c.path, err)
		}
		if !wanted(Ino(ino)) {
			continue
		}
		n, err := c.decodeInode(Ino(ino), rec)
		if err != nil {
			return fmt.Errorf("catalogue %s: inode %d: %w", c.path, ino, err)
		}
		found(n)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("catalogue %s: %w", c.path, err)
	}
	return nil
}

func (c *catalogue) decodeInode(ino Ino, rec []byte) (*inode, error) {
	plain, err := c.open(rec, rowAD('i', uint64(ino)))
	if err != nil {
		return nil, err
	}
	ops, err := decode(plain)
	if err != nil || len(ops) != 1 || ops[0].code != opInode || ops[0].ino != ino {
		return nil, errRecord
	}
	o := &ops[0]
	n := &inode{ino: ino, state: *o.state, links: o.links, dirtyNames: o.dirtyNames, dirtyDirs: o.dirtyDirs,
		stale: o.flags&1 != 0, paged: o.flags&2 != 0}
	var r refs
	for _, e := range o.ext {
		n.ext.set(e, &r)
	}
	if n.paged {
		if err := c.extents(n); err != nil {
			return nil, err
		}
		n.ext.regions = map[uint64]bool{}
	}
	return n, nil
}

func (c *catalogue) extents(n *inode) error {
	rows, err := c.extentQ.Query(int64(n.ino))
	if err != nil {
		return err
	}
	defer rows.Close()
	var r refs
	for rows.Next() {
		var region int64
		var rec []byte
		if err := rows.Scan(&region, &rec); err != nil {
			return err
		}
		plain, err := c.open(rec, rowAD('e', uint64(n.ino), uint64(region)))
		if err != nil {
			return err
		}
		d := decoder{b: plain}
		for _, e := range d.extents() {
			n.ext.set(e, &r)
		}
		if d.err != nil {
			return d.err
		}
	}
	return rows.Err()
}

// eachStep is how many inodes each reads at a time: between steps the catalogue can be written.
const eachStep = 1000

// each calls fn with every inode that the catalogue has.
func (c *catalogue) each(ctx context.Context, fn func(*inode) error) error {
	for last := Ino(0); ; {
		batch, err := c.after(ctx, last)
		if err != nil {
			return fmt.Errorf("catalogue %s: %w", c.path, err)
		}
		for _, n := range batch {
			if err := fn(n); err != nil {
				return err
			}
			last = n.ino
		}
		if len(batch) < eachStep {
			return nil
		}
	}
}

// after returns the inodes that come after one.
func (c *catalogue) after(ctx context.Context, last Ino) (batch []*inode, err error) {
	rows, err := c.db.QueryContext(ctx, "SELECT ino, rec FROM inode WHERE ino > ? ORDER BY ino LIMIT ?", int64(last), eachStep)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var ino Ino
		var rec []byte
		if err := rows.Scan(&ino, &rec); err != nil {
			return nil, err
		}
		n, err := c.decodeInode(ino, rec)
		if err != nil {
			return nil, fmt.Errorf("inode %d: %w", ino, err)
		}
		batch = append(batch, n)
	}
	return batch, rows.Err()
}

// names loads a directory.
func (c *catalogue) names(dir Ino) (*directory, error) {
	d := &directory{names: map[string]entry{}, changed: map[string]bool{}}
	rows, err := c.namesQ.Query(c.dirKey(dir))
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: directory %d: %w", c.path, dir, err)
	}
	defer rows.Close()
	for rows.Next() {
		var nkey, rec []byte
		if err := rows.Scan(&nkey, &rec); err != nil {
			return nil, fmt.Errorf("catalogue %s: directory %d: %w", c.path, dir, err)
		}
		plain, err := c.open(rec, append(rowAD('d', uint64(dir)), nkey...))
		if err != nil {
			return nil, fmt.Errorf("catalogue %s: a name in directory %d: %w", c.path, dir, err)
		}
		b := decoder{b: plain}
		e := entry{ino: Ino(b.uint(any64))}
		flags := b.uint(3)
		e.dirty, e.fresh = flags&1 != 0, flags&2 != 0
		name := b.string()
		if b.err != nil {
			return nil, fmt.Errorf("catalogue %s: a name in directory %d: %w", c.path, dir, b.err)
		}
		if e.ino != 0 {
			d.live++
		}
		d.names[name] = e
	}
	return d, rows.Err()
}

func (c *catalogue) nameRow(dir Ino, name string, e entry) row {
	nkey := c.nameKey(dir, name)
	b := binary.AppendUvarint(nil, uint64(e.ino))
	b = binary.AppendUvarint(b, bit(e.dirty)|bit(e.fresh)<<1)
	b = appendString(b, name)
	return row{pkey: c.dirKey(dir), nkey: nkey, rec: c.seal(b, append(rowAD('d', uint64(dir)), nkey...))}
}
