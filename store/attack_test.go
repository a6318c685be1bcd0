package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/enemy"
	"ensync/store/backend/memory"
	"ensync/store/block"
	"ensync/store/object"
)

// The published attacks on encrypted storage, by the numbers of the table in docs/security.md, which has their sources.
// Here is what whoever keeps the store can do; what a member can do is in attack_member_test.go.

// victim is a store with two roots and files in them, a client that knows it, and the enemy's hold on both.
type victim struct {
	*place
	line *enemy.Line
	s    *Store
	was  enemy.State // all that is there
}

func newVictim(t *testing.T) *victim {
	v := &victim{place: newPlace(t)}
	v.line = enemy.NewLine(v.b)
	v.b = v.line
	v.s = v.create(Params{BlockSize: 4096, Chunking: "fixed"})
	w := begin(t, v.s)
	for i, name := range []string{"home", "side"} {
		r, err := v.s.CreateRoot(t.Context(), name, 0o755)
		must(t, err)
		commitTree(t, r, w, putFile(t, w, "small", []byte("small "+name)), putFile(t, w, "long", noise(uint64(i), 20_000)))
	}
	must(t, w.Close())
	must(t, v.s.Check(t.Context(), true, func(p Problem) { t.Error(p) }))
	v.was = v.take()
	return v
}

func (v *victim) take() enemy.State {
	v.t.Helper()
	s, err := enemy.Take(v.t.Context(), v.line)
	must(v.t, err)
	v.line.Forget()
	return s
}

// shown leads the client to another state of the store.
func (v *victim) shown(s enemy.State) backend.Backend {
	v.t.Helper()
	b := memory.New()
	must(v.t, s.Put(v.t.Context(), b))
	v.line.Lead(b)
	v.line.Forget()
	return b
}

