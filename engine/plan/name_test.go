package plan

import (
	"strings"
	"testing"
	"unicode/utf8"

	"ensync/store/object"
)

func TestFreshName(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, x := range []struct{ name, taken, want string }{
		{"foo.txt", "", "foo~1.txt"},
		{"foo~1.txt", "", "foo~1.txt"},
		{"foo~1.txt", "foo~1.txt", "foo~2.txt"},
		{"foo.txt", "foo~1.txt foo~2.txt", "foo~3.txt"},
		{"backup~old.txt", "", "backup~1.txt"},
		{"foo~", "", "foo~1"},
		{"a~b~c", "", "a~b~1"},
		{"foo", "", "foo~1"},
		{".bashrc", "", ".bashrc~1"},
		{".bashrc.old", "", ".bashrc~1.old"},
		{"a.tar.gz", "", "a.tar~1.gz"},
		{"foo.", "", "foo~1."},
		{"..foo", "", ".~1.foo"},
		{"foo.b~k", "", "foo~1.b~k"},
		{"~", "", "~1"},
		{"a\xff\xfe.b\x80", "", "a\xff\xfe~1.b\x80"},
		{long, "", long[:253] + "~1"},
		{long[:251] + ".txt", "", long[:249] + "~1.txt"},
		{strings.Repeat("é", 127) + "x", "", strings.Repeat("é", 126) + "~1"},
		{strings.Repeat("\x80", 255), "", strings.Repeat("\x80", 253) + "~1"},
		{"a." + long[:253], "", "a." + long[:251] + "~1"},
		{"ab" + "." + long[:251], "", "a~1." + long[:251]},
	} {
		used := strings.Fields(x.taken)
		got := FreshName(x.name, func(name string) bool {
			for _, u := range used {
				if u == name {
					return true
				}
			}
			return false
		})
		if got != x.want {
			t.Errorf("FreshName(%q), taken %q: got %q, want %q", x.name, x.taken, got, x.want)
		}
	}
}

func FuzzFreshName(f *testing.F) {
	f.Add("foo.txt", 3)
	f.Add(strings.Repeat("é", 127), 12)
	f.Add("a."+strings.Repeat("x", 253), 1)
	f.Fuzz(func(t *testing.T, name string, used int) {
		if !object.ValidName(name) {
			return
		}
		seen := map[string]bool{name: true}
		for range used % 100 {
			fresh := FreshName(name, func(n string) bool { return seen[n] })
			if seen[fresh] || !object.ValidName(fresh) {
				t.Fatalf("FreshName(%q) = %q: taken or no name", name, fresh)
			}
			if utf8.ValidString(name) && !utf8.ValidString(fresh) {
				t.Fatalf("FreshName(%q) = %q: cut within a character", name, fresh)
			}
			seen[fresh] = true
		}
	})
}

func TestParseMode(t *testing.T) {
	for _, m := range allModes() {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Fatalf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	for name, want := range map[string]string{
		"mirror": "---/CUD", "reset-server": "---/CUD", "reset-client": "CUD/---", "sync": "cud/cud",
		"conservative-sync": "cud/cud", "aggressive-sync": "CUD/CUD",
	} {
		if got, err := ParseMode(name); err != nil || got.String() != want {
			t.Errorf("ParseMode(%q) = %v, %v; want %v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "cud", "cud/", "cud/cudx", "duc/cud", "cud-cud", "Mirror", " cud/cud", "cud/cud/"} {
		if _, err := ParseMode(bad); err == nil {
			t.Errorf("ParseMode(%q) is no error", bad)
		}
	}
}
