package localdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"ensync/engine/replica"
	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// Traits are in what a file system differs from one that keeps any name, any time and all permissions.
type Traits struct {
	FoldsCase  bool // names that differ only in upper and lower case are one
	FoldsForm  bool // so are names that differ only in how Unicode writes their accents
	LosesCase  bool // all are listed in one case
	Respells   bool // some names are listed otherwise than they were given
	Refuses    bool // some names can't be given
	NoSymlinks bool
	replica.Limits
}

// Sentences tells a user what is odd, in full sentences.
func (t Traits) Sentences() []string {
	var all []string
	for _, s := range []struct {
		holds bool
		text  string
	}{
		{t.LosesCase, "names are listed in one case there; the store keeps them as they were given"},
		{t.FoldsCase, "names that differ only in upper and lower case are one name there"},
		{t.FoldsForm, "names that differ only in the Unicode form of their letters are one name there"},
		{t.Respells, "some names are kept in another spelling there; the store keeps them as they were given"},
		{t.Refuses, "some names can't be given there; files with such names are kept under another"},
		{t.NoSymlinks, "there are no symbolic links; those in the store stay there"},
		{t.NoModes, "permissions are not kept there; changes to them are ignored (trust_client_unix_mode = false)"},
		{t.Grain > 1, fmt.Sprintf("times are kept to %s only; the store keeps nanoseconds", nanoseconds(t.Grain))},
	} {
		if s.holds {
			all = append(all, s.text)
		}
	}
	return all
}

func nanoseconds(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
		if n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d ns", n)
}

// Traits finds out by trying what the file system of the root is like.
func (d *Dir) Traits() (Traits, error) {
	h, err := d.open("")
	if err != nil {
		return Traits{}, err
	}
	defer h.close()
	return h.probe()
}

// traits finds out what the file system is like, once, and remembers it with the hashes. Where nothing can be tried,
// nothing is odd: what then comes otherwise than expected is dealt with when it comes.
func (h *handle) traits() Traits {
	h.fs.traitsOnce.Do(func() {
		key := h.traitsKey()
		if h.d.cache.traits(key, &h.fs.traits) {
			return
		}
		if t, err := h.probe(); err == nil {
			h.fs.traits = t
			h.d.cache.saveTraits(key, t)
		}
	})
	return h.fs.traits
}

// traitsKey names a file system better than its number, which another may have after a reboot.
func (h *handle) traitsKey() string {
	var s unix.Statfs_t
	if err := unix.Fstatfs(h.fd(), &s); err != nil {
		return fmt.Sprint(h.fs.id)
	}
	return fmt.Sprint(h.fs.id, s.Type, s.Bsize, s.Blocks)
}

// Limits implements replica.Limited.
func (d *Dir) Limits(dir string) replica.Limits { return d.traitsOf(dir).Limits }

func (d *Dir) traitsOf(dir string) Traits {
	h, err := d.open(dir)
	if err != nil {
		return Traits{}
	}
	defer h.close()
	return h.traits()
}

// oddNames are such as some file systems refuse: DOS, and those that insist on UTF-8.
var oddNames = []string{`a\:*?"<>|`, "a\x01", "a\xff"}

// respelled are names that some file systems keep otherwise: in the other Unicode form, without the dot or space at the
// end, all in capitals.
var respelled = []string{"aB\u00e9", "aBe\u0301", "aB.", "aB "}

