package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ensync/keys"
	"ensync/store/backend"
)

// Export adds a key for a recovery sheet, and returns the sheet. The passphrase in use must be in group root.
func (s *Store) Export(ctx context.Context, name string, at time.Time) (sheet *keys.Sheet, err error) {
	err = s.EditKeys(ctx, func(f *keys.File) (next *keys.File, err error) {
		next, sheet, err = f.Export(ctx, s.Keys(), name, at)
		return next, err
	})
	if err != nil {
		return nil, err
	}
	sheet.Address, sheet.Format = s.Location(), s.format.encoded
	return sheet, nil
}

// CheckSheet says whether a sheet is of the store that lies somewhere, and whether its key store is not older than the
// sheet. Errors: those of ReadKeys, ErrForeign, ErrReplaced, ErrRollback.
func CheckSheet(ctx context.Context, b backend.Backend, sheet *keys.Sheet) error {
	k, err := ReadKeys(ctx, b, nil)
	if err != nil {
		return err
	}
	if err := k.CheckPin(sheet.Pin); err != nil {
		return &Fault{Kind: kindOf(err), Object: keysObject, Cause: err,
			Next: fmt.Sprintf("nothing was changed; the recovery sheet is of the store %x, which was at %q", sheet.StoreID, sheet.Address)}
	}
	return nil
}

// Rebuild makes the key store anew from a recovery sheet, with one key, where it is lost: each of format, keys and the copy of
// the keys that is certainly missing, or of the keys damaged beyond reading, is written; ErrExists if keys or their copy can
// be read. Each thing done goes to report, and is durable then.
func Rebuild(ctx context.Context, b backend.Backend, sheet *keys.Sheet, name string, pass []byte, report func(string)) error {
	if name, err := anyObject(ctx, b); err != nil {
		return fmt.Errorf("list %s: %w", b.Location(), err)
	} else if name == "" {
		return fmt.Errorf("%w at %s: nothing at all lies there; if the store is on a drive, mount it", ErrNoStore, b.Location())
	}
	r := &repair{b: b, report: report}
	var found []keyCopy
	for _, object := range []string{keysObject, keysCopy} {
		k, version, err := r.load(ctx, object)
		if err != nil {
			return err
		}
		if k != nil {
			return &Fault{Kind: ErrExists, Object: object, Next: "nothing was changed; ensync repair puts it in both places, and the sheet then opens it"}
		}
		found = append(found, keyCopy{object, version, nil})
	}
	if err := r.formatFrom(ctx, sheet); err != nil {
		return err
	}
	k, err := sheet.Rebuild(ctx, name, pass, now())
	if err != nil {
		return err
	}
	for _, c := range found {
		if err := r.replace(ctx, c, keyCopy{where: "the recovery sheet", file: k}); err != nil {
			return err
		}
	}
	return nil
}

// formatFrom puts back the format object if it is missing, and compares it if it is not.
func (r *repair) formatFrom(ctx context.Context, sheet *keys.Sheet) error {
	wanted, err := parseFormat(sheet.Format)
	if err != nil || wanted.id != sheet.StoreID {
		return errors.Join(keys.ErrSheet, err)
	}
	raw, err := r.b.Get(ctx, formatObject, 0, -1)
	switch {
	case errors.Is(err, backend.ErrNotExist):
		if err := putNew(ctx, r.b, formatObject, sheet.Format); err != nil {
			return err
		}
		r.report(formatObject + " was missing: put back what the recovery sheet has")
	case err != nil:
		return fmt.Errorf("read object %s: %w", formatObject, err)
	case string(raw) != string(sheet.Format):
		return &Fault{Kind: ErrForeign, Object: formatObject, Next: fmt.Sprintf(
			"nothing was changed; the recovery sheet is of the store %x, which was at %q", sheet.StoreID, sheet.Address)}
	}
	return nil
}
