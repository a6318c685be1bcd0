//go:build linux

package foldtest

import (
	"context"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// file is an open file. Attributes are asked from the node, which knows what to hide.
type file struct {
	loopback
	fd    int
	mount *mount
	ino   uint64
}

// Read implements fs.FileReader.
func (f *file) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := f.mount.opt.fault(); errno != 0 {
		return nil, errno
	}
	return f.loopback.Read(ctx, dest, off)
}

// Write implements fs.FileWriter.
func (f *file) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := f.mount.opt.fault(); errno != 0 {
		return 0, errno
	}
	return f.loopback.Write(ctx, data, off)
}

// Fsync implements fs.FileFsyncer.
func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.mount.opt.fault(); errno != 0 {
		return errno
	}
	return f.loopback.Fsync(ctx, flags)
}

// Release implements fs.FileReleaser.
func (f *file) Release(ctx context.Context) syscall.Errno {
	f.mount.mu.Lock()
	if f.mount.open[f.ino]--; f.mount.open[f.ino] <= 0 {
		delete(f.mount.open, f.ino)
	}
	f.mount.mu.Unlock()
	return f.loopback.Release(ctx)
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
