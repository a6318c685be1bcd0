package ancestor

import (
	"context"
	"database/sql"
	"fmt"
)

// Announce tells that a client is about to get entries that the server has, and returns a tag for Update.Prepared. After
// a kill, what of it came about is known by it: otherwise a file that came and was never recorded would look like one
// that its user made, and would come back when another machine deletes it.
//
// It does not wait for stable storage, as the change itself does not: a sync of the client's file system that both lie on
// puts the announcement there first. Where they lie on two, a power cut can still leave a file unannounced.
func (d *DB) Announce(ctx context.Context, entries []Agreed) (tag string, err error) {
	d.announcing.Lock()
	defer d.announcing.Unlock()
	if d.announcer == nil {
		if d.announcer, err = d.db.Conn(ctx); err != nil {
			return "", d.explain(err)
		}
		if _, err = d.announcer.ExecContext(ctx, "PRAGMA synchronous=NORMAL"); err != nil {
			return "", d.explain(err)
		}
	}
	d.announced++
	tag = fmt.Sprintf("%d", d.announced)
	_, err = d.announcer.ExecContext(ctx, "INSERT OR REPLACE INTO announced VALUES (?, ?)", tag,
		d.sealer.seal(encodeUpdate(Update{Entries: entries}), "announced "+tag))
	return tag, d.explain(err)
}

// Announced returns what was announced and is not known to be recorded, or dropped, with the tags.
func (d *DB) Announced(ctx context.Context) (entries []Agreed, tags []string, err error) {
	rows, err := d.db.QueryContext(ctx, "SELECT tag, body FROM announced ORDER BY tag")
	if err != nil {
		return nil, nil, d.explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var tag string
		var body []byte
		if err := rows.Scan(&tag, &body); err != nil {
			return nil, nil, d.explain(err)
		}
		plain, err := d.sealer.open(body, "announced "+tag)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", d.path, ErrDamaged)
		}
		u, err := decodeUpdate(plain)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w: %w", d.path, ErrDamaged, err)
		}
		entries, tags = append(entries, u.Entries...), append(tags, tag)
	}
	return entries, tags, d.explain(rows.Err())
}

func recordAnnounced(ctx context.Context, tx *sql.Tx, tag string) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM announced WHERE tag = ?", tag)
	return err
}
