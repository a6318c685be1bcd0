//go:build linux

package foldtest

import (
	"strconv"

	"github.com/hanwen/go-fuse/v2/fs"
)

// file is an open file. Attributes are asked from the node, which knows what to hide.
type file struct {
	loopback
	fd int
}

// loopback is what of an open file passes through as it is.
type loopback interface {
	fs.FileReader
	fs.FileWriter
	fs.FileFlusher
	fs.FileFsyncer
	fs.FileReleaser
	fs.FileAllocater
	fs.FileLseeker
}

func itoa(n int) string { return strconv.Itoa(n) }
