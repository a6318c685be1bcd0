package main

import "golang.org/x/sys/unix"

// hasKeyring reports whether this process may use the kernel's keyrings, which containers often may not.
func hasKeyring() bool {
	_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
	return err == nil
}
