package store

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/memory"
)

func TestCreateRefuses(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	all := snap(t, s.b)
	t.Run("a store", func(t *testing.T) {
		_, err := Create(t.Context(), p.b, Params{}, pass, "key", Options{})
		wantErr(t, err, ErrExists)
	})
	for _, gone := range []string{formatObject, keysObject} {
		t.Run("a store without "+gone, func(t *testing.T) {
			b := all.backend(t, gone, nil)
			_, err := Create(t.Context(), b, Params{}, pass, "key", Options{})
			wantErr(t, err, ErrExists)
			_, err = Open(t.Context(), b, pass, Options{})
			wantErr(t, err, ErrMissing)
			for _, want := range []string{"object " + gone, "expiry rule", "ensync repair"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		})
	}
	t.Run("an empty place that held a store it knows", func(t *testing.T) {
		b := memory.New()
		_, err := Create(t.Context(), b, Params{}, pass, "key", p.options("maker"))
		wantErr(t, err, ErrMissing)
		_, err = Open(t.Context(), b, pass, p.options("maker"))
		wantErr(t, err, ErrMissing)
		if len(snap(t, b)) != 0 {
			t.Error("something was created")
		}
	})
	t.Run("a foreign object", func(t *testing.T) {
		b := memory.New()
		must(t, b.Put(t.Context(), "packs/aa/other", []byte("x")))
		_, err := Create(t.Context(), b, Params{}, pass, "key", Options{})
		wantErr(t, err, ErrExists)
		_, err = Exists(t.Context(), b)
		wantErr(t, err, ErrMissing)
		for _, words := range []string{"packs/aa/other", "choose an empty place", "ensync repair"} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%v; it does not say %q", err, words)
			}
		}
	})
}

// refusing is a backend whose every request fails.
type refusing struct {
	backend.Backend
	err error
}

func (r refusing) Get(context.Context, string, int64, int64) ([]byte, error) { return nil, r.err }
func (r refusing) Load(context.Context, string) ([]byte, backend.Version, error) {
	return nil, "", r.err
}
func (r refusing) List(context.Context, string, func(backend.Info) error) error { return r.err }

func TestAbsentUnreadableDenied(t *testing.T) {
	b := memory.New()
	_, err := Open(t.Context(), b, pass, Options{})
	wantErr(t, err, ErrNoStore)
	if yes, err := Exists(t.Context(), b); yes || err != nil {
		t.Errorf("exists: %v, %v", yes, err)
	}
	for _, kind := range []error{backend.ErrUnavailable, backend.ErrDenied} {
		_, err := Open(t.Context(), refusing{b, kind}, pass, Options{})
		wantErr(t, err, kind)
		if errors.Is(err, ErrNoStore) || errors.Is(err, ErrMissing) {
			t.Errorf("%v counts as absence", err)
		}
		_, err = Exists(t.Context(), refusing{b, kind})
		wantErr(t, err, kind)
		_, err = Create(t.Context(), refusing{b, kind}, Params{}, pass, "key", Options{})
		wantErr(t, err, kind)
	}
}

func TestWrongPassphraseAndReplacedKeys(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	_, err := Open(t.Context(), p.b, []byte(strings.Repeat("wrong", 60)), Options{})
	wantErr(t, err, ErrWrongPassphrase)

	other := newPlace(t)
	o := other.create(Params{})
	foreign, _, err := o.b.Load(t.Context(), keysObject)
	must(t, err)
	_, err = Open(t.Context(), snap(t, s.b).backend(t, keysObject, foreign), pass, p.options("maker"))
	wantErr(t, err, ErrForeign)
	_, err = Open(t.Context(), o.b, pass, p.options("maker"))
	wantErr(t, err, ErrForeign)

	forged, chain, err := keys.Create(s.ID(), "key", pass, now())
	must(t, err)
	chain.Close()
	_, err = Open(t.Context(), snap(t, s.b).backend(t, keysObject, forged.Encode()), pass, p.options("maker"))
	wantErr(t, err, ErrReplaced)
}

func TestEditKeys(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{})
	before := snap(t, s.b)
	must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
		return f.CreateGroups([]string{"team"}, s.Keys(), s.Keys())
	}))
	if _, ok := s.Keys().Group("team"); !ok {
		t.Error("the group is not there")
	}
	after := snap(t, s.b)
	if !bytes.Equal(after[keysObject], after[keysCopy]) || bytes.Equal(after[keysObject], before[keysObject]) {
		t.Error("keys and copy are not both new")
	}
	_, err := Open(t.Context(), before.backend(t, "", nil), pass, p.options("maker"))
	wantErr(t, err, ErrRollback)
}
