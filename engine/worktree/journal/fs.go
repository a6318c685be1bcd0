package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// directory is what a log needs of its directory; names are without a path.
type directory interface {
	List() ([]string, error)
	Create(name string, size int64) (file, error) // new or emptied, preallocated: later writes below size need no space
	Open(name string) (file, error)
	Rename(old, new string) error
	Remove(name string) error // not there is success
	Sync() error
}

// file is what a log needs of a segment's file. ReadAt and WriteAt are concurrent.
type file interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Size() (int64, error)
	Sync() error    // data, and what is needed to find it: fdatasync
	SyncAll() error // and all metadata: fsync
	Truncate(size int64) error
	Punch(off, n int64) error // give the space of a range back; it reads as zeros or as before
	WriteBack(off, n int64)   // begin writing a range to the disk, a hint
	WillNeed(off, n int64)    // begin reading a range from the disk, a hint
	DropCache()               // make the next read come from the disk, as far as the system can
	Close() error
}

type osDirectory struct{ path string }

func (d osDirectory) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d osDirectory) Create(name string, size int64) (file, error) {
	if err := roomFor(d.path, size); err != nil {
		return nil, err
	}
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := preallocate(f, size); err != nil {
		f.Close()
		os.Remove(path)
		return nil, fmt.Errorf("preallocate %s: %w", path, err)
	}
	return osFile{f}, nil
}

func (d osDirectory) Open(name string) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDirectory) Rename(old, new string) error {
	return os.Rename(filepath.Join(d.path, old), filepath.Join(d.path, new))
}

func (d osDirectory) Remove(name string) error {
	err := os.Remove(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d osDirectory) Sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error              { return dataSync(f.File) }
func (f osFile) SyncAll() error           { return f.File.Sync() }
func (f osFile) Punch(off, n int64) error { return punch(f.File, off, n) }
func (f osFile) WriteBack(off, n int64)   { writeBack(f.File, off, n) }
func (f osFile) WillNeed(off, n int64)    { willNeed(f.File, off, n) }
func (f osFile) DropCache()               { dropCache(f.File) }

// writeZeros preallocates where the system has no call for it.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
