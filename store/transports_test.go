package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/dir"
	"ensync/store/pipe/pipetest"
	"ensync/store/s3"
	"ensync/store/s3/s3test"
)

// transport is a way to a store, with what happens to stores there.
type transport struct {
	t      *testing.T
	open   func() backend.Backend         // another client's
	lose   func()                         // from now on nobody can tell what is there
	old    func(age time.Duration)        // all that is there was written so long ago
	young  func(age time.Duration) int    // how many objects were written since
	denied func() (backend.Backend, bool) // whom nothing is shown; false if that can't be had here
}

// everywhere runs a test on each transport.
func everywhere(t *testing.T, test func(*testing.T, *transport)) {
	for name, start := range map[string]func(*testing.T) *transport{"path": inDirectory, "shell": behindPipe, "s3": inBucket} {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

func inDirectory(t *testing.T) *transport {
	path := filepath.Join(t.TempDir(), "store")
	must(t, dir.Create(path))
	d := &transport{t: t}
	d.open = func() backend.Backend {
		b, err := dir.Open(path)
		must(t, err)
		t.Cleanup(func() { b.Close() })
		return b
	}
	d.lose = func() { must(t, os.Rename(path, path+".away")) }
	d.old = func(age time.Duration) {
		then := time.Now().Add(-age)
		d.walk(path, func(file string, _ os.FileInfo) { must(t, os.Chtimes(file, then, then)) })
	}
	d.young = func(age time.Duration) (n int) {
		d.walk(path, func(_ string, i os.FileInfo) {
			if time.Since(i.ModTime()) < age {
				n++
			}
		})
		return n
	}
	d.denied = func() (backend.Backend, bool) {
		if os.Geteuid() == 0 {
			return nil, false
		}
		b := d.open()
		must(t, os.Chmod(path, 0))
		t.Cleanup(func() { os.Chmod(path, 0o700) })
		return b, true
	}
	return d
}

// walk calls fn for the files of objects.
func (d *transport) walk(path string, fn func(string, os.FileInfo)) {
	must(d.t, filepath.WalkDir(path, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(strings.TrimPrefix(file, path), "/@") {
			return err
		}
		i, err := e.Info()
		if err == nil {
			fn(file, i)
		}
		return err
	}))
}

func behindPipe(t *testing.T) *transport {
	d := inDirectory(t)
	here := d.open
	path := here().Location()
	p := &transport{t: t, lose: d.lose, old: d.old, young: d.young}
	p.open = func() backend.Backend {
		return pipetest.Client(t, pipetest.Link{}, func() (backend.Backend, error) { return dir.Open(path) })
	}
	p.denied = func() (backend.Backend, bool) {
		return pipetest.Client(t, pipetest.Link{}, func() (backend.Backend, error) { return refusing{here(), backend.ErrDenied}, nil }), true
	}
	return p
}

func inBucket(t *testing.T) *transport {
	s := s3test.Start(t)
	open := func(server *s3test.Server) backend.Backend {
		c, err := s3.New(s3.Options{Endpoint: server.Endpoint(), Plain: true, Bucket: s3test.Bucket, Prefix: "p",
			Getenv: s3test.Getenv, Backoff: time.Microsecond, Stall: time.Second})
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	fail := func(f s3test.Fault) { s.SetFault(func(int, *http.Request) s3test.Fault { return f }) }
	b := &transport{t: t, open: func() backend.Backend { return open(s) }}
	b.lose = func() { fail(s3test.NotFoundPage) }
	b.denied = func() (backend.Backend, bool) { fail(s3test.Denied); return open(s), true }
	b.old = func(age time.Duration) {
		for name, data := range snap(t, b.open()) {
			s.SetObject("p/"+name, string(data), age)
		}
	}
	b.young = func(age time.Duration) (n int) {
		must(t, b.open().List(t.Context(), "", func(i backend.Info) error {
			if time.Since(i.ModTime) < age {
				n++
			}
			return nil
		}))
		return n
	}
	return b
}

// set makes an object hold data, whatever it was, or takes it away.
func (d *transport) set(name string, data []byte) {
	b := d.open()
	must(d.t, b.Delete(d.t.Context(), name))
	if data == nil {
		return
	}
	if mutable(name) {
		_, err := b.Swap(d.t.Context(), name, "", data)
		must(d.t, err)
		return
	}
	must(d.t, b.Put(d.t.Context(), name, data))
}

// fill makes a store with a tree in it, and returns the place of the client that did.
func (d *transport) fill() *place {
	p := newPlace(d.t)
	p.b = d.open()
	s := p.create(Params{})
	r, err := s.CreateRoot(d.t.Context(), "home", 0o755)
	must(d.t, err)
	w := begin(d.t, s)
	commitTree(d.t, r, w, putFile(d.t, w, "f", noise(1, 100_000)))
	must(d.t, w.Close())
	return p
}

// TestNothingIsMadeAnew: where format or keys are missing, nobody makes them, whatever is asked for, and the error says
// what is missing, why, and what helps.
func TestNothingIsMadeAnew(t *testing.T) {
	everywhere(t, func(t *testing.T, d *transport) {
		p := d.fill()
		all := snap(t, d.open())
		refused := func(err error, next ...string) {
			t.Helper()
			if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrExists) {
				t.Errorf("got %v", err)
			}
			for _, want := range next {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		}
		for _, gone := range []string{formatObject, keysObject} {
			d.set(gone, nil)
			left := snap(t, d.open())
			for _, opt := range []Options{p.options("maker"), p.options("new " + gone)} {
				must(t, opt.Memory.update(func(m *memoryData) bool { m.FormatSeen = time.Time{}; return true }))
				_, err := Open(t.Context(), d.open(), pass, opt)
				refused(err, "object "+gone, "the store is damaged", "expiry rule", "ensync repair puts this object back")
				_, err = Create(t.Context(), d.open(), Params{}, pass, "key", opt)
				refused(err)
				_, err = ReadKeys(t.Context(), d.open(), opt.Memory)
				refused(err, "object "+gone)
			}
			same(t, left, snap(t, d.open()))
			d.set(gone, all[gone])
		}
		for name := range all {
			d.set(name, nil)
		}
		_, err := Open(t.Context(), d.open(), pass, p.options("maker"))
		refused(err, "the store is damaged", "expiry rule")
		_, err = Create(t.Context(), d.open(), Params{}, pass, "key", p.options("maker"))
		refused(err, "this client remembers", "nothing was created")
		if left := snap(t, d.open()); len(left) != 0 {
			t.Errorf("%q were made", left.names())
		}
	})
}

// TestAbsentUnreadableDeniedEverywhere: the three are three, and none but certain absence lets a store be made.
func TestAbsentUnreadableDeniedEverywhere(t *testing.T) {
	try := func(t *testing.T, b backend.Backend, want error) {
		t.Helper()
		_, err := Open(t.Context(), b, pass, Options{})
		for _, kind := range []error{ErrNoStore, backend.ErrUnavailable, backend.ErrDenied, ErrMissing} {
			if errors.Is(err, kind) != (kind == want) {
				t.Errorf("open: %v; want %v", err, want)
			}
		}
		if want != ErrNoStore {
			_, err = Create(t.Context(), b, Params{}, pass, "key", Options{})
			wantErr(t, err, want)
		}
	}
	everywhere(t, func(t *testing.T, d *transport) {
		try(t, d.open(), ErrNoStore)
		b := d.open()
		try(t, b, ErrNoStore)
		if refused, ok := d.denied(); ok {
			try(t, refused, backend.ErrDenied)
		}
	})
	everywhere(t, func(t *testing.T, d *transport) {
		b := d.open()
		_, err := Exists(t.Context(), b)
		must(t, err)
		d.lose()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err = Exists(ctx, b)
		if errors.Is(err, ErrNoStore) || errors.Is(err, ErrMissing) || !errors.Is(err, backend.ErrUnavailable) && ctx.Err() == nil {
			t.Errorf("unreadable: %v", err)
		}
	})
}

// TestTwoCreatorsEverywhere: of clients that make a store at the same moment one does, and all others can use that.
func TestTwoCreatorsEverywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, d *transport) {
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			b := d.open()
			wg.Go(func() {
				s, err := Create(t.Context(), b, Params{}, pass, "key", Options{})
				if errs[i] = err; err == nil {
					s.Close()
				}
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d creators won", won)
		}
		p := &place{t: t, b: d.open(), dir: t.TempDir()}
		must(t, p.open("later").Check(t.Context(), true, func(p Problem) { t.Error(p) }))
	})
}

