package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// xattrCommand is a command of scripts:
//
//	xattr set FILE NAME VALUE
//	xattr rm FILE NAME
//	xattr state|local FILE VALUE      what a mount tells of it in user.ensync.*, at the latest after half a minute
//	xattr is FILE [NAME=VALUE...]     all that it has in user.*, and nothing else
func xattrCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: xattr set|rm|is FILE ...")
	}
	path := ts.MkAbs(args[1])
	switch args[0] {
	case "set":
		ts.Check(unix.Setxattr(path, args[2], []byte(args[3]), 0))
	case "rm":
		ts.Check(unix.Removexattr(path, args[2]))
	case "state", "local":
		ts.Check(awaitXattr(path, "user.ensync."+args[0], args[2]))
	case "is":
		got, err := userXattrs(path)
		ts.Check(err)
		if want := slices.Sorted(slices.Values(args[2:])); !slices.Equal(got, want) {
			ts.Fatalf("%s has %q, not %q", args[1], got, want)
		}
	default:
		ts.Fatalf("xattr %s: no such verb", args[0])
	}
}

// awaitXattr waits until an attribute has a value.
func awaitXattr(path, name, want string) error {
	value := make([]byte, 1000)
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		n, err := unix.Getxattr(path, name, value)
		if err != nil || string(value[:n]) == want {
			return err
		}
		if time.Since(start) > 30*time.Second {
			return fmt.Errorf("%s of %s is %q, not %q", name, path, value[:n], want)
		}
	}
}

// userXattrs returns NAME=VALUE of all attributes in user.*, sorted.
func userXattrs(path string) ([]string, error) {
	b := make([]byte, 64<<10)
	n, err := unix.Listxattr(path, b)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for name := range strings.SplitSeq(string(b[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Getxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		all[name+"="+string(value[:n])] = true
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// keepsOwners reports whether files here can be given away, and can have extended attributes.
func keepsOwners() bool {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return false
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "f")
	return os.WriteFile(path, nil, 0o600) == nil && os.Chown(path, 1, 2) == nil && unix.Setxattr(path, "user.a", nil, 0) == nil
}
