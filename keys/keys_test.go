package keys

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha3"
	"errors"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// long makes a passphrase of the length that is stretched least, so that tests stay fast.
func long(s string) []byte { return []byte(strings.Repeat(s+" ", 256/(len(s)+1)+1)) }

var (
	ctx     = context.Background()
	testID  = [16]byte{0: 1, 15: 2}
	aDay    = time.Unix(1_700_000_000, 123)
	nextDay = aDay.Add(24 * time.Hour)
)

// seed makes the package's randomness a fixed stream for one test.
func seed(t testing.TB, label string) {
	t.Helper()
	stream := sha3.NewSHAKE256()
	_, _ = stream.Write([]byte(label))
	random = stream
	t.Cleanup(func() { random = rand.Reader })
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newStore(t testing.TB) (*File, *Chain) {
	t.Helper()
	f, c, err := Create(testID, "first", long("first"), aDay)
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

func unlock(t testing.TB, f *File, pass []byte) *Chain {
	t.Helper()
	return must[*Chain](t)(f.Unlock(pass, ""))
}

// describe is a key store in one line: "a=everyone,root b=everyone".
func describe(f *File) string {
	var words []string
	for _, i := range f.List() {
		words = append(words, i.Name+"="+strings.Join(i.Groups, ","))
	}
	return strings.Join(words, " ")
}

func TestCreateUnlock(t *testing.T) {
	f, c := newStore(t)
	if f.Version() != 1 || f.StoreID() != testID || describe(f) != "first=everyone,root" {
		t.Errorf("new store: version %d, id %x, %s", f.Version(), f.StoreID(), describe(f))
	}
	info := f.List()[0]
	if info.Algorithm != "scrypt-12-8-1" || !info.Created.Equal(aDay) || !info.Changed.IsZero() {
		t.Errorf("info: %+v", info)
	}
	g := must[*File](t)(Parse(f.Encode()))
	if g.Hash() != f.Hash() || !reflect.DeepEqual(g.Pin(), f.Pin()) {
		t.Error("parsed file differs")
	}
	d := unlock(t, g, long("first"))
	if d.Name() != "first" || !slices.Equal(d.Groups(), []string{Everyone, Root}) || !d.InRoot() {
		t.Errorf("chain: %s %v", d.Name(), d.Groups())
	}
	for _, name := range d.Groups() {
		a, _ := c.Group(name)
		b, _ := d.Group(name)
		if a.Derive("x") != b.Derive("x") {
			t.Errorf("group %s: Unlock gives another key than Create", name)
		}
	}
	if _, err := g.Unlock(long("other"), "first"); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := g.Unlock(nil, "first"); !errors.Is(err, ErrEmptyPassphrase) {
		t.Errorf("empty passphrase: %v", err)
	}
}

// The only tests with the full cost of a short passphrase: 2^18, once each to make and to open.
func TestShortPassphrase(t *testing.T) {
	if testing.Short() {
		t.Skip("stretches twice with N = 2^18")
	}
	f, c, err := Create(testID, "a", []byte("hunter2"), aDay)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.List()[0].Algorithm; got != "scrypt-18-8-1" {
		t.Errorf("algorithm %s", got)
	}
	// A long passphrase is tried on expensive entries too, a short one never on cheap ones.
	if f, err = f.Add(ctx, c, "b", long("b"), nil, aDay); err != nil {
		t.Fatal(err)
	}
	if d := unlock(t, f, long("b")); d.Name() != "b" {
		t.Errorf("opened %s", d.Name())
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.UnlockContext(done, []byte("hunter2"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestUnlockStopsWithContext(t *testing.T) {
	f, _ := newStore(t)
	f.entries[0].kdf = kdf{17} // long enough to be still running
	running, cancel := context.WithCancel(ctx)
	go cancel()
	if _, _, err := f.find(running, long("x"), "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestWeakEntryIsNotTried(t *testing.T) {
	// A store can't have a short passphrase stretched cheaply, not even where it would fit.
	f, _ := newStore(t)
	pass := []byte("hunter2")
	secret, err := f.stretch(ctx, &f.entries[0], pass)
	if err != nil {
		t.Fatal(err)
	}
	f.entries[0].check = secret.check
	if e, _, err := f.find(ctx, pass, "first", ""); e != nil || err != nil {
		t.Errorf("tried a 2^12 entry with a short passphrase: %v %v", e, err)
	}
}

func TestKDFLabels(t *testing.T) {
	for _, label := range []string{
		"scrypt-40-8-1", "scrypt-22-8-1", "scrypt-11-8-1", "scrypt-0-8-1", "scrypt--8-1", "scrypt-012-8-1",
		"scrypt-+12-8-1", "scrypt-12-8-2", "scrypt-12-16-1", "scrypt-12-8-1 ", "scrypt-268-8-1", "", "argon2id-3-256M-1",
		"scrypt-18/14/12-8-1", "scrypt-99999999999999999999-8-1",
	} {
		if _, err := parseKDF(label); !errors.Is(err, ErrUnsupported) || !errors.Is(err, ErrTampered) {
			t.Errorf("%q: %v", label, err)
		}
	}
	for length, want := range map[int]string{
		1: "scrypt-18-8-1", 63: "scrypt-18-8-1", 64: "scrypt-14-8-1", 255: "scrypt-14-8-1", 256: "scrypt-12-8-1", 4096: "scrypt-12-8-1",
	} {
		label := kdfFor(make([]byte, length)).String()
		if k, err := parseKDF(label); label != want || err != nil || k.String() != label {
			t.Errorf("%d bytes: %s, %v", length, label, err)
		}
	}
}

// Another N than the signed one is refused when parsing, before anything of that size is allocated.
func TestHugeKDFAllocatesNothing(t *testing.T) {
	f, _ := newStore(t)
	for _, label := range []string{"scrypt-40-8-1", "scrypt-10-8-1", "scrypt-22-8-1"} {
		bad := bytes.Replace(f.Encode(), []byte("scrypt-12-8-1"), []byte(label), 1)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Parse(bad); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", label, err)
		}
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
			t.Errorf("%s: Parse allocates %d bytes", label, allocated)
		}
	}
}

func TestGroup(t *testing.T) {
	_, c := newStore(t)
	g, ok := c.Group(Everyone)
	if !ok || g.Name() != Everyone || g.Epoch() != 1 {
		t.Fatalf("group: %v", g)
	}
	root, _ := c.Group(Root)
	keys := [][32]byte{
		g.Derive(""), g.Derive("a"), g.Derive("a", nil), g.Derive("a", []byte("b")), g.Derive("ab"), g.Derive("", []byte("ab")),
		g.Derive("a", []byte("b"), []byte("c")), g.Derive("a", []byte("bc")), root.Derive("a"), g.key, root.key,
	}
	for i := range keys {
		for j := range i {
			if keys[i] == keys[j] {
				t.Errorf("sub-keys %d and %d are equal", i, j)
			}
		}
	}
	public, ok := c.Public(Everyone)
	message := []byte("a head")
	if !ok || !ed25519.Verify(public, message, g.Sign(message)) {
		t.Error("signature does not verify")
	}
	other, _ := c.Public(Root)
	if ed25519.Verify(other, message, g.Sign(message)) {
		t.Error("signature verifies as another group's")
	}
	if epoch, ok := c.Verify(Everyone, message, g.Sign(message)); !ok || epoch != 1 {
		t.Error("Verify")
	}
	if _, ok := c.Verify(Root, message, g.Sign(message)); ok {
		t.Error("Verify as another group's")
	}
	if _, ok := c.Verify("nobody", message, g.Sign(message)); ok {
		t.Error("Verify of a group that is not there")
	}
	if _, ok := c.Public("nobody"); ok {
		t.Error("Public of a group that is not there")
	}
	if _, ok := g.At(2); ok {
		t.Error("At of a version that is not there")
	}
}

// What root signs on request never verifies as a key store, and the reverse.
func TestSignaturesAreApart(t *testing.T) {
	f, c := newStore(t)
	root, _ := c.Group(Root)
	body := f.Encode()[:len(f.Encode())-ed25519.SignatureSize]
	forged := append(bytes.Clone(body), root.Sign(body)...)
	if _, err := must[*File](t)(Parse(forged)).Unlock(long("first"), ""); !errors.Is(err, ErrTampered) {
		t.Errorf("a signature of Sign made a key store: %v", err)
	}
	if ed25519.Verify(root.Public(), body, f.signature[:]) {
		t.Error("a key store's signature verifies as one of Sign")
	}
}

func TestClose(t *testing.T) {
	_, c := newStore(t)
	g, _ := c.Group(Root)
	secret := c.secret
	c.Close()
	c.Close()
	if !isZero(g.key[:]) || !isZero(g.signing) || !isZero(secret.seal[:]) {
		t.Error("secrets are left")
	}
	for name, use := range map[string]func(){"Derive": func() { g.Derive("x") }, "Sign": func() { g.Sign(nil) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s used a wiped key", name)
				}
			}()
			use()
		}()
	}
}

func TestConcurrentUse(t *testing.T) {
	f, c := newStore(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			g, _ := c.Group(Everyone)
			g.Derive("x")
			g.Sign([]byte("x"))
			if d, err := f.Refresh(c); err != nil {
				t.Error(err)
			} else {
				d.Close()
			}
		})
	}
	all.Wait()
}

func TestNoRandomness(t *testing.T) {
	_, c := newStore(t)
	f, _ := newStore(t)
	random = io.LimitReader(rand.Reader, 40)
	t.Cleanup(func() { random = rand.Reader })
	if _, _, err := Create(testID, "a", long("a"), aDay); err == nil {
		t.Error("Create without randomness")
	}
	if _, err := f.CreateGroups([]string{"g"}, c, c); err == nil {
		t.Error("CreateGroups without randomness")
	}
}

func TestCreateRefuses(t *testing.T) {
	if _, _, err := Create([16]byte{}, "a", long("a"), aDay); !errors.Is(err, ErrTampered) {
		t.Errorf("zero id: %v", err)
	}
	for _, name := range []string{"", "a\x1b[2J", "a\n", "\xff", strings.Repeat("x", 256), "\u202eevil"} {
		if _, _, err := Create(testID, name, long("a"), aDay); !errors.Is(err, ErrBadName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, _, err := Create(testID, "a", nil, aDay); !errors.Is(err, ErrEmptyPassphrase) {
		t.Errorf("empty passphrase: %v", err)
	}
}
