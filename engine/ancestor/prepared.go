package ancestor

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"ensync/engine/replica"
)

// Prepared is what takes effect once the server is known to hold the commit called Tag.
type Prepared struct {
	Tag string
	Update
}

// Prepare records durably what Commit would, to take effect only once the server is known to hold the commit called
// tag. A crash between the server's commit and ours is thereby not forgotten: without this, the next edit of another
// machine would look like a conflict.
func (d *DB) Prepare(ctx context.Context, all ...Prepared) error {
	return d.transact(ctx, func(tx *sql.Tx) error {
		for _, p := range all {
			p.order = d.nextOrder()
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO prepared VALUES (?, ?)", []byte(p.Tag),
				d.sealer.seal(encodeUpdate(p.Update), "prepared "+p.Tag)); err != nil {
				return err
			}
		}
		return nil
	})
}

// nextOrder is higher each time, also after a restart, as long as the clock does not go back meanwhile.
func (d *DB) nextOrder() int64 {
	d.ordering.Lock()
	defer d.ordering.Unlock()
	d.lastOrder = max(d.lastOrder+1, time.Now().UnixNano())
	return d.lastOrder
}

// CommitPrepared makes u hold, and on top of it what was prepared under tags, and drops the preparations. The marks of
// prepared stand for the directories as both updates leave them.
func (d *DB) CommitPrepared(ctx context.Context, tags []string, prepared, u Update) error {
	return d.transact(ctx, func(tx *sql.Tx) error {
		if err := d.apply(ctx, tx, u); err != nil {
			return err
		}
		if err := d.apply(ctx, tx, prepared); err != nil {
			return err
		}
		if len(u.Entries)+len(prepared.Entries) > 0 {
			if err := d.setUnsettled(ctx, tx); err != nil {
				return err
			}
		}
		for _, tag := range tags {
			if err := drop(ctx, tx, tag); err != nil {
				return err
			}
		}
		return nil
	})
}

func drop(ctx context.Context, tx *sql.Tx, tag string) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM prepared WHERE tag = ?", []byte(tag))
	return err
}

// unsettled stands while the client may not have been told of what was agreed on.
const unsettled = "unsettled"

func (d *DB) setUnsettled(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO meta VALUES (?, ?)", unsettled, d.sealer.seal([]byte("1"), unsettled))
	return err
}

// Unsettled reports whether the client may have missed an agreement: whoever recorded one stopped before Settled. What
// the client then says of what it changed since is not the whole truth.
func (d *DB) Unsettled(ctx context.Context) (bool, error) {
	mark, err := d.Meta(ctx, unsettled)
	return mark != nil, err
}

// running stands while a process has the client open that keeps its own account of what was changed.
const running = "running"

// Start notes that the client is opened by a process that keeps its own account of what was changed, until Stop. If the
// one before did not stop in order, its account is not relied on: everything is looked at once.
func (d *DB) Start(ctx context.Context) error {
	return d.transact(ctx, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO meta VALUES (?, ?)", running, d.sealer.seal([]byte("1"), running))
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return d.setUnsettled(ctx, tx)
	})
}

// Stop notes that what the client knows of its changes is durable.
func (d *DB) Stop(ctx context.Context) error {
	_, err := d.db.ExecContext(ctx, "DELETE FROM meta WHERE name = ?", running)
	return d.explain(err)
}

// Settled notes that the client was told of everything agreed on.
func (d *DB) Settled(ctx context.Context) error {
	_, err := d.db.ExecContext(ctx, "DELETE FROM meta WHERE name = ?", unsettled)
	return d.explain(err)
}

