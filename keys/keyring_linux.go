package keys

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The keyrings that a passphrase is looked for in: that of the session, which ends with it, and that of the user, which all
// processes of the user share until the last one ends.
var keyrings = []int{unix.KEY_SPEC_SESSION_KEYRING, unix.KEY_SPEC_USER_KEYRING}

const keyType = "user" // the kernel's name for keys that are just bytes

// readKeyring reads a passphrase from the keyrings of the kernel.
func readKeyring(name string) ([]byte, error) {
	worst := error(unix.ENOKEY)
	for _, ring := range keyrings {
		id, err := unix.KeyctlSearch(ring, keyType, name, 0)
		if err == nil {
			var pass []byte
			if pass, err = readKey(id); err == nil {
				return pass, nil
			}
		}
		if !errors.Is(err, unix.ENOKEY) {
			worst = err
		}
	}
	return nil, keyringError(name, worst)
}

func readKey(id int) ([]byte, error) {
	buf := make([]byte, 1<<15) // the kernel lets no such key have more
	defer clear(buf)
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(buf[:min(n, len(buf))]), nil
}

// Remember puts a passphrase into the user's keyring, for a time or, if that is 0, until the user's last process ends.
func Remember(name string, pass []byte, keep time.Duration) error {
	id, err := unix.AddKey(keyType, name, pass, unix.KEY_SPEC_USER_KEYRING)
	if err == nil && keep > 0 {
		seconds := int((keep + time.Second - 1) / time.Second)
		if _, err = unix.KeyctlInt(unix.KEYCTL_SET_TIMEOUT, id, seconds, 0, 0); err != nil {
			unix.KeyctlInt(unix.KEYCTL_REVOKE, id, 0, 0, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("put a passphrase into the keyring: %w", keyringError(name, err))
	}
	return nil
}

// Forget takes a passphrase out of the user's keyring.
func Forget(name string) error {
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, keyType, name, 0)
	if err == nil {
		_, err = unix.KeyctlInt(unix.KEYCTL_REVOKE, id, 0, 0, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOKEY) && !errors.Is(err, unix.EKEYREVOKED) && !errors.Is(err, unix.EKEYEXPIRED) {
		return fmt.Errorf("take a passphrase out of the keyring: %w", keyringError(name, err))
	}
	return nil
}

// keyringError says what an error of the kernel means.
func keyringError(name string, err error) error {
	again := fmt.Sprintf("put it there again with ensync key remember %s", name)
	switch {
	case errors.Is(err, unix.ENOKEY):
		return fmt.Errorf("no keyring of this session or user has a key of that name; put it there with ensync key remember %s", name)
	case errors.Is(err, unix.EKEYEXPIRED):
		return fmt.Errorf("the key's time has run out; %s", again)
	case errors.Is(err, unix.EKEYREVOKED):
		return fmt.Errorf("the key was revoked; %s", again)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("the kernel does not let us read the key; %s", again)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return fmt.Errorf("keyrings can't be used here (%w); use another source, as file:PATH", err)
	}
	return err
}
