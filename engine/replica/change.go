package replica

import (
	"errors"
	"fmt"

	"ensync/store/object"
)

// Name is the name that the change is about; for a renaming, the old one.
func (c Change) Name() string {
	if c.Old != nil {
		return c.Old.Name
	}
	if c.New != nil {
		return c.New.Name
	}
	return ""
}

// CheckChange refuses a change that no client may carry out, whatever its tree holds: names that a store must not
// plant, kinds that are not synchronised, and changes that say nothing.
func CheckChange(c Change) error {
	if c.Old == nil && (c.New == nil || c.Rename != "") || c.New != nil && c.Rename != "" {
		return errors.New("neither a creation, an update, a removal nor a renaming")
	}
	if c.Old != nil && c.New != nil && c.Old.Name != c.New.Name {
		return fmt.Errorf("%q: an update cannot rename it to %q", c.Old.Name, c.New.Name)
	}
	names := []string{c.Name()}
	if c.Rename != "" {
		names = append(names, c.Rename)
	}
	for _, name := range names {
		if !object.ValidName(name) {
			return fmt.Errorf("%q: not a name that a file can have", name)
		}
		if Reserved(name) {
			return fmt.Errorf("%q: the name is reserved", name)
		}
	}
	for _, e := range []*Entry{c.Old, c.New} {
		if e != nil && e.Kind != object.File && e.Kind != object.Directory && e.Kind != object.Symlink {
			return fmt.Errorf("%q: a %v is not synchronised", e.Name, e.Kind)
		}
	}
	return nil
}
