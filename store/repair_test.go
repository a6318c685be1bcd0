package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/memory"
)

func noPass(context.Context) ([]byte, error) { return nil, errors.New("the passphrase was asked for") }

func withPass(context.Context) ([]byte, error) { return bytes.Clone(pass), nil }

// tryRepair repairs and returns what was done.
func tryRepair(t *testing.T, b backend.Backend, mem *Memory, ask func(context.Context) ([]byte, error)) ([]string, error) {
	t.Helper()
	var done []string
	err := Repair(t.Context(), b, mem, ask, func(what string) { done = append(done, what) })
	return done, err
}

// versions makes a store whose keys were edited twice, and returns all three states of its key store.
func versions(t *testing.T) (p *place, all snapshot, states [][]byte) {
	p = newPlace(t)
	s := p.create(Params{})
	_, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	for i := range 3 {
		raw, _, err := s.b.Load(t.Context(), keysObject)
		must(t, err)
		states = append(states, raw)
		if i < 2 {
			must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
				return f.CreateGroups([]string{[]string{"a", "b"}[i]}, s.Keys(), s.Keys())
			}))
		}
	}
	return p, snap(t, s.b), states
}

// without returns a backend with the objects of all, some of them replaced; nil deletes.
func without(t *testing.T, all snapshot, changed snapshot) backend.Backend {
	t.Helper()
	next := snapshot{}
	for name, data := range all {
		if c, ok := changed[name]; ok {
			data = c
		}
		if data != nil {
			next[name] = data
		}
	}
	return next.backend(t, "", nil)
}

func TestRepair(t *testing.T) {
	p, all, states := versions(t)
	other := newPlace(t).create(Params{})
	foreign := snap(t, other.b)
	bad := bytes.Clone(states[2])
	bad[len(bad)/2] ^= 1
	for _, c := range []struct {
		what    string
		changed snapshot
		done    int
		err     error // with a memory
		errNew  error // of a client that remembers nothing
	}{
		{"nothing", nil, 0, nil, nil},
		{"format is gone", snapshot{formatObject: nil}, 1, nil, ErrMissing},
		{"keys are gone", snapshot{keysObject: nil}, 1, nil, nil},
		{"the copy is gone", snapshot{keysCopy: nil}, 1, nil, nil},
		{"both are gone", snapshot{keysObject: nil, keysCopy: nil}, 2, nil, ErrMissing},
		{"all are gone", snapshot{formatObject: nil, keysObject: nil, keysCopy: nil}, 3, nil, ErrMissing},
		{"keys are older", snapshot{keysObject: states[1]}, 1, nil, nil},
		{"keys are much older", snapshot{keysObject: states[0]}, 1, nil, nil},
		{"the copy is older", snapshot{keysCopy: states[0]}, 1, nil, nil},
		{"keys are damaged", snapshot{keysObject: bad}, 1, nil, nil},
		{"keys are cut", snapshot{keysObject: bad[:20]}, 1, nil, nil},
		{"both are damaged", snapshot{keysObject: bad, keysCopy: bad[:20]}, 2, nil, ErrTampered},
		{"format is another", snapshot{formatObject: foreign[formatObject]}, 0, ErrForeign, ErrMissing},
		{"keys are another's", snapshot{keysObject: foreign[keysObject]}, 0, ErrForeign, ErrForeign},
		{"keys are another's, format is gone", snapshot{keysObject: foreign[keysObject], formatObject: nil}, 0, ErrForeign, ErrMissing},
	} {
		t.Run(c.what, func(t *testing.T) {
			b := without(t, all, c.changed)
			before := snap(t, b)
			done, err := tryRepair(t, b, p.options("maker").Memory, noPass)
			if !errors.Is(err, c.err) || len(done) != c.done {
				t.Errorf("done: %q, error %v; want %d things, %v", done, err, c.done, c.err)
			}
			want := all
			if c.err != nil {
				want = before
			}
			same(t, want, snap(t, b))
			if done, err = tryRepair(t, b, p.options("maker").Memory, noPass); !errors.Is(err, c.err) || len(done) != 0 {
				t.Errorf("again: %q, error %v", done, err)
			}

			b = without(t, all, c.changed)
			done, err = tryRepair(t, b, nil, withPass)
			if !errors.Is(err, c.errNew) {
				t.Errorf("without a memory: %q, error %v; want %v", done, err, c.errNew)
			}
			if c.errNew != nil {
				want = before
			}
			same(t, want, snap(t, b))
		})
	}
}

