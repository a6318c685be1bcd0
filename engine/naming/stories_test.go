//go:build linux

package naming_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/localdir"
	"ensync/engine/localdir/foldtest"
	"ensync/engine/naming"
	"ensync/engine/plan"
	"ensync/engine/remote"
	"ensync/engine/remote/remotetest"
	"ensync/engine/replica/memory"
	"ensync/engine/rules"
)

// machine is a directory that is kept the same with a store.
type machine struct {
	t     *testing.T
	store *remotetest.Store
	root  string
	state string
	dir   *localdir.Dir
	past  *ancestor.DB
	tree  *naming.Tree
}

// scratch is a directory in memory, where there is such: a test syncs often, and the disk is not what it is about.
func scratch(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "ensync-naming-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newMachine(t *testing.T, store *remotetest.Store, root string) *machine {
	m := &machine{t: t, store: store, root: root, state: scratch(t)}
	m.start()
	t.Cleanup(m.stop)
	return m
}

// start opens everything, as a new process would.
func (m *machine) start() {
	m.stop()
	m.dir, m.past, m.tree = open(m.t, m.root, m.state)
}

func (m *machine) stop() {
	if m.dir == nil {
		return
	}
	if err := errors.Join(m.dir.Close(), m.past.Close()); err != nil {
		m.t.Error(err)
	}
	m.dir = nil
}

func (m *machine) try() (engine.Summary, error) {
	server, err := remote.Open(m.t.Context(), m.store)
	if err != nil {
		return engine.Summary{}, err
	}
	mode, err := plan.ParseMode("cud/cud")
	if err != nil {
		return engine.Summary{}, err
	}
	return engine.Sync(m.t.Context(), engine.Config{Client: m.tree, Server: server, Ancestor: m.past, Rules: rules.Always(mode), Workers: 3})
}

func (m *machine) sync() {
	m.t.Helper()
	if sum, err := m.try(); err != nil || !sum.Clean() {
		issues, _ := m.past.Issues(m.t.Context())
		m.t.Fatalf("sync: %+v, error %v, issues %+v", sum, err, issues)
	}
}

// idle fails if another sync changes anything.
func (m *machine) idle(who string) {
	m.t.Helper()
	commits, puts, before := m.store.Commits(), m.store.Puts(), m.String()
	sum, err := m.try()
	if err != nil || sum.In != (engine.Counts{}) || sum.Out != (engine.Counts{}) {
		m.t.Errorf("%s: a sync that had nothing to do: %+v, error %v", who, sum, err)
	}
	if m.store.Commits() != commits || m.store.Puts() != puts || m.String() != before {
		m.t.Errorf("%s: a sync that had nothing to do wrote something: from %s to %s", who, before, m.String())
	}
}

// do carries out steps: write PATH=TEXT, rm PATH, mv FROM TO, mkdir PATH, ln PATH->TARGET, chmod MODE PATH, touch TIME PATH.
func (m *machine) do(steps string) {
	m.t.Helper()
	for step := range strings.SplitSeq(steps, ";") {
		verb, rest, _ := strings.Cut(strings.TrimSpace(step), " ")
		u, first, second := user{root: m.root}, "", ""
		for _, sep := range []string{"->", "=", " "} {
			if before, after, ok := strings.Cut(rest, sep); ok {
				first, second = before, after
				break
			}
		}
		var err error
		switch verb {
		case "":
		case "write":
			err = u.Write(first, second)
		case "rm":
			err = os.RemoveAll(filepath.Join(m.root, rest))
		case "mv":
			if strings.EqualFold(first, second) { // Linux does nothing if it takes both for one file
				m.do("mv " + first + " between; mv between " + second)
				continue
			}
			err = u.Rename(first, second)
		case "mkdir":
			err = u.Mkdir(rest)
		case "ln":
			err = os.Symlink(second, filepath.Join(m.root, first))
		case "chmod":
			var mode uint32
			if _, err = fmt.Sscanf(first, "%o", &mode); err == nil {
				err = u.Chmod(second, mode)
			}
		case "touch":
			var at int64
			if _, err = fmt.Sscan(first, &at); err == nil {
				err = u.Touch(second, at)
			}
		default:
			m.t.Fatalf("%q is no step", step)
		}
		if err != nil {
			m.t.Fatalf("%s: %v", step, err)
		}
	}
}