// Forget forgets all that was agreed on, as if nothing was ever synced: the next sync merges and deletes nothing.
func (d *DB) Forget(ctx context.Context) error {
	return d.transact(ctx, func(tx *sql.Tx) error {
		for _, table := range []string{"dir", "issue", "prepared", "announced"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return d.setUnsettled(ctx, tx)
	})
}

// Drop forgets what was prepared under tag: the server does not hold that commit and never will.
func (d *DB) Drop(ctx context.Context, tag string) error {
	_, err := d.db.ExecContext(ctx, "DELETE FROM prepared WHERE tag = ?", []byte(tag))
	return d.explain(err)
}

// Recover settles what an unclean stop left prepared, in the order in which it was: happened tells whether the server
// holds the commit of a tag. Of two moves the second may be of what the first has moved.
func (d *DB) Recover(ctx context.Context, happened func(ctx context.Context, tag string) (bool, error)) error {
	open, err := d.preparedUpdates(ctx)
	if err != nil {
		return err
	}
	tags := slices.SortedFunc(maps.Keys(open), func(a, b string) int { return cmp.Compare(open[a].order, open[b].order) })
	for _, tag := range tags {
		u := open[tag]
		yes, err := happened(ctx, tag)
		switch {
		case err != nil:
			return err
		case yes:
			u.Marks = nil // they also stand for what was to be recorded with it, and was not
			err = d.CommitPrepared(ctx, []string{tag}, u, Update{})
		default:
			err = d.Drop(ctx, tag)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *DB) preparedUpdates(ctx context.Context) (map[string]Update, error) {
	rows, err := d.db.QueryContext(ctx, "SELECT tag, body FROM prepared")
	if err != nil {
		return nil, d.explain(err)
	}
	defer rows.Close()
	open := map[string]Update{}
	for rows.Next() {
		var tag, body []byte
		if err := rows.Scan(&tag, &body); err != nil {
			return nil, d.explain(err)
		}
		plain, err := d.sealer.open(body, "prepared "+string(tag))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", d.path, ErrDamaged)
		}
		if open[string(tag)], err = decodeUpdate(plain); err != nil {
			return nil, fmt.Errorf("read %s: %w", d.path, errors.Join(ErrDamaged, err))
		}
	}
	return open, d.explain(rows.Err())
}

// updateVersion 2 has an order, and whole paths in moves.
const updateVersion = 2

// encodeUpdate leaves issues out: they are found again.
func encodeUpdate(u Update) []byte {
	w := writer{b: []byte{updateVersion}}
	w.int(u.order)
	w.uint(uint64(len(u.Moves)))
	for _, m := range u.Moves {
		w.string(m.From)
		w.string(m.To)
		w.uint(bit(m.Marks))
	}
	w.uint(uint64(len(u.Entries)))
	for _, a := range u.Entries {
		w.string(a.Dir)
		w.entry(a.Entry)
	}
	w.uint(uint64(len(u.Marks)))
	for dir, mark := range u.Marks {
		w.string(dir)
		w.string(mark)
	}
	return w.b
}

func decodeUpdate(b []byte) (Update, error) {
	r := reader{b: b}
	var u Update
	v := r.take(1)
	if len(v) != 1 || v[0] < version || v[0] > updateVersion {
		return u, errEncoding
	}
	if v[0] == updateVersion {
		u.order = r.int()
	}
	for n := r.count(); n > 0 && !r.bad; n-- {
		if v[0] < updateVersion { // within one directory
			dir := r.string()
			u.Moves = append(u.Moves, Move{From: replica.Join(dir, r.string()), To: replica.Join(dir, r.string())})
			continue
		}
		u.Moves = append(u.Moves, Move{r.string(), r.string(), r.uint() == 1})
	}
	for n := r.count(); n > 0 && !r.bad; n-- {
		u.Entries = append(u.Entries, Agreed{r.string(), r.entry()})
	}
	u.Marks = map[string]string{}
	for n := r.count(); n > 0 && !r.bad; n-- {
		dir := r.string()
		u.Marks[dir] = r.string()
	}
	if r.bad || len(r.b) != 0 {
		return u, errEncoding
	}
	return u, nil
}