// probe makes temporary files and looks at what they became. A run that dies in it leaves them to the next List.
func (h *handle) probe() (t Traits, err error) {
	trial := h.newTrial()
	defer trial.end()
	fd, err := trial.make("aB")
	if err != nil {
		return t, err
	}
	t.FoldsCase = trial.has("Ab")
	t.NoModes = !keepsModes(fd)
	t.Limits.Grain, t.Limits.Earliest, t.Limits.Latest = probeTimes(fd)
	for i, name := range append(slices.Clone(respelled), oddNames...) {
		switch _, err := trial.make(name); {
		case i == 0:
			t.FoldsForm = err == nil && trial.has(respelled[1])
		case errors.Is(err, unix.EEXIST): // the two Unicode forms, or the dot, are one with what is there
			t.Respells = t.Respells || name[len(name)-1] < utf8.RuneSelf
		case err != nil:
			t.Refuses = true
		}
	}
	names, err := trial.spellings()
	if err != nil {
		return t, err
	}
	for made, listed := range names {
		t.Respells = t.Respells || made != listed
	}
	t.LosesCase = names["aB"] != "aB"
	t.NoSymlinks = trial.refusesLinks()
	return t, nil
}

func keepsModes(fd int) bool {
	for _, mode := range []uint32{0o640, 0o711} {
		if err := unix.Fchmod(fd, mode); err != nil {
			return false
		}
		if st, err := statFile(fd); err != nil || st.mode&0o7777 != mode {
			return false
		}
	}
	return true
}

// tolerate drops the error of setting a mode where modes are not kept.
func (h *handle) tolerate(err error) error {
	if err != nil && (errors.Is(err, unix.EPERM) || unsupported(err)) && h.traits().NoModes {
		return nil
	}
	return err
}

// probeTimes sets times and looks at what is kept: how fine, and from when to when, 0 where there is no bound.
func probeTimes(fd int) (grain, earliest, latest int64) {
	const asked = 1_111_111_111_111_111_111 // no digit of it is lost to any grain unseen
	kept := func(t int64) (int64, bool) {
		err := setTime(fd, t)
		st, serr := statFile(fd)
		return st.mtime, err == nil && serr == nil
	}
	seen, ok := kept(asked)
	if !ok {
		return 0, 0, 0
	}
	for _, g := range []int64{1, 100, 1e3, 1e6, 1e7, 1e9, 2e9} {
		if asked-asked%g == seen {
			grain = g
			break
		}
	}
	const first, last = -9e18, 9e18 // of what nanoseconds in 64 bits can say: 1684 and 2255
	if seen, ok := kept(first); ok && seen > first+unknownGrain {
		earliest = seen
	}
	if seen, ok := kept(last); ok && seen < last-unknownGrain && seen > asked {
		latest = seen
	}
	return grain, earliest, latest
}

// A trial makes empty files whose names end in those that are tried.
type trial struct {
	h      *handle
	prefix string
	made   map[string]int // open files
}

func (h *handle) newTrial() *trial {
	return &trial{h: h, prefix: h.d.owner.trialPrefix(), made: map[string]int{}}
}

func (t *trial) make(name string) (int, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(t.h.fd(), t.prefix+name, flags, 0o600)
	if err == nil {
		t.made[name] = fd
	}
	return fd, err
}

// has reports whether something is found under a name.
func (t *trial) has(name string) bool {
	_, err := statAt(t.h.fd(), t.prefix+name)
	return err == nil
}

// spellings returns how the names that were made are listed.
func (t *trial) spellings() (map[string]string, error) {
	listed, err := t.h.readNames()
	if err != nil {
		return nil, err
	}
	byInode := map[uint64]string{}
	for _, name := range listed {
		if len(name) < len(t.prefix)-1 || !strings.EqualFold(name[:len(t.prefix)-1], t.prefix[:len(t.prefix)-1]) {
			continue
		}
		if st, err := statAt(t.h.fd(), name); err == nil {
			byInode[st.ino] = name[min(len(name), len(t.prefix)):]
		}
	}
	spelled := map[string]string{}
	for name, fd := range t.made {
		if st, err := statFile(fd); err == nil {
			spelled[name] = byInode[st.ino]
		}
	}
	return spelled, nil
}

func (t *trial) refusesLinks() bool {
	err := unix.Symlinkat("to", t.h.fd(), t.prefix+"link")
	if err == nil {
		unix.Unlinkat(t.h.fd(), t.prefix+"link", 0)
	}
	return errors.Is(err, unix.EPERM) || unsupported(err)
}