// String is the tree in one line.
func (m *machine) String() string {
	var all []string
	err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == m.root {
			return err
		}
		rel, _ := filepath.Rel(m.root, path)
		switch {
		case d.IsDir():
			if list, err := os.ReadDir(path); err == nil && len(list) == 0 {
				all = append(all, rel+"/")
			}
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			all = append(all, rel+"->"+target)
			return err
		default:
			data, err := os.ReadFile(path)
			all = append(all, rel+"="+string(data))
			return err
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Join(all, " ")
}

const (
	nfc = "caf\u00e9"
	nfd = "cafe\u0301"
)

// The stories of two machines: base is in sync, then each edits, then plain syncs, then folding, then each once more.
var stories = []struct {
	name          string
	opt           foldtest.Options
	base          string // on plain
	plain, fold   string // edits
	wants, wantsF string // trees; wantsF is "" if it is the same
}{
	{"case-only rename arrives", foldtest.APFS, "write a.txt=0", "mv a.txt A.txt", "", "A.txt=0", ""},
	{"case-only rename leaves", foldtest.APFS, "write a.txt=0", "", "mv a.txt A.txt", "A.txt=0", ""},
	{"case-only rename of a directory arrives", foldtest.APFS, "write Src/f=0; write Src/d/g=1", "mv Src src", "", "src/d/g=1 src/f=0", ""},
	{"case-only rename of a directory leaves", foldtest.APFS, "write Src/f=0; write Src/d/g=1", "", "mv Src src", "src/d/g=1 src/f=0", ""},
	{"case-only rename and edit arrive", foldtest.APFS, "write a=0", "mv a A; write A=1", "", "A=1", ""},
	{"case-only rename on both", foldtest.APFS, "write abc=0", "mv abc ABC", "mv abc Abc", "ABC=0 Abc=0", "ABC~aside1=0 Abc=0"},
	{"f and F made on plain", foldtest.APFS, "", "write f=a; write F=b", "", "F=b f=a", "F=b f~aside1=a"},
	{"f is there, F comes", foldtest.APFS, "write f=a", "write F=b", "", "F=b f=a", "F~aside1=b f=a"},
	{"f and F made apart", foldtest.APFS, "", "write f=a", "write F=b", "F=b f=a", "F=b f~aside1=a"},
	{"with extension", foldtest.APFS, "write read.me=a", "write READ.me=b", "", "READ.me=b read.me=a", "READ~aside1.me=b read.me=a"},
	{"three of one name", foldtest.APFS, "write abc=1", "write Abc=2; write ABC=3", "", "ABC=3 Abc=2 abc=1", "ABC~aside1=3 Abc~aside2=2 abc=1"},
	{"directories fall together", foldtest.APFS, "write src/f=1", "write Src/f=2; write Src/d/g=3", "",
		"Src/d/g=3 Src/f=2 src/f=1", "Src~aside1/d/g=3 Src~aside1/f=2 src/f=1"},
	{"file and directory", foldtest.APFS, "write src/f=1", "write SRC=2", "", "SRC=2 src/f=1", "SRC~aside1=2 src/f=1"},
	{"composed and decomposed", foldtest.APFS, "write " + nfc + "=1", "write " + nfd + "=2", "",
		nfd + "=2 " + nfc + "=1", nfd + "~aside1=2 " + nfc + "=1"},
	{"composed on a decomposing one", foldtest.HFS, "", "write " + nfc + "=1; write " + nfc + ".d/f=2", "",
		nfc + "=1 " + nfc + ".d/f=2", nfd + "=1 " + nfd + ".d/f=2"},
	{"composed, edited on a decomposing one", foldtest.HFS, "write " + nfc + "=1", "", "write " + nfd + "=2", nfc + "=2", nfd + "=2"},
	{"composed, deleted on a decomposing one", foldtest.HFS, "write " + nfc + "=1; write x=1", "", "rm " + nfc, "x=1", ""},
	{"composed, saved anew on a decomposing one", foldtest.HFS, "write " + nfc + "=1", "", "write t=2; mv t " + nfc, nfc + "=2", nfd + "=2"},
	{"both forms on a decomposing one", foldtest.HFS, "write " + nfc + "=1", "write " + nfd + "=2", "",
		nfd + "=2 " + nfc + "=1", nfd + "=1 " + nfd + "~aside1=2"},
	{"made on a decomposing one", foldtest.HFS, "", "", "write " + nfc + "=1", nfd + "=1", ""},
	{"only lower case", foldtest.DOS, "write Src/File=1; write x=2", "write SRC/other=3; write Src/d/X=4", "write src/file=5",
		"SRC/other=3 Src/File=5 Src/d/X=4 x=2", "src/d/x=4 src/file=5 src~aside1/other=3 x=2"},
	{"a directory in lower case", foldtest.DOS, "write D/x=1", "mv D d; write d/y=2", "", "d/x=1 d/y=2", ""},
	{"deleted, and made in lower case", foldtest.DOS, "write F=1; write x=2", "rm F; write f=3", "", "f=3 x=2", ""},
	{"refused names", foldtest.VFAT, "", "write what?=1; write a:b.txt=2; write dir:/f=3; write x=4", "",
		"a:b.txt=2 dir:/f=3 what?=1 x=4", "a_b~aside1.txt=2 dir_~aside1/f=3 what_~aside1=1 x=4"},
	{"names refused oddly", foldtest.Drive, "", "write what?=1; write " + nfc + "=2; write x=3", "write y=4",
		nfc + "=2 what?=1 x=3 y=4", "caf_~aside1=2 what_~aside1=1 x=3 y=4"},
	{"a refused one and one like it", foldtest.Drive, "", "write " + nfc + "=1; write CAF" + nfc[3:] + "=2", "",
		"CAF" + nfc[3:] + "=2 " + nfc + "=1", "CAF_~aside1=2 caf_~aside2=1"},
	{"two refused names alike", foldtest.VFAT, "", "write a?=1; write a:=2", "", "a:=2 a?=1", "a_~aside1=2 a_~aside2=1"},
	{"a dot at the end", foldtest.VFAT, "", "write a.=1", "", "a.=1", "a=1"},
	{"a dot at the end, and without", foldtest.VFAT, "", "write a.=1; write a=2", "", "a=2 a.=1", "a=2 a~aside1=1"},
	{"only dots", foldtest.VFAT, "", "write ...=1", "", "...=1", "..~aside1=1"},
}

func TestStories(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			store := remotetest.New(memory.SHA256)
			plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, s.opt))
			plain.do(s.base)
			plain.sync()
			fold.sync()
			plain.do(s.plain)
			fold.do(s.fold)
			plain.sync()
			fold.sync()
			plain.sync()
			fold.sync()
			settled(t, plain, fold, s.wants, s.wantsF)
		})
	}
}

