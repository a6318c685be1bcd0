//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// object is what a name means: which, and of what kind.
type object struct {
	id   int
	kind byte // f, d or l
}

type names map[string]object

// namer makes, links, renames, exchanges and removes names in two directories. After a cut the names must be as they
// were at one moment, at or after the last fsync of a directory.
type namer struct {
	dir    string
	states []names     // after each step since floor
	ended  []time.Time // of each step; of the first it does not matter
	floor  int
	next   int
}

func (n *namer) begin() error {
	n.states, n.ended = []names{{}}, []time.Time{{}}
	for _, d := range []string{"", "a", "b"} {
		if err := os.Mkdir(filepath.Join(n.dir, d), 0o700); err != nil {
			return err
		}
	}
	return dirSync(n.dir)
}

func (n *namer) work(ctx context.Context, rng *rand.Rand, promised func() bool) error {
	for ctx.Err() == nil {
		now := maps.Clone(n.states[len(n.states)-1])
		changed, err := n.step(now, rng)
		if err != nil {
			if changed { // it may have happened
				n.note(now)
			}
			return err
		}
		if changed {
			n.note(now)
		}
		if rng.IntN(30) == 0 {
			if err := dirSync(filepath.Join(n.dir, string("ab"[rng.IntN(2)]))); err != nil {
				return err
			}
			if promised() {
				n.floor = len(n.states) - 1
			}
			pause(ctx, rng)
		}
	}
	return nil
}

func (n *namer) note(now names) {
	n.states, n.ended = append(n.states, now), append(n.ended, time.Now())
}

// step does one thing, to the tree and to now.
func (n *namer) step(now names, rng *rand.Rand) (changed bool, err error) {
	pick := func() (string, string, object) {
		name := fmt.Sprintf("%c/%d", "ab"[rng.IntN(2)], rng.IntN(6))
		return name, filepath.Join(n.dir, name), now[name]
	}
	name, path, o := pick()
	to, toPath, there := pick()
	none := object{}
	made := object{n.next + 1, 'f'}
	mode := uint32(0o600 + (n.next+1)%64)
	switch k := rng.IntN(10); {
	case k < 4 && o == none:
		n.next++
		switch rng.IntN(4) {
		case 0:
			made.kind = 'd'
			err = syscall.Mkdir(path, mode|0o700)
		case 1:
			made.kind = 'l'
			err = os.Symlink(fmt.Sprint(made.id), path)
		case 2:
			err = n.unnamed(path, mode)
		default:
			err = syscall.Mknod(path, syscall.S_IFREG|mode, 0)
		}
		now[name] = made
	case k < 5 && o.kind == 'f' && there == none:
		err = os.Link(path, toPath)
		now[to] = o
	case k < 6 && o != none:
		err = os.Remove(path)
		delete(now, name)
	case k < 8 && o != none && to != name && o.id != there.id && (there == none || (o.kind == 'd') == (there.kind == 'd')):
		err = syscall.Rename(path, toPath) // also over an empty directory
		delete(now, name)
		now[to] = o
	case k < 9 && o != none && there != none && o.id != there.id:
		err = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, toPath, unix.RENAME_EXCHANGE)
		now[name], now[to] = there, o
	default:
		return false, nil
	}
	return true, err
}

// unnamed makes a file without a name, and then gives it one.
func (n *namer) unnamed(path string, mode uint32) error {
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}

// check looks for the moment that the tree shows.
func (n *namer) check(l limits, afterCut bool) (oldest time.Duration, err error) {
	found, err := n.look()
	if err != nil {
		return 0, err
	}
	for i := len(n.states) - 1; i >= n.floor; i-- {
		if !sameNames(n.states[i], found) {
			if !afterCut {
				break
			}
			continue
		}
		if i+1 < len(n.states) {
			if oldest = l.cut.Sub(n.ended[i+1]); oldest > l.second {
				return oldest, fmt.Errorf("%s: a step that was made %v before the cut is lost", n.dir, oldest)
			}
		}
		n.states, n.ended, n.floor = []names{n.states[i]}, []time.Time{{}}, 0
		return oldest, nil
	}
	return 0, fmt.Errorf("%s: %v is no moment of %d", n.dir, found, len(n.states)-n.floor)
}

// seen is an object with what tells it: its target or mode, and its inode.
type seen struct {
	kind byte
	mark int
	ino  uint64
}

func (n *namer) look() (map[string]seen, error) {
	all := map[string]seen{}
	for _, d := range []string{"a", "b"} {
		list, err := os.ReadDir(filepath.Join(n.dir, d))
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			path := filepath.Join(n.dir, d, e.Name())
			var st syscall.Stat_t
			if err := syscall.Lstat(path, &st); err != nil {
				return nil, err
			}
			s := seen{kind: 'f', mark: int(st.Mode & 0o77), ino: st.Ino}
			switch st.Mode & syscall.S_IFMT {
			case syscall.S_IFDIR:
				s.kind = 'd'
			case syscall.S_IFLNK:
				target, err := os.Readlink(path)
				if _, scan := fmt.Sscan(target, &s.mark); err != nil || scan != nil {
					return nil, errors.Join(err, scan)
				}
				s.kind = 'l'
			}
			all[d+"/"+e.Name()] = s
		}
	}
	return all, nil
}

func sameNames(want names, found map[string]seen) bool {
	if len(want) != len(found) {
		return false
	}
	inodes := map[int]uint64{}
	for name, o := range want {
		s, ok := found[name]
		mark := o.id
		if o.kind != 'l' {
			mark = o.id % 64
		}
		if !ok || s.kind != o.kind || s.mark != mark || inodes[o.id] != 0 && inodes[o.id] != s.ino {
			return false
		}
		inodes[o.id] = s.ino
	}
	return true
}
