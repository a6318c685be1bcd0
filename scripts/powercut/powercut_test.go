//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestPowerCut is three cuts, for root on a machine with loop devices.
func TestPowerCut(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("takes some seconds, and root")
	}
	for _, need := range []string{"/dev/loop-control", "/dev/fuse"} {
		if _, err := os.Stat(need); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Skip("root, but may not mount: ", err)
	}
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"ensync": "../../cmd/ensync", "powercut": "."} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), from).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "powercut"), "-ensync", filepath.Join(dir, "ensync"),
		"-cuts", "3", "-second", (5 * time.Second).String(), "-dir", dir).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