// settled checks the trees, and that nothing is left to do, now and in another process.
func settled(t *testing.T, plain, fold *machine, want, wantFold string) {
	t.Helper()
	if wantFold == "" {
		wantFold = want
	}
	if got := plain.String(); got != want {
		t.Errorf("plain has %s, not %s", got, want)
	}
	if got := fold.String(); got != wantFold {
		t.Errorf("folding has %s, not %s", got, wantFold)
	}
	plain.idle("plain")
	fold.idle("folding")
	fold.start()
	fold.idle("folding, opened anew")
	plain.idle("plain again")
}

// The stories of what is kept aside: f and F are on plain, F is "F~aside1" on folding.
var asideStories = []struct {
	name          string
	plain, fold   string
	wants, wantsF string
}{
	{"edited here", "", "write F~aside1=new", "F=new f=a", "F~aside1=new f=a"},
	{"edited there", "write F=new", "", "F=new f=a", "F~aside1=new f=a"},
	{"deleted here", "", "rm F~aside1", "f=a", ""},
	{"deleted there", "rm F", "", "f=a", ""},
	{"moved here", "", "mv F~aside1 g", "f=a g=b", ""},
	{"moved there", "mv F g", "", "f=a g=b", ""},
	{"the other is deleted here", "", "rm f", "F=b", ""},
	{"the other is deleted there", "rm f", "", "F=b", ""},
	{"the other is moved here", "", "mv f h", "F=b h=a", ""},
	{"the other is moved there", "mv f h", "", "F=b h=a", ""},
	{"the other is edited on both", "write f=p", "write f=q", "F=b f=q f~1=p", "F~aside1=b f=q f~1=p"},
	{"edited on both", "write F=p", "write F~aside1=q", "F=q F~1=p f=a", "F~1=p F~aside1=q f=a"},
	{"the other gets its name here", "", "mv f F", "F=b f=a", "F=a F~aside1=b"},
	{"the other gets its name here, and it is deleted", "", "mv f F; rm F~aside1", "F=a", ""},
	{"the other gets its name here, and it is deleted there", "rm F", "mv f F", "F=a", ""},
	{"swapped there", "mv f t; mv F f; mv t F", "", "F=a f=b", "F~aside1=a f=b"},
	{"becomes a directory there", "rm F; write F/x=1", "", "F/x=1 f=a", "F~aside1/x=1 f=a"},
	{"the other becomes a directory there", "rm f; write f/x=1", "", "F=b f/x=1", "F~aside1=b f/x=1"},
	{"its name here is made there", "write F~aside1=c", "", "F=b F~aside1=c f=a", "F~aside1=b F~aside1~aside1=c f=a"},
	{"both deleted there", "rm f; rm F", "", "", ""},
	{"both deleted here", "", "rm f; rm F~aside1", "", ""},
}

