package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A content starts with its mark, so that it is known again wherever it turns up.
var markPattern = regexp.MustCompile(`^content-[0-9]{8}\.`)

const markLength = len("content-00000000.")

// content makes a new one: often small, sometimes of several blocks, sometimes with the tail of an earlier one.
func (s *soak) content() []byte {
	mark := fmt.Sprintf("content-%08d.", s.next)
	s.next++
	s.written[mark] = true
	size := s.rng.IntN(200)
	switch s.rng.IntN(12) {
	case 0:
		size = s.rng.IntN(6 << 20)
	case 1, 2, 3:
		size = s.rng.IntN(100 << 10)
	case 4:
		return append([]byte(mark), strings.Repeat("the same again\n", s.rng.IntN(200000))...)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	return append([]byte(mark), b...)
}

// markOf reads the mark of a file; "" if it has none.
func markOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, markLength)
	n, err := f.Read(head)
	if err != nil && n == 0 {
		return "", nil // empty
	}
	return string(markPattern.Find(head[:n])), nil
}

// names are few, so that both machines mean the same ones.
var names = []string{"a", "b", "c", "d.txt", "e e", "f\nf", "g\xff\xfe", "h'\"", "ü", strings.Repeat("n", 255)}

// somewhere returns a path below the tree, which need not be there.
func (s *soak) somewhere(tree string) string {
	path := tree
	for range 1 + s.rng.IntN(3) {
		path = filepath.Join(path, names[s.rng.IntN(len(names))])
	}
	return path
}

// edit does one thing that a user does. What can't be done there and then is not done.
func (s *soak) edit(tree string) error {
	s.edits++
	path := s.somewhere(tree)
	err := s.act(tree, path)
	for _, fine := range []error{fs.ErrNotExist, fs.ErrExist, errNotDir, errIsDir, errNotEmpty, errInvalid} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	return err
}

func (s *soak) act(tree, path string) error {
	switch s.rng.IntN(16) {
	case 0, 1, 2, 3:
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return s.write(path)
	case 4, 5, 6:
		if _, err := os.Lstat(path); err != nil {
			return err
		}
		return s.write(path)
	case 7:
		return s.save(path)
	case 8:
		return s.remove(path)
	case 9:
		return s.tidy(filepath.Dir(path))
	case 10, 11:
		return s.rename(path, s.somewhere(tree))
	case 12:
		return chmod(path, []fs.FileMode{0o600, 0o644, 0o755, 0o700}[s.rng.IntN(4)])
	case 13:
		return os.Mkdir(path, 0o755)
	case 14:
		if err := s.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Symlink(fmt.Sprintf("target-%d", s.rng.IntN(5)), path)
	}
	if err := s.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // a file becomes a directory
		return err
	}
	return os.MkdirAll(filepath.Join(path, names[s.rng.IntN(len(names))]), 0o755)
}

func chmod(path string, mode fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	if info.IsDir() {
		mode |= 0o700
	}
	return os.Chmod(path, mode)
}

// seen notes that the user has what is at path before their eyes and is about to take it away.
func (s *soak) seen(path string) error {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	mark, err := markOf(path)
	if mark != "" {
		s.replaced[mark] = true
	}
	return err
}

// write replaces a regular file's bytes in place, or makes one.
func (s *soak) write(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		return errIsDir
	}
	if err := s.seen(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c := s.content()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err == nil {
		_, err = f.Write(c)
		err = errors.Join(err, f.Sync(), f.Close()) // a mount that is killed promises only what was synced
	}
	if err != nil {
		delete(s.written, string(c[:markLength]))
	}
	return err
}

// save writes as editors do: beside, then over.
func (s *soak) save(path string) error {
	if info, err := os.Lstat(path); err != nil {
		return err
	} else if info.IsDir() {
		return errIsDir
	}
	beside := filepath.Join(filepath.Dir(path), "saving~")
	if err := s.write(beside); err != nil {
		return err
	}
	if err := s.seen(path); err != nil {
		return err
	}
	return os.Rename(beside, path)
}

func (s *soak) remove(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if err := s.seen(path); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// tidy removes anything that lies in a directory, which may be a conflict copy.
func (s *soak) tidy(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	return s.removeAll(filepath.Join(dir, entries[s.rng.IntN(len(entries))].Name()))
}

func (s *soak) removeAll(path string) error {
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return s.seen(p)
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(path)
}

func (s *soak) rename(from, to string) error {
	source, err := os.Lstat(from)
	if err != nil {
		return err
	}
	target, err := os.Lstat(to)
	if err == nil && (target.IsDir() || source.IsDir() || os.SameFile(source, target)) {
		return errIsDir
	}
	if err == nil {
		if err := s.seen(to); err != nil {
			return err
		}
	}
	return os.Rename(from, to)
}
