package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"ensync/keys"
	"ensync/store/backend"
)

// Repair puts back what every client has a copy of and no store can do without: format, keys, and the copy of the keys.
// Each one that is certainly missing is put back, and a key store that is damaged, or older than one of the copies, is
// replaced, by the newest of: keys, their copy, and what mem remembers. One that can't be read is left alone, as is all
// else. What is put back was signed by group root of this store; a client that remembers nothing proves that with the
// passphrase, which is asked for only then. Each thing done goes to report, and is durable then. No report: there was
// nothing to do. Several clients may repair at once.
//
// Errors: ErrNoStore if nothing at all lies there (a drive that is not mounted looks like that), ErrMissing if there is
// no copy, ErrForeign, ErrReplaced, ErrUnsupported, ErrDamaged for a format object that is not what it was, and those of
// the backend. Nothing was changed, except for what was reported before.
func Repair(ctx context.Context, b backend.Backend, mem *Memory, pass func(context.Context) ([]byte, error), report func(string)) error {
	if name, err := anyObject(ctx, b); err != nil {
		return fmt.Errorf("list %s: %w", b.Location(), err)
	} else if name == "" {
		return fmt.Errorf("repair %s: %w: nothing at all lies there; if the store is on a drive, mount it; if it was deleted, "+
			"put it back from a backup", b.Location(), ErrNoStore)
	}
	r := &repair{b: b, mem: mem, pass: pass, report: report}
	if err := r.repairFormat(ctx); err != nil {
		return err
	}
	for range 16 {
		err := r.repairKeys(ctx)
		if !errors.Is(err, ErrOvertaken) {
			return err
		}
	}
	return fmt.Errorf("repair %s: %w 16 times; try again", b.Location(), ErrOvertaken)
}

type repair struct {
	b      backend.Backend
	mem    *Memory
	pass   func(context.Context) ([]byte, error)
	report func(string)
	format *format
}

// noCopy says that this client can't help.
func noCopy(object string) error {
	return &Fault{Kind: ErrMissing, Object: object,
		Next: "this client has no copy of it: run ensync repair on a machine that has synced with the store, or restore the object from a backup"}
}

func (r *repair) repairFormat(ctx context.Context) error {
	f, err := loadFormat(ctx, r.b, r.mem)
	if err == nil || !errors.Is(err, ErrMissing) {
		r.format = f
		return err
	}
	if _, known := r.mem.known(); !known {
		return noCopy(formatObject)
	}
	if r.format, err = parseFormat(r.mem.Format()); err != nil {
		return fmt.Errorf("the copy that this client remembers: %w", err)
	}
	if id, _ := r.mem.known(); r.format.id != id {
		return &Fault{Kind: ErrForeign, Object: formatObject, Cause: errors.New("the copy that this client remembers"),
			Next: "nothing was changed; run ensync repair on another machine"}
	}
	// The copy must not name a store that the rest is not of.
	if k, _, err := r.load(ctx, keysObject); err != nil {
		return err
	} else if k != nil && k.StoreID() != r.format.id {
		return &Fault{Kind: ErrForeign, Object: keysObject, Cause: fmt.Errorf("store %x, remembered %x", k.StoreID(), r.format.id),
			Next: "nothing was changed; another store lies at this address now: check the address"}
	}
	if err := putNew(ctx, r.b, formatObject, r.format.encoded); err != nil {
		return err
	}
	r.report(fmt.Sprintf("%s was missing: put back what this client remembers", formatObject))
	return nil
}

// load reads one of the two places of the key store; nil if it is certainly missing or damaged.
func (r *repair) load(ctx context.Context, object string) (*keys.File, backend.Version, error) {
	raw, version, err := r.b.Load(ctx, object)
	if errors.Is(err, backend.ErrNotExist) {
		return nil, version, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read object %s: %w; it may be whole, so it is left alone", object, err)
	}
	k, err := keys.Parse(raw)
	if errors.Is(err, keys.ErrUnsupported) {
		return nil, "", &Fault{Kind: ErrUnsupported, Object: object, Cause: err, Next: "it is left alone; update ensync"}
	}
	if err != nil {
		return nil, version, nil
	}
	return k, version, nil
}

