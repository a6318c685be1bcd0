package watch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// each runs a test with every method that notices by itself and works here.
func each(t *testing.T, test func(t *testing.T, tree string, w *Watch)) {
	for _, m := range []Method{Fanotify, Inotify} {
		t.Run(string(m), func(t *testing.T) {
			tree := filepath.Join(t.TempDir(), "tree")
			must(t, os.Mkdir(tree, 0o700))
			w := open(t, tree, Options{Methods: []Method{m}})
			if s := w.State(); s.Method != m {
				t.Skip(s.Reason)
			}
			test(t, tree, w)
		})
	}
}

func open(t *testing.T, tree string, opt Options) *Watch {
	t.Helper()
	w, err := Open(t.Context(), tree, opt)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clean makes all that happened so far known.
func clean(t *testing.T, w *Watch) {
	t.Helper()
	w.Begin().Done(nil)
	if w.Dirty("") {
		t.Fatal("dirty after a look, and nothing happened")
	}
}

func write(t *testing.T, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	must(t, os.MkdirAll(filepath.Dir(name), 0o700))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	_, err = f.WriteString("x")
	must(t, errors.Join(err, f.Close()))
}

// seen compares what is dirty of some directories with what should be.
func seen(t *testing.T, w *Watch, dirs ...string) {
	t.Helper()
	look := w.Begin()
	for _, d := range dirs {
		name, still := strings.CutPrefix(d, "!")
		if w.Dirty(name) == still {
			t.Errorf("dirty(%q) = %v", name, still)
		}
	}
	look.Done(nil)
}

func TestWhatChanged(t *testing.T) {
	each(t, func(t *testing.T, tree string, w *Watch) {
		in := func(path string) string { return filepath.Join(tree, path) }
		for _, f := range []string{"f", "a/f", "a/b/f", "a/b/c/f", "x/y/f", "z/f"} {
			write(t, in(f))
		}
		outside := filepath.Join(tree, "..", "outside")
		write(t, outside, "p/q/f")
		for _, c := range []struct {
			what string
			do   func() error
			dirs string
		}{
			{"write", func() error { write(t, in("a/b/f")); return nil }, " a a/b !a/b/c !x !z"},
			{"mode", func() error { return os.Chmod(in("a/b/f"), 0o640) }, "a/b !a/b/c !x"},
			{"mode of a directory", func() error { return os.Chmod(in("a/b"), 0o750) }, "a !a/b/c !x"},
			{"create", func() error { write(t, in("x/y/g")); return nil }, "x x/y !a !z"},
			{"symlink", func() error { return os.Symlink("f", in("x/y/l")) }, "x/y !a !z"},
			{"delete", func() error { return os.Remove(in("x/y/l")) }, "x/y !a"},
			{"file moved", func() error { return os.Rename(in("a/f"), in("z/moved")) }, "a z !a/b !x"},
			{"deep tree made", func() error { write(t, in("n/o/p/q/f")); return nil }, " n n/o/p/q !a"},
			{"in it", func() error { write(t, in("n/o/p/q/f")); return nil }, "n/o/p/q !a !x"},
			{"tree moved in", func() error { return os.Rename(outside, in("in")) }, " in in/p/q !a"},
			{"in it", func() error { write(t, in("in/p/q/f")); return nil }, "in/p/q !a"},
			{"tree moved", func() error { return os.Rename(in("a/b"), in("x/b")) }, "a x/b x/b/c !z"},
			{"in it", func() error { write(t, in("x/b/c/f")); return nil }, "x/b/c !a !x/y"},
			{"trees exchanged", func() error {
				return unix.Renameat2(unix.AT_FDCWD, in("x"), unix.AT_FDCWD, in("in"), unix.RENAME_EXCHANGE)
			}, " x/p in/b/c !z"},
			{"in one", func() error { write(t, in("x/p/q/f")); return nil }, "x/p/q !in !a"},
			{"in the other", func() error { write(t, in("in/b/c/f")); return nil }, "in/b/c !x !a"},
			{"moves that cross", func() error {
				return errors.Join(os.Rename(in("in/b/c"), in("c")), os.Rename(in("in"), in("c/in")))
			}, " c c/in/b"},
			{"in it", func() error { write(t, in("c/in/b/f")); return nil }, "c/in/b !x !a"},
			{"tree moved out", func() error { return os.Rename(in("c"), outside) }, " !x"},
			{"in it", func() error { write(t, outside, "in/b/f"); return nil }, "!"},
			{"tree made anew", func() error {
				err := os.RemoveAll(in("x"))
				write(t, in("x/p/q/other"))
				return err
			}, " x x/p/q"},
			{"in it", func() error { write(t, in("x/p/q/f")); return nil }, "x/p/q !n"},
			{"tree deleted", func() error { return os.RemoveAll(in("x")) }, " x !n"},
			{"ours", func() error { write(t, in(".ensync-tmp.x")); write(t, in("n/internal.ensync/f")); return nil }, "!"},
			{"in ours", func() error { write(t, in("n/internal.ensync/f")); return nil }, "!"},
		} {
			t.Run(c.what, func(t *testing.T) {
				clean(t, w)
				must(t, c.do())
				seen(t, w, strings.Split(c.dirs, " ")...)
			})
		}
	})
}

// TestWhileOthersMove edits files in directories that are moved about all the time: no edit is missed.
func TestWhileOthersMove(t *testing.T) {
	each(t, func(t *testing.T, tree string, w *Watch) {
		write(t, tree, "a/d/e/f")
		must(t, os.Mkdir(filepath.Join(tree, "b"), 0o700))
		clean(t, w)
		at, other := "a", "b"
		for i := range 300 {
			must(t, os.Rename(filepath.Join(tree, at, "d"), filepath.Join(tree, other, "d")))
			at, other = other, at
			if i%3 == 0 {
				w.Begin().Done(nil)
			}
			write(t, tree, at, "d/e/f")
			if i%2 == 0 {
				seen(t, w, at+"/d/e")
			}
		}
	})
}

func TestMemoryMapping(t *testing.T) {
	each(t, func(t *testing.T, tree string, w *Watch) {
		write(t, tree, "d/f")
		f, err := os.OpenFile(filepath.Join(tree, "d/f"), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		b, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		clean(t, w)
		b[0] = 'y'
		must(t, unix.Munmap(b))
		must(t, f.Close())
		seen(t, w, "d")
	})
}

func TestNotice(t *testing.T) {
	each(t, func(t *testing.T, tree string, w *Watch) {
		write(t, tree, "d/f")
		clean(t, w)
		for len(w.Changed()) > 0 {
			<-w.Changed()
		}
		begin := time.Now()
		write(t, tree, "d/f")
		select {
		case <-w.Changed():
			t.Log(time.Since(begin))
		case <-time.After(5 * time.Second):
			t.Fatal("no notice")
		}
	})
}

// TestLook: what can't be looked at stays dirty, and so does all if the look does not get through.
func TestLook(t *testing.T) {
	each(t, func(t *testing.T, tree string, w *Watch) {
		for _, f := range []string{"a/b/c/f", "d/f"} {
			write(t, tree, f)
		}
		clean(t, w)
		write(t, tree, "a/b/c/f")
		write(t, tree, "d/f")
		w.Begin().Fail()
		seen(t, w, "a/b/c", "d")
		write(t, tree, "a/b/c/f")
		write(t, tree, "d/f")
		w.Begin().Done([]string{"a/b"})
		seen(t, w, "a", "a/b", "a/b/c", "!d")
		look := w.Begin()
		write(t, tree, "d/f") // during a look: for the next one
		look.Done(nil)
		seen(t, w, "!a", "d")
		clean(t, w)
		w.Doubt()
		seen(t, w, "", "a/b/c", "never")
	})
}

// TestOverflow: when news was lost, everything is dirty, and stays noticed.
func TestOverflow(t *testing.T) {
	each(t, func(t *testing.T, tree string, w *Watch) {
		clean(t, w)
		var q *queue
		switch s := w.source.(type) {
		case *inotify:
			q = s.queue
		case *fanotify:
			q = s.queue
		}
		q.mu.Lock()
		q.handle = func([]byte) error { return errOverflow }
		q.mu.Unlock()
		write(t, tree, "f")
		if w.Begin().Done(nil); !w.Dirty("any") {
			t.Error("all is said to be known")
		}
		awaitClean(t, w)
		write(t, tree, "d/f")
		seen(t, w, "d")
	})
}

// awaitClean looks until nothing is dirty.
func awaitClean(t *testing.T, w *Watch) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); w.Dirty(""); time.Sleep(10 * time.Millisecond) {
		w.Begin().Done(nil)
		if time.Now().After(end) {
			t.Fatalf("everything stays dirty: %+v", w.State())
		}
	}
}

