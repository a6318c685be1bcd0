package store

import (
	"errors"
	"fmt"

	"ensync/keys"
	"ensync/store/backend"
)

// The kinds of failure that a caller must be able to tell apart, for errors.Is. Next to them backend.ErrUnavailable
// and backend.ErrDenied come through as they are. A Fault carries one of them with the object it is about.
var (
	// ErrNoStore says that there is certainly no store: nothing at all lies there.
	ErrNoStore = errors.New("there is no store")
	// ErrExists says that a store can't be created because something lies there.
	ErrExists = errors.New("place is not empty")
	// ErrMissing says that an object which must be there is not, while others are.
	ErrMissing = errors.New("missing from the store")
	// ErrDamaged says that an object is there but not as it was written.
	ErrDamaged = errors.New("damaged")
	// ErrUnfinished says that a copy of a store lies there which is not whole yet.
	ErrUnfinished = errors.New("missing from an unfinished copy of a store")
	// ErrUnsupported says that the store was made by a newer version.
	ErrUnsupported = errors.New("needs a newer version of ensync")
	// ErrOvertaken says that another client changed the object first; look again and retry.
	ErrOvertaken = errors.New("another client was faster")
	// ErrNoGroup says that the passphrase used is not in the group that something needs.
	ErrNoGroup = errors.New("passphrase is not in the group")
	// ErrNoRoot says that the list of roots has no such name.
	ErrNoRoot = errors.New("no such root")
	// ErrRootExists says that the list of roots has that name already.
	ErrRootExists = errors.New("root exists already")

	// ErrForeign says that an object belongs to another store.
	ErrForeign = keys.ErrForeign
	// ErrRollback says that the store shows an older state than this client has seen.
	ErrRollback = keys.ErrRollback
	// ErrFork says that another client was shown another state of the store than this one is.
	ErrFork = errors.New("another client was shown another state of the store")
	// ErrReplaced says that the keys are not successors of those that this client knows.
	ErrReplaced = keys.ErrReplaced
	// ErrTampered says that the keys are not what group root signed.
	ErrTampered = keys.ErrTampered
	// ErrWrongPassphrase says that no key opens with the passphrase.
	ErrWrongPassphrase = keys.ErrWrongPassphrase
)

// Fault is a failure of one object of a store.
type Fault struct {
	Kind   error  // one of the sentinels above
	Object string // name in the backend
	Cause  error  // more detail; may be nil
	Next   string // what to do
}

// Error reads "object NAME: KIND: cause; next step".
func (f *Fault) Error() string {
	s := fmt.Sprintf("object %s: %v", f.Object, f.Kind)
	if f.Cause != nil {
		s += fmt.Sprintf(" (%v)", f.Cause)
	}
	return s + "; " + f.Next
}

// Unwrap lets errors.Is find kind and cause.
func (f *Fault) Unwrap() []error {
	if f.Cause == nil {
		return []error{f.Kind}
	}
	return []error{f.Kind, f.Cause}
}

func damaged(object string, cause error) error {
	next := putBack(object)
	if object == formatObject {
		next = ", and when the damaged object was moved away, ensync repair puts it back"
	}
	return &Fault{Kind: ErrDamaged, Object: object, Cause: cause,
		Next: "nothing of it was used; ensync check lists what is affected" + next}
}

func missing(object string) error {
	return &Fault{Kind: ErrMissing, Object: object,
		Next: "the store is damaged: " + becauseMissing + putBack(object)}
}

const becauseMissing = "likely an expiry rule, another program that deletes here, or a partial copy; stop that; ensync check lists what is affected"

func unfinishedCopy(object string) error {
	return &Fault{Kind: ErrUnfinished, Object: object,
		Next: "nothing was changed; finish it with ensync store copy, or ensync store rekey if that began it, and use the store that it is of until then"}
}

// putBack says where an object can be had again.
func putBack(object string) string {
	switch object {
	case formatObject, keysObject, keysCopy:
		return ", ensync repair puts this object back"
	}
	return "; no client has a copy of this object: put it back from a backup of the store"
}

// got gives the error of reading an object that must be there the kind that fits it.
func got(object string, err error) error {
	if errors.Is(err, backend.ErrNotExist) {
		return missing(object)
	}
	return fmt.Errorf("read object %s: %w", object, err)
}
