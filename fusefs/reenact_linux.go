package fusefs

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ensync/engine/worktree"
)

const (
	// maxChanges bounds how many changes wait to be re-enacted. What comes on top is not: a watcher's own queue
	// (fs.inotify.max_queued_events) would not hold more either.
	maxChanges = 16384
	// watchersAge is how long it is believed who watches.
	watchersAge = time.Second
	// actorIdle is how long the process that re-enacts is kept without work, and actTime how long it may take for one act.
	actorIdle = 30 * time.Second
	actTime   = 5 * time.Second
)

// reenactor re-enacts what the reconciler changed in directories that somebody watches. The process that does it is
// another one, because a thread that waits for the file system that it serves can't be killed, and with it the process.
type reenactor struct {
	stage      *stage
	tree       Tree
	mountPoint string
	command    []string
	changes    changeQueue
	ctx        context.Context
	cancel     context.CancelFunc
	stopped    chan struct{}

	mu          sync.Mutex // held while an act is on
	actor       *actor
	inodes      map[uint64]bool
	inodesAt    time.Time
	major       uint32
	minor       uint32
	deviceKnown bool
}

func newReenactor(tree Tree, s *stage, mountPoint string, command []string) *reenactor {
	if len(command) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	re := &reenactor{stage: s, tree: tree, mountPoint: mountPoint, command: command, changes: changeQueue{some: make(chan struct{}, 1)},
		ctx: ctx, cancel: cancel, stopped: make(chan struct{})}
	go re.run()
	return re
}

// changeQueue are the changes that wait to be re-enacted.
type changeQueue struct {
	mu      sync.Mutex
	waiting []change
	some    chan struct{}
}

func (q *changeQueue) add(batch []change) {
	q.mu.Lock()
	q.waiting = append(q.waiting, batch[:min(len(batch), maxChanges-len(q.waiting))]...)
	q.mu.Unlock()
	select {
	case q.some <- struct{}{}:
	default:
	}
}

func (q *changeQueue) take() []change {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.waiting
	q.waiting = nil
	return batch
}

// add hands over changes that the kernel knows of. It does not wait.
func (re *reenactor) add(batch []change) {
	if re != nil && len(batch) > 0 {
		re.changes.add(batch)
	}
}

func (re *reenactor) stop() {
	if re != nil {
		re.cancel()
		<-re.stopped
	}
}

// pause waits until the actor holds nothing of the mount, and keeps it so until resume is called.
func (re *reenactor) pause() (resume func()) {
	if re == nil {
		return func() {}
	}
	re.mu.Lock()
	return re.mu.Unlock
}

func (re *reenactor) run() {
	defer close(re.stopped)
	defer re.dismiss()
	idle := time.NewTimer(actorIdle)
	for {
		select {
		case <-re.ctx.Done():
			return
		case <-idle.C:
			re.dismiss()
		case <-re.changes.some:
			re.batch(re.changes.take())
			idle.Reset(actorIdle)
		}
	}
}

// batch re-enacts the changes in watched directories.
func (re *reenactor) batch(batch []change) {
	if time.Since(re.inodesAt) > watchersAge && !re.lookForWatchers() {
		return
	}
	dirs := make(map[worktree.Ino]string)
	for _, c := range batch {
		if re.ctx.Err() != nil || !re.inodes[uint64(c.Parent)] {
			continue
		}
		dir, known := dirs[c.Parent]
		if !known {
			var err error
			if dir, err = re.tree.PathOf(re.ctx, c.Parent); err != nil {
				continue
			}
			dirs[c.Parent] = dir
		}
		for _, kind := range re.kinds(c) {
			if err := re.perform(kind, c, dir); err != nil {
				re.dismiss()
				return
			}
		}
	}
}

func (re *reenactor) lookForWatchers() bool {
	if !re.deviceKnown {
		var err error
		if re.major, re.minor, err = device(re.mountPoint); err != nil {
			return false
		}
		re.deviceKnown = true
	}
	re.inodes, re.inodesAt = watched(re.major, re.minor), time.Now()
	return true
}

// kinds are the acts that show a change.
func (re *reenactor) kinds(c change) []actKind {
	var made actKind
	if a, err := re.tree.Lookup(re.ctx, c.Parent, c.Name); err == nil {
		re.tree.Forget(a.Ino, 1)
		made = map[uint32]actKind{syscall.S_IFREG: actFile, syscall.S_IFDIR: actDirectory, syscall.S_IFLNK: actSymlink}[a.Mode&syscall.S_IFMT]
	}
	removed := actUnlink
	if c.removedDir {
		removed = actRmdir
	}
	switch {
	case c.Removed == 0 && made == "":
		return nil
	case c.Removed == 0:
		return []actKind{made}
	case made == "":
		return []actKind{removed}
	case made == actFile && removed == actUnlink:
		return []actKind{actChanged}
	}
	return []actKind{made}
}