// TestLimit: with fewer watches than directories, the tree is walked, and the state says what to do.
func TestLimit(t *testing.T) {
	tree := t.TempDir()
	for _, d := range []string{"a", "b", "c"} {
		write(t, tree, d, "f")
	}
	w := open(t, tree, Options{Methods: []Method{Inotify}, Limit: 3, Pause: 20 * time.Millisecond})
	s := w.State()
	if s.Method != Walk || !strings.Contains(s.Reason, "sysctl fs.inotify.max_user_watches=") {
		t.Fatalf("%+v", s)
	}
	notices(t, tree, w)
}

// TestFirstWalk: what changed between the look of a sync and the first walk is told.
func TestFirstWalk(t *testing.T) {
	tree := t.TempDir()
	write(t, tree, "f")
	w := open(t, tree, Options{Methods: []Method{}, Pause: time.Hour})
	select {
	case <-w.Changed():
	case <-time.After(10 * time.Second):
		t.Fatal("the first walk is not told")
	}
}

// TestLimitLater: the tree grows beyond what may be watched.
func TestLimitLater(t *testing.T) {
	tree := t.TempDir()
	write(t, tree, "a/f")
	w := open(t, tree, Options{Methods: []Method{Inotify}, Limit: 3, Pause: 20 * time.Millisecond})
	clean(t, w)
	write(t, tree, "b/f")
	write(t, tree, "c/f")
	write(t, tree, "d/f")
	for end := time.Now().Add(10 * time.Second); w.State().Method != Walk; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it goes on")
		}
		if w.Begin().Done(nil); w.State().Method == Inotify && !w.Dirty("d") {
			t.Fatal("it takes for known what it does not watch")
		}
	}
	notices(t, tree, w)
}