// TestCausesAreTold: what is wrong with keys or content gives an error that fits it and no other.
func TestCausesAreTold(t *testing.T) {
	forged := func(t *testing.T, id [16]byte) []byte {
		f, chain, err := keys.Create(id, "key", pass, now())
		must(t, err)
		chain.Close()
		return f.Encode()
	}
	kinds := []error{ErrWrongPassphrase, ErrReplaced, ErrForeign, ErrTampered, ErrDamaged, ErrMissing}
	everywhere(t, func(t *testing.T, d *transport) {
		p := d.fill()
		all := snap(t, d.open())
		cut := bytes.Clone(all[keysObject][:40])
		var packName string
		for _, name := range all.names() {
			if strings.HasPrefix(name, packPrefix) {
				packName = name
			}
		}
		for _, c := range []struct {
			what, object string
			data         []byte
			want         error
		}{
			{"replaced keys", keysObject, forged(t, p.open("maker").ID()), ErrReplaced},
			{"keys of another store", keysObject, forged(t, [16]byte{9}), ErrForeign},
			{"damaged keys", keysObject, cut, ErrTampered},
			{"missing keys", keysObject, nil, ErrMissing},
			{"missing pack", packName, nil, ErrMissing},
			{"damaged pack", packName, bytes.Repeat([]byte{7}, len(all[packName])), ErrDamaged},
		} {
			d.set(c.object, c.data)
			s, err := Open(t.Context(), d.open(), pass, p.options("maker"))
			if err == nil {
				var found []error
				must(t, s.Check(t.Context(), true, func(p Problem) { found = append(found, p.Err) }))
				must(t, s.Close())
				err = errors.Join(found...)
			}
			for _, kind := range kinds {
				if errors.Is(err, kind) != (kind == c.want) {
					t.Errorf("%s: %v is %v: %v", c.what, err, kind, errors.Is(err, kind))
				}
			}
			d.set(c.object, all[c.object])
		}
		_, err := Open(t.Context(), d.open(), []byte(strings.Repeat("wrong", 60)), p.options("maker"))
		wantErr(t, err, ErrWrongPassphrase)
		must(t, p.open("maker").Check(t.Context(), true, func(p Problem) { t.Error(p) }))
	})
}

