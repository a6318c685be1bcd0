package dir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"ensync/store/backend"
)

// A publisher gives the finished temporary file tmp its name, unless that name exists: then backend.ErrExist.
type publisher func(l *lease, r *os.Root, tmp, name string) error

// claimGrace is how long a claim without a file is respected where names are made by claiming them.
const claimGrace = 2 * time.Second

// create makes the file name with the concatenated parts as content. It is durable when create returns nil; it
// appears whole or not at all.
func (d *Dir) create(l *lease, r *os.Root, name string, parts ...[]byte) error {
	switch st, err := r.Lstat(name); {
	case err == nil && st.IsDir() && !isNumber(name):
		return fmt.Errorf("%w: other objects have names below this one", backend.ErrInvalid)
	case err == nil:
		return backend.ErrExist
	}
	how, err := d.publisher(l, r)
	if err != nil {
		return err
	}
	tmp, err := writeTemp(l, r, parts...)
	if err != nil {
		return d.noTemp(r, err)
	}
	defer r.Remove(tmp)
	// From here on a caller who leaves gets an unclear outcome; before, certainly none.
	if err := l.hold(func() {}); err != nil {
		return err
	}
	err = how(l, r, tmp, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.makeParents(r, name); err == nil {
			err = how(l, r, tmp, name)
		}
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: a part of the name is an object itself (%v)", backend.ErrInvalid, err)
	}
	if err != nil {
		return err
	}
	return d.settle(r, path.Dir(name))
}

// noTemp explains why no temporary file could be written. That its directory is missing is no absence of an object.
func (d *Dir) noTemp(r *os.Root, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if gone := d.absent(r); !errors.Is(gone, backend.ErrNotExist) {
		return gone
	}
	return fmt.Errorf("%w: directory %s is missing in %s; make it again (mode 0700)", backend.ErrUnavailable, tmpName, d.path)
}

var chunks = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// writeTemp writes a durable temporary file and returns its name. On an error there is none.
func writeTemp(l *lease, r *os.Root, parts ...[]byte) (name string, err error) {
	var random [16]byte
	rand.Read(random[:])
	name = tmpName + "/" + hex.EncodeToString(random[:])
	f, err := r.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	for _, data := range parts {
		if err = writeChunks(l, f, data); err != nil {
			break
		}
	}
	if err == nil {
		err = fsync(f) // DURABLE: the content, before it gets its name
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		r.Remove(name)
		return "", err
	}
	return name, nil
}

