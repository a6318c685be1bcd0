package fusefs_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ensync/engine/worktree"
	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

// actorName is how a mount starts this program to tell watchers; see TestMain.
const actorName = "fusefs-test-actor"

// playActor is what that process does. The liar names another thread than its own.
func playActor() {
	out := io.Writer(os.Stdout)
	if len(os.Args) > 1 {
		out = &liar{os.Stdout, false}
	}
	fusefs.Reenact(os.Stdin, out)
}

type liar struct {
	io.Writer
	lied bool
}

func (l *liar) Write(b []byte) (int, error) {
	if !l.lied {
		l.lied = true
		_, err := io.WriteString(l.Writer, "1\n")
		return len(b), err
	}
	return l.Writer.Write(b)
}

// watcher collects what inotify tells of directories.
type watcher struct {
	fd    int
	dirs  map[int32]string
	heard []string
}

func watch(t *testing.T, dirs ...string) *watcher {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	w := &watcher{fd: fd, dirs: make(map[int32]string)}
	for _, dir := range dirs {
		wd, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_ATTRIB)
		must(t, err)
		w.dirs[int32(wd)] = filepath.Base(dir)
	}
	return w
}

// listen adds what there is to hear.
func (w *watcher) listen() {
	buf := make([]byte, 64<<10)
	n, _ := unix.Read(w.fd, buf)
	for b := buf[:max(n, 0)]; len(b) >= unix.SizeofInotifyEvent; {
		wd := int32(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
		mask := uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24
		length := int(uint32(b[12]) | uint32(b[13])<<8)
		name := string(bytes.TrimRight(b[16:16+length], "\x00"))
		b = b[16+length:]
		for bit, what := range map[uint32]string{unix.IN_CREATE: "create", unix.IN_DELETE: "delete", unix.IN_MODIFY: "modify",
			unix.IN_CLOSE_WRITE: "close", unix.IN_ATTRIB: "attrib"} {
			if mask&bit != 0 {
				if mask&unix.IN_ISDIR != 0 {
					what += " dir"
				}
				w.heard = append(w.heard, fmt.Sprintf("%s %s/%s", what, w.dirs[wd], name))
			}
		}
	}
}

// TestWatchersHearOfTheOtherMachine: what the reconciler changes is told to who watches with inotify, and nothing else
// happens: no file is made, cut or removed, and no time changes.
func TestWatchersHearOfTheOtherMachine(t *testing.T) {
	tree := fusetest.New()
	dir := mount(t, tree, fusefs.Options{Reenact: []string{actorName}}).MountPoint()
	d, deep := filepath.Join(dir, "d"), filepath.Join(dir, "d", "deep")
	must(t, os.MkdirAll(deep, 0755))
	must(t, os.Mkdir(filepath.Join(dir, "unwatched"), 0755))
	mustFile(t, filepath.Join(d, "replaced"), "old")
	mustFile(t, filepath.Join(d, "removed"), "old")
	mustFile(t, filepath.Join(d, "read only"), "old")
	must(t, os.Mkdir(filepath.Join(deep, "removed"), 0755))
	mustFile(t, filepath.Join(deep, "moves"), "content")
	dIno, deepIno, other := inode(t, d), inode(t, deep), inode(t, filepath.Join(dir, "unwatched"))

	w := watch(t, d, deep)
	replaced := tree.Replace(dIno, "replaced", []byte("new content"))
	made := tree.Replace(dIno, "made", []byte("new"))
	changes := []worktree.Notice{replaced, made, tree.Remove(dIno, "removed"), tree.Remove(deepIno, "removed")}
	changes = append(changes, tree.Move(deepIno, "moves", dIno, "moved")...)
	changes = append(changes, tree.Replace(other, "unheard", []byte("x")))
	before := map[string]worktree.Attr{}
	for _, name := range []string{"replaced", "made", "moved"} {
		a, err := tree.Lookup(t.Context(), dIno, name)
		must(t, err)
		before[name] = a
	}
	tree.Notify(changes...)
	want := []string{"modify d/replaced", "close d/replaced", "create d/made", "close d/made", "delete d/removed",
		"delete dir deep/removed", "delete deep/moves", "create d/moved"}
	eventually(t, "told of all", func() bool {
		w.listen()
		return !slices.ContainsFunc(want, func(s string) bool { return !slices.Contains(w.heard, s) })
	})
	time.Sleep(50 * time.Millisecond)
	w.listen()
	slices.Sort(w.heard)
	if got := slices.Compact(w.heard); len(got) != len(want)+1 { // and the closing of "moved"
		t.Errorf("heard %q", got)
	}
	for name, was := range before {
		a, err := tree.Lookup(t.Context(), dIno, name)
		must(t, err)
		if a != was {
			t.Errorf("%s became %+v, was %+v", name, a, was)
		}
	}
	if got := content(filepath.Join(d, "replaced")) + content(filepath.Join(d, "made")) + content(filepath.Join(d, "moved")); got != "new contentnewcontent" {
		t.Errorf("the files hold %q", got)
	}
	if list := names(t, d); !slices.Equal(list, []string{"deep", "made", "moved", "read only", "replaced"}) {
		t.Errorf("d holds %q", list)
	}
	if list := names(t, deep); len(list) != 0 {
		t.Errorf("deep holds %q", list)
	}
}

// TestWatchersManyChanges: many changes at once, under programs that change the same directory.
func TestWatchersManyChanges(t *testing.T) {
	tree := fusetest.New()
	dir := mount(t, tree, fusefs.Options{Reenact: []string{actorName}}).MountPoint()
	w := watch(t, dir)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			path := filepath.Join(dir, fmt.Sprint("local", i%50))
			if os.WriteFile(path, []byte("x"), 0644) == nil && i%3 == 0 {
				os.Remove(path)
			}
			os.ReadDir(dir)
			time.Sleep(time.Millisecond) // the watcher's queue is finite
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	for i := range 200 {
		tree.Notify(tree.Replace(worktree.RootIno, fmt.Sprint("remote", i), []byte("theirs")))
		if i%4 == 3 {
			tree.Notify(tree.Remove(worktree.RootIno, fmt.Sprint("remote", i-2)))
		}
	}
	heard := func(what string) bool { w.listen(); return slices.Contains(w.heard, what) }
	// The name may have been looked up in between: then the kernel takes it for changed.
	eventually(t, "told of the last", func() bool {
		return heard("create "+filepath.Base(dir)+"/remote199") || heard("modify "+filepath.Base(dir)+"/remote199")
	})
	for i := range 200 {
		want := "theirs"
		if i%4 == 1 {
			want = "no such file"
		}
		if got := content(filepath.Join(dir, fmt.Sprint("remote", i))); !strings.Contains(got, want) {
			t.Errorf("remote%d: %q", i, got)
		}
	}
}

// TestWatchersActorUnknown: where the requests of the process can't be told from others, nothing is re-enacted.
func TestWatchersActorUnknown(t *testing.T) {
	tree := fusetest.New()
	s := mount(t, tree, fusefs.Options{Reenact: []string{actorName, "liar"}})
	w := watch(t, s.MountPoint())
	mustFile(t, filepath.Join(s.MountPoint(), "f"), "old")
	tree.Notify(tree.Remove(worktree.RootIno, "f"), tree.Replace(worktree.RootIno, "g", []byte("new")))
	time.Sleep(300 * time.Millisecond)
	w.listen()
	if slices.Contains(w.heard, "create "+filepath.Base(s.MountPoint())+"/g") || s.Stats()["UNLINK"]+s.Stats()["SETATTR"] != 0 || s.Stats()["MKNOD"] != 1 {
		t.Errorf("heard %q, asked %v", w.heard, s.Stats())
	}
}

// TestWatchersActorKilled: a mount whose actor is killed goes on, and ends.
func TestWatchersActorKilled(t *testing.T) {
	tree := fusetest.New()
	dir := mount(t, tree, fusefs.Options{Reenact: []string{actorName}}).MountPoint()
	w := watch(t, dir)
	for i := range 20 {
		name := fmt.Sprint("f", i)
		tree.Notify(tree.Replace(worktree.RootIno, name, []byte("new")))
		if i%5 == 0 {
			exec.Command("pkill", "-9", "-x", "-f", actorName).Run()
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "told again", func() bool {
		tree.Notify(tree.Replace(worktree.RootIno, "last", []byte("new")))
		time.Sleep(20 * time.Millisecond)
		w.listen()
		return slices.ContainsFunc(w.heard, func(s string) bool { return strings.HasSuffix(s, "/last") })
	})
}
