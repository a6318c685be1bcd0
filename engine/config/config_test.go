package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const minimal = `
[general]
path = "tree"
server = "path:../store"
server_root = "root"
passphrase = "prompt"
[[rules.root.files]]
mode = "cud/cud"
`

func TestParse(t *testing.T) {
	c, err := Parse("/c", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := General{Path: "/c/tree", Server: Server{Kind: ServerPath, Path: "/c/../store"}, ServerRoot: "root",
		Passphrase: Passphrase{Kind: PassphrasePrompt}, Compression: CompressionDefault, BlockSize: 1048064, Chunking: "cdc"}
	if c.General != want || c.Dir != "/c" || c.PrivateDir() != "/c/internal.ensync" || c.Rules == nil {
		t.Errorf("got %+v", c)
	}
	if c.Mount != (Mount{Interval: 30 * time.Second, Cache: 10 << 30, Wait: 10 * time.Second}) || c.History != (History{30 * 24 * time.Hour}) {
		t.Errorf("defaults: got %+v %+v", c.Mount, c.History)
	}
	full := strings.Replace(minimal, "[[rules", `compression = "off"
block_size = "64KiB"
chunking = "fixed"
[mount]
interval = 0
cache = 1073741824
unsynced = "2GiB"
wait = "1m30s"
[history]
keep = "1w2d"
[[rules`, 1)
	d, err := Parse("/c", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if d.General.Compression != CompressionNone || d.General.BlockSize != 65536 || d.General.Chunking != "fixed" ||
		d.Mount != (Mount{Cache: 1 << 30, Unsynced: 2 << 30, Wait: 90 * time.Second}) || d.History.Keep != 9*24*time.Hour {
		t.Errorf("got %+v", d)
	}
	again, _ := Parse("/elsewhere", []byte(full))
	if d.Hash == c.Hash || again.Hash != d.Hash {
		t.Error("Hash is not that of the text")
	}
}

func TestMistakes(t *testing.T) {
	for _, x := range []struct{ old, new, want string }{
		{`path = "tree"`, ``, "config /c/config.toml: [general], path: is missing, and must be there; write a directory"},
		{`path = "tree"`, `path = 1`, "[general], path: must be a string in quotes, and not empty"},
		{`path = "tree"`, `path = ""`, "[general], path: must be a string"},
		{`path = "tree"`, "path = \"a\\u0000\"", "NUL"},
		{`path = "tree"`, "path = \"a\"\npaht = 'b'", "[general], paht: unknown key; allowed are path, server_root, server, passphrase, compression, block_size, chunking; did you mean path?"},
		{`[general]`, "[generall]", "[generall]: unknown; allowed are the tables [general], [history], [mount], [network], [rules], [s3]; did you mean general?"},
		{`[general]`, "[generall]", "[general]: this table is missing"},
		{`[general]`, "[mout]\n[general]", "[mout]: unknown; allowed are the tables [general], [history], [mount], [network], [rules], [s3]; did you mean mount?"},
		{`[general]`, "mount = 1\n[general]", "[mount]: must be a table"},
		{`[general]`, "top = 1\n[general]", "[top]: unknown"},
		{`"path:../store"`, `"../store"`, `[general], server: "../store": no colon; write path:DIRECTORY`},
		{`"path:../store"`, `"paht:x"`, `unknown kind "paht"; write path:DIRECTORY, shell:COMMAND or s3:ENDPOINT/BUCKET/PREFIX; did you mean path?`},
		{`"path:../store"`, `"path:"`, "nothing after the colon"},
		{`"path:../store"`, `"s3:host"`, `s3: "" is no bucket`},
		{`"path:../store"`, `"s3:h/b c"`, `s3: "b c" is no bucket`},
		{`"path:../store"`, `"s3:h:port/b"`, `s3: "h:port" is no host`},
		{`[general]`, "[s3]\nregion = 'x'\n[general]", "[s3]: server in [general] is no s3: store"},
		{`[general]`, "[s3]\nstyle = 'pth'\n[general]", `[s3], style: unknown word "pth"; allowed are "auto", "path" and "virtual"; did you mean path?`},
		{`[general]`, "[s3]\nregoin = 'x'\n[general]", "[s3], regoin: unknown key; allowed are region, style, ca, profile, insecure; did you mean region?"},
		{`[general]`, "[s3]\ninsecure = 'yes'\n[general]", "[s3], insecure: must be true or false"},
		{`[general]`, "[s3]\nca = ''\n[general]", "[s3], ca: must be a string in quotes, and not empty"},
		{`"path:../store"`, `"s3:/b"`, `s3: "" is no host`},
		{`"path:../store"`, `"s3:h/b/x/../y"`, `s3: prefix "x/../y"`},
		{`"root"`, `"a/b"`, `[general], server_root: "a/b" is no name`},
		{`"prompt"`, `"file:"`, "[general], passphrase: the specification is not understood; write prompt, file:PATH, shell:COMMAND, keyring:NAME, fd:NUMBER or string:TEXT"},
		{`"prompt"`, `"fil:x"`, "unknown kind; write prompt"},
		{`"prompt"`, "\"prompt\"\ncompression = 'bset'", `compression: unknown word "bset"; allowed are none, off, fast, default, on, best; did you mean best?`},
		{`"prompt"`, "\"prompt\"\nblock_size = 255", "block_size: 255 is out of range; allowed are 256 to 1073741824 bytes"},
		{`"prompt"`, "\"prompt\"\nblock_size = true", "block_size: must be a number of bytes"},
		{`"prompt"`, "\"prompt\"\nchunking = 'cdd'", `chunking: unknown word "cdd"`},
		{`"prompt"`, "\"prompt\"\n[mount]\ncache = '10G'", `[mount], cache: "10G" has no known unit; allowed are B, KiB, MiB, GiB, TiB, PiB, kB, KB, MB, GB, TB, PB; did you mean GiB?`},
		{`"prompt"`, "\"prompt\"\n[mount]\ncache = '1MiB'", "cache: 1048576 is out of range"},
		{`"prompt"`, "\"prompt\"\n[mount]\ninterval = 30", `interval: must be a string like "30s" or "30d", or 0`},
		{`"prompt"`, "\"prompt\"\n[mount]\ninterval = '30'", `interval: "30" has no known unit; allowed are s, m, h, d, w`},
		{`"prompt"`, `"promt"`, "did you mean prompt?"},
		{`"prompt"`, `"fiel:key"`, "did you mean file?"},
		{`"prompt"`, "\"prompt\"\n[mount]\ninterval = '30 sec'", "did you mean s?"},
		{`"prompt"`, "\"prompt\"\n[history]\nkeep = '30 days'", "did you mean d?"},
		{`"prompt"`, "\"prompt\"\n[[mount]]\ninterval = '30s'", "[mount]: must be a table; write [mount], in single brackets"},
		{`"prompt"`, "\"prompt\"\n[history]\nkeep = '30s'", "keep: 30s is too short; allowed are 0, and 1m0s or more"},
		{`"prompt"`, "\"prompt\"\n[network]\nuplaod = '1MiB/s'", `[network], uplaod: unknown key; allowed are upload, download, limit; did you mean upload?`},
		{`"prompt"`, "\"prompt\"\n[network]\nupload = '2MiB'", `[network], upload: "2MiB" is no rate; write a size a second, like 2MiB/s, or none`},
		{`"prompt"`, "\"prompt\"\n[network]\nupload = '2MB/s'\ndownload = '2Mib/s'", `[network], download: "2Mib" has no known unit; allowed are B, KiB, MiB, GiB, TiB, PiB, kB, KB, MB, GB, TB, PB; did you mean MiB?`},
		{`"prompt"`, "\"prompt\"\n[network]\nupload = '1B/s'", `[network], upload: "1B/s" is too slow; allowed are 1KiB/s and more, or none`},
		{`"prompt"`, "\"prompt\"\n[network]\nupload = 1024", `[network], upload: must be a string like "2MiB/s", or "none"`},
		{`"prompt"`, "\"prompt\"\n[network]\nlimit = 1", `[network], limit: must be tables, each under a line [[network.limit]]`},
		{`"prompt"`, "\"prompt\"\n[[network.limit]]\nfrom = '8:00'\nto = '18:00'\nupload = 'none'", `[[network.limit]], limit 1, from: "8:00" is no time of day; write hours and minutes, like 08:00`},
		{`"prompt"`, "\"prompt\"\n[[network.limit]]\nfrom = '08:00'\nto = '24:00'\nupload = 'none'", `limit 1, to: "24:00" is no time of day`},
		{`"prompt"`, "\"prompt\"\n[[network.limit]]\nfrom = '08:00'\nto = '08:00'\nupload = 'none'", `limit 1, to: it ends when it begins; the rates for all times stand in [network]`},
		{`"prompt"`, "\"prompt\"\n[[network.limit]]\nfrom = '08:00'\nto = '09:00'", `limit 1: neither upload nor download is given`},
		{`"prompt"`, "\"prompt\"\n[[network.limit]]\nfrom = '08:00'\nto = '09:00'\nupload = 'none'\n[[network.limit]]\nform = '1'", `[[network.limit]], limit 2, form: unknown key; allowed are from, to, upload, download; did you mean from?`},
		{`"cud/cud"`, `"cud/cdu"`, "config /c/config.toml: [[rules.root.files]], rule 1, mode: sync mode"},
		{`[[rules.root.files]]`, `[[rules.root.flies]]`, "did you mean files?"},
		{`"cud/cud"`, `"cud/cdu`, "config /c/config.toml: line 8: strings cannot contain newlines; the syntax is that of TOML 1.0"},
	} {
		text := strings.Replace(minimal, x.old, x.new, 1)
		c, err := Parse("/c", []byte(text))
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s\n got %v, %v\nwant %s", x.new, c, err, x.want)
		}
	}
	for _, deep := range []string{
		"a=" + strings.Repeat("[", maxText-2), "a=" + strings.Repeat("{a=\n", 1000), "a=" + strings.Repeat("{a=", maxDepth-1),
		"[a" + strings.Repeat(".a", maxLine/2-2) + "]",
	} {
		if _, err := Parse("/c", []byte(deep)); err == nil {
			t.Error("nonsense, deeply nested, is no error")
		}
	}
	two := strings.Replace(strings.Replace(minimal, `"tree"`, "1", 1), `"cud/cud"`, "1", 1)
	if _, err := Parse("/c", []byte(two)); err == nil || strings.Count(err.Error(), "config /c/config.toml: ") != 2 {
		t.Errorf("two mistakes: got %v", err)
	}
}

// TestNoSecretInErrors: whatever is wrong, no message repeats the passphrase.
func TestNoSecretInErrors(t *testing.T) {
	for _, line := range []string{
		`passphrase = "strin:hunter2"`, `passphrase = "hunter2"`, `passphrase = hunter2`, `passphrase = "string:hunter2`,
		`passphrase = "string:\hunter2"`, `passphrase = string:hunter2`, `passphrase = ["hunter2"]`, `passphrase = "string:x" hunter2`,
		`server = "s3:hunter2@host/bucket"`, `passphrase = "string:hunter2\u0000"`,
	} {
		key, _, _ := strings.Cut(line, " ")
		old := `passphrase = "prompt"`
		if key == "server" {
			old = `server = "path:../store"`
		}
		_, err := Parse("/c", []byte(strings.Replace(minimal, old, line, 1)))
		if err == nil || strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "unter2") {
			t.Errorf("%s: %v", line, err)
		}
	}
	p, err := ParsePassphrase("string:hunter2", "/")
	if s := fmt.Sprintf("%v %+v %#v %s", p, p, p, General{Passphrase: p}.Passphrase); err != nil || strings.Contains(s, "hunter") {
		t.Errorf("printed: %s, %v", s, err)
	}
}