func TestAside(t *testing.T) {
	for _, s := range asideStories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			store := remotetest.New(memory.SHA256)
			plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, foldtest.APFS))
			plain.do("write f=a; write keep=k")
			plain.sync()
			fold.sync()
			plain.do("write F=b")
			plain.sync()
			fold.sync()
			plain.do(s.plain)
			fold.do(s.fold)
			plain.sync()
			fold.sync()
			plain.sync()
			fold.sync()
			plain.sync() // what its user named so while the name was taken gets the name with one more
			with := func(want string) string {
				if want == "" {
					return "keep=k"
				}
				return want + " keep=k"
			}
			wantsF := s.wantsF
			if wantsF == "" {
				wantsF = s.wants
			}
			settled(t, plain, fold, sortTree(with(s.wants)), sortTree(with(wantsF)))
		})
	}
}

func sortTree(line string) string {
	parts := strings.Fields(line)
	for i := range parts { // in the order of a walk
		for j := i + 1; j < len(parts); j++ {
			if strings.ReplaceAll(parts[j], "=", "\x00") < strings.ReplaceAll(parts[i], "=", "\x00") {
				parts[i], parts[j] = parts[j], parts[i]
			}
		}
	}
	return strings.Join(parts, " ")
}

// TestAsideFollowsItsDirectory: a directory that is moved keeps what was kept aside in it.
func TestAsideFollowsItsDirectory(t *testing.T) {
	store := remotetest.New(memory.SHA256)
	plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, foldtest.APFS))
	plain.do("write d/e/f=a; write d/e/F=b; write d/E/g=c")
	plain.sync()
	fold.sync()
	if got, want := fold.String(), "d/E/g=c d/e~aside1/F=b d/e~aside1/f~aside1=a"; got != want {
		t.Fatalf("folding has %s, not %s", got, want)
	}
	fold.do("mv d x")
	fold.start()
	fold.sync()
	plain.sync()
	fold.sync()
	settled(t, plain, fold, "x/E/g=c x/e/F=b x/e/f=a", "x/E/g=c x/e~aside1/F=b x/e~aside1/f~aside1=a")
	fold.do("rm x/E")
	fold.sync()
	plain.sync()
	settled(t, plain, fold, "x/e/F=b x/e/f=a", "x/e/F=b x/e/f~aside1=a")
}

