package keys

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func newSheet(t testing.TB) (*File, *Sheet) {
	t.Helper()
	w := newWorld(t)
	f := must[*File](t)(w.f.Rotate(Root, w.a, nil))
	f = must[*File](t)(f.Rotate("staff", w.a, nil))
	f, s, err := f.Export(ctx, w.a, "sheet", aDay)
	if err != nil {
		t.Fatal(err)
	}
	s.Address, s.Format = "path:/a store", []byte("version = 1\n")
	return f, s
}

// A sheet that was printed and typed in opens the store, also after later rotations; and makes its key store anew.
func TestSheet(t *testing.T) {
	f, s := newSheet(t)
	typed := strings.ToLower(strings.ReplaceAll(s.Text(), "0", "o"))
	typed = typed[strings.LastIndex(typed, "#"):]
	typed = strings.ReplaceAll(typed, "\no", "\n0") // but not in the numbers of lines
	for _, n := range []string{"1", "2"} {
		typed = strings.ReplaceAll(typed, "\n"+n+"o", "\n"+n+"0")
	}
	back, err := ParseSheet([]byte(typed))
	if err != nil {
		t.Fatal(err)
	}
	if back.Text() != s.Text() || back.Key != "sheet" || string(back.Format) != "version = 1\n" {
		t.Errorf("%+v became %+v", s, back)
	}
	if err := f.CheckPin(back.Pin); err != nil {
		t.Error(err)
	}
	a := unlock(t, f, long("a"))
	later := must[*File](t)(f.Rotate(Everyone, a, nil))
	later = must[*File](t)(later.Retire(Everyone, 2, a))
	c := unlock(t, later, back.Passphrase())
	if fmt.Sprint(c.Groups()) != fmt.Sprint(a.Groups()) || c.Name() != "sheet" {
		t.Errorf("it opens %s with %v", c.Name(), c.Groups())
	}
	if _, err := later.Add(ctx, c, "back", long("back"), nil, aDay); err != nil {
		t.Error(err)
	}

	made := must[*File](t)(back.Rebuild(ctx, "back", long("back"), aDay))
	made = must[*File](t)(Parse(made.Encode()))
	again := unlock(t, made, long("back"))
	for _, g := range a.sorted() {
		for _, v := range append(g.older, g) {
			if now, ok := again.groups[g.name].At(v.epoch); !ok || now.key != v.key {
				t.Errorf("version %d of %s is not what it was", v.epoch, g.name)
			}
		}
	}
	// Who has seen the key store that the sheet is from takes it for the next one.
	if err := made.CheckPin(f.Pin()); err != nil {
		t.Error(err)
	}
	if err := made.CheckPin(later.Pin()); err == nil {
		t.Error("who has seen a later one takes it")
	}
}

// Every letter typed wrong names its line, and nothing of the line.
func TestSheetTypos(t *testing.T) {
	_, s := newSheet(t)
	lines := strings.Split(strings.TrimSpace(s.Text()), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for at := 4; at < len(line); at++ {
			if line[at] == ' ' {
				continue
			}
			letter := byte('7')
			if line[at] == letter {
				letter = 'X'
			}
			bad := line[:at] + string(letter) + line[at+1:]
			_, err := ParseSheet([]byte(strings.Join(append(append(append([]string(nil), lines[:i]...), bad), lines[i+1:]...), "\n")))
			if err == nil || !strings.HasPrefix(err.Error(), "line "+line[:2]+" ") {
				t.Fatalf("line %d, letter %d: %v", i, at, err)
			}
		}
		_, err := ParseSheet([]byte(strings.Join(append(append([]string(nil), lines[:i]...), lines[i+1:]...), "\n")))
		if last := i == len(lines)-1; err == nil || last != errors.Is(err, ErrSheetMixed) || !last && !strings.Contains(err.Error(), line[:2]+" of the recovery sheet is missing") {
			t.Errorf("without line %s: %v", line[:2], err)
		}
	}
	_, other := newSheet(t)
	mixed := append(append([]string(nil), lines[:10]...), strings.Split(strings.TrimSpace(other.Text()), "\n")[10:]...)
	if _, err := ParseSheet([]byte(strings.Join(mixed, "\n"))); !errors.Is(err, ErrSheetMixed) {
		t.Errorf("lines of two sheets: %v", err)
	}
	w := newWorld(t)
	if _, _, err := w.f.Export(ctx, w.c, "sheet", aDay); !errors.Is(err, ErrNotRoot) {
		t.Error(err)
	}
}

func FuzzParseSheet(f *testing.F) {
	_, s := newSheet(f)
	f.Add([]byte(s.Text()))
	f.Add([]byte("01 AAAA BBBB"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSheet(text)
		if err != nil {
			return
		}
		if again, err := ParseSheet([]byte(s.Text())); err != nil || again.Text() != s.Text() {
			t.Error("another sheet comes out")
		}
	})
}
