//go:build linux

package conformance_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ensync/fusefs/conformance"
)

// TestDirectory asks the directory CONFORMANCE_DIR, or the system's own file system: there, the tests themselves are
// tested.
func TestDirectory(t *testing.T) {
	if dir := os.Getenv("CONFORMANCE_DIR"); dir != "" {
		conformance.Run(t, dir)
		return
	}
	dir, err := os.MkdirTemp("/var/tmp", "conformance")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.EXT4_SUPER_MAGIC && st.Type != unix.XFS_SUPER_MAGIC {
		t.Skip("neither ext4 nor xfs")
	}
	if err := os.Chmod(dir, 0755); err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, dir)
}