// perform lets the actor do one act. An error means that the actor is of no use any more.
func (re *reenactor) perform(kind actKind, c change, dir string) error {
	if re.actor == nil {
		a, err := startActor(re.command)
		if err != nil {
			return err
		}
		re.actor = a
		re.stage.actor.Store(a.thread)
		if ok, err := re.direct(actProbe, worktree.RootIno, "", rand.Text()); err != nil || !ok {
			return errors.Join(err, errUnknownActor)
		}
	}
	_, err := re.direct(kind, c.Parent, dir, c.Name)
	return err
}

// errUnknownActor: its requests would be taken for anybody's, and change the tree.
var errUnknownActor = errors.New("the requests of the process that tells watchers of changes are not recognised")

// direct lets the actor do one act, and tells whether it went as directed.
func (re *reenactor) direct(kind actKind, parent worktree.Ino, dir, name string) (bool, error) {
	re.mu.Lock()
	defer re.mu.Unlock()
	re.stage.now.Store(&act{kind: kind, parent: parent, name: name})
	defer re.stage.now.Store(nil)
	answer, err := re.actor.do(re.ctx, script{Root: []byte(re.mountPoint), Device: unix.Mkdev(re.major, re.minor), Dir: []byte(dir),
		Name: []byte(name), Kind: kind})
	return answer == done, err
}

func (re *reenactor) dismiss() {
	if re.actor != nil {
		re.stage.actor.Store(0)
		re.actor.end()
		re.actor = nil
	}
}

// script is what the actor reads: one act, as a line of JSON. Names are bytes.
type script struct {
	Root, Dir, Name []byte
	Device          uint64
	Kind            actKind
}

// actor is the process that re-enacts.
type actor struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  *bufio.Reader
	thread uint32
}

func startActor(command []string) (*actor, error) {
	cmd := exec.Command("/proc/self/exe", command[1:]...)
	cmd.Args[0] = command[0]
	cmd.Dir, cmd.Env = "/", []string{}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a := &actor{cmd: cmd, in: in, lines: bufio.NewReader(out)}
	line, err := a.answer(context.Background())
	if err == nil {
		_, err = fmt.Sscanf(line, "%d", &a.thread)
	}
	if err != nil {
		a.end()
		return nil, err
	}
	return a, nil
}

// done is the answer to an act that went well.
const done = "done"

func (a *actor) do(ctx context.Context, s script) (string, error) {
	line, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	if _, err := a.in.Write(append(line, '\n')); err != nil {
		return "", err
	}
	return a.answer(ctx)
}

// answer reads a line, and kills an actor that does not give one.
func (a *actor) answer(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, actTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { a.cmd.Process.Kill() })
	defer stop()
	line, err := a.lines.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func (a *actor) end() {
	a.in.Close()
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

// Reenact is the main function of the process that Options.Reenact names: it does what it reads until there is no more.
func Reenact(in io.Reader, out io.Writer) error {
	runtime.LockOSThread()
	fmt.Fprintln(out, unix.Gettid())
	for d := json.NewDecoder(in); ; {
		var s script
		if err := d.Decode(&s); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		answer := done
		if err := s.perform(); err != nil {
			answer = err.Error() // of the system alone: it holds no name
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
}

// perform does one act, if the file system is still mounted there: anywhere else it would not be play.
func (s script) perform() error {
	root, err := unix.Open(string(s.Root), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil || st.Dev != s.Device {
		return unix.ENODEV
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS}
	dir, err := unix.Openat2(root, path.Join(".", string(s.Dir)), how)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	name := string(s.Name)
	switch s.Kind {
	case actProbe:
		if err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Ino < ghost {
			err = unix.EEXIST
		}
		return err
	case actFile:
		if err = unix.Mknodat(dir, name, unix.S_IFREG|0600, 0); err == nil {
			err = s.closeWritten(dir, name, false)
		}
	case actDirectory:
		err = unix.Mkdirat(dir, name, 0700)
	case actSymlink:
		err = unix.Symlinkat(".", dir, name)
	case actUnlink:
		err = unix.Unlinkat(dir, name, 0)
	case actRmdir:
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	if s.Kind == actChanged || err == unix.EEXIST { // somebody has looked it up since: to the kernel it is there
		err = s.closeWritten(dir, name, true)
	}
	return err
}

// closeWritten is what a program does last that writes to a file. Cutting a file to its own size tells watchers that it was
// modified, and the server, which knows that this is play, changes nothing. Where the file may not be written to, a chmod to
// its own mode tells at least that something is new.
func (s script) closeWritten(dir int, name string, modified bool) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	var st unix.Stat_t
	if err != nil {
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return err
		}
		return unix.Fchmodat(dir, name, st.Mode&07777, 0)
	}
	defer unix.Close(fd)
	if modified {
		if err := unix.Fstat(fd, &st); err == nil && st.Dev == s.Device && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return unix.Ftruncate(fd, st.Size)
		}
	}
	return nil
}
