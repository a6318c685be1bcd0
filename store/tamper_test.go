package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ensync/store/backend"
)

// What one changed object does to a client that has never seen the store, for every byte, every length and every kind of
// object. Nothing is stretched and nothing is opened twice, so that this can be tried tens of thousands of times.

// reopen makes a store over another backend, with the unlocked keys of s.
func reopen(t testing.TB, s *Store, b backend.Backend) *Store {
	t.Helper()
	c, err := open(t.Context(), askEarly(t.Context(), b, nil), s.format, s.file, s.Keys(), Options{Workers: 1})
	must(t, err)
	t.Cleanup(func() { c.index.Close() })
	return c
}

// over is reopen for a backend in which the index objects are those of s: it has what s has read of them.
func over(t testing.TB, s *Store, b backend.Backend) *Store {
	c := unready(askEarly(t.Context(), b, nil), s.format, s.file, s.Keys(), Options{Workers: 1})
	c.data, c.cutter, c.sealer, c.index = s.data, s.cutter, s.sealer, s.index
	return c
}

// tampering is a small store of which one object at a time is another.
type tampering struct {
	*testing.T
	s     *Store
	root  *Root
	head  Head
	files map[string][]byte
	all   snapshot

	tried, refused, told int // by whom it was seen: by a reader, or by Check alone
}

// thorough is how often something is tried on the whole way, from the list of roots down, where what was changed lies at its end.
const thorough = 11

// of wants the store with data in the place of an object to be refused by name, or read as if nothing were; and Check to
// see it in either case. idle says that nothing goes by what was changed.
func (x *tampering) of(name string, data []byte, idle bool, what string) {
	x.Helper()
	b := x.all.backend(x, name, data)
	x.tried++
	switch name {
	case formatObject:
		f, err := loadFormat(x.Context(), b, nil)
		x.seen(name, what, err, err == nil && f.digest() != x.s.format.digest()) // the list of roots signs the digest
		return
	case keysObject:
		k, _, err := loadKeys(x.Context(), b.Load, x.s.format, nil)
		if err == nil {
			_, err = k.Unlock(pass, "")
		}
		x.seen(name, what, err, false)
		return
	case keysCopy:
		x.seen(name, what, CheckKeysCopy(x.Context(), b, x.s.file), false)
		return
	}
	c := over(x, x.s, b)
	if strings.HasPrefix(name, indexPrefix) {
		c = reopen(x, x.s, b)
		defer c.index.Close()
	}
	short := strings.HasPrefix(name, packPrefix) && x.tried%thorough != 0
	read := readSmall
	if short {
		read = func(ctx context.Context, s *Store) (map[string][]byte, error) {
			return readBelow(ctx, s, x.root, x.head)
		}
	}
	got, err := read(x.Context(), c)
	switch {
	case err == nil:
		for n, want := range x.files {
			if !bytes.Equal(got[n], want) {
				x.Fatalf("%s, %s: %s is wrong, and no error", name, what, n)
			}
		}
	case !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrMissing):
		x.Fatalf("%s, %s: %v", name, what, err)
	case !strings.Contains(err.Error(), name):
		x.Fatalf("%s, %s: the error names another object: %v", name, what, err)
	default:
		x.refused++
		if x.tried%thorough != 0 { // Check reads what the reader did, and more
			return
		}
	}
	x.told++
	if named := false; short { // first by the part of Check that is about packs
		k := &checker{s: c, ctx: x.Context(), report: func(p Problem) { named = named || strings.Contains(p.String(), name) }}
		if must(x, k.packs()); named {
			return
		}
	}
	x.checked(c, name, what, idle)
}

// checked wants Check to name the object.
func (x *tampering) checked(c *Store, name, what string, idle bool) {
	x.Helper()
	named := false
	must(x, c.Check(x.Context(), true, func(p Problem) { named = named || strings.Contains(p.String(), name) }))
	if !named && !idle {
		x.Fatalf("%s, %s: Check does not name it", name, what)
	}
}

func (x *tampering) seen(name, what string, err error, otherwise bool) {
	x.Helper()
	if err == nil && !otherwise {
		x.Fatalf("%s, %s: went unseen", name, what)
	}
	if err != nil && !strings.Contains(err.Error(), name) && !errors.Is(err, ErrTampered) {
		x.Fatalf("%s, %s: %v does not name it", name, what, err)
	}
	x.refused++
}

// eachObject runs a test for each object of a small store, at the same time.
func eachObject(t *testing.T, test func(x *tampering, name string, data []byte)) {
	_, s, files := small(t)
	_, err := readSmall(t.Context(), s) // it has the index from here on
	must(t, err)
	root, err := s.Root(t.Context(), "home")
	must(t, err)
	head, err := root.Head(t.Context())
	must(t, err)
	all := snap(t, s.b)
	kinds := map[string]bool{}
	t.Run("all", func(t *testing.T) {
		for _, name := range all.names() {
			kinds[strings.SplitAfter(name, "/")[0]] = true
			t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
				t.Parallel()
				x := &tampering{T: t, s: s, root: root, head: head, files: files, all: all}
				test(x, name, all[name])
				t.Logf("%d bytes, %d changes: %d refused, %d told by Check", len(all[name]), x.tried, x.refused, x.told)
			})
		}
	})
	if len(kinds) != 6 { // format, keys and their copy, heads with the list of roots, packs, index objects
		t.Errorf("only these kinds of objects: %v", kinds)
	}
}

// every returns a step through an object: 1, or more under the race detector and with -short.
func every() int {
	if testing.Short() {
		return 29
	}
	return 1
}

// TestFlipEveryByte flips one bit of every byte of every object.
func TestFlipEveryByte(t *testing.T) {
	eachObject(t, func(x *tampering, name string, data []byte) {
		for i := 0; i < len(data); i += every() {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << (i % 8)
			stamp := strings.HasPrefix(name, rootPrefix) && i >= 8 && i < 16
			x.of(name, bad, stamp, fmt.Sprint("flip of byte ", i))
		}
	})
}

// TestEveryLength cuts every object at every length, and appends to it.
func TestEveryLength(t *testing.T) {
	eachObject(t, func(x *tampering, name string, data []byte) {
		for n := 0; n < len(data); n += every() {
			x.of(name, data[:n:n], false, fmt.Sprint("cut to ", n))
		}
		for _, n := range []int{1, 100, 1 << 20} {
			for what, more := range map[string][]byte{"zeros": make([]byte, n), "noise": noise(uint64(n), n),
				"spaces": bytes.Repeat([]byte(" "), n), "itself": bytes.Repeat(data, n/len(data)+1)[:n]} {
				x.of(name, slices.Concat(data, more), false, fmt.Sprintf("%d bytes of %s appended", n, what))
			}
		}
	})
}
