//go:build !linux && !darwin

package dir

import (
	"errors"
	"os"
)

// renameNoReplace does not exist here; the probe finds that out and goes on to claims.
func renameNoReplace(*os.Root, string, string) error { return errors.ErrUnsupported }