func same(t *testing.T, want, got snapshot) {
	t.Helper()
	if !slices.Equal(want.names(), got.names()) {
		t.Errorf("objects are %q, want %q", got.names(), want.names())
	}
	for name := range want {
		if !bytes.Equal(want[name], got[name]) {
			t.Errorf("object %s is not as it should be", name)
		}
	}
}

// TestRepairKeepsNewer: a client that has not seen the newest key store never puts its own in the place of it.
func TestRepairKeepsNewer(t *testing.T) {
	p, all, states := versions(t)
	old := p.options("behind")
	s, err := Open(t.Context(), without(t, all, snapshot{keysObject: states[0], keysCopy: states[0]}), pass, old)
	must(t, err)
	_, err = s.Roots(t.Context())
	must(t, err)
	must(t, s.Close())
	for _, gone := range []string{keysObject, keysCopy} {
		b := without(t, all, snapshot{gone: nil})
		done, err := tryRepair(t, b, p.options("behind").Memory, noPass)
		if err != nil || len(done) != 1 || !strings.Contains(done[0], "version 3") {
			t.Errorf("without %s: done %q, error %v", gone, done, err)
		}
		same(t, all, snap(t, b))
	}
}

func TestRepairLeavesAlone(t *testing.T) {
	p, all, _ := versions(t)
	mem := p.options("maker").Memory
	for _, why := range []error{backend.ErrDenied, backend.ErrUnavailable} {
		b := without(t, all, nil)
		if done, err := tryRepair(t, unreadable{b, why}, mem, noPass); !errors.Is(err, why) || len(done) != 0 {
			t.Errorf("%v: done %q, error %v", why, done, err)
		}
		same(t, all, snap(t, b))
	}
	empty := memory.New()
	if done, err := tryRepair(t, empty, mem, noPass); !errors.Is(err, ErrNoStore) || len(done) != 0 || len(snap(t, empty)) != 0 {
		t.Errorf("an empty place: done %q, error %v", done, err)
	}
}

// unreadable is a backend that lists, but does not let the key store be read.
type unreadable struct {
	backend.Backend
	err error
}

func (u unreadable) Load(context.Context, string) ([]byte, backend.Version, error) {
	return nil, "", u.err
}

// TestAcceptRollback puts back an older state of everything: it is refused until it is accepted, and then as good as new.
func TestAcceptRollback(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	r, err := s.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	w := begin(t, s)
	commitTree(t, r, w, putFile(t, w, "f", []byte("one")))
	old := snap(t, p.b)
	_, err = s.CreateRoot(t.Context(), "later", 0o755)
	must(t, err)
	commitTree(t, r, w, putFile(t, w, "f", []byte("two")))

	open := func(b backend.Backend) *Store {
		c, err := Open(t.Context(), b, pass, p.options("maker"))
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	if rb, err := open(p.b).Rollback(t.Context(), "home"); err != nil || rb.Older || rb.ShownSeq != 2 {
		t.Errorf("no roll-back: %+v, %v", rb, err)
	}
	c := open(old.backend(t, "", nil))
	_, err = c.Root(t.Context(), "home")
	wantErr(t, err, ErrRollback)
	rb, err := c.Rollback(t.Context(), "home")
	must(t, err)
	if !rb.Older || rb.ShownSeq != 1 || rb.SeenSeq != 2 || rb.Cause == nil {
		t.Errorf("rolled back: %+v", rb)
	}
	if gone, err := c.Rollback(t.Context(), "later"); err != nil || !gone.Gone {
		t.Errorf("a root that the older state has not: %+v, %v", gone, err)
	}
	_, err = c.Root(t.Context(), "home")
	wantErr(t, err, ErrRollback) // looking accepts nothing
	must(t, c.AcceptRollback(rb))
	r, err = c.Root(t.Context(), "home")
	must(t, err)
	w = begin(t, c)
	if h := commitTree(t, r, w, putFile(t, w, "f", []byte("three"))); h.Seq != 2 {
		t.Errorf("commit %d on top of the accepted state", h.Seq)
	}
}
