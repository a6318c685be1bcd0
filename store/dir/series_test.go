package dir

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ensync/store/backend"
)

// states makes the mutable object name of so many states "state 1", "state 2", ... and returns the last version.
func states(t *testing.T, d *Dir, name string, n int) backend.Version {
	t.Helper()
	_, v, err := d.Load(t.Context(), name)
	if err != nil && !errors.Is(err, backend.ErrNotExist) {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		if v, err = d.Swap(t.Context(), name, v, fmt.Appendf(nil, "state %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func wantLoad(t *testing.T, d *Dir, name, want string) backend.Version {
	t.Helper()
	data, v, err := d.Load(t.Context(), name)
	if err != nil || string(data) != want {
		t.Errorf("Load %s = %q, %v; want %q", name, data, err, want)
	}
	return v
}

func TestOldNumbersAreRemoved(t *testing.T) {
	for _, how := range []publisher{byLink, byClaim} {
		d := fresh(t, how)
		states(t, d, "roots/x", 30)
		files, err := os.ReadDir(filepath.Join(d.path, "roots/x@"))
		if err != nil || len(files) != keepNumbers || files[0].Name() != formatNumber(23) {
			t.Errorf("%v, %v", files, err)
		}
		if left, _ := os.ReadDir(filepath.Join(d.path, tmpName)); len(left) != 0 {
			t.Errorf("left in %s: %v", tmpName, left)
		}
	}
}

// What a crash can leave as the highest number, and what is then the object's state.
func TestHighestNumberAfterACrash(t *testing.T) {
	whole := append(encodeHeader(sha256.Sum256([]byte("state 4")), 7), "state 4"...)
	flip := func(i int) []byte { b := bytes.Clone(whole); b[i] ^= 1; return b }
	for name, c := range map[string]struct {
		file []byte
		want string // "": the error says that it is damaged
	}{
		"whole":            {whole, "state 4"},
		"empty":            {nil, "state 3"},
		"part of a header": {whole[:40], "state 3"},
		"only a header":    {whole[:headerSize], "state 3"},
		"cut content":      {whole[:len(whole)-1], "state 3"},
		"zeros":            {make([]byte, len(whole)), "state 3"},
		"bit in content":   {flip(headerSize + 2), ""},
		"bit in hash":      {flip(20), ""},
		"bit in magic":     {flip(2), ""},
		"bit in length":    {flip(headerSize - 5), ""},
		"longer":           {append(bytes.Clone(whole), 'x'), ""},
		"something else":   {bytes.Repeat([]byte("x"), 500), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := fresh(t, nil)
			states(t, d, "roots/x", 3)
			if err := os.WriteFile(filepath.Join(d.path, numberPath("roots/x", 4)), c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				damagedObject(t, d, "roots/x")
				return
			}
			v := wantLoad(t, d, "roots/x", c.want)
			if _, err := d.Swap(t.Context(), "roots/x", v, []byte("next")); err != nil {
				t.Errorf("Swap: %v", err)
			}
			wantLoad(t, d, "roots/x", "next")
		})
	}
}

// damagedObject checks that an object whose highest number is damaged is neither absent nor set back, can't be created
// anew by mistake, and can be deleted.
func damagedObject(t *testing.T, d *Dir, name string) {
	t.Helper()
	_, _, err := d.Load(t.Context(), name)
	if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrNotExist) || !strings.Contains(err.Error(), name+"@/") {
		t.Errorf("Load: %v", err)
	}
	if _, err = d.Swap(t.Context(), name, "", []byte("anew")); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Swap: %v", err)
	}
	if err := d.Delete(t.Context(), name); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err = d.Swap(t.Context(), name, "", []byte("anew")); err != nil {
		t.Errorf("Swap after Delete: %v", err)
	}
	wantLoad(t, d, name, "anew")
}

