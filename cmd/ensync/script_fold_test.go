//go:build linux

package main

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"ensync/engine/localdir/foldtest"
)

func init() { scriptCommands["foldfs"] = foldFS }

// foldFS mounts one of the file systems that other systems have: foldfs KIND DIR.
func foldFS(ts *testscript.TestScript, neg bool, args []string) {
	kinds := map[string]foldtest.Options{"vfat": foldtest.VFAT, "apfs": foldtest.APFS, "hfs": foldtest.HFS, "ntfs": foldtest.NTFS,
		"nfs": foldtest.NFS, "plain": foldtest.Plain}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: foldfs KIND DIR")
	}
	opt, ok := kinds[args[0]]
	if !ok {
		ts.Fatalf("foldfs: %s is none of %v", args[0], kinds)
	}
	at := ts.MkAbs(args[1])
	below := at + ".below"
	for _, dir := range []string{below, at} {
		ts.Check(os.MkdirAll(dir, 0o755))
	}
	unmount, err := foldtest.Mount(below, at, opt)
	ts.Check(err)
	ts.Defer(func() { ts.Check(unmount()) })
}