// use opens the store as a client and reads and checks everything in it; what it reads must be what was written.
func (v *victim) use(client string) error {
	v.t.Helper()
	s, err := Open(v.t.Context(), v.line, pass, v.options(strings.ReplaceAll(client, "/", "-")))
	if err != nil {
		return err
	}
	defer s.Close()
	for i, name := range []string{"home", "side"} {
		if err := v.readRoot(s, name, uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

func (v *victim) readRoot(s *Store, name string, i uint64) error {
	r, err := s.Root(v.t.Context(), name)
	if err != nil {
		return err
	}
	h, err := r.Head(v.t.Context())
	if err != nil {
		return err
	}
	g, err := r.ReadGroup()
	must(v.t, err)
	entries, err := s.ReadTree(v.t.Context(), g, h.Tree)
	if err != nil {
		return err
	}
	want := map[string][]byte{"small": []byte("small " + name), "long": noise(i, 20_000)}
	for _, e := range entries {
		c := s.OpenContent(v.t.Context(), e.Content)
		var b bytes.Buffer
		_, err := b.ReadFrom(c)
		c.Close()
		if err != nil {
			if !bytes.HasPrefix(want[e.Name], b.Bytes()) {
				v.t.Errorf("%s/%s: bytes came out that nobody wrote", name, e.Name)
			}
			return err
		}
		if !bytes.Equal(want[e.Name], b.Bytes()) {
			v.t.Errorf("%s/%s is wrong, and no error", name, e.Name)
		}
	}
	return nil
}

// refused wants all of the errors' kinds to be among want, for a client that knows the store, and a new one.
func (v *victim) refused(what string, known, fresh error) {
	v.t.Helper()
	for client, want := range map[string]error{"maker": known, "new " + what: fresh} {
		if err := v.use(client); want == nil && err != nil || want != nil && !errors.Is(err, want) {
			v.t.Errorf("%s, client %.3s: got %v, want %v", what, client, err, want)
		}
	}
	if err := v.unchanged(); err != nil {
		v.t.Errorf("%s: %v", what, err)
	}
}

// unchanged reports whether a client wrote anything to what it was shown.
func (v *victim) unchanged() error {
	for _, c := range v.line.Calls() {
		for _, write := range []string{"Put", "Swap", "Delete"} {
			if strings.HasPrefix(c, write) {
				return fmt.Errorf("the store was changed: %s", c)
			}
		}
	}
	return nil
}

// TestAttack01WrappedKeys: nobody learns anything from trying keys on a client: every changed byte is refused, and all that is
// asked afterwards is the same.
func TestAttack01WrappedKeys(t *testing.T) {
	v := newVictim(t)
	good := v.was[keysObject].Data
	var asked string
	for i := 8; i < len(good); i += 3 { // byte 7 is the version of the format
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		v.shown(v.was.With(keysObject, bad))
		err := v.use("new client")
		if !errors.Is(err, ErrTampered) && !errors.Is(err, ErrForeign) || errors.Is(err, ErrWrongPassphrase) {
			t.Fatalf("byte %d of keys: %v", i, err)
		}
		calls := slices.DeleteFunc(v.line.Calls(), func(c string) bool { return c == "Location" }) // that is no request
		slices.Sort(calls)
		if now := strings.Join(calls, "\n"); asked == "" {
			asked = now
		} else if now != asked {
			t.Fatalf("byte %d of keys: the client asks %q, and for others %q", i, now, asked)
		}
	}
}

// TestAttack02KeyStoreReplaced: a key store that somebody else made opens with the same passphrase, and is refused by
// who knows the store; a new client can't be shown anything that the true one signed.
func TestAttack02KeyStoreReplaced(t *testing.T) {
	v := newVictim(t)
	f, chain, err := keys.Create(v.s.ID(), "key", pass, now())
	must(t, err)
	chain.Close()
	v.shown(v.was.With(keysObject, f.Encode()).With(keysCopy, f.Encode()))
	v.refused("replaced keys", ErrReplaced, ErrDamaged)
}

// TestAttack03KeyStoreRollback: an older key store, which has a key that was removed, is refused; by a new client as soon as it
// sees a commit of someone who saw the newer one.
func TestAttack03KeyStoreRollback(t *testing.T) {
	f := newForked(t)
	must(t, f.s().EditKeys(t.Context(), func(k *keys.File) (*keys.File, error) {
		return k.Add(t.Context(), f.alice.Keys(), "leaver", append([]byte("leaver"), pass...), nil, now())
	}))
	old := f.take(f.storeA)
	must(t, f.s().EditKeys(t.Context(), func(k *keys.File) (*keys.File, error) { return k.Remove("leaver", f.alice.Keys()) }))
	must(t, f.commit(f.alice, "home"))
	must(t, old.Put(t.Context(), f.storeA, keysObject, keysCopy))
	_, err := Open(t.Context(), f.storeA, pass, f.options("maker"))
	wantErr(t, err, ErrRollback)
	fresh, err := Open(t.Context(), f.storeA, pass, f.options("fresh"))
	must(t, err)
	defer fresh.Close()
	wantErr(t, f.read(fresh, "home"), ErrFork)
}

func (f *forked) s() *Store { return f.alice }

// TestAttack04Downgrade: what the store says of versions, suites and the cost of a guess is bounded or signed.
func TestAttack04Downgrade(t *testing.T) {
	v := newVictim(t)
	for _, to := range []string{"version = 0", "version = 2", "version = -1", "version = 99999999999999999999"} {
		v.shown(v.was.With(formatObject, bytes.Replace(v.was[formatObject].Data, []byte("version = 1"), []byte(to), 1)))
		if err := v.use("new client"); err == nil || errors.Is(err, ErrNoStore) {
			t.Errorf("%s: %v", to, err)
		}
	}
	for _, c := range [][2]string{{"kt128-aes256gcm-zstd-ed25519", "none"}, {`chunking = "fixed"`, `chunking = "cdc"`}, {"4096", "8192"}} {
		bad := bytes.Replace(v.was[formatObject].Data, []byte(c[0]), []byte(c[1]), 1)
		if bytes.Equal(bad, v.was[formatObject].Data) {
			t.Fatalf("%s is not in format", c[0])
		}
		v.shown(v.was.With(formatObject, bad))
		if err := v.use("new client"); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", c[1], err)
		}
	}
	good := v.was[keysObject].Data
	for _, n := range []string{"10", "40", "00", "99"} {
		bad := bytes.Replace(good, []byte("scrypt-12-8-1"), []byte("scrypt-"+n+"-8-1"), 1)
		if bytes.Equal(bad, good) {
			t.Fatal("the key is stretched otherwise")
		}
		v.shown(v.was.With(keysObject, bad))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		wantErr(t, v.use("new client"), ErrTampered)
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 64<<20 {
			t.Errorf("N = 2^%s: %d bytes were allocated", n, after.TotalAlloc-before.TotalAlloc)
		}
	}
}

// TestAttack06Reordered: blocks that change places, that are there twice, or come from another version of the file, are noticed.
func TestAttack06Reordered(t *testing.T) {
	v := newVictim(t)
	moved := 0
	for _, name := range v.was.Names() {
		if !strings.HasPrefix(name, packPrefix) {
			continue
		}
		data := v.was[name].Data
		const sealed = 4096 + block.Overhead // of incompressible blocks, from byte 8 on
		for _, p := range [][2]int{{0, 1}, {1, 0}, {0, 3}, {2, 2}} {
			a, b := 8+p[0]*sealed, 8+p[1]*sealed
			if b+sealed > len(data) || a+sealed > len(data) {
				continue
			}
			bad := bytes.Clone(data)
			copy(bad[a:a+sealed], data[b:])
			if p[0] != p[1] && p[0] == 0 { // changed places; else one is there twice
				copy(bad[b:b+sealed], data[a:])
			}
			if bytes.Equal(bad, data) {
				continue
			}
			moved++
			v.shown(v.was.With(name, bad))
			v.refused(fmt.Sprintf("%s, blocks %v", name, p), ErrDamaged, ErrDamaged)
		}
	}
	if moved < 4 {
		t.Errorf("only %d packs had blocks to move", moved)
	}
}

// TestAttack07Exchanged, TestAttack13TypeConfusion: no object can stand in for another of any kind, root or store. What is put in the
// place of something else is refused, or is not looked at.
func TestAttack07Exchanged(t *testing.T) {
	if testing.Short() {
		t.Skip("one thread does it all, so the race detector would only make it slow")
	}
	v := newVictim(t)
	other := newVictim(t)
	for _, name := range v.was.Names() {
		for _, from := range []enemy.State{v.was, other.was} {
			for _, n := range from.Names() {
				if bytes.Equal(from[n].Data, v.was[name].Data) || name == keysCopy {
					continue // the copy of the keys is read by repair only
				}
				v.shown(v.was.With(name, from[n].Data))
				err := v.use("maker")
				if err == nil { // an index is needed by nobody who has its content already
					err = v.use("new " + name + n)
				}
				if err == nil && name != formatObject || err != nil && !isWrongObject(err) {
					t.Errorf("%s in the place of %s: %v", n, name, err)
				}
			}
		}
	}
}

func isWrongObject(err error) bool {
	for _, kind := range []error{ErrDamaged, ErrMissing, ErrForeign, ErrTampered, ErrReplaced, ErrRollback, ErrUnsupported} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// TestAttack09Injected: what an enemy adds to a store shows nowhere: there is no signature on it.
func TestAttack09Injected(t *testing.T) {
	v := newVictim(t)
	other := newVictim(t)
	with := enemy.State{}
	for n, o := range v.was {
		with[n] = o
	}
	for n, o := range other.was { // packs, indexes and heads of a store with the same passphrase
		if _, ok := with[n]; !ok {
			with[n] = o
		}
	}
	b := v.shown(with)
	must(t, v.use("maker"))
	must(t, v.use("new client"))
	s, err := Open(t.Context(), b, pass, v.options("another new one"))
	must(t, err)
	defer s.Close()
	roots, err := s.Roots(t.Context())
	if err != nil || len(roots) != 2 {
		t.Errorf("%d roots, %v", len(roots), err)
	}
}

// TestAttack10PublicKeys: the public keys of write groups come from what root signed; see also TestForgedRoot of package keys.
func TestAttack10PublicKeys(t *testing.T) {
	v := newVictim(t)
	good := v.was[keysObject].Data
	for _, group := range []string{keys.Everyone, keys.Root} {
		public, ok := v.s.Keys().Public(group)
		if !ok || bytes.Count(good, public) != 1 {
			t.Fatalf("%s: its key is there %d times", group, bytes.Count(good, public))
		}
		other, _ := v.s.Keys().Public(map[string]string{keys.Everyone: keys.Root, keys.Root: keys.Everyone}[group])
		bad := bytes.Replace(good, public, other, 1)
		v.shown(v.was.With(keysObject, bad).With(keysCopy, bad))
		if err := v.use("new client"); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", group, err)
		}
	}
}

// TestAttack11NothingGoesOut: no passphrase, key, name or content, nor any 16 bytes of one, is in anything that a client sends,
// asks for or leaves in the store.
func TestAttack11NothingGoesOut(t *testing.T) {
	v := &victim{place: newPlace(t)}
	v.line = enemy.NewLine(v.b)
	v.b = v.line
	s := v.create(Params{})
	r, err := s.CreateRoot(t.Context(), "canary of a root's name", 0o755)
	must(t, err)
	w := begin(t, s)
	secret := noise(77, 4000)
	commitTree(t, r, w, putFile(t, w, "canary of a file's name", secret), putFile(t, w, "x", []byte("canary of an inline content")))
	secrets := [][]byte{pass, secret, []byte("canary of a root's name"), []byte("canary of a file's name"), []byte("canary of an inline content")}
	for _, name := range []string{keys.Everyone, keys.Root} {
		g, err := s.group(name)
		must(t, err)
		for _, label := range []string{"ensync/store/1/block mac", "ensync/store/1/gear"} {
			key := g.Derive(label, s.format.id[:])
			secrets = append(secrets, key[:])
		}
	}
	key := s.data.Sum(block.Type{Kind: block.Data}, secret)
	secrets = append(secrets, key[:])
	out := append(v.line.Sent(), []byte(strings.Join(v.line.Calls(), "\n")))
	windows := map[[16]byte]bool{}
	for _, b := range out {
		for i := 0; i+16 <= len(b); i++ {
			windows[[16]byte(b[i:])] = true
		}
	}
	for _, b := range secrets {
		hexed := []byte(hex.EncodeToString(b[:min(len(b), 32)]))
		for _, b := range [][]byte{b, hexed} {
			for i := 0; i+16 <= len(b); i++ {
				if windows[[16]byte(b[i:])] {
					t.Fatalf("%.40q went out", b)
				}
			}
		}
	}
	if len(windows) < 5000 {
		t.Error("the line did not keep what was sent")
	}
}

// TestAttack12NoOracle: whatever is wrong with a sealed object, its client does and says the same.
func TestAttack12NoOracle(t *testing.T) {
	v := newVictim(t)
	for _, name := range v.was.Names() {
		if !strings.HasPrefix(name, packPrefix) {
			continue
		}
		good := v.was[name].Data
		var first string
		for i, spoil := range []func([]byte){
			func(b []byte) { b[1] ^= 1 },                                        // the nonce
			func(b []byte) { b[13] ^= 1 },                                       // the first byte
			func(b []byte) { b[4096] ^= 0x80 },                                  // the last
			func(b []byte) { b[4096+block.Overhead-1] ^= 1 },                    // the tag
			func(b []byte) { copy(b[:4096], noise(3, 4096)) },                   // all
			func(b []byte) { copy(b, good[8+4096+block.Overhead:][:len(b)/2]) }, // half of another block
		} {
			bad := bytes.Clone(good)
			spoil(bad[8 : 8+4096+block.Overhead])
			v.shown(v.was.With(name, bad))
			s := v.open(fmt.Sprint("reader ", i, name[len(packPrefix)+3:]))
			v.line.Forget()
			var err error
			for i, root := range []string{"home", "side"} {
				if err = v.readRoot(s, root, uint64(i)); err != nil {
					break
				}
			}
			if err == nil {
				t.Fatal("damage went unseen")
			}
			calls := v.line.Calls()
			slices.Sort(calls)
			now := strings.Join(slices.Compact(calls), "\n") + "\n" + err.Error()
			if first == "" {
				first = now
			} else if now != first {
				t.Errorf("%s:\n%s\nand then\n%s", name, first, now)
			}
		}
	}
}

// TestAttack14Rollback: everything as it was, or one object of it, is refused where there is something newer to be missed.
func TestAttack14Rollback(t *testing.T) {
	everywhere(t, func(t *testing.T, d *transport) {
		p := d.fill()
		b := d.open()
		old, err := enemy.Take(t.Context(), b)
		must(t, err)
		s := p.open("maker")
		r, err := s.Root(t.Context(), "home")
		must(t, err)
		w := begin(t, s)
		commitTree(t, r, w, putFile(t, w, "f", noise(2, 100_000)))
		must(t, w.Close())
		_, err = s.CreateRoot(t.Context(), "more", 0o755)
		must(t, err)
		must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) { return f.CreateGroups([]string{"g"}, s.Keys(), s.Keys()) }))
		commitTree(t, r, begin(t, s), object.Entry{Name: "l", Kind: object.Symlink, Target: "x"})
		whole, err := enemy.Take(t.Context(), b)
		must(t, err)
		use := func(client string) error {
			s, err := Open(t.Context(), d.open(), pass, p.options(client))
			if err != nil {
				return err
			}
			defer s.Close()
			r, err := s.Root(t.Context(), "home")
			if err == nil {
				_, err = r.Head(t.Context())
			}
			return err
		}
		for what, prefixes := range map[string][]string{"everything": nil, "a head": {headObject(r.info.ID)}, "the list of roots": {rootsObject},
			"the keys": {keysObject, keysCopy}, "all but the heads": {keysObject, keysCopy, rootsObject}} {
			must(t, old.Put(t.Context(), b, prefixes...))
			if err := use("maker"); !errors.Is(err, ErrRollback) || !strings.Contains(err.Error(), "nothing was changed") && !strings.Contains(err.Error(), "repair") {
				t.Errorf("%s as it was: %v", what, err)
			}
			if err := use("new " + what); (what == "the keys" || what == "the list of roots") && !errors.Is(err, ErrFork) {
				t.Errorf("%s as it was, to a new client: %v", what, err)
			}
			must(t, whole.Put(t.Context(), b))
			if err := use("maker"); err != nil {
				t.Errorf("%s is as it should be again: %v", what, err)
			}
		}
	})
}