// TestRenew: what a store can't do without and is old gets young, and stays what it is; once a day, and for all clients.
func TestRenew(t *testing.T) {
	everywhere(t, func(t *testing.T, d *transport) {
		p := d.fill()
		before := snap(t, d.open())
		s, other := p.open("maker"), p.open("other")
		must(t, s.Upkeep(t.Context()))
		d.old(40 * 24 * time.Hour)
		must(t, s.Upkeep(t.Context())) // has been done
		if n := d.young(time.Hour); n != 0 {
			t.Errorf("%d objects were renewed, although it was not due", n)
		}
		must(t, s.opt.Memory.update(func(m *memoryData) bool { m.Upkeep = m.Upkeep.Add(-25 * time.Hour); return true }))
		must(t, s.Upkeep(t.Context()))
		want := 5 // format, keys, their copy, the list of roots, a head
		if _, ok := s.b.(backend.Renewer); !ok {
			want = 4
		}
		if n := d.young(time.Hour); n != want {
			t.Errorf("%d objects were renewed, want %d", n, want)
		}
		same(t, before, snap(t, d.open()))
		must(t, other.Renew(t.Context()))
		if n := d.young(time.Hour); n != want {
			t.Errorf("another client renewed what was young: %d", n)
		}
		// Who was about to replace something meanwhile is not kept from it for long.
		must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
			return f.CreateGroups([]string{"team"}, s.Keys(), s.Keys())
		}))
		must(t, s.Check(t.Context(), true, func(p Problem) { t.Error(p) }))
	})
}

// TestLost: objects that are gone are told of as somebody else's doing, by Upkeep and Check, and only those.
func TestLost(t *testing.T) {
	everywhere(t, func(t *testing.T, d *transport) {
		p := d.fill()
		s := p.open("maker")
		if loss, err := s.Lost(t.Context()); loss != nil || err != nil {
			t.Errorf("nothing is lost: %v, %v", loss, err)
		}
		d.old(31 * 24 * time.Hour)
		all := snap(t, d.open())
		w := begin(t, s)
		r, err := s.Root(t.Context(), "home")
		must(t, err)
		commitTree(t, r, w, putFile(t, w, "g", noise(2, 100_000)))
		must(t, w.Close())
		for name, data := range all {
			if name == rootsObject || name == keysObject || strings.HasPrefix(name, indexPrefix) {
				continue // what a client can't even look without
			}
			d.set(name, nil)
			loss, err := s.Lost(t.Context())
			must(t, err)
			if loss == nil || len(loss.Objects) != 1 || loss.Objects[0] != name || !errors.Is(loss, ErrMissing) ||
				!strings.Contains(loss.Error(), "something else deletes objects here") {
				t.Errorf("%s is gone: %v", name, loss)
			}
			found := false
			must(t, s.Check(t.Context(), false, func(p Problem) { found = found || errors.As(p.Err, &loss) }))
			if !found {
				t.Errorf("%s is gone: Check does not say so", name)
			}
			must(t, s.opt.Memory.update(func(m *memoryData) bool { m.Upkeep = time.Time{}; return true }))
			if err := s.Upkeep(t.Context()); !errors.As(err, &loss) {
				t.Errorf("%s is gone: upkeep says %v", name, err)
			}
			d.set(name, data)
		}
		if loss, err := s.Lost(t.Context()); loss != nil || err != nil {
			t.Errorf("all are there again: %v, %v", loss, err)
		}
	})
}
