package rules

import (
	"os"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"ensync/engine/plan"
	"ensync/store/object"
)

// table decodes the [rules] table of a configuration.
func table(t testing.TB, text string) map[string]any {
	t.Helper()
	var config struct{ Rules map[string]any }
	if _, err := toml.Decode(text, &config); err != nil {
		t.Fatal(err)
	}
	return config.Rules
}

func parse(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Parse(table(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func file(name string) Facts { return Facts{Name: name, Kind: object.File, Mode: 0o644} }
func dir(name string) Facts  { return Facts{Name: name, Kind: object.Directory, Mode: 0o755} }

// modeAt walks to a path, whose directories list what siblings says ("dir" -> names), and returns its mode.
func modeAt(s *Set, path string, siblings map[string]string) string {
	st, at := s.Root(), ""
	parts := strings.Split(path, "/")
	for i, name := range parts {
		var list []Facts
		for _, sibling := range strings.Fields(siblings[at]) {
			list = append(list, file(sibling))
		}
		// A sibling counts on whichever side it is.
		if i%2 == 0 {
			st = st.Enter(list, nil)
		} else {
			st = st.Enter(nil, list)
		}
		f := dir(name)
		if i == len(parts)-1 {
			f = file(name)
		}
		var mode plan.Mode
		mode, _, st = st.Entry(f)
		if i == len(parts)-1 {
			return mode.String()
		}
		at = strings.TrimPrefix(at+"/"+name, "/")
	}
	return ""
}

func TestWalk(t *testing.T) {
	for _, x := range []struct {
		what, rules string
		siblings    map[string]string // of directories
		want        map[string]string // modes of paths
	}{
		{
			what: "without a rule nothing is synchronised", rules: `[[rules.root.files]]`,
			want: map[string]string{"a": "---/---"},
		}, {
			what: "the last rule that holds wins",
			rules: `
				[[rules.root.files]]
				mode = "cud/cud"
				[[rules.root.files]]
				name = '\.tmp$'
				mode = "---/---"`,
			want: map[string]string{"a": "cud/cud", "a.tmp": "---/---", "d/a.tmp": "---/---", "d/a": "cud/cud", "tmp": "cud/cud"},
		}, {
			what: "a directory's mode is the default for what is in it",
			rules: `
				[[rules.root.files]]
				name = "^d$"
				mode = "---/CUD"`,
			want: map[string]string{"d": "---/CUD", "d/x/y": "---/CUD", "e/y": "---/---"},
		}, {
			what: "paths start with a slash",
			rules: `
				[[rules.root.files]]
				path = "^/plugh/xyzzy$"
				mode = "cud/cud"`,
			want: map[string]string{"plugh/xyzzy": "cud/cud", "xyzzy": "---/---", "a/plugh/xyzzy": "---/---"},
		}, {
			what: "a files switch holds within the directory, not for it",
			rules: `
				[[rules.root.files]]
				mode = "cud/cud"
				name = "."
				[[rules.root.files]]
				name = "^mirror$"
				switch = "mirror"
				[[rules.mirror.files]]
				mode = "---/CUD"`,
			want: map[string]string{"mirror": "cud/cud", "mirror/a": "---/CUD", "mirror/d/a": "---/CUD", "a": "cud/cud"},
		}, {
			what: "the last of several switches wins",
			rules: `
				[[rules.root.files]]
				switch = "a"
				[[rules.root.files]]
				switch = "b"
				[[rules.a.files]]
				mode = "---/cud"
				[[rules.b.files]]
				mode = "cud/---"`,
			want: map[string]string{"d": "---/---", "d/f": "cud/---"},
		}, {
			what: "a siblings switch holds for the entries of the same directory",
			rules: `
				[[rules.root.files]]
				mode = "cud/cud"
				[[rules.root.siblings]]
				name = '^\.nosync$'
				switch = "ignore"
				[[rules.ignore.files]]
				mode = "---/---"`,
			siblings: map[string]string{"d": ".nosync a"},
			want:     map[string]string{"a": "cud/cud", "d": "cud/cud", "d/a": "---/---", "d/x/a": "---/---", "e/a": "cud/cud"},
		}, {
			what: "a directory's siblings rules are those of the state before its switch, and override the switch",
			rules: `
				[[rules.root.files]]
				name = "^d"
				switch = "new"
				[[rules.root.siblings]]
				name = "old-rule"
				switch = "override"
				[[rules.new.files]]
				mode = "cud/---"
				[[rules.new.siblings]]
				name = "new-rule"
				switch = "wrong"
				[[rules.wrong.files]]
				mode = "CUD/---"
				[[rules.override.files]]
				mode = "---/cud"`,
			siblings: map[string]string{"d1": "new-rule", "d2": "old-rule new-rule", "d1/x": "new-rule"},
			want:     map[string]string{"d1/a": "cud/---", "d2/a": "---/cud", "d1/x/a": "CUD/---"},
		}, {
			what: "a mode set by siblings is a default that an unconditional files rule overrides",
			rules: `
				[[rules.root.siblings]]
				name = "big"
				mode = "---/cud"
				[[rules.root.files]]
				name = "^over$"
				mode = "cud/cud"`,
			siblings: map[string]string{"": "big"},
			want:     map[string]string{"over": "cud/cud", "other": "---/cud", "d/other": "---/cud"},
		}, {
			what: "siblings conditions must hold for one file together",
			rules: `
				[[rules.root.siblings]]
				name = "^a"
				type = "f"
				path = "z$"
				mode = "cud/cud"`,
			siblings: map[string]string{"both": "ab cz", "one": "b az"},
			want:     map[string]string{"both/f": "---/---", "one/f": "cud/cud", "empty/f": "---/---"},
		}, {
			what: "include evaluates the same group, in order",
			rules: `
				[[rules.root.files]]
				include = ["a", "b"]
				[[rules.a.files]]
				mode = "cud/---"
				[[rules.a.siblings]]
				mode = "CUD/CUD"
				[[rules.b.files]]
				name = "b"
				mode = "---/cud"`,
			want: map[string]string{"a": "cud/---", "b": "---/cud"},
		}, {
			what: "recursion is cut, repetition is not",
			rules: `
				[[rules.root.files]]
				mode = "cud/---"
				include = "a"
				[[rules.root.files]]
				mode = "---/---"
				[[rules.root.files]]
				include = "a"
				[[rules.a.files]]
				include = ["root", "a", "b"]
				[[rules.b.files]]
				mode = "---/cud"
				include = "a"`,
			want: map[string]string{"x": "---/cud"},
		}, {
			what: "stop=return leaves the state, stop=all leaves all; what was applied stays",
			rules: `
				[[rules.root.files]]
				mode = "---/---"
				include = "inner"
				[[rules.root.files]]
				name = "r"
				mode = "cud/cud"
				[[rules.inner.files]]
				name = "^return"
				mode = "cud/---"
				stop = "return"
				[[rules.inner.files]]
				name = "^all"
				mode = "---/cud"
				stop = "all"
				[[rules.inner.files]]
				mode = "CUD/CUD"`,
			want: map[string]string{"return": "cud/cud", "allr": "---/cud", "else": "CUD/CUD", "or": "cud/cud"},
		}, {
			what: "stop takes effect after include and switch of its rule",
			rules: `
				[[rules.root.files]]
				stop = "all"
				switch = "s"
				include = "i"
				[[rules.i.files]]
				mode = "cud/cud"
				[[rules.s.files]]
				mode = "---/---"`,
			want: map[string]string{"a": "cud/cud", "a/b": "---/---"},
		}, {
			what: "stop=all of an included state keeps the switch of the including rule from happening",
			rules: `
				[[rules.root.files]]
				include = "i"
				switch = "s"
				[[rules.i.files]]
				mode = "cud/cud"
				stop = "all"
				[[rules.s.files]]
				mode = "---/---"`,
			want: map[string]string{"a/b": "cud/cud"},
		},
	} {
		s := parse(t, x.rules)
		for path, want := range x.want {
			if got := modeAt(s, path, x.siblings); got != want {
				t.Errorf("%s: %s has mode %s, want %s", x.what, path, got, want)
			}
		}
	}
}

func TestConditions(t *testing.T) {
	link := Facts{Name: "l", Kind: object.Symlink, Target: "../x\xff"}
	special := Facts{Name: "s", Kind: object.Special, Mode: 0o644}
	big := Facts{Name: "big", Kind: object.File, Size: 1000, Mode: 0o4755}
	for _, x := range []struct {
		condition string
		f         Facts
		want      bool
	}{
		{`name = "a"`, file("bab"), true},
		{`name = "^a"`, file("bab"), false},
		{`name = "^bab$"`, file("bab"), true},
		{`name = "^ba$"`, file("bab"), false},
		{`name = "b$"`, file("bab"), true},
		{`name = "a$"`, file("bab"), false},
		{`name = "(?i)BAB"`, file("bab"), true},
		{`name = "a|x"`, file("bab"), true},
		{`name = "^$"`, file("bab"), false},
		{`name = "x.y"`, file("x\xffy"), true},
		{`name = '^x\x{fffd}y$'`, file("x\xffy"), true},
		{`name = '[^[:alpha:]\[\]]'`, file("b[]"), false},
		{`name = '\Q[[\E'`, file("b[["), true},
		{`path = "^/bab$"`, file("bab"), true},
		{`permissions = "^0644$"`, file("a"), true},
		{`permissions = "^0755$"`, dir("a"), true},
		{`permissions = "^4"`, big, true},
		{`permissions = "."`, link, false},
		{`permissions = "."`, special, false},
		{`type = "f"`, file("a"), true},
		{`type = "[ds]"`, file("a"), false},
		{`type = "[ds]"`, dir("a"), true},
		{`type = "[ds]"`, link, true},
		{`type = ""`, special, false},
		{`target = '^\.\./x'`, link, true},
		{`target = ""`, file("a"), false},
		{`bigger = 999`, big, true},
		{`bigger = 1000`, big, false},
		{`smaller = 1000`, big, false},
		{`smaller = 1001`, big, true},
		{`bigger = 0`, dir("a"), false},
		{`smaller = 9`, link, false},
		{"bigger = 1\nsmaller = 2000\nname = 'big'", big, true},
		{"bigger = 1\nsmaller = 2000\nname = 'small'", big, false},
	} {
		s := parse(t, "[[rules.root.files]]\nmode = 'cud/cud'\n"+x.condition)
		mode, _, _ := s.Root().Enter(nil, nil).Entry(x.f)
		if got := mode.In.Create == plan.On; got != x.want {
			t.Errorf("%s on %+v: %v, want %v", x.condition, x.f, got, x.want)
		}
	}
}

func TestOptionalFields(t *testing.T) {
	s := parse(t, `
		[[rules.root.files]]
		mode = "cud/cud"
		[[rules.root.files]]
		name = "^d$"
		sync_owner = true
		[[rules.root.files]]
		name = "^e$"
		sync_owner = false
		sync_xattrs = true`)
	entered := s.Root().Enter(nil, nil)
	for _, x := range []struct {
		path          []string
		owner, xattrs bool
	}{{[]string{"f"}, false, false}, {[]string{"d"}, true, false}, {[]string{"d", "f"}, true, false}, {[]string{"d", "e"}, false, true},
		{[]string{"d", "e", "f"}, false, true}} {
		at, st := entered, entered
		for _, name := range x.path {
			_, _, st = at.Entry(dir(name))
			at = st.Enter(nil, nil)
		}
		if st.SyncsOwner() != x.owner || st.SyncsXattrs() != x.xattrs {
			t.Errorf("%q: owner %v, attributes %v", x.path, st.SyncsOwner(), st.SyncsXattrs())
		}
	}
	none := parse(t, "[[rules.root.files]]\nsync_owner = false\nsync_xattrs = false")
	if !s.SyncsOwner() || !s.SyncsXattrs() || none.SyncsOwner() || none.SyncsXattrs() {
		t.Error("the set does not know what it synchronises")
	}
}

func TestTrustAndAlways(t *testing.T) {
	s := parse(t, `
		[[rules.root.files]]
		name = "^d$"
		trust_client_unix_mode = false`)
	root := s.Root().Enter(nil, nil)
	_, before, _ := root.Entry(file("f"))
	_, trust, inside := root.Entry(dir("d"))
	_, below, _ := inside.Enter(nil, nil).Entry(file("f"))
	if !before || trust || below {
		t.Errorf("trust: %v, directory %v, below %v; want true, false, false", before, trust, below)
	}
	mirror, _ := plan.ParseMode("mirror")
	always := Always(mirror)
	mode, trust, _ := always.Root().Enter(nil, nil).Entry(file("f"))
	if mode != mirror || !trust || always.NeedsListings() {
		t.Errorf("Always: %v, trust %v", mode, trust)
	}
	if s.NeedsListings() || !parse(t, "[[rules.root.siblings]]\nname='a'").NeedsListings() {
		t.Error("NeedsListings is wrong")
	}
	other := parse(t, "[[rules.root.files]]\nname='a'")
	if s.Fingerprint() == always.Fingerprint() || s.Fingerprint() == other.Fingerprint() ||
		other.Fingerprint() != parse(t, "[[rules.root.files]]\n# comment\nname = 'a'").Fingerprint() {
		t.Error("Fingerprint does not tell rule sets apart")
	}
}

// TestDataOnBothSides: a siblings rule looks at both listings.
func TestSiblingsOnEitherSide(t *testing.T) {
	s := parse(t, "[[rules.root.siblings]]\nname='mark'\nmode='cud/cud'")
	for _, x := range []struct {
		client, server []Facts
		want           string
	}{
		{[]Facts{file("a"), file("mark")}, nil, "cud/cud"},
		{nil, []Facts{file("mark")}, "cud/cud"},
		{[]Facts{file("a")}, []Facts{file("b")}, "---/---"},
		{nil, nil, "---/---"},
	} {
		mode, _, _ := s.Root().Enter(x.client, x.server).Entry(file("f"))
		if mode.String() != x.want {
			t.Errorf("client %v server %v: %v, want %v", x.client, x.server, mode, x.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, x := range []struct{ rules, want string }{
		{`[rules]`, `[rules]: there is no state "root"`},
		{"[[rules.rooot.files]]", `; is it the one called "rooot"?`},
		{"rules.root = 1", "[rules.root]: a state is a table, not an integer"},
		{"[rules.root]\nfiles = 1", "[rules.root.files]: a group is an array of tables, not an integer"},
		{"[rules.root.files]\nmode = 'cud/cud'", "write [[rules.root.files]]"},
		{"[rules.root]\nfiles = [1]", "[[rules.root.files]], rule 1: a rule is a table"},
		{"[[rules.root.file]]", `[rules.root]: unknown group "file"; allowed are files and siblings; did you mean files?`},
		{"[[rules.root.files]]\n[[rules.root.files]]\nnmae = 'a'", "[[rules.root.files]], rule 2, nmae: unknown field; allowed are mode,"},
		{"[[rules.root.files]]\nnmae = 'a'", "did you mean name?"},
		{"[[rules.root.files]]\nname = 1", "rule 1, name: must be a string, not an integer"},
		{"[[rules.root.files]]\nbigger = 'a'", "rule 1, bigger: must be a whole number of bytes, not a string"},
		{"[[rules.root.files]]\nbigger = 1.5", "not a fraction"},
		{"[[rules.root.files]]\nsmaller = -1", "rule 1, smaller: must not be negative: -1"},
		{"[[rules.root.files]]\nname = '('", `rule 1, name: regular expression "(": missing closing )`},
		{"[[rules.root.siblings]]\nname = '[a[b]]'", `[[rules.root.siblings]], rule 1, name: regular expression "[a[b]]": "[" within`},
		{"[[rules.root.files]]\nname = '[a&&b]'", "intersections are not supported"},
		{"[[rules.root.files]]\nname = '[+--]'", "differences are not supported"},
		{"[[rules.root.files]]\nname = '[a~~b]'", "symmetric differences are not supported"},
		{"[[rules.root.files]]\nname = '\\<a'", `rule 1, name: regular expression "\\<a": "\\<" is not supported`},
		{"[[rules.root.files]]\nname = '\\b{start}a'", "write \\b alone"},
		{"[[rules.root.files]]\nname = 'a{,3}'", "write {0, for a repetition"},
		{"[[rules.root.files]]\nname = '(?x) a'", "invalid or unsupported Perl syntax"},
		{"[[rules.root.files]]\nmode = 'cdu/cud'", `rule 1, mode: sync mode "cdu/cud": not understood`},
		{"[[rules.root.files]]\ntype = 'file'", `rule 1, type: regular expression "file" is found in none of`},
		{"[[rules.root.siblings]]\ntype = 'x'", "write f (file), d (directory) or s (symbolic link)"},
		{"[[rules.root.files]]\npermissions = 'rwx'", "write it for four octal digits"},
		{"[[rules.root.files]]\nmode = 'cdu/cud'", "did you mean cud/cud?"},
		{"[[rules.root.files]]\nmode = 'miror'", "did you mean mirror?"},
		{"[[rules.root.files]]\nmode = true", "mode: must be a string, not true or false"},
		{"[[rules.root.files]]\ntrust_client_unix_mode = 'no'", "must be true or false, not a string"},
		{"[[rules.root.files]]\nsync_owner = 1", "rule 1, sync_owner: must be true or false, not a"},
		{"[[rules.root.files]]\nsync_xattr = true", "rule 1, sync_xattr: unknown field; allowed are mode, trust_client_unix_mode, sync_owner, sync_xattrs, include"},
		{"[[rules.root.files]]\nsync_xattr = true", "did you mean sync_xattrs?"},
		{"[[rules.root.files]]\ninclude = 'bakcup'\n[[rules.backup.files]]", `include: there is no state "bakcup"; did you mean backup?`},
		{"[[rules.root.files]]\ninclude = [1]", "include: must be a string"},
		{"[[rules.root.files]]\nswitch = 'x'", `switch: there is no state "x"`},
		{"[[rules.root.files]]\nswitch = ['x']", "switch: must be a string, not an array"},
		{"[[rules.root.files]]\nstop = 'retrun'", `stop: unknown word "retrun"; allowed are "return" and "all"; did you mean return?`},
		{"[[rules.root.files]]\nstop = 1979-05-27", "not a date or time"},
		{"[[rules.root.files]]\n[[rules.a.files]]\nswitch='b'\n[[rules.b.files]]\ninclude='a'", "[rules.a]: no include or switch leads here from root"},
		{"[[rules.root.files]]\n[[rules.a.files]]\nswitch='b'\n[[rules.b.files]]\ninclude='a'", "[rules.b]: no include"},
		{"[[rules.root.files]]\nname = 1\nmode = 2", "mode: must be a string, not an integer\n[[rules.root.files]], rule 1, name: must"},
	} {
		rules := table(t, x.rules)
		s, err := Parse(rules)
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s\n got %v, %v\nwant %s", x.rules, s, err, x.want)
		}
	}
}

// TestManual: the examples in docs/config.md do what is said there.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []*Set
	for i, part := range strings.Split(string(text), "```") {
		if rules, ok := strings.CutPrefix(part, "toml\n"); ok && i%2 == 1 && strings.Contains(rules, "[[rules.") {
			examples = append(examples, parse(t, rules))
		}
	}
	if len(examples) != 2 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, x := range []struct {
		set   int
		where string // directories, entered one after the other; ! has a Cargo.toml in it
		f     Facts
		want  string
	}{
		{0, "", file("a"), "cud/cud"},
		{0, "", file("a.tmp"), "---/---"},
		{0, "", dir("photos"), "---/CUD"},
		{0, "photos", file("a"), "---/CUD"},
		{0, "", dir("photos2"), "cud/cud"},
		{1, "", dir("target"), "cud/cud"},
		{1, "!p", dir("target"), "---/---"},
		{1, "!p", file("target"), "cud/cud"},
		{1, "!p target", file("a"), "---/---"},
		{1, "!p target deep", file("a"), "---/---"},
		{1, "!p src", dir("target"), "cud/cud"},
		{1, "!p !member", dir("target"), "---/---"},
	} {
		st := examples[x.set].Root().Enter(nil, nil)
		for _, name := range strings.Fields(x.where) {
			name, crate := strings.CutPrefix(name, "!")
			_, _, st = st.Entry(dir(name))
			var list []Facts
			if crate {
				list = []Facts{file("Cargo.toml")}
			}
			st = st.Enter(list, nil)
		}
		if mode, _, _ := st.Entry(x.f); mode.String() != x.want {
			t.Errorf("example %d, %s in %q: %v, want %s", x.set, x.f.Name, x.where, mode, x.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[[rules.root.files]]\nname = '[a&&b]'\nmode = 'cud/cud'", "a", "b")
	f.Add("[[rules.root.siblings]]\ninclude = ['root']\nswitch = 'root'\nstop = 'all'", "x\xff", "/")
	f.Add("[[rules.root.files]]\nname = '\\Q[\\E[^]a[:alpha:]]$'\npath = '^/a'\ntype='[fd]'\npermissions='6'", "x", "")
	f.Fuzz(func(t *testing.T, text, name, target string) {
		var config struct{ Rules map[string]any }
		if _, err := toml.Decode(text, &config); err != nil {
			return
		}
		s, err := Parse(config.Rules)
		if (s == nil) == (err == nil) {
			t.Fatal("neither rules nor an error")
		}
		if err != nil {
			return
		}
		list := []Facts{dir(name), {Name: name, Kind: object.Symlink, Target: target}}
		st := s.Root()
		for range 3 {
			st = st.Enter(list, list[:1])
			st.Entry(list[1])
			_, _, st = st.Entry(list[0])
		}
	})
}

func BenchmarkEntry(b *testing.B) {
	for name, rules := range map[string]string{
		"one":          "[[rules.root.files]]\nmode='cud/cud'",
		"text":         "[[rules.root.files]]\nmode='cud/cud'\n[[rules.root.files]]\nname='\\.tmp$'\nmode='---/---'\n[[rules.root.files]]\nname='^\\.git$'\nmode='---/---'",
		"alternatives": "[[rules.root.files]]\nmode='cud/cud'\n[[rules.root.files]]\nname='\\.(tmp|bak|swp)$'\nmode='---/---'",
		"path":         "[[rules.root.files]]\nmode='cud/cud'\n[[rules.root.files]]\npath='^/work/cache'\nmode='---/---'",
	} {
		b.Run(name, func(b *testing.B) {
			st := parse(b, rules).Root().Enter(nil, nil)
			f := file("some-file-name.txt")
			b.ReportAllocs()
			for b.Loop() {
				st.Entry(f)
			}
		})
	}
}
