package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// check holds the machines against what is promised. They have settled before.
func (s *soak) check(context.Context) error {
	trees := make([]map[string]string, len(s.machines))
	for i, m := range s.machines {
		var err error
		if trees[i], err = snapshot(m.Local); err != nil {
			return err
		}
	}
	return errors.Join(s.equal(trees), s.nothingLost(), s.nothingInClear())
}

// snapshot describes every entry of a tree. Directories have no time: it belongs to no one.
func snapshot(tree string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == tree {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text = "-> " + target
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %d %x", info.ModTime().UnixNano(), len(b), sha256.Sum256(b))
		}
		all[p[len(tree):]] = text
		return nil
	})
	return all, err
}

func (s *soak) equal(trees []map[string]string) error {
	var wrong []string
	for path, here := range trees[0] {
		if there, ok := trees[1][path]; !ok || here != there {
			wrong = append(wrong, fmt.Sprintf("%q: %s here, %s there", path, here, there))
		}
	}
	for path, there := range trees[1] {
		if _, ok := trees[0][path]; !ok {
			wrong = append(wrong, fmt.Sprintf("%q: not here, %s there", path, there))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("the trees differ in %d entries:\n%s", len(wrong), strings.Join(wrong[:min(20, len(wrong))], "\n"))
}

// nothingLost looks for every content that nobody took away knowingly. It also counts conflict copies: what turns up
// under a name that nobody chose. A temporary file's name is one, too.
func (s *soak) nothingLost() error {
	present, whole := map[string]bool{}, map[sum]bool{}
	s.conflicts = 0
	var strange []string
	tree := s.machines[0].Local
	err := filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == tree {
			return err
		}
		if name := d.Name(); !slices.Contains(names, name) && name != "saving~" && !strings.HasPrefix(name, ownPrefix) {
			s.conflicts++
			if !strings.Contains(name, "~") {
				strange = append(strange, p[len(tree):])
			}
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(p)
		present[string(markPattern.Find(b))], whole[sumOf(b)] = true, true
		return err
	})
	if err != nil {
		return err
	}
	if len(strange) > 0 {
		return fmt.Errorf("names that are no user's and no conflict copy's: %q", strange)
	}
	lost := s.ledger.lost(whole)
	for mark := range s.written {
		if !s.replaced[mark] && !present[mark] {
			lost = append(lost, mark)
		}
	}
	if slices.Sort(lost); len(lost) > 0 {
		return fmt.Errorf("%d contents are lost that nobody took away: %v", len(lost), lost)
	}
	return nil
}

// nothingInClear looks for marks and names in the store.
func (s *soak) nothingInClear() error {
	return filepath.WalkDir(s.storeDir(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, secret := range []string{"content-0", "beside-0", ownPrefix, "the same again", "saving~", "nnnnnnnnnnnn", "target-"} {
			if bytes.Contains(b, []byte(secret)) {
				return fmt.Errorf("%s: holds %q in clear", p, secret)
			}
		}
		return nil
	})
}

// listing describes the store from outside: names, sizes, times.
func listing(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, p, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	return b.String(), err
}
