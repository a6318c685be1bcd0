package ancestor

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Update is a set of changes that hold together or not at all. They take effect in the order of the fields.
type Update struct {
	Moves   []Move             // what was moved, with everything below
	Entries []Agreed           // entries that client and server now agree on
	Marks   map[string]string  // directories found in sync with everything below, and the server's mark of them
	Issues  map[string][]Issue // per directory looked at, all of its entries that are not in sync now
	// Prepared are tags under which part of this update was prepared: what was is dropped. A later Recover that did it
	// once more would move what has the name by then.
	Prepared []string
	order    int64 // when it was prepared, among others
	// Announced are tags of Announce whose entries this update records, or drops.
	Announced []string
}

// Agreed is one entry of a directory; kind Absent says that the name is agreed to be gone, with everything below it.
type Agreed struct {
	Dir   string
	Entry replica.Entry
}

// Move moves an entry from one path to another, with everything below.
type Move struct {
	From, To string
	// Marks says that what was in sync there is so here, too: marks stay. Rules that look at paths may say otherwise.
	Marks bool
}

// IsEmpty reports whether there is nothing to record.
func (u *Update) IsEmpty() bool {
	return len(u.Moves) == 0 && len(u.Entries) == 0 && len(u.Marks) == 0 && len(u.Issues) == 0 &&
		len(u.Prepared) == 0 && len(u.Announced) == 0
}

// Commit records an update durably, in one transaction.
func (d *DB) Commit(ctx context.Context, u Update) error {
	if u.IsEmpty() {
		return nil
	}
	return d.transact(ctx, func(tx *sql.Tx) error {
		if err := d.apply(ctx, tx, u); err != nil || len(u.Entries) == 0 {
			return err
		}
		return d.setUnsettled(ctx, tx)
	})
}

func (d *DB) transact(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return d.explain(err)
	}
	if err := fn(tx); err != nil {
		return errors.Join(d.explain(err), ignoreDone(tx.Rollback()))
	}
	return d.explain(tx.Commit())
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func (d *DB) apply(ctx context.Context, tx *sql.Tx, u Update) error {
	for _, m := range u.Moves {
		if err := d.move(ctx, tx, m); err != nil {
			return err
		}
	}
	if err := d.agree(ctx, tx, u); err != nil {
		return err
	}
	for dir, list := range u.Issues {
		if err := d.setIssues(ctx, tx, dir, list); err != nil {
			return err
		}
	}
	for _, tag := range u.Prepared {
		if err := drop(ctx, tx, tag); err != nil {
			return err
		}
	}
	for _, tag := range u.Announced {
		if err := recordAnnounced(ctx, tx, tag); err != nil {
			return err
		}
	}
	return nil
}

// agree patches the records of all directories that entries or marks touch. A directory whose entries change loses
// its mark, and so do all above it, unless the same update sets it anew.
func (d *DB) agree(ctx context.Context, tx *sql.Tx, u Update) error {
	byDir := map[string][]replica.Entry{}
	stale := map[string]bool{}
	for _, a := range u.Entries {
		byDir[a.Dir] = append(byDir[a.Dir], a.Entry)
		for dir := a.Dir; !stale[dir]; dir = replica.Parent(dir) {
			stale[dir] = true
		}
	}
	for dir := range u.Marks {
		stale[dir] = true
	}
	// Parents first: what vanishes with a directory must not come back by a later patch below it.
	dirs := make([]string, 0, len(stale))
	for dir := range stale {
		dirs = append(dirs, dir)
	}
	sort.Strings(dirs)
	for _, dir := range dirs {
		rec, err := d.read(tx.QueryRowContext(ctx, "SELECT body FROM dir WHERE pkey = ?", d.sealer.name(dir)), dir)
		if err != nil {
			return err
		}
		known := rec.Mark != "" || len(rec.Entries) > 0
		rec.Mark = u.Marks[dir]
		if rec.Entries, err = d.patch(ctx, tx, dir, rec.Entries, byDir[dir]); err != nil {
			return err
		}
		if !known && rec.Mark == "" && len(rec.Entries) == 0 {
			continue
		}
		if err := d.put(ctx, tx, dir, rec); err != nil {
			return err
		}
	}
	return nil
}

