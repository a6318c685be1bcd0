package keys

import "errors"

// What can be wrong with a key store, or with a passphrase for it. They come wrapped with detail: match with errors.Is.
var (
	// ErrWrongPassphrase says that the key store is sound, as far as can be told without a passphrase that opens
	// it, and that no key in it opens with this one.
	ErrWrongPassphrase = errors.New("no key of this store opens with that passphrase")
	// ErrTampered says that the bytes are not what a holder of group root signed. Which byte is wrong is not told:
	// one error for every place, whatever a hostile store tries.
	ErrTampered = errors.New("key store is damaged or was tampered with; restore it from another client's copy")
	// ErrUnsupported says that the key store wants a format or an algorithm that this program does not know. Always
	// wrapped together with ErrTampered, since a flipped bit looks the same.
	ErrUnsupported = errors.New("key store needs a newer program")
	// ErrForeign says that the key store belongs to another store.
	ErrForeign = errors.New("belongs to another store")
	// ErrReplaced says that the key store is not a successor of the one this client knows: other root key, or
	// another history with the same root key.
	ErrReplaced = errors.New("key store was replaced by another one since this client last used it")
	// ErrRollback says that the key store is older than the one this client knows.
	ErrRollback = errors.New("older than what this client has seen")
	// ErrStale says that a chain's key was removed from the key store, or got another passphrase.
	ErrStale = errors.New("key was removed or its passphrase changed in the meantime; give the passphrase again")
)

// What an edit of the key store refuses (reference 1.13).
var (
	ErrBadName         = errors.New("name can't be used")
	ErrKeyExists       = errors.New("key exists already")
	ErrNoKey           = errors.New("no such key")
	ErrWhichKey        = errors.New("store has several keys; name the one to change")
	ErrPassphraseUsed  = errors.New("passphrase is in use already; choose another one")
	ErrEmptyPassphrase = errors.New("passphrase is empty")
	ErrOtherKey        = errors.New("old passphrase belongs to another key; use --force to change this key with it")
	ErrLacksGroups     = errors.New("key is not in all the groups that this needs")
	ErrLastKey         = errors.New("can't remove the last key of the store")
	ErrLastMember      = errors.New("key is the last one in the group; add the group to another key first")
	ErrNotRoot         = errors.New("passphrase is not in group root, which this needs")
	ErrNoMailbox       = errors.New("key was made before keys could be rotated without its passphrase; give that too, change it, or remove the key")
	ErrRootLost        = errors.New("root passphrase would no longer be in group root; give that of another key")
	ErrGroupExists     = errors.New("group exists already")
	ErrNoGroup         = errors.New("no key has that group")
	ErrHasGroup        = errors.New("key has that group already")
	ErrPermanent       = errors.New("group is permanent")
	ErrTooMany         = errors.New("key store would grow beyond its limits")
)
