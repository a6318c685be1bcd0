//go:build !linux

package keys

import (
	"errors"
	"time"
)

var errNoKeyring = errors.New("only Linux has keyrings; use another source, as file:PATH")

func readKeyring(string) ([]byte, error) { return nil, errNoKeyring }

// Remember puts a passphrase into the user's keyring, where there is one.
func Remember(string, []byte, time.Duration) error { return errNoKeyring }

// Forget takes a passphrase out of the user's keyring, where there is one.
func Forget(string) error { return errNoKeyring }
