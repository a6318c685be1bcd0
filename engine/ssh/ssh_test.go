package ssh

import (
	"bufio"
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for remote, want := range map[string]Target{
		"box:dir":                       {"box", "", "dir"},
		"me@box:/a/b":                   {"me@box", "", "/a/b"},
		"box:":                          {"box", "", ""},
		"box:a:b":                       {"box", "", "a:b"},
		"box:~/a":                       {"box", "", "a"},
		"box:~":                         {"box", "", "."},
		"me@[::1]:dir":                  {"me@::1", "", "dir"},
		"[fe80::1%eth0]:x":              {"fe80::1%eth0", "", "x"},
		"ssh://box/a":                   {"box", "", "/a"},
		"ssh://me@box:2222/a b":         {"me@box", "2222", "/a b"},
		"ssh://box/~/a":                 {"box", "", "a"},
		"ssh://box":                     {"box", "", ""},
		"ssh://me@[2001:db8::1]:2222/x": {"me@2001:db8::1", "2222", "/x"},
	} {
		if got, err := Parse(remote); err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", remote, got, err, want)
		}
	}
	for _, remote := range []string{"", ":x", "box", "@box:x", "me@:x", "-oProxyCommand=reboot:x", "me@-x b:x", "b ox:x", "box:~other/x",
		"ssh://", "ssh:///x", "ssh://box:0/x", "ssh://box:99999/x", "ssh://box:x/x", "ssh://-x/y", "box:a\x00b", "box:a\nb"} {
		if got, err := Parse(remote); err == nil {
			t.Errorf("Parse(%q) = %+v; want an error", remote, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"box:dir", "ssh://me@[::1]:22/~/x", "[", "a@[b:c", "-x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, remote string) {
		target, err := Parse(remote)
		if err != nil {
			return
		}
		if target.Host == "" || strings.HasPrefix(target.Host, "-") || strings.ContainsAny(target.Host, " \n\x00") {
			t.Errorf("%q names the host %q", remote, target.Host)
		}
	})
}

// TestQuote lets a shell read what Quote wrote.
func TestQuote(t *testing.T) {
	for _, text := range []string{"", "plain", "a b", "it's", `"`, `\`, "$HOME", "`x`", "~", "*", "a\nb", "'", "''", "-n", "é", "a/b.c:d@e-f_g", "!", "\x7f\xff"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s. "+Quote(text)).Output()
		if err != nil || string(out) != text+"." {
			t.Errorf("Quote(%q) = %s, which a shell reads as %q, %v", text, Quote(text), out, err)
		}
	}
	if Quote("a/b.c:d@e-f_g") != "a/b.c:d@e-f_g" || Quote("it's") != `'it'"'"'s'` || Quote("") != "''" {
		t.Error("Quote differs from the rule")
	}
}

// TestCommand lets two shells read the command, as ssh and the other side do.
func TestCommand(t *testing.T) {
	for _, path := range []string{"plain", "store of mine", `it's "a" $HOME`, "-x", "~", "a'b\"c`d"} {
		line := Target{Host: "me@box", Port: "22", Path: path}.Command("bin/ensync")
		// ssh joins its arguments with spaces, and the other side's shell reads the result.
		script := `ssh() { shift 4; eval "set -- $*"; printf '%s\n' "$@"; }; ` + line
		out, err := exec.Command("/bin/sh", "-c", script).Output()
		want := []string{"bin/ensync", "server", path}
		if strings.HasPrefix(path, "-") {
			want[2] = "./" + path
		}
		if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s\n is read as %q, %v; want %q", line, got, err, want)
		}
	}
}

// FuzzAnswers: whatever the other side says, it is an answer of ours, a server's hello, or an error that a terminal can be shown.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{"Welcome!\n0\x00directory\x00/usr/bin/ensync\x00", "ensync-server 1 1 v\n", "0", "\x1b]0;x\a\n", "1\x00", "x0\x00other\x00\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		c := &Connection{target: Target{Host: "h"}, r: bufio.NewReaderSize(bytes.NewReader(said), maxAnswer)}
		err := c.greet()
		for err == nil && !c.served {
			var word string
			if word, err = c.answer(); err == nil {
				_, err = parseKind(word)
			}
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\x00\a") {
			t.Errorf("a terminal would be told %q", err)
		}
	})
}