// TestTimesAndModes: what a file system can't keep is not taken from the others.
func TestTimesAndModes(t *testing.T) {
	for name, opt := range map[string]foldtest.Options{"vfat": foldtest.VFAT, "ntfs": foldtest.NTFS, "hfs": foldtest.HFS,
		"2 s": {Grain: 2 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			store := remotetest.New(memory.SHA256)
			plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, opt))
			const at, old = 1_700_000_001_123_456_789, 42
			plain.do(fmt.Sprintf("write f=a; chmod 640 f; touch %d f; write g=b; touch %d g; chmod 400 g; write d/h=c; chmod 750 d", int64(at), old))
			modTime := func(path string) int64 {
				info, err := os.Stat(filepath.Join(plain.root, path))
				if err != nil {
					t.Fatal(err)
				}
				return info.ModTime().UnixNano()
			}
			mode := func(path string) fs.FileMode {
				info, err := os.Stat(filepath.Join(plain.root, path))
				if err != nil {
					t.Fatal(err)
				}
				return info.Mode().Perm()
			}
			plain.sync()
			fold.sync()
			settled(t, plain, fold, "d/h=c f=a g=b", "")
			plain.do("write other=x") // the directory is looked at once more, name by name
			plain.sync()
			fold.sync()
			settled(t, plain, fold, "d/h=c f=a g=b other=x", "")
			if modTime("f") != at || modTime("g") != old {
				t.Errorf("times became %d and %d", modTime("f"), modTime("g"))
			}
			if !opt.NoModes {
				fold.do("chmod 600 f")
			} else {
				plain.do("chmod 600 f")
				plain.sync()
			}
			fold.sync()
			plain.sync()
			settled(t, plain, fold, "d/h=c f=a g=b other=x", "")
			if modTime("f") != at || mode("f") != 0o600 || mode("g") != 0o400 || mode("d") != 0o750 {
				t.Errorf("f is of %d with %v, g %v, d %v", modTime("f"), mode("f"), mode("g"), mode("d"))
			}
			fold.do("write f=new")
			fold.sync()
			plain.sync()
			settled(t, plain, fold, "d/h=c f=new g=b other=x", "")
			if mode("f") != 0o600 {
				t.Errorf("an edit changed the mode to %v", mode("f"))
			}
			plain.do(fmt.Sprintf("touch %d f", int64(at)+5e9))
			plain.sync()
			fold.sync()
			settled(t, plain, fold, "d/h=c f=new g=b other=x", "")
		})
	}
}

// TestNoSymlinks: what can't be made here costs only itself, and stays in the store.
func TestNoSymlinks(t *testing.T) {
	store := remotetest.New(memory.SHA256)
	plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, foldtest.VFAT))
	plain.do("write a=1; ln l->a; write z/b=2")
	plain.sync()
	for range 3 {
		sum, err := fold.try()
		if err != nil || sum.Failed != 1 {
			t.Fatalf("%+v, error %v", sum, err)
		}
		issues, err := fold.past.Issues(t.Context())
		if err != nil || len(issues) != 1 || issues[0].Path != "l" || issues[0].Kind != ancestor.Failed {
			t.Errorf("issues %+v, error %v", issues, err)
		}
		if got, want := fold.String(), "a=1 z/b=2"; got != want {
			t.Errorf("folding has %s, not %s", got, want)
		}
	}
	plain.sync()
	if got, want := plain.String(), "a=1 l->a z/b=2"; got != want {
		t.Errorf("plain has %s, not %s", got, want)
	}
}

// TestKilledWithoutModes: what an interrupted sync brought is not taken for what a user made.
func TestKilledWithoutModes(t *testing.T) {
	for granted := int64(0); granted < 8; granted++ {
		store := remotetest.New(memory.SHA256)
		plain, fold := newMachine(t, store, scratch(t)), newMachine(t, store, foldtest.New(t, foldtest.VFAT))
		plain.do("write f=1; write F=2; write what?=3; write d/x=4; write d/y=5")
		plain.sync()
		fold.dying(granted)
		fold.try()
		fold.start()
		plain.do("write f=11; write F=12; write what?=13; write d/x=14; write d/y=15")
		plain.sync()
		for range 2 {
			fold.sync()
			plain.sync()
		}
		settled(t, plain, fold, "F=12 d/x=14 d/y=15 f=11 what?=13", "F=12 d/x=14 d/y=15 f~aside1=11 what_~aside1=13")
	}
}
