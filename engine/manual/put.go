package manual

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
	"ensync/store"
	"ensync/store/object"
)

// TransferOptions are how Get and Put treat what is there, and whom they tell.
type TransferOptions struct {
	Force  bool                   // replace what is not a directory
	Copied func(src, dst string)  // told of each thing copied; may be nil
	Notice func(path, why string) // told of each thing left out; may be nil
}

func (o TransferOptions) copied(src, dst string) {
	if o.Copied != nil {
		o.Copied(src, dst)
	}
}

func (o TransferOptions) notice(path, why string) {
	if o.Notice != nil {
		o.Notice(path, why)
	}
}

// Put copies a file, symlink or directory into a store, in one step: after an error nothing is changed. An empty dst is
// the name of src in the logical root; a directory at dst is copied into. Directories that are there are merged, and get
// the mode of the new one. What is told to opt.Copied holds when Put returns nil.
func (s *Store) Put(ctx context.Context, src, dst string, opt TransferOptions) error {
	if err := s.put(ctx, src, dst, opt); err != nil {
		return fmt.Errorf("put %s: %w", src, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, src, dst string, opt TransferOptions) error {
	abs, err := filepath.Abs(src)
	if err != nil {
		return err
	}
	p, base := s.parse(dst), filepath.Base(abs)
	asRoot := p.isPhysical()
	if asRoot {
		p = p.child(base)
	} else if p.isRoot() {
		if _, err := s.find(ctx, p); errors.Is(err, fs.ErrNotExist) && dst != "" {
			asRoot = true
		} else if err != nil {
			return err
		}
	}
	if asRoot {
		if err := s.putRoot(ctx, src, p); err != nil {
			return err
		}
	}
	w := &putter{Store: s, ctx: ctx, opt: opt}
	return s.change(ctx, p.root(), func(t *tree) error {
		w.tree = t
		if asRoot {
			return w.fill(src, p)
		}
		to, err := s.target(ctx, p, base)
		if err != nil {
			return err
		}
		return w.put(src, to)
	})
}

// target is where a thing called base goes: into a directory at p, or to p itself.
func (s *Store) target(ctx context.Context, p place, base string) (place, error) {
	e, err := s.find(ctx, p)
	switch {
	case err == nil && e.Kind == object.Directory:
		return p.child(base), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return p, p.errorf("copy to", err)
	}
	if err := s.mustBeDirectory(ctx, p.parent()); err != nil {
		return p, p.errorf("copy to", err)
	}
	return p, nil
}

// putRoot makes the root that a directory is to be copied to, if it is not there.
func (s *Store) putRoot(ctx context.Context, src string, p place) error {
	var st unix.Stat_t
	if err := unix.Lstat(src, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("to %s: %w: only directories can be trees of their own", p.text, ErrPhysicalRoot)
	}
	_, err := s.store.CreateRoot(ctx, p.root(), uint32(st.Mode)&0o7777)
	if errors.Is(err, store.ErrRootExists) {
		return nil
	}
	return err
}

type putter struct {
	*Store
	ctx  context.Context
	opt  TransferOptions
	tree *tree
}

// put copies one thing to a place whose directory exists.
func (w *putter) put(src string, p place) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	if err := checkName(p.base()); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(src, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: src, Err: err}
	}
	dir := p.parent().inside()
	old, there, err := w.tree.entry(w.ctx, dir, p.base())
	if err != nil {
		return err
	}
	e := object.Entry{Name: p.base(), Mode: uint32(st.Mode) & 0o7777}
	c := replica.Change{New: &e}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return w.putDirectory(src, p, old, there, e.Mode)
	case unix.S_IFREG:
		e.Kind, e.ModTime, e.Content.Size = object.File, st.Mtim.Nano(), st.Size
		c.Source = func(context.Context) (io.ReadCloser, error) { return openUnchanged(src, st) }
	case unix.S_IFLNK:
		e.Kind, e.Mode = object.Symlink, 0
		if e.Target, err = os.Readlink(src); err != nil {
			return err
		}
	default:
		w.opt.notice(src, "a special file")
		return nil
	}
	if there {
		if err := w.mayReplace(old); err != nil {
			return fmt.Errorf("to %s: %w", p.text, err)
		}
		c.Old = &old
	}
	if err := w.tree.apply(w.ctx, dir, c); err != nil {
		return err
	}
	w.opt.copied(src, p.text)
	return nil
}

func (w *putter) mayReplace(old object.Entry) error {
	switch {
	case old.Kind == object.Directory:
		return ErrIsDirectory
	case !w.opt.Force:
		return fmt.Errorf("%w; replace it with --force", fs.ErrExist)
	}
	return nil
}

func (w *putter) putDirectory(src string, p place, old object.Entry, there bool, mode uint32) error {
	dir := p.parent().inside()
	switch {
	case !there:
		if err := w.tree.mkdir(w.ctx, dir, p.base(), mode); err != nil {
			return err
		}
	case old.Kind == object.Directory && old.Mode == mode:
	default:
		if old.Kind != object.Directory {
			if err := w.mayReplace(old); err != nil {
				return fmt.Errorf("to %s: %w", p.text, err)
			}
		}
		e := directory(p.base(), mode)
		if err := w.tree.apply(w.ctx, dir, replica.Change{Old: &old, New: &e}); err != nil {
			return err
		}
	}
	w.opt.copied(src, p.text)
	if err := w.fill(src, p); err != nil {
		return err
	}
	_, err := w.tree.Leave(w.ctx, p.inside()) // written now, so that memory holds one branch of the tree
	return err
}

// fill copies what is in a directory into one that exists.
func (w *putter) fill(src string, p place) error {
	list, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range list {
		if replica.Reserved(e.Name()) {
			w.opt.notice(filepath.Join(src, e.Name()), "its name is reserved")
			continue
		}
		if err := w.put(filepath.Join(src, e.Name()), p.child(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// openUnchanged opens a file whose reading fails at the end if the file changed since st.
func openUnchanged(path string, st unix.Stat_t) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &unchanged{File: f, st: st}, nil
}

type unchanged struct {
	*os.File
	st unix.Stat_t
}

func (u *unchanged) Read(b []byte) (int, error) {
	n, err := u.File.Read(b)
	if err != io.EOF {
		return n, err
	}
	var now unix.Stat_t
	if err := unix.Fstat(int(u.Fd()), &now); err != nil {
		return n, err
	}
	if now.Ino != u.st.Ino || now.Size != u.st.Size || now.Mtim != u.st.Mtim || now.Ctim != u.st.Ctim {
		return n, fmt.Errorf("read %s: %w; try again", u.Name(), replica.ErrChanged)
	}
	return n, io.EOF
}