// patch returns entries with changes made; directories that vanish lose their records with all below.
func (d *DB) patch(ctx context.Context, tx *sql.Tx, dir string, entries, changes []replica.Entry) ([]replica.Entry, error) {
	if len(changes) == 0 {
		return entries, nil
	}
	last := make(map[string]replica.Entry, len(changes))
	for _, c := range changes {
		last[c.Name] = c
	}
	out := make([]replica.Entry, 0, len(entries)+len(last))
	for _, e := range entries {
		now, changed := last[e.Name]
		if !changed {
			out = append(out, e)
			continue
		}
		if e.Kind == object.Directory && now.Kind != object.Directory {
			if err := d.forget(ctx, tx, replica.Join(dir, e.Name)); err != nil {
				return nil, err
			}
		}
	}
	for _, e := range last {
		if e.Kind != object.Absent {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b replica.Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (d *DB) put(ctx context.Context, tx *sql.Tx, dir string, rec Dir) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO dir VALUES (?, ?)", d.sealer.name(dir),
		d.sealer.seal(encodeDir(rec), dir))
	return err
}

// forget deletes the records of a directory and of everything below it.
func (d *DB) forget(ctx context.Context, tx *sql.Tx, dir string) error {
	return d.subtree(ctx, tx, dir, func(path string, _ Dir) error {
		for _, table := range []string{"dir", "issue"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE pkey = ?", d.sealer.name(path)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *DB) move(ctx context.Context, tx *sql.Tx, m Move) error {
	fromDir, fromName := replica.Split(m.From)
	toDir, toName := replica.Split(m.To)
	rec, err := d.read(tx.QueryRowContext(ctx, "SELECT body FROM dir WHERE pkey = ?", d.sealer.name(fromDir)), fromDir)
	if err != nil {
		return err
	}
	e := rec.Find(fromName)
	if e.Kind == object.Absent {
		return nil
	}
	var moved []string
	if e.Kind == object.Directory {
		err := d.subtree(ctx, tx, m.From, func(path string, rec Dir) error {
			moved = append(moved, path)
			if !m.Marks {
				rec.Mark = ""
			}
			return d.put(ctx, tx, m.To+path[len(m.From):], rec)
		})
		if err != nil {
			return err
		}
	}
	for _, path := range moved {
		if _, err := tx.ExecContext(ctx, "DELETE FROM dir WHERE pkey = ?", d.sealer.name(path)); err != nil {
			return err
		}
	}
	gone := replica.Entry{Name: fromName}
	e.Name = toName
	return d.agree(ctx, tx, Update{Entries: []Agreed{{fromDir, gone}, {toDir, e}}})
}

// setIssues replaces what is known to be out of sync in a directory. What was there before keeps its time.
func (d *DB) setIssues(ctx context.Context, tx *sql.Tx, dir string, list []Issue) error {
	key := d.sealer.name(dir)
	var body []byte
	err := tx.QueryRowContext(ctx, "SELECT body FROM issue WHERE pkey = ?", key).Scan(&body)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil {
		old, err := d.openIssues(key, body)
		if err != nil {
			return err
		}
		keepTimes(list, old)
		if slices.Equal(list, old) {
			return nil
		}
	}
	if len(list) == 0 {
		_, err := tx.ExecContext(ctx, "DELETE FROM issue WHERE pkey = ?", key)
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO issue VALUES (?, ?)", key,
		d.sealer.seal(encodeIssues(list), "issue "+hex.EncodeToString(key)))
	return err
}

func keepTimes(list, old []Issue) {
	since := map[string]time.Time{}
	for _, i := range old {
		since[i.Path+"\x00"+string(i.Kind)] = i.Since
	}
	for n := range list {
		if t, ok := since[list[n].Path+"\x00"+string(list[n].Kind)]; ok {
			list[n].Since = t
		}
	}
}

func (d *DB) openIssues(key, body []byte) ([]Issue, error) {
	plain, err := d.sealer.open(body, "issue "+hex.EncodeToString(key))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.path, ErrDamaged)
	}
	list, err := decodeIssues(plain)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", d.path, ErrDamaged, err)
	}
	return list, nil
}
