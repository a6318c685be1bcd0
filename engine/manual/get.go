package manual

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Cat writes the content of a regular file to out. Every block is verified before it is written.
func (s *Store) Cat(ctx context.Context, path string, out io.Writer) error {
	p := s.parse(path)
	e, err := s.find(ctx, p)
	switch {
	case err != nil:
	case e.Kind == object.Directory:
		err = ErrIsDirectory
	case e.Kind != object.File:
		err = errors.New("not a regular file")
	default:
		err = s.copyContent(ctx, e, out)
	}
	if err != nil {
		return p.errorf("cat", err)
	}
	return nil
}

func (s *Store) copyContent(ctx context.Context, e object.Entry, out io.Writer) error {
	if int64(len(e.Content.Data)) == e.Content.Size {
		_, err := out.Write(e.Content.Data)
		return err
	}
	r := s.store.OpenContent(ctx, e.Content)
	n, err := io.Copy(out, r)
	if closing := r.Close(); err == nil {
		err = closing
	}
	if err == nil && n != e.Content.Size {
		err = fmt.Errorf("content has %d bytes instead of %d", n, e.Content.Size)
	}
	return err
}

// Get copies something out of a store. A directory at dst is copied into; "/" copies all roots into dst. Files appear
// whole, with mode and time, and are durable. The first error ends it; what was copied by then stays.
func (s *Store) Get(ctx context.Context, src, dst string, opt TransferOptions) error {
	p := s.parse(src)
	s.unsealed = true // that is the way to have what is in it
	e, err := s.find(ctx, p)
	if err != nil {
		return p.errorf("get", err)
	}
	g := &getter{Store: s, ctx: ctx, opt: opt}
	if p.isPhysical() {
		err = g.fill(p, dst)
	} else {
		// The logical root, as "", has no name to be copied to.
		named := !p.isRoot() || strings.HasPrefix(src, "/")
		if info, statErr := os.Stat(dst); named && statErr == nil && info.IsDir() {
			dst = filepath.Join(dst, p.base())
		}
		err = g.get(p, e, dst)
	}
	if err != nil {
		return p.errorf("get", err)
	}
	return nil
}

type getter struct {
	*Store
	ctx context.Context
	opt TransferOptions
}

func (g *getter) get(p place, e object.Entry, dst string) error {
	if err := context.Cause(g.ctx); err != nil {
		return err
	}
	// The store may be an enemy's: a name must not lead out of dst.
	if !object.ValidName(e.Name) {
		return fmt.Errorf("%q is no name that a file can have", e.Name)
	}
	switch e.Kind {
	case object.File:
		if err := g.file(e, dst); err != nil {
			return err
		}
	case object.Symlink:
		if err := g.symlink(e, dst); err != nil {
			return err
		}
	case object.Directory:
		return g.directory(p, e, dst)
	default:
		g.opt.notice(p.text, "of an unknown kind")
		return nil
	}
	g.opt.copied(p.text, dst)
	return nil
}

// directory copies a directory. One that is there keeps its mode; a new one gets its own when it is filled.
func (g *getter) directory(p place, e object.Entry, dst string) error {
	err := os.Mkdir(dst, 0o700)
	made := err == nil
	if errors.Is(err, fs.ErrExist) {
		info, statErr := os.Lstat(dst)
		if statErr == nil && info.IsDir() { // a symlink to one could lead anywhere
			err = nil
		}
	}
	if err != nil {
		return err
	}
	g.opt.copied(p.text, dst)
	if err := g.fill(p, dst); err != nil || !made {
		return err
	}
	if err := unix.Chmod(dst, e.Mode); err != nil {
		return &fs.PathError{Op: "chmod", Path: dst, Err: err}
	}
	return nil
}

func (g *getter) fill(p place, dst string) error {
	list, err := g.list(g.ctx, p)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := g.get(p.child(e.Name), e, filepath.Join(dst, e.Name)); err != nil {
			return err
		}
	}
	return nil
}

// file copies a file to a temporary beside dst, and moves it into place.
func (g *getter) file(e object.Entry, dst string) error {
	tmp := temporary(dst)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	err = g.copyContent(g.ctx, e, f)
	if err == nil {
		err = unix.Fchmod(int(f.Fd()), e.Mode)
	}
	if err == nil {
		t := unix.NsecToTimespec(e.ModTime)
		err = unix.UtimesNanoAt(unix.AT_FDCWD, tmp, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = f.Sync() // DURABLE: a file that get reported
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return g.place(tmp, dst)
}

func (g *getter) symlink(e object.Entry, dst string) error {
	if !g.opt.Force {
		return forceHint(os.Symlink(e.Target, dst))
	}
	tmp := temporary(dst)
	if err := os.Symlink(e.Target, tmp); err != nil {
		return err
	}
	defer os.Remove(tmp)
	return os.Rename(tmp, dst)
}

// place gives a finished file its name. Without force it never replaces anything.
func (g *getter) place(tmp, dst string) error {
	if g.opt.Force {
		return os.Rename(tmp, dst)
	}
	err := os.Link(tmp, dst)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return forceHint(err)
	}
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENOTSUP) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	// A file system without hard links.
	if _, err := os.Lstat(dst); err == nil {
		return forceHint(&fs.PathError{Op: "create", Path: dst, Err: fs.ErrExist})
	}
	return os.Rename(tmp, dst) // RACE: what another program makes here since the look is replaced
}

func forceHint(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; replace it with --force", err)
	}
	return err
}

// temporary is a name beside dst that no sync takes for a user's.
func temporary(dst string) string {
	return filepath.Join(filepath.Dir(dst), replica.TempPrefix+"get-"+rand.Text())
}
