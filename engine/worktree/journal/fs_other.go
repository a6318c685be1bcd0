//go:build !linux

package journal

import (
	"errors"
	"os"
)

func roomFor(string, int64) error { return nil }

func copiesOnWrite(string) bool { return false }

func preallocate(f *os.File, size int64) error { return writeZeros(f, size) }

// dataSync is a full flush: on darwin os.File.Sync is F_FULLFSYNC, the only one that reaches the disk.
func dataSync(f *os.File) error { return f.Sync() }

func punch(*os.File, int64, int64) error { return errors.ErrUnsupported }

func writeBack(*os.File, int64, int64) {}

func willNeed(*os.File, int64, int64) {}

func dropCache(*os.File) {}