func (t *trial) end() {
	for name, fd := range t.made {
		unix.Unlinkat(t.h.fd(), t.prefix+name, 0)
		unix.Close(fd)
	}
}

// isOdd reports whether a file system that respells or refuses names might do so to this one.
func isOdd(name string) bool {
	last := name[len(name)-1]
	return last == '.' || last == ' ' || strings.ContainsAny(name, `\:*?"<>|`) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f })
}

// Spell returns how the file system would list entries that are given these names; "" for one that it refuses.
func (d *Dir) Spell(dir string, names []string) ([]string, error) {
	all := slices.Clone(names)
	h, err := d.open(dir)
	if err != nil {
		return nil, err
	}
	defer h.close()
	traits := h.traits()
	if !traits.Respells && !traits.Refuses {
		return all, nil
	}
	trials := make([]*trial, len(names)) // one each: two may be one name
	for i, name := range names {
		if !object.ValidName(name) || !isOdd(name) && !traits.LosesCase {
			continue
		}
		trials[i] = h.newTrial()
		defer trials[i].end()
		_, err := trials[i].make(name)
		if err == nil || errors.Is(err, unix.ENAMETOOLONG) { // because of the prefix, perhaps
			continue
		}
		if _, plain := trials[i].make("aB"); plain == nil { // each file system has its own error for it
			all[i] = ""
		}
	}
	return all, respell(names, trials, all)
}

// respell fills in how the names that could be made are listed.
func respell(names []string, trials []*trial, all []string) error {
	for i, t := range trials {
		if t == nil {
			continue
		}
		if _, made := t.made[names[i]]; !made {
			continue
		}
		spelled, err := t.spellings()
		if err != nil {
			return err
		}
		all[i] = spelled[names[i]]
	}
	return nil
}

// Spelling returns the name under which List shows what the file system finds under a name, which may be written
// otherwise; replica.ErrNotExist if it finds nothing.
func (d *Dir) Spelling(dir, name string) (string, error) {
	h, err := d.open(dir)
	if err != nil {
		return "", err
	}
	defer h.close()
	st, err := statAt(h.fd(), name)
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%w: %w", replica.ErrNotExist, err)
	}
	if err != nil {
		return "", fmt.Errorf("find %q: %w", h.path(name), err)
	}
	names, err := h.readNames()
	if err != nil || slices.Contains(names, name) {
		return name, err
	}
	alike := ""
	for _, other := range names {
		if now, err := statAt(h.fd(), other); err == nil && now.ino == st.ino && now.dev == st.dev {
			return other, nil
		}
		if strings.EqualFold(other, name) {
			alike = other
		}
	}
	if alike == "" {
		return "", fmt.Errorf("find %q: it is there and not listed: %w", h.path(name), replica.ErrChanged)
	}
	return alike, nil // each of its spellings has an inode number of its own
}

// DirectoryID tells a directory from others, wherever it is moved. Some file systems give another one after a restart.
func (d *Dir) DirectoryID(dir string) (string, error) {
	h, err := d.open(dir)
	if err != nil {
		return "", err
	}
	defer h.close()
	return fmt.Sprintf("%x-%x-%x", h.fs.id, h.st.ino, h.st.btime), nil
}

// traits reads what is remembered of a file system; false if nothing is.
func (c *cache) traits(key string, t *Traits) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return false
	}
	var body []byte
	err := c.db.QueryRow("SELECT body FROM traits WHERE fs = ?", key).Scan(&body)
	return err == nil && json.Unmarshal(body, t) == nil
}

func (c *cache) saveTraits(key string, t Traits) {
	body, err := json.Marshal(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return
	}
	if err == nil {
		_, err = c.db.Exec("INSERT OR REPLACE INTO traits VALUES (?, ?)", key, body)
	}
	c.failed(err)
}
