//go:build linux

// Package foldtest is a FUSE mount that shows a directory as file systems other than Linux's own would: names that fold,
// names in another form, coarse times, no permissions.
package foldtest

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Form is what becomes of letters with accents, which Unicode can write as one character or as two.
type Form uint8

// The forms.
const (
	Bytes      Form = iota // names are bytes
	Compared               // é and e with an accent are one name, kept as it was written (APFS)
	Decomposed             // é is kept as e with an accent (HFS+)
)

// Options are the ways in which a file system can be odd.
type Options struct {
	Fold       bool // upper and lower case are one name, kept as it was written
	Lower      bool // names are kept in lower case; with Fold
	Form       Form
	Forbidden  string        // characters that no name may have
	Refusal    syscall.Errno // what who gives them one is told; 0: EINVAL
	Strip      string        // characters that names lose at their end
	NoModes    bool          // every file has the mode 0755; setting another fails
	NoLinks    bool          // neither hard nor symbolic ones
	NoExchange bool          // no RENAME_EXCHANGE
	NoFlags    bool          // a rename can't refuse to replace, nor exchange
	Repeats    int           // every so many changes of a name are done twice, and the second answer counts (NFS, a lost answer)
	StaleList  time.Duration // so long after a directory was listed, it is shown as it was then
	Silly      bool          // what is removed while it is open stays as .nfs..., as on NFS
	Grain      time.Duration
	Earliest   time.Time // times before it become it
	// Fault, if set, is asked before everything is done; what it returns, unless 0, is all that happens.
	Fault func() syscall.Errno
}

// The file systems that people have.
var (
	VFAT = Options{Fold: true, Forbidden: `\:*?"<>|`, Strip: ". ", NoModes: true, NoLinks: true, NoExchange: true,
		Grain: 2 * time.Second, Earliest: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	APFS = Options{Fold: true, Form: Compared}
	HFS  = Options{Fold: true, Form: Decomposed, Grain: time.Second}
	// Drive is a flash drive as FUSE programs show it.
	Drive = Options{Fold: true, Forbidden: `\:*?"<>|éüñ`, NoModes: true, NoLinks: true, NoExchange: true, Grain: time.Second, Refusal: syscall.ENOENT}
	// DOS is NTFS as some show it who ask for no case (lowntfs-3g -o ignore_case).
	DOS = Options{Fold: true, Lower: true}
	// NFS is a network file system in its worst moments.
	NFS = Options{Repeats: 3, Silly: true, NoFlags: true, NoExchange: true}
	// Plain has nothing that makes a name only once: neither links nor renames with flags.
	Plain = Options{Fold: true, NoModes: true, NoLinks: true, NoFlags: true, NoExchange: true, Grain: 2 * time.Second}
	NTFS  = Options{Fold: true, Forbidden: `\:*?"<>|`, Strip: ". ", Grain: 100 * time.Nanosecond}
)

// Available reports whether this machine lets us mount.
func Available() bool {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	return err == nil && f.Close() == nil && os.Geteuid() == 0
}

// Mount shows the directory below at the directory at, until the returned function is called.
func Mount(below, at string, opt Options) (unmount func() error, err error) {
	zero := time.Duration(0)
	root := &node{mount: &mount{below: below, opt: opt, lists: map[string]listing{}, open: map[uint64]int{}}}
	server, err := fs.Mount(at, root, &fs.Options{EntryTimeout: &zero, AttrTimeout: &zero, NegativeTimeout: &zero, NullPermissions: true,
		MountOptions: fuse.MountOptions{FsName: "foldtest", DirectMount: true}})
	if err != nil {
		return nil, err
	}
	return func() error {
		err := server.Unmount()
		if err != nil { // somebody is still in it
			err = syscall.Unmount(at, syscall.MNT_DETACH)
		}
		return err
	}, nil
}

// New mounts an empty file system for one test, and returns where.
func New(t *testing.T, opt Options) string {
	t.Helper()
	if !Available() {
		t.Skip("mounting needs root and /dev/fuse")
	}
	below, at := t.TempDir(), t.TempDir()
	unmount, err := Mount(below, at, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	return at
}

// letters are those that a form changes: enough for tests.
var letters = [][2]string{{"é", "e\u0301"}, {"É", "E\u0301"}, {"ü", "u\u0308"}, {"Ü", "U\u0308"}, {"ñ", "n\u0303"}}

func replace(name string, from, to int) string {
	for _, l := range letters {
		name = strings.ReplaceAll(name, l[from], l[to])
	}
	return name
}

// kept is how a name is kept.
func (o *Options) kept(name string) string {
	if o.Form == Decomposed {
		name = replace(name, 0, 1)
	}
	if o.Lower {
		name = strings.ToLower(name)
	}
	if o.Strip == "" || name == "." || name == ".." {
		return name
	}
	return strings.TrimRight(name, o.Strip)
}

// key is equal for names that are one.
func (o *Options) key(name string) string {
	name = o.kept(name)
	if o.Form != Bytes {
		name = replace(name, 1, 0)
	}
	if o.Fold {
		name = strings.Map(func(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }, name)
	}
	return name
}

// allows reports whether something may get a name.
func (o *Options) allows(name string) syscall.Errno {
	if !strings.ContainsAny(name, o.Forbidden) && o.kept(name) != "" {
		return 0
	}
	if o.Refusal != 0 {
		return o.Refusal
	}
	return syscall.EINVAL
}

// fault is asked before everything is done.
func (o *Options) fault() syscall.Errno {
	if o.Fault == nil {
		return 0
	}
	return o.Fault()
}

// time is what becomes of a time.
func (o *Options) time(t time.Time) time.Time {
	if t.Before(o.Earliest) {
		t = o.Earliest
	}
	if o.Grain > 0 {
		t = t.Add(-time.Duration(t.UnixNano() % int64(o.Grain)))
	}
	return t
}
