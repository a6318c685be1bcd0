package localdir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// Temporary names say what to do with them after a crash. They are read by List, and have the form
//
//	.ensync-tmp.w.OWNER.RANDOM                                   bytes on their way in
//	.ensync-tmp.n.OWNER.RANDOM.NAME                              an empty file, to see what becomes of NAME
//	.ensync-tmp.x.OWNER.RANDOM.MINE.INODE.SIZE.MTIME.NAME        to be exchanged with NAME
//	.ensync-tmp.a.OWNER.RANDOM.0.INODE.SIZE.MTIME.NAME           taken away from NAME
//
// OWNER is the process: a leftover is touched only when that is dead. MINE is the inode that we made; INODE, SIZE and
// MTIME are of the file that the user is known to have had at NAME. Whatever lies under an x or a name, and is neither, is
// a version that nobody has seen: it is kept.
//
// RACE: a process in another PID namespace looks dead. Its write of an entry then fails, or its removal is finished or
// undone by us; no bytes are lost, since what it took away is judged by the same rule as it would have judged it.
const (
	writing   = 'w'
	trying    = 'n'
	exchanged = 'x'
	aside     = 'a'
)

// tempName is a parsed temporary name.
type tempName struct {
	kind  byte
	owner string
	mine  uint64
	old   stat   // ino, size, mtime
	name  string // of the entry, cut if it is long
}

// owner is this process in the temporary names that it makes.
type owner string

func thisProcess() owner {
	pid := os.Getpid()
	return owner(strconv.Itoa(pid) + "-" + processStart(pid))
}

// dead reports whether the process of a temporary name has ended.
func dead(owner string) bool {
	number, start, _ := strings.Cut(owner, "-")
	pid, err := strconv.Atoi(number)
	return err == nil && (pid <= 0 || processStart(pid) != start)
}

func random() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (o owner) tempName() string {
	return fmt.Sprintf("%s%c.%s.%s", replica.TempPrefix, writing, o, random())
}

// trialPrefix is what a name is tried behind.
func (o owner) trialPrefix() string {
	return fmt.Sprintf("%s%c.%s.%s.", replica.TempPrefix, trying, o, random())
}

// transitName is the name under which an entry called name passes out of the directory.
func (o owner) transitName(kind byte, mine uint64, old stat, name string) string {
	s := fmt.Sprintf("%s%c.%s.%s.%s.%s.%s.%s.", replica.TempPrefix, kind, o, random(), base36(mine), base36(old.ino),
		base36(uint64(old.size)), base36(uint64(old.mtime)))
	return s + name[:min(len(name), 255-len(s))]
}

func base36(n uint64) string { return strconv.FormatUint(n, 36) }

// parseTemp reads a temporary name; false if we would not have made it.
func parseTemp(s string) (tempName, bool) {
	rest, ok := strings.CutPrefix(s, replica.TempPrefix)
	parts := strings.SplitN(rest, ".", 8)
	if !ok || len(parts) < 3 || len(parts[0]) != 1 || len(parts[2]) != 16 {
		return tempName{}, false
	}
	t := tempName{kind: parts[0][0], owner: parts[1]}
	if t.kind == writing {
		return t, len(parts) == 3
	}
	if t.kind == trying { // the dot and all behind it may be lost
		return t, true
	}
	if t.kind != exchanged && t.kind != aside || len(parts) != 8 || !object.ValidName(parts[7]) {
		return tempName{}, false
	}
	var numbers [4]uint64
	for i := range numbers {
		var err error
		if numbers[i], err = strconv.ParseUint(parts[3+i], 36, 64); err != nil {
			return tempName{}, false
		}
	}
	t.mine, t.name = numbers[0], parts[7]
	t.old = stat{ino: numbers[1], size: int64(numbers[2]), mtime: int64(numbers[3])}
	return t, true
}

// recover deals with a temporary name that a dead process left. It reports whether the directory changed.
func (h *handle) recover(temp string, t tempName) bool {
	st, err := statAt(h.fd(), temp)
	if err != nil {
		return false
	}
	ours := t.kind == writing || t.kind == trying || st.ino == t.mine
	known := st.ino == t.old.ino && (st.kind() == object.Directory || st.size == t.old.size && st.mtime == t.old.mtime)
	if t.kind == aside && !ours {
		// Taken away, and nothing put in its place: undo, the next sync will decide again.
		if err := moveNoReplace(h.fd(), temp, t.name); err == nil {
			return true
		}
	}
	if ours || known {
		if h.discard(temp, st) == nil {
			return true
		}
		if st.kind() != object.Directory {
			h.d.report(fmt.Sprintf("a leftover of an interrupted sync stays at %q: it can't be removed", h.path(temp)))
			return false
		}
	}
	_, err = h.keep(temp, t.name)
	return err == nil
}

// discard removes what is under a temporary name; a directory only if it is empty.
func (h *handle) discard(temp string, st stat) error {
	flags := 0
	if st.kind() == object.Directory {
		flags = unix.AT_REMOVEDIR
	}
	return unix.Unlinkat(h.fd(), temp, flags)
}

// keep gives a version that nobody has seen a name beside the one that it had, and says so.
func (h *handle) keep(temp, name string) (string, error) {
	for n := 1; n < 100_000; n++ {
		free := conflictName(name, n)
		err := moveNoReplace(h.fd(), temp, free)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err == nil {
			h.d.report(fmt.Sprintf("%q was changed while a sync replaced it; that version is kept as %q", h.path(name), h.path(free)))
		}
		return free, err
	}
	return "", unix.EEXIST
}

// conflictName is the n-th fresh name for name; reference 3.3: the number stands before the last extension, after a '~'
// that the name may have already.
func conflictName(name string, n int) string {
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		stem, ext = name[:i], name[i:]
	}
	if i := strings.LastIndexByte(stem, '~'); i >= 0 {
		stem = stem[:i]
	}
	suffix := "~" + strconv.Itoa(n)
	if len(ext) > 200 {
		ext = ext[:200]
	}
	return stem[:min(len(stem), 255-len(suffix)-len(ext))] + suffix + ext
}
