package index

import (
	"context"
	"database/sql"
	"slices"

	"ensync/store/pack"
)

// Object is an index object that the database holds.
type Object struct {
	Name   string
	Author string
	Size   int64 // bytes, as it lies in the store
	Packs  int
}

// Objects returns the index objects that the database holds, by name with their sizes.
func (db *DB) Objects(ctx context.Context) (sizes map[string]int64, err error) {
	err = db.do(ctx, func(f *file) error {
		if f.gone(db.path) {
			return errGone
		}
		sizes, err = f.objects(ctx)
		return err
	})
	return sizes, err
}

func (f *file) objects(ctx context.Context) (map[string]int64, error) {
	rows, err := f.sql.QueryContext(ctx, `SELECT name, size FROM objects`)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	err = each(rows, func() error {
		var name string
		var size int64
		err := rows.Scan(&name, &size)
		sizes[name] = size
		return err
	})
	if err != nil {
		return nil, err
	}
	return sizes, f.count(ctx)
}

// each calls fn for each row, and closes rows.
func each(rows *sql.Rows, fn func() error) error {
	defer rows.Close()
	for rows.Next() {
		if err := fn(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// By returns what one author signed, in order of size.
func (db *DB) By(ctx context.Context, author string) (all []Object, err error) {
	err = db.do(ctx, func(f *file) error {
		all = nil
		rows, err := f.sql.QueryContext(ctx, `SELECT o.name, o.size, COUNT(*) FROM objects o JOIN packs p ON p.object = o.name
			WHERE p.author = ? GROUP BY o.name ORDER BY o.size, o.name`, author)
		if err != nil {
			return err
		}
		return each(rows, func() error {
			o := Object{Author: author}
			err := rows.Scan(&o.Name, &o.Size, &o.Packs)
			all = append(all, o)
			return err
		})
	})
	return all, err
}

// Told returns what an index object tells.
func (db *DB) Told(ctx context.Context, object string) (all []Pack, err error) {
	err = db.do(ctx, func(f *file) error {
		rows, err := f.packs(ctx, `SELECT n, name, size FROM packs WHERE object = ? ORDER BY n`, object)
		if err != nil {
			return err
		}
		all = nil
		for _, r := range rows {
			if r.pack.Table, err = f.table(ctx, r.n); err != nil {
				return err
			}
			all = append(all, r.pack)
		}
		return nil
	})
	return all, err
}

// Covered returns the objects of an author of which another one of the same author tells all, and the name of that. Of
// two that tell the same, the one with the greater name is covered. So "is covered by" has no circles: if objects are
// deleted only while one that covers them is there, something always tells of every pack, whoever deletes what and when.
func (db *DB) Covered(ctx context.Context, author string) (map[string]string, error) {
	objects, err := db.By(ctx, author)
	if err != nil {
		return nil, err
	}
	packs := map[string]int{}
	for _, o := range objects {
		packs[o.Name] = o.Packs
	}
	shared, err := db.shared(ctx, author)
	if err != nil {
		return nil, err
	}
	covered := map[string]string{}
	for pair, n := range shared {
		small, large := pair[0], pair[1]
		if n < packs[small] || packs[small] == packs[large] && small < large {
			continue
		}
		same, err := db.tellsAll(ctx, large, small)
		if err != nil {
			return nil, err
		}
		if same {
			covered[small] = large
		}
	}
	return covered, nil
}

// shared returns how many packs two objects of an author both tell of, for every two that have one.
func (db *DB) shared(ctx context.Context, author string) (n map[[2]string]int, err error) {
	err = db.do(ctx, func(f *file) error {
		n = map[[2]string]int{}
		rows, err := f.sql.QueryContext(ctx, `SELECT a.object, b.object, COUNT(*) FROM packs a JOIN packs b ON b.name = a.name
			WHERE a.author = ? AND b.author = a.author AND a.object <> b.object AND a.size = b.size GROUP BY 1, 2`, author)
		if err != nil {
			return err
		}
		return each(rows, func() error {
			var pair [2]string
			var count int
			err := rows.Scan(&pair[0], &pair[1], &count)
			n[pair] = count
			return err
		})
	})
	return n, err
}

// tellsAll reports whether one object tells, block by block, all that another one does.
func (db *DB) tellsAll(ctx context.Context, large, small string) (bool, error) {
	have, err := db.Told(ctx, large)
	if err != nil {
		return false, err
	}
	tables := map[pack.Name][]pack.Entry{}
	for _, p := range have {
		tables[p.Name] = p.Table
	}
	want, err := db.Told(ctx, small)
	for _, p := range want {
		if table, ok := tables[p.Name]; !ok || !slices.Equal(table, p.Table) {
			return false, err
		}
	}
	return len(want) > 0, err
}