// notices waits for the notice of an edit by a walk.
func notices(t *testing.T, tree string, w *Watch) {
	t.Helper()
	w.Begin().Done(nil)
	if !w.Dirty("a") {
		t.Error("a walker knows for certain")
	}
	time.Sleep(100 * time.Millisecond) // a walk or more
	for len(w.Changed()) > 0 {
		<-w.Changed()
	}
	write(t, tree, "a/f")
	select {
	case <-w.Changed():
	case <-time.After(10 * time.Second):
		t.Fatal("the walk does not notice")
	}
	time.Sleep(coarsestClock + 200*time.Millisecond) // until then, it is told again
	for len(w.Changed()) > 0 {
		<-w.Changed()
	}
	select {
	case <-w.Changed():
		t.Error("notice of nothing")
	case <-time.After(200 * time.Millisecond):
	}
}

// TestRootMoves: a tree that is not where it was is never taken for watched.
func TestRootMoves(t *testing.T) {
	each(t, func(t *testing.T, tree string, w *Watch) {
		write(t, tree, "d/f")
		clean(t, w)
		must(t, os.Rename(tree, tree+".away"))
		select {
		case <-w.Changed():
		case <-time.After(5 * time.Second):
			t.Fatal("no notice")
		}
		if w.Begin().Done(nil); !w.Dirty("d") {
			t.Error("all is said to be known")
		}
	})
}