// A keyCopy is the key store as it was found in one place.
type keyCopy struct {
	where   string // an object, or what this client remembers
	version backend.Version
	file    *keys.File // nil: missing or damaged
}

const inMemory = "what this client remembers"

func (r *repair) repairKeys(ctx context.Context) error {
	var found []keyCopy
	for _, object := range []string{keysObject, keysCopy} {
		k, version, err := r.load(ctx, object)
		if err != nil {
			return err
		}
		found = append(found, keyCopy{object, version, k})
	}
	if r.mem != nil {
		if k, err := keys.Parse(r.mem.Keys()); err == nil {
			found = append(found, keyCopy{where: inMemory, file: k})
		}
	}
	pin, err := r.authority(ctx, found)
	if err != nil {
		return err
	}
	best, err := newest(found, pin)
	if err != nil {
		return err
	}
	for _, c := range found[:2] {
		if err := r.replace(ctx, c, best); err != nil {
			return err
		}
	}
	return nil
}

// authority returns what tells a genuine key store: what is remembered, or else the newest one that the passphrase opens.
func (r *repair) authority(ctx context.Context, found []keyCopy) (keys.Pin, error) {
	if r.mem != nil {
		if pin := r.mem.pin(); pin != nil {
			return *pin, nil
		}
	}
	var files []*keys.File
	for _, c := range found {
		if c.file != nil && c.file.StoreID() == r.format.id {
			files = append(files, c.file)
		}
	}
	if len(files) == 0 {
		return keys.Pin{}, noCopy(keysObject)
	}
	slices.SortStableFunc(files, func(a, b *keys.File) int { return cmp.Compare(b.Version(), a.Version()) })
	pass, err := r.pass(ctx)
	if err != nil {
		return keys.Pin{}, err
	}
	defer clear(pass)
	for _, f := range files {
		var chain *keys.Chain
		if chain, err = f.UnlockContext(ctx, pass, ""); err == nil {
			chain.Close()
			return f.Pin(), nil
		}
		if !errors.Is(err, ErrTampered) {
			break
		}
	}
	return keys.Pin{}, fmt.Errorf("the key store of %s: %w", r.b.Location(), err)
}

// newest judges all copies and picks the newest, the first of equals. Those that group root did not sign count as
// damaged from then on; genuine ones that contradict each other are an error.
func newest(found []keyCopy, pin keys.Pin) (keyCopy, error) {
	var best keyCopy
	for i, c := range found {
		if c.file == nil {
			continue
		}
		switch err := c.file.CheckPin(pin); {
		case errors.Is(err, ErrForeign), errors.Is(err, ErrReplaced):
			return best, &Fault{Kind: kindOf(err), Object: c.where, Cause: err,
				Next: "nothing was changed; find out who put it there, or check the address of the store"}
		case err != nil && !errors.Is(err, ErrRollback):
			found[i].file = nil
			continue
		}
		if best.file == nil || c.file.Version() > best.file.Version() {
			best = c
		}
	}
	if best.file == nil {
		return best, noCopy(keysObject)
	}
	for _, c := range found {
		if c.file == nil {
			continue
		}
		if err := best.file.CheckPin(c.file.Pin()); err != nil {
			return best, &Fault{Kind: ErrReplaced, Object: c.where, Cause: err,
				Next: "nothing was changed; the copies of the key store have different histories: restore the store from a backup"}
		}
	}
	return best, nil
}

// replace brings one place up to the best copy.
func (r *repair) replace(ctx context.Context, c, best keyCopy) error {
	if c.file != nil && c.file.Version() >= best.file.Version() {
		return nil
	}
	why := "missing"
	switch {
	case c.file != nil:
		why = fmt.Sprintf("an older one, version %d", c.file.Version())
	case c.version != "":
		why = "damaged"
	}
	if err := swap(ctx, r.b, c.where, c.version, best.file.Encode()); err != nil {
		return err
	}
	if now, _, err := r.b.Load(ctx, c.where); err != nil || !bytes.Equal(now, best.file.Encode()) {
		return errors.Join(fmt.Errorf("object %s: %w", c.where, ErrOvertaken), err)
	}
	r.report(fmt.Sprintf("%s was %s: put back version %d from %s", c.where, why, best.file.Version(), best.where))
	return nil
}