func TestSpecs(t *testing.T) {
	for spec, want := range map[string]Server{
		"path:/abs":                    {Kind: ServerPath, Path: "/abs"},
		"path:rel":                     {Kind: ServerPath, Path: "/d/rel"},
		"path:with:colon":              {Kind: ServerPath, Path: "/d/with:colon"},
		"shell:ssh -T h ensync":        {Kind: ServerShell, Command: "ssh -T h ensync", Dir: "/d"},
		"s3:h:9000/b":                  {Kind: ServerS3, S3: S3{Endpoint: "h:9000", Bucket: "b"}},
		"s3:https://h/b/p/q/":          {Kind: ServerS3, S3: S3{Endpoint: "h", Bucket: "b", Prefix: "p/q"}},
		"s3:http://localhost:9000/b/p": {Kind: ServerS3, S3: S3{Endpoint: "localhost:9000", Insecure: true, Bucket: "b", Prefix: "p"}},
	} {
		got, err := ParseServer(spec, "/d")
		if err != nil || got != want {
			t.Errorf("ParseServer(%q) = %+v, %v", spec, got, err)
		}
		if again, err := ParseServer(got.String(), "/d"); err != nil || again != got {
			t.Errorf("%q is read back as %+v, %v", got, again, err)
		}
	}
	for spec, want := range map[string]Passphrase{
		"prompt":       {Kind: PassphrasePrompt},
		"string:a:b c": {Kind: PassphraseString, Text: "a:b c"},
		"file:key":     {Kind: PassphraseFile, Path: "/d/key"},
		"file:/key":    {Kind: PassphraseFile, Path: "/key"},
		"shell:pass x": {Kind: PassphraseShell, Command: "pass x", Dir: "/d"},
	} {
		if got, err := ParsePassphrase(spec, "/d"); err != nil || got != want {
			t.Errorf("ParsePassphrase(%q) = %+v, %v", spec, got, err)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"0B": 0, "10GiB": 10 << 30, "500 MB": 500e6, "1kB": 1000, "8191PiB": 8191 << 50,
		"": -1, "10": -1, "GiB": -1, "8192PiB": -1, "-1B": -1, "1.5GiB": -1, "1GiB2": -1, "99999999999999999999B": -1, "1G": -1,
	} {
		got, err := ParseSize(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]time.Duration{
		"0": 0, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "30d": 720 * time.Hour, "2 w": 14 * day, "36500d": 36500 * day,
		"": -1, "s": -1, "5": -1, "1y": -1, "36501d": -1, "36500d1s": -1, "1h30": -1, "-1s": -1, "999999999999999999w": -1,
	} {
		got, err := ParseDuration(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestResolveDir(t *testing.T) {
	work, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ flag, env, home, want string }{
		{"/a/b", "/x", "/h", "/a/b"},
		{"/a/b/config.toml", "", "", "/a/b"},
		{"rel", "", "", filepath.Join(work, "rel")},
		{"config.toml", "", "", work},
		{"", "/x/config.toml", "/h", "/x"},
		{"", "", "/h", "/h/.config/ensync"},
		{"", "", "", ""},
	} {
		env := map[string]string{"ENSYNC_CONFIG": x.env, "HOME": x.home}
		got, err := ResolveDir(x.flag, func(key string) string { return env[key] })
		if got != x.want || (err != nil) != (x.want == "") {
			t.Errorf("ResolveDir(%q) with %v = %q, %v; want %q", x.flag, env, got, err, x.want)
		}
	}
}

func TestWriteAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "config")
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "ensync setup") {
		t.Errorf("nothing there: %v", err)
	}
	s := Default("/home/a \"b\"\\c\té", "shell:ssh -T 'h' ensync server '/s'", "file:/key")
	s.ServerRoot, s.TrustClientMode = "work.ensync[r=team]", false
	if err := Write(dir, s); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, FileName)} {
		c, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.General.Path != s.Path || c.General.Server.String() != s.Server || c.General.ServerRoot != s.ServerRoot ||
			c.General.Passphrase.String() != s.Passphrase || c.General.Compression != CompressionBest {
			t.Errorf("read back: %+v", c.General)
		}
		if err := errors.Join(c.EnsurePrivateDir(), c.EnsurePrivateDir()); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("config.toml: %v, %v; want mode 0600", info.Mode(), err)
	}
	if err := Write(dir, Default("/x", "path:/y", "prompt")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("written again: %v", err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("left over: %v", names)
	}
	for _, bad := range []Settings{Default("/\xff", "path:/y", "prompt"), Default("/x", "y", "prompt"), {}} {
		if err := Write(t.TempDir(), bad); err == nil {
			t.Errorf("%+v was written", bad)
		}
	}
	big := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(big, make([]byte, maxText+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("too long: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	text, err := Default("/x", "s3:http://h:1/b/p", "string:x").Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("[mount]\ncache = '10G'\ninterval='1h30m'\n[history]\nkeep=0"))
	f.Add([]byte("[general]\npassphrase = 'x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("/c", text)
		if (c == nil) == (err == nil) {
			t.Fatal("neither a configuration nor an error")
		}
		if err != nil {
			return
		}
		g := c.General
		if g.Path[0] != '/' || g.BlockSize < MinBlockSize || g.BlockSize > MaxBlockSize || c.Mount.Interval < 0 || c.History.Keep < 0 || c.Rules == nil {
			t.Fatalf("out of bounds: %+v", c)
		}
		g.Server.S3 = S3{Endpoint: g.Server.S3.Endpoint, Insecure: g.Server.S3.Insecure, Bucket: g.Server.S3.Bucket, Prefix: g.Server.S3.Prefix}
		if again, err := ParseServer(g.Server.String(), g.Server.Dir); err != nil || again != g.Server {
			t.Fatalf("server %q is read back as %+v, %v", g.Server, again, err)
		}
	})
}

func TestS3(t *testing.T) {
	s := Default("/x", "s3:http://h:1/b/p", "string:x")
	s.S3Region, s.S3CA, s.S3Profile = "eu-central-1", "/ca.pem", "work"
	text, err := s.Text()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("/c", []byte(strings.Replace(string(text), "[s3]", "[s3]\nstyle = 'virtual'\ninsecure = true", 1)))
	if err != nil {
		t.Fatal(err)
	}
	want := S3{Endpoint: "h:1", Insecure: true, Bucket: "b", Prefix: "p", Region: "eu-central-1", Style: "virtual", CA: "/ca.pem",
		SkipVerify: true, Profile: "work"}
	if c.General.Server.S3 != want {
		t.Errorf("%+v", c.General.Server.S3)
	}
}

// FuzzUnits: what a size or a time is, and where a passphrase comes from; none of it is ever repeated in an error.
func FuzzUnits(f *testing.F) {
	for _, s := range []string{"10GiB", "1.5k", "99999999999999999999", "-1", "1h30m", "30d", "string:hunter2", "file:/x", "keyring:n", "fd:3", "ΩGiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := ParseSize(text); err == nil && n < 0 {
			t.Errorf("%q is %d bytes", text, n)
		}
		if d, err := ParseDuration(text); err == nil && d < 0 {
			t.Errorf("%q is %v", text, d)
		}
		if _, err := ParsePassphrase(text, "/"); err != nil && len(text) > 24 && strings.Contains(err.Error(), text) {
			t.Errorf("%v repeats what may be a passphrase", err)
		}
	})
}
