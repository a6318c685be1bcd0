package ancestor

import (
	"context"
	"database/sql"

	"ensync/store/object"
)

// RenameContent changes what content is called in all that was agreed on, for a store that has the same content under other
// names: in one transaction, durably. What directories were in sync with is forgotten, so the next sync looks at all.
func (d *DB) RenameContent(ctx context.Context, look func(context.Context, object.Content) (object.Content, error)) error {
	return d.transact(ctx, func(tx *sql.Tx) error {
		return d.subtree(ctx, tx, "", func(path string, rec Dir) error {
			rec.Mark = ""
			for i := range rec.Entries {
				e := &rec.Entries[i]
				if e.Kind != object.File || !e.Content.Known {
					continue
				}
				var err error
				if e.Content, err = look(ctx, e.Content); err != nil {
					return err
				}
			}
			return d.put(ctx, tx, path, rec)
		})
	})
}
