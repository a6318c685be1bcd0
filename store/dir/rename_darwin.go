package dir

import (
	"os"

	"golang.org/x/sys/unix"
)

// renameNoReplace renames within the store, or fails with fs.ErrExist.
func renameNoReplace(r *os.Root, from, to string) error {
	return between(r, from, to, func(fromDir int, fromName string, toDir int, toName string) error {
		return unix.RenameatxNp(fromDir, fromName, toDir, toName, unix.RENAME_EXCL)
	})
}
