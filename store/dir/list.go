package dir

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ensync/store/backend"
)

// item is one entry of a directory of objects. Its key sorts as the full names below it do: a directory's ends in '/'.
type item struct {
	key     string
	series  bool // a mutable object
	subtree bool // a directory of objects
}

// List implements backend.Backend. It reads one directory at a time, and calls fn on the caller's goroutine. Files
// whose names are no object names are somebody else's (".DS_Store", conflict copies) and are not listed.
func (d *Dir) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	if err := backend.CheckPrefix(prefix); err != nil {
		return err
	}
	top := "."
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		top = prefix[:i]
	}
	return d.walk(ctx, top, prefix, fn)
}

func (d *Dir) walk(ctx context.Context, dir, prefix string, fn func(backend.Info) error) error {
	type listing struct {
		items []item
		infos map[string]backend.Info
	}
	found, err := call(ctx, d, "list", strings.TrimPrefix(dir, ".")+"/", func(l *lease, r *os.Root) (listing, error) {
		items, err := d.items(r, dir, prefix)
		if err != nil {
			return listing{}, err
		}
		infos, err := d.infos(l, r, dir, items)
		return listing{items, infos}, err
	})
	if err != nil {
		return err
	}
	for _, it := range found.items {
		if it.subtree {
			if err := d.walk(ctx, strings.TrimSuffix(it.key, "/"), prefix, fn); err != nil {
				return err
			}
			continue
		}
		info, ok := found.infos[it.key]
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	return nil
}

// items reads a directory of objects, in the order of full names.
func (d *Dir) items(r *os.Root, dir, prefix string) ([]item, error) {
	entries, err := readDir(r, dir)
	if err != nil && !notThere(err) {
		return nil, err
	}
	// An unmounted drive leaves an empty directory: that the store is here must be seen, not assumed.
	if dir == "." || err != nil {
		if err := d.absent(r); err != backend.ErrNotExist {
			return nil, err
		}
	}
	var items []item
	for _, e := range entries {
		it := item{key: e.Name()}
		if e.IsDir() {
			it.key, it.series = strings.CutSuffix(it.key, suffix)
			it.subtree = !it.series
		}
		if dir != "." {
			it.key = dir + "/" + it.key
		}
		if backend.CheckName(it.key) != nil || !e.IsDir() && !e.Type().IsRegular() {
			continue
		}
		if it.subtree {
			it.key += "/"
		}
		if strings.HasPrefix(it.key, prefix) || it.subtree && strings.HasPrefix(prefix, it.key) {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.key, b.key) })
	return items, nil
}

// infos looks at the objects among items. One that has vanished since is left out.
func (d *Dir) infos(l *lease, r *os.Root, dir string, items []item) (map[string]backend.Info, error) {
	if len(items) == 0 {
		return nil, nil
	}
	sub, err := r.OpenRoot(dir)
	if err != nil {
		if notThere(err) {
			return nil, nil
		}
		return nil, err
	}
	defer sub.Close()
	infos := map[string]backend.Info{}
	for _, it := range items {
		if err := l.hold(func() {}); err != nil {
			return nil, err
		}
		var st os.FileInfo
		size := int64(0)
		_, base := split(it.key)
		switch {
		case it.subtree:
			continue
		case it.series:
			st, size, err = d.lastState(sub, base)
		default:
			if st, err = sub.Lstat(base); err == nil {
				size = st.Size()
			}
		}
		if notThere(err) || err == nil && st == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		infos[it.key] = backend.Info{Name: it.key, Size: size, ModTime: st.ModTime()}
	}
	return infos, nil
}

// lastState tells the size of a mutable object by its numbers' sizes, without reading them. A nil FileInfo means that
// the object is not there.
func (d *Dir) lastState(r *os.Root, name string) (os.FileInfo, int64, error) {
	for {
		list, err := d.numbers(r, name)
		if err != nil || len(list) == 0 {
			return nil, 0, err
		}
		vanished := false
		for _, x := range list {
			st, err := r.Lstat(numberPath(name, x.n))
			if notThere(err) {
				vanished = true
				break
			}
			if err != nil {
				return nil, 0, err
			}
			if st.Mode().IsRegular() && st.Size() == int64(len(tombstone)) {
				return nil, 0, nil
			}
			if st.Mode().IsRegular() && st.Size() >= int64(headerSize) {
				return st, st.Size() - int64(headerSize), nil
			}
		}
		if !vanished {
			return nil, 0, fs.ErrNotExist
		}
	}
}
