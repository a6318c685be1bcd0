package main

import (
	"net"
	"path/filepath"
	"testing"
)

// TestNotify is what sd_notify(3) says.
func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "READY=1" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", path+"/missing")
	if notify("READY=1") == nil {
		t.Fatal("nobody was told, and no error")
	}
}