// TestMounts: what is mounted into the tree is watched, also what is mounted later.
func TestMounts(t *testing.T) {
	for _, methods := range [][]Method{{Fanotify, Inotify}, {Inotify}} {
		tree := t.TempDir()
		w := open(t, tree, Options{Methods: methods})
		write(t, tree, "m/f")
		clean(t, w)
		m := filepath.Join(tree, "m")
		if err := unix.Mount("none", m, "tmpfs", 0, ""); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { unix.Unmount(m, unix.MNT_DETACH) })
		await(t, func() bool { return w.Dirty("m") })
		awaitClean(t, w)
		write(t, tree, "m/d/g")
		seen(t, w, "m/d")
		clean(t, w)
		write(t, tree, "m/d/g")
		seen(t, w, "m/d", "!other")
		must(t, unix.Unmount(m, 0))
		await(t, func() bool { return w.Dirty("m") })
		awaitClean(t, w)
	}
}

func await(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

// TestSameDirectoriesTwice: a bind mount within the tree has one watch for two places, so nobody relies on it.
func TestSameDirectoriesTwice(t *testing.T) {
	tree := t.TempDir()
	write(t, tree, "a/f")
	write(t, tree, "b/g")
	if err := unix.Mount(filepath.Join(tree, "a"), filepath.Join(tree, "b"), "", unix.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { unix.Unmount(filepath.Join(tree, "b"), unix.MNT_DETACH) })
	if s := open(t, tree, Options{}).State(); s.Method != Walk || !strings.Contains(s.Reason, "show the same directories") {
		t.Errorf("%+v", s)
	}
}

func TestParseMount(t *testing.T) {
	m, ok := parseMount(`36 35 98:0 /r\040x /mnt\134a rw,noatime master:1 - ext3 /dev/root rw`)
	if want := (mount{point: `/mnt\a`, kind: "ext3", device: "98:0", root: "/r x"}); !ok || m != want {
		t.Errorf("%+v %v", m, ok)
	}
	far := mounts{tree: "/t", list: []mount{{point: "/", kind: "ext4"}, {point: "/t/n", kind: "nfs4"}}}
	if err := far.told(); err == nil || !strings.Contains(err.Error(), "nfs4") {
		t.Error(err)
	}
}

func TestDirt(t *testing.T) {
	var d dirt
	for i := range 2 * maxDirt {
		d.add(strings.Repeat("d/", i%3)+string(rune('a'+i%26))+time.Duration(i).String(), false)
	}
	if !d.all || len(d.dirs) > 0 {
		t.Errorf("%d directories are kept apart", len(d.dirs))
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00name\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(slices.Concat([]byte{64, 0, 0, 0, 3, 0, 24, 0, 0, 1, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0},
		[]byte{2, 0, 40, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 20)))
	f.Add([]byte("0\x00\x00\x00\x0301000000000000000000000000000000000000000000000000000000000")) // a head longer than the event
	f.Fuzz(func(t *testing.T, buf []byte) {
		w := &Watch{changed: make(chan struct{}, 1)}
		root := &node{}
		n := &inotify{queue: &queue{}, watch: w, fd: -1, root: root, nodes: map[int32]*node{1: root}}
		if f, err := os.Open(os.DevNull); err == nil { // no directory is found in it
			defer f.Close()
			n.top = f
		}
		n.events(buf)
		fa := &fanotify{queue: &queue{}, watch: w, top: n.top, places: map[string]place{}}
		fa.events(buf)
		parseMount(string(buf))
	})
}