func TestTornFirstNumber(t *testing.T) {
	d := fresh(t, nil)
	if err := os.MkdirAll(filepath.Join(d.path, "keys@"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Load(t.Context(), "keys"); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("a series without a number: %v", err)
	}
	if err := os.WriteFile(filepath.Join(d.path, numberPath("keys", 1)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damagedObject(t, d, "keys")
}

// A swapper that slept between looking and creating, until its number was removed again, must not think that it won.
func TestSwapperThatSleptTooLong(t *testing.T) {
	for _, slept := range []int{1, 7, 8, 30} {
		d := fresh(t, nil)
		states(t, d, "m", 3)
		states(t, d, "m", slept)
		r, err := d.root()
		if err != nil {
			t.Fatal(err)
		}
		data := []byte("late")
		err = d.add(&lease{}, r, "m", 4, encodeHeader(sha256.Sum256(data), len(data)), data)
		r.Close()
		if !errors.Is(err, backend.ErrChanged) && !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("after %d other swaps: %v", slept, err)
		}
		wantLoad(t, d, "m", fmt.Sprintf("state %d", slept))
	}
}

func TestSwapperThatSleptThroughADeletion(t *testing.T) {
	d := fresh(t, nil)
	v := states(t, d, "m", 2)
	if err := d.Delete(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	states(t, d, "m", 2)
	if _, err := d.Swap(t.Context(), "m", v, []byte("late")); !errors.Is(err, backend.ErrChanged) {
		t.Errorf("Swap: %v", err)
	}
	wantLoad(t, d, "m", "state 2")
}

// A claimant that died must not stop a series, and one that only slept must not win any more.
func TestDeadClaimant(t *testing.T) {
	d := fresh(t, byClaim)
	v := states(t, d, "m", 3)
	claim := filepath.Join(d.path, numberPath("m", 4)+"@claim")
	if err := os.WriteFile(claim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := d.Swap(t.Context(), "m", v, []byte("after the claim"))
		if errors.Is(err, backend.ErrChanged) {
			v = wantLoad(t, d, "m", "state 3")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	wantLoad(t, d, "m", "after the claim")
	r, err := d.root()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tmp, err := writeTemp(&lease{}, r, []byte("the sleeper's"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Rename(tmp, numberPath("m", 4)); err == nil {
		t.Error("the sleeper could still use its claim")
	}
	wantLoad(t, d, "m", "after the claim")
}

func TestForeignFilesInASeries(t *testing.T) {
	d := fresh(t, nil)
	states(t, d, "m", 2)
	for _, name := range []string{
		"00000000000000000003.sync-conflict-20260101-120000-ABCDEFG", "._00000000000000000003", "3", ".DS_Store",
		"99999999999999999999", "09223372036854775807", "00000000000000000000", "0000000000000000000a", "+0000000000000000003",
	} {
		if err := os.WriteFile(filepath.Join(d.path, "m@", name), []byte("foreign"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v := wantLoad(t, d, "m", "state 2")
	if _, err := d.Swap(t.Context(), "m", v, []byte("state 3")); err != nil {
		t.Error(err)
	}
	wantLoad(t, d, "m", "state 3")
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"00000000000000000001", "0", "", "99999999999999999999", "-0000000000000000001", "00000000000000000001@claim"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, base string) {
		if n, ok := parseNumber(base); ok && (formatNumber(n) != base || n == 0 || n >= maxNumber) {
			t.Errorf("%q is number %d, which is written %q", base, n, formatNumber(n))
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	whole := append(encodeHeader(sha256.Sum256([]byte("hello")), 5), "hello"...)
	f.Add(whole)
	f.Add(whole[:headerSize])
	f.Add([]byte(tombstone))
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, file []byte) {
		data, hash, err := decodeState(file)
		switch {
		case err == nil && !bytes.Equal(file, append(encodeHeader(hash, len(data)), data...)):
			t.Errorf("%q reads as %q, which is written otherwise", file, data)
		case err != nil && !errors.Is(err, errTorn) && !errors.Is(err, errDamaged):
			t.Errorf("error %v", err)
		}
	})
}
