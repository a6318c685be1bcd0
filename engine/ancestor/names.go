package ancestor

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"ensync/engine/replica"
)

// LocalName is a name in the store under which the client has an entry otherwise. It is kept beside what was agreed on,
// since one without the other would make the entry look deleted.
type LocalName struct {
	Dir   string // in the store
	Store string // the name in the store
	Local string // the name on this machine
	Next  string // the one that it is about to get; it has one of the two
	// Beside is the store's name of what is in the way of this one.
	Beside string
	Why    NameReason
	DirID  string // tells the directory on this machine from others
	Since  time.Time
}

// NameReason is why an entry has another name on this machine.
type NameReason string

// The reasons.
const (
	Respelled NameReason = "respelled" // the file system lists it in this spelling: it is the same name
	Clash     NameReason = "clash"     // the name is taken by something that is another name in the store
	Refused   NameReason = "refused"   // the file system can't hold such a name
)

// Orphaned stands before Dir if that directory is gone, and nobody knows yet whether it was moved.
const Orphaned = "\x00"

// IsOrphan reports whether the directory of the name is gone.
func (n LocalName) IsOrphan() bool { return strings.HasPrefix(n.Dir, Orphaned) }

// IsAside reports whether a user should know.
func (n LocalName) IsAside() bool { return n.Why != Respelled && !n.IsOrphan() }

// Issue tells that an entry was kept aside.
func (n LocalName) Issue() Issue {
	i := Issue{Path: replica.Join(n.Dir, n.Store), Kind: Aside, Since: n.Since}
	if n.Why == Refused {
		i.Reason = fmt.Sprintf("in sync, and here named %q: the file system refuses its name", n.Local)
	} else {
		i.Reason = fmt.Sprintf("in sync, and here named %q: on this file system its name is the same as that of %q", n.Local, n.Beside)
	}
	return i
}

func (n LocalName) path() string { return replica.Join(n.Dir, n.Store) }

// LocalNames returns all of them.
func (d *DB) LocalNames(ctx context.Context) ([]LocalName, error) {
	rows, err := d.db.QueryContext(ctx, "SELECT body FROM name")
	if err != nil {
		return nil, d.explain(err)
	}
	defer rows.Close()
	var all []LocalName
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, d.explain(err)
		}
		plain, err := d.sealer.open(body, "name")
		if err != nil {
			return nil, fmt.Errorf("read the names in %s: %w", d.path, ErrDamaged)
		}
		n, err := decodeName(plain)
		if err != nil {
			return nil, fmt.Errorf("read the names in %s: %w: %w", d.path, ErrDamaged, err)
		}
		all = append(all, n)
	}
	return all, d.explain(rows.Err())
}

// ChangeLocalNames drops some and then sets some, durably and together.
func (d *DB) ChangeLocalNames(ctx context.Context, drop, set []LocalName) error {
	if len(drop)+len(set) == 0 {
		return nil
	}
	return d.transact(ctx, func(tx *sql.Tx) error {
		for _, n := range drop {
			if _, err := tx.ExecContext(ctx, "DELETE FROM name WHERE pkey = ?", d.sealer.name(n.path())); err != nil {
				return err
			}
		}
		for _, n := range set {
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO name VALUES (?, ?)", d.sealer.name(n.path()),
				d.sealer.seal(encodeName(n), "name")); err != nil {
				return err
			}
		}
		return nil
	})
}

func encodeName(n LocalName) []byte {
	w := writer{b: []byte{version}}
	for _, s := range []string{n.Dir, n.Store, n.Local, n.Next, n.Beside, string(n.Why), n.DirID} {
		w.string(s)
	}
	w.int(n.Since.UnixNano())
	return w.b
}

func decodeName(b []byte) (LocalName, error) {
	r := reader{b: b}
	if v := r.take(1); len(v) != 1 || v[0] != version {
		return LocalName{}, errEncoding
	}
	n := LocalName{Dir: r.string(), Store: r.string(), Local: r.string(), Next: r.string(), Beside: r.string(), Why: NameReason(r.string()),
		DirID: r.string(), Since: time.Unix(0, r.int()).UTC()}
	if r.bad || len(r.b) != 0 {
		return LocalName{}, errEncoding
	}
	return n, nil
}