// endless is a store whose lists have no end, and whose objects are as large as they can be.
type endless struct {
	backend.Backend
	listed, held, most atomic.Int64
}

func (e *endless) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	if prefix != indexPrefix {
		return e.Backend.List(ctx, prefix, fn)
	}
	for i := uint64(0); ; i++ {
		e.listed.Add(1)
		if err := fn(backend.Info{Name: fmt.Sprintf("%s%032x", indexPrefix, i), Size: 20 << 20}); err != nil {
			return err
		}
	}
}

// many is a store with so many index objects of rubbish.
type many struct {
	*endless
	n int
}

func (m many) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	stop := errors.New("that is all")
	n := 0
	err := m.endless.List(ctx, prefix, func(i backend.Info) error {
		if n++; n > m.n && prefix == indexPrefix {
			return stop
		}
		return fn(i)
	})
	if err == stop {
		return m.Backend.List(ctx, prefix, fn)
	}
	return err
}

func (e *endless) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if _, err := e.Backend.Get(ctx, name, 0, 0); err == nil || !strings.HasPrefix(name, indexPrefix) {
		return e.Backend.Get(ctx, name, offset, length)
	}
	now := e.held.Add(1)
	e.most.Store(max(e.most.Load(), now))
	time.Sleep(time.Millisecond)
	e.held.Add(-1)
	return make([]byte, 20<<20)[:length], nil
}

// TestAttack25Endless: lists without end, and rubbish by the gigabyte: an error soon, or what is true is read beside it, and in
// either case little memory is needed.
func TestAttack25Endless(t *testing.T) {
	v := newVictim(t)
	inner := v.shown(v.was)
	e := &endless{Backend: inner}
	v.line.Lead(e)
	began := time.Now()
	wantErr(t, v.use("new client"), ErrDamaged)
	if e.listed.Load() > 2*maxIndexes+2 || time.Since(began) > time.Minute {
		t.Errorf("%d names were listed in %v", e.listed.Load(), time.Since(began))
	}
	v.line.Lead(many{e, 40})
	must(t, v.use("another new client"))
	if e.most.Load() == 0 || e.most.Load() > 2 {
		t.Errorf("%d objects of 20 MiB were read at once", e.most.Load())
	}
}