// writeChunks writes data by way of a small buffer of its own: a caller who has left may use data again although
// the kernel still writes. The copy costs about 0.1 ms per MiB.
func writeChunks(l *lease, f *os.File, data []byte) error {
	buf := chunks.Get().(*[256 << 10]byte)
	defer chunks.Put(buf)
	for len(data) > 0 {
		n := 0
		if err := l.hold(func() { n = copy(buf[:], data) }); err != nil {
			return err
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// makeParents makes the directories above name.
func (d *Dir) makeParents(r *os.Root, name string) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		err := r.Mkdir(name[:i], 0o700)
		if err == nil {
			d.known.Delete(name[:i])
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// settle makes the entries of dir durable, and dir's own entry, up to the store's directory. Whoever made dir may
// have died before it was durable, so the first use in each process syncs the way up, whoever made it.
func (d *Dir) settle(r *os.Root, dir string) error {
	if err := syncDir(r, dir); err != nil { // DURABLE: the names in dir
		return err
	}
	var way []string
	for dir != "." {
		if _, ok := d.known.Load(dir); ok {
			break
		}
		way = append(way, dir)
		dir = path.Dir(dir)
		if err := syncDir(r, dir); err != nil { // DURABLE: the name of the directory below
			return err
		}
	}
	for _, dir := range way {
		d.known.Store(dir, true)
	}
	return nil
}

// publisher returns how names are made here, which it finds out once by trying.
func (d *Dir) publisher(l *lease, r *os.Root) (publisher, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.how == nil {
		how, err := d.probe(l, r)
		if err != nil {
			return nil, d.noTemp(r, err)
		}
		d.how = how
	}
	return d.how, nil
}

func (d *Dir) probe(l *lease, r *os.Root) (publisher, error) {
	if d.forced != nil {
		return d.forced, nil
	}
	for _, how := range []publisher{byLink, byRename} {
		good, err := keepsFirst(l, r, how)
		if err != nil {
			return nil, err
		}
		if good {
			return how, nil
		}
	}
	return byClaim, nil
}

// keepsFirst reports whether how publishes a first file and refuses a second one.
func keepsFirst(l *lease, r *os.Root, how publisher) (bool, error) {
	first, err := writeTemp(l, r, []byte("probe"))
	if err != nil {
		return false, err
	}
	defer r.Remove(first)
	second, err := writeTemp(l, r, []byte("probe again"))
	if err != nil {
		return false, err
	}
	defer r.Remove(second)
	name := first + "-probe"
	defer r.Remove(name)
	if how(l, r, first, name) != nil || !errors.Is(how(l, r, second, name), backend.ErrExist) {
		return false, nil
	}
	data, err := r.ReadFile(name)
	return err == nil && string(data) == "probe", nil
}

// byLink publishes with link(2), which no file system with links does twice, NFS included.
func byLink(_ *lease, r *os.Root, tmp, name string) error {
	err := r.Link(tmp, name)
	if err == nil {
		return nil
	}
	// NFS may repeat a request whose answer was lost, and then report the first try's link as an obstacle.
	if ours, statErr := r.Lstat(tmp); statErr == nil {
		if there, statErr := r.Lstat(name); statErr == nil && os.SameFile(ours, there) {
			return nil
		}
	}
	return existing(err)
}

// byRename publishes with a rename that refuses to replace: FAT, exFAT, SMB.
func byRename(_ *lease, r *os.Root, tmp, name string) error {
	return existing(renameTo(r, tmp, name, renameNoReplace))
}

// renameTo renames a temporary file. A network file system may repeat a request whose answer was lost, and then report
// the first try's result as an obstacle: the name is there, or the temporary is not.
func renameTo(r *os.Root, tmp, name string, rename func(r *os.Root, from, to string) error) error {
	ours, err := r.Lstat(tmp)
	if err != nil {
		return err
	}
	err = rename(r, tmp, name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if there, statErr := r.Lstat(name); statErr == nil && os.SameFile(ours, there) {
		return nil
	}
	return err
}

// byClaim publishes where there are neither links nor exclusive renames. Only who creates the empty file NAME@claim
// may rename to NAME, having seen that it does not exist. A claimant may die: then a directory NAME is made, onto which
// no file can be renamed, so the claim can never be used however slow its owner is; the number is burnt, and a series
// goes on with the next. An immutable object has no next name; its claim is only reported.
func byClaim(l *lease, r *os.Root, tmp, name string) error {
	claim := name + "@claim"
	f, err := r.OpenFile(claim, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return awaitClaim(l, r, name)
	}
	if err != nil {
		return err
	}
	f.Close()
	if _, err = r.Lstat(name); err == nil {
		err = backend.ErrExist
	} else if notThere(err) {
		if err = renameTo(r, tmp, name, (*os.Root).Rename); err != nil && existsAsDir(r, name) {
			err = backend.ErrExist
		}
	}
	// Once the name exists, the claim has done its work; if it does not, nobody else may conclude anything from ours.
	r.Remove(claim)
	return err
}

func existsAsDir(r *os.Root, name string) bool {
	st, err := r.Lstat(name)
	return err == nil && st.IsDir()
}

// awaitClaim waits for what becomes of another's claim to name.
func awaitClaim(l *lease, r *os.Root, name string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(claimGrace); ; <-tick.C {
		if err := l.hold(func() {}); err != nil {
			return err
		}
		if _, err := r.Lstat(name); err == nil {
			return backend.ErrExist
		} else if !notThere(err) {
			return err
		}
		if time.Now().Before(end) {
			continue
		}
		if !isNumber(name) {
			return fmt.Errorf("%w: someone began to create it and has not finished; if nobody is at it any more, remove %s@claim",
				backend.ErrUnavailable, name)
		}
		if err := r.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

func existing(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return backend.ErrExist
	}
	return err
}

// split gives the directory and the last part of a path in the store.
func split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}
