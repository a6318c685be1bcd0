package service

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/engine/worktree"
	"ensync/store"
	"ensync/store/backend"
	"ensync/store/dir"
)

// newStore makes a store with one root and returns where it is.
func newStore(t *testing.T) string {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() { // after every service of the test has ended
		for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<16)
				t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			}
		}
	})
	t.Setenv("ENSYNC_CACHE_DIR", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "store")
	must(t, dir.Create(path))
	b, err := dir.Open(path)
	must(t, err)
	defer b.Close()
	s, err := store.Create(t.Context(), b, store.Params{}, pass(), "original", store.Options{})
	must(t, err)
	defer s.Close()
	_, err = s.CreateRoot(t.Context(), "root", 0o600)
	must(t, err)
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pass() []byte { return []byte(strings.Repeat("x", 256)) } // a long passphrase costs little to derive a key from

// newConfig makes a machine.
func newConfig(t *testing.T, storePath string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	must(t, os.Mkdir(path, 0o700))
	text := "[general]\npath = \"/nowhere\"\nserver = \"path:" + storePath + "\"\nserver_root = \"root\"\n" +
		"passphrase = \"string:" + string(pass()) + "\"\n[mount]\ninterval = 0\n[[rules.root.files]]\nmode = \"cud/cud\"\n"
	must(t, os.WriteFile(filepath.Join(path, "config.toml"), []byte(text), 0o600))
	cfg, err := config.Load(path)
	must(t, err)
	return cfg
}

// shown is a mount without a kernel.
type shown struct {
	tree     *worktree.Tree
	busy     chan struct{} // while it holds something, somebody uses the mount
	slow     time.Duration // to pass on a notice
	detached chan struct{}
	done     chan struct{}
	told     []worktree.Notice // by the goroutine that passes them on; read after Sync
	stop     context.CancelFunc
	ended    chan struct{}
}

func show(t *testing.T, tree *worktree.Tree) *shown {
	ctx, stop := context.WithCancel(context.Background())
	m := &shown{tree: tree, busy: make(chan struct{}, 1), detached: make(chan struct{}), done: make(chan struct{}),
		stop: stop, ended: make(chan struct{})}
	go m.passOn(ctx)
	t.Cleanup(func() { stop(); <-m.ended })
	return m
}

func (m *shown) passOn(ctx context.Context) {
	defer close(m.ended)
	for {
		select {
		case n := <-m.tree.Notices():
			if n.Told != nil {
				close(n.Told)
				continue
			}
			time.Sleep(m.slow)
			m.told = append(m.told, n)
		case <-ctx.Done():
			return
		}
	}
}

func (m *shown) Done() <-chan struct{} { return m.done }

func (m *shown) Unmount(context.Context) error {
	if len(m.busy) > 0 {
		return errors.New("used by vi (pid 7, open file)")
	}
	m.gone()
	return nil
}

func (m *shown) gone() {
	m.stop()
	close(m.done)
}

func (m *shown) Detach(context.Context) error {
	close(m.detached)
	m.gone()
	return nil
}

// running is a service that runs.
type running struct {
	*Service
	*shown
	cfg    *config.Config
	client *Client
	signal context.CancelFunc
	closed chan struct{} // after Run and Close
	err    error         // of both, then
}

func run(t *testing.T, cfg *config.Config) *running {
	t.Helper()
	st, err := session.OpenStore(t.Context(), cfg, pass(), session.Options{})
	must(t, err)
	s, err := Open(t.Context(), st, Options{})
	must(t, err)
	ctx, signal := context.WithCancel(context.Background())
	t.Cleanup(signal)
	r := &running{Service: s, shown: show(t, s.Tree()), cfg: cfg, signal: signal, closed: make(chan struct{})}
	go func() {
		defer close(r.closed)
		r.err = errors.Join(s.Run(ctx, r.shown), s.Close(context.Background()), st.Close())
	}()
	t.Cleanup(func() {
		signal()
		must(t, r.awaitEnd(t))
	})
	r.client, err = Dial(t.Context(), cfg.Dir)
	must(t, err)
	return r
}

func (r *running) write(t *testing.T, name, data string) {
	t.Helper()
	a, err := r.Tree().Make(t.Context(), worktree.RootIno, name, worktree.Make{Mode: syscall.S_IFREG | 0o600})
	must(t, err)
	_, err = r.Tree().Write(t.Context(), a.Ino, []byte(data), 0, false)
	must(t, err)
}

func (r *running) has(t *testing.T, name string) bool {
	t.Helper()
	_, err := r.Tree().Lookup(t.Context(), worktree.RootIno, name)
	if err != nil && err != syscall.ENOENT {
		t.Fatal(err)
	}
	return err == nil
}

// TestSyncIsSeen: what a sync brought is passed on when it returns.
func TestSyncIsSeen(t *testing.T) {
	place := newStore(t)
	a, b := run(t, newConfig(t, place)), run(t, newConfig(t, place))
	b.slow = 20 * time.Millisecond
	for _, name := range []string{"one", "two", "three"} {
		a.write(t, name, name)
	}
	_, err := a.client.Sync(t.Context(), session.Request{})
	must(t, err)
	_, err = b.client.Sync(t.Context(), session.Request{})
	must(t, err)
	if len(b.told) != 3 {
		t.Errorf("%d notices of 3 were passed on when the sync returned: %v", len(b.told), b.told)
	}
	// Nobody passes on notices any more: the sync at the end does not wait for that.
	a.write(t, "four", "4")
	_, err = a.client.Sync(t.Context(), session.Request{})
	must(t, err)
	b.gone()
	must(t, b.awaitEnd(t))
	c := run(t, b.cfg)
	if !c.has(t, "four") {
		t.Error("the sync after the unmount did not end")
	}
}

// TestFirstSyncSeesAll: the first sync of a mount brings what was committed after the mount began.
func TestFirstSyncSeesAll(t *testing.T) {
	place := newStore(t)
	a, b := run(t, newConfig(t, place)), run(t, newConfig(t, place))
	a.write(t, "one", "1")
	for _, r := range []*running{a, b} { // b remembers the tree
		_, err := r.client.Sync(t.Context(), session.Request{})
		must(t, err)
	}
	b.gone()
	must(t, b.awaitEnd(t))
	b = run(t, b.cfg)
	a.write(t, "two", "2")
	for _, r := range []*running{a, b} {
		_, err := r.client.Sync(t.Context(), session.Request{})
		must(t, err)
	}
	if !b.has(t, "two") {
		t.Error("the first sync brought a state of the store from before it was asked for")
	}
}

func (r *running) awaitEnd(t *testing.T) error {
	t.Helper()
	select {
	case <-r.closed:
		return r.err
	case <-time.After(20 * time.Second):
		t.Fatal("the service does not end")
		return nil
	}
}

func TestUnmount(t *testing.T) {
	place := newStore(t)
	cfg := newConfig(t, place)
	r := run(t, cfg)
	r.write(t, "f", "1")
	r.busy <- struct{}{}
	_, _, err := r.client.Unmount(t.Context(), false, nil)
	if !errors.Is(err, ErrMounted) || !strings.Contains(err.Error(), "vi (pid 7") {
		t.Fatalf("while it is used: %v", err)
	}
	if _, err := r.client.Status(t.Context()); err != nil {
		t.Fatalf("a mount that could not be unmounted: %v", err)
	}
	<-r.busy
	r.write(t, "g", "2")
	sum, _, err := r.client.Unmount(t.Context(), true, nil)
	must(t, err)
	if sum.Out.Created != 0 {
		t.Errorf("a sync was done: %+v", sum)
	}
	// The state is free when Unmount returns.
	r = run(t, cfg)
	if !r.has(t, "g") {
		t.Error("what was not synced is gone")
	}
	sum, _, err = r.client.Unmount(t.Context(), false, nil)
	must(t, err)
	if sum.Out.Created != 1 {
		t.Errorf("the sync at the end: %+v", sum)
	}
	if _, err := Dial(t.Context(), cfg.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

// TestCalledOff hangs up while a request waits for another sync.
func TestCalledOff(t *testing.T) {
	r := run(t, newConfig(t, newStore(t)))
	r.syncing <- struct{}{}
	for what, ask := range map[string]func(context.Context) error{
		"sync":    func(ctx context.Context) error { _, err := r.client.Sync(ctx, session.Request{}); return err },
		"unmount": func(ctx context.Context) error { _, _, err := r.client.Unmount(ctx, false, nil); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if err := ask(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	<-r.syncing
	_, err := r.client.Sync(t.Context(), session.Request{})
	must(t, err)
	_, _, err = r.client.Unmount(t.Context(), false, nil) // the one that was called off does not stand in the way
	must(t, err)
}

func TestSignal(t *testing.T) {
	r := run(t, newConfig(t, newStore(t)))
	r.write(t, "f", "1")
	r.busy <- struct{}{}
	r.syncing <- struct{}{}
	asked := make(chan error, 1)
	go func() { _, _, err := r.client.Unmount(context.Background(), false, nil); asked <- err }()
	time.Sleep(20 * time.Millisecond) // most often, the unmount waits for the sync now
	r.signal()
	<-r.detached
	<-r.syncing
	must(t, r.awaitEnd(t))
	if err := <-asked; err == nil {
		t.Error("an unmount that a signal overtook was done")
	}
	other := run(t, newConfig(t, r.store.Config.General.Server.Path))
	_, err := other.client.Sync(t.Context(), session.Request{})
	must(t, err)
	if !other.has(t, "f") {
		t.Error("nothing was synced after the signal")
	}
}

// TestDeafClient asks and does not read the answers.
func TestDeafClient(t *testing.T) {
	before := writeTime
	t.Cleanup(func() { writeTime = before }) // after the service has ended
	writeTime = 50 * time.Millisecond
	r := run(t, newConfig(t, newStore(t)))
	for i := range 3000 {
		r.write(t, "a name that is long enough to fill the buffer of a socket "+strings.Repeat("x", i%100)+time.Duration(i).String(), "")
	}
	c, err := net.Dial("unix", r.socket.Addr().String())
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte(`{"op":"sync"}` + "\n"))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = r.Sync(ctx, session.Request{}) // not as a client, which may be slower than the bound of this test
	must(t, err)
}

func TestStoreOutOfReach(t *testing.T) {
	place := newStore(t)
	cfg := newConfig(t, place)
	r := run(t, cfg)
	_, err := r.client.Sync(t.Context(), session.Request{})
	must(t, err)
	must(t, os.Rename(place, place+".away"))
	r.write(t, "f", "1")
	_, err = r.client.Sync(t.Context(), session.Request{})
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("a sync without store: %v", err)
	}
	st, err := r.client.Status(t.Context())
	must(t, err)
	if st.Offline.IsZero() || st.LastError == "" || st.Pending.Names == 0 {
		t.Errorf("status: %+v", st)
	}
	if err := r.LastError(); err == nil || err.Error() != st.LastError {
		t.Errorf("the last error is %v, in status %q", err, st.LastError)
	}
	_, _, err = r.client.Unmount(t.Context(), false, nil)
	if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, ErrMounted) {
		t.Errorf("unmounting without store: %v", err)
	}
	must(t, os.Rename(place+".away", place))
	r = run(t, cfg)
	sum, err := r.client.Sync(t.Context(), session.Request{})
	must(t, err)
	if sum.Out.Created != 1 {
		t.Errorf("when it is back: %+v", sum)
	}
	if st, err = r.client.Status(t.Context()); err != nil || !st.Offline.IsZero() || st.LastError != "" || r.LastError() != nil {
		t.Errorf("then: %+v, %v", st, err)
	}
	r.Failed("READ", 7, backend.ErrUnavailable)
	if st, err = r.client.Status(t.Context()); err != nil || st.Offline.IsZero() {
		t.Errorf("after a read that failed: %+v, %v", st, err)
	}
}

func TestOneService(t *testing.T) {
	cfg := newConfig(t, newStore(t))
	r := run(t, cfg)
	st, err := session.OpenStore(t.Context(), cfg, pass(), session.Options{})
	must(t, err)
	defer st.Close()
	if _, err := Open(t.Context(), st, Options{}); !errors.Is(err, session.ErrInUse) {
		t.Errorf("a second service: %v", err)
	}
	_, err = r.client.Status(t.Context())
	must(t, err)
	path := r.socket.path
	_, _, err = r.client.Unmount(t.Context(), false, nil)
	must(t, err)
	// A killed process leaves its socket, and somebody else may leave anything.
	must(t, os.WriteFile(path, nil, 0o600))
	r = run(t, cfg)
	if _, err = r.client.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRuntimeDirectoryOfOthers(t *testing.T) {
	top := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", top)
	path := filepath.Join(top, "ensync")
	must(t, os.Mkdir(path, 0o700))
	must(t, os.Chmod(path, 0o770))
	if _, err := secondPath(top); err == nil {
		t.Error("a directory that a group may write to was accepted")
	}
	must(t, os.Remove(path))
	must(t, os.Symlink(t.TempDir(), path))
	if _, err := secondPath(top); err == nil {
		t.Error("a symlink was followed")
	}
}

func TestTimer(t *testing.T) {
	place := newStore(t)
	cfg := newConfig(t, place)
	cfg.Mount.Interval = time.Millisecond
	r := run(t, cfg)
	r.write(t, "f", "1")
	other := run(t, newConfig(t, place))
	for !other.has(t, "f") {
		_, err := other.client.Sync(t.Context(), session.Request{})
		must(t, err)
	}
	must(t, r.client.Pause(t.Context()))
	r.syncing <- struct{}{} // whatever was under way is over
	<-r.syncing
	was, err := r.client.Status(t.Context())
	must(t, err)
	_, err = other.client.Sync(t.Context(), session.Request{}) // takes many intervals
	must(t, err)
	now, err := r.client.Status(t.Context())
	must(t, err)
	if !now.Paused || now.LastSync != was.LastSync {
		t.Errorf("paused, it went on: %+v, %+v", was, now)
	}
	must(t, r.client.Resume(t.Context()))
	for now.LastSync.Equal(was.LastSync) {
		now, err = r.client.Status(t.Context())
		must(t, err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"sync","dry_run":true,"workers":-1}`))
	f.Add([]byte(`{"op":"unmount","no_sync":true}` + "\n{"))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		client, server := net.Pipe()
		go func() { client.Write(data); client.Close() }()
		if req, err := readRequest(server); err == nil {
			req.decodeSync()
		}
		server.Close()
	})
}

// FuzzMessage: what a mount tells is read or refused; what was read can be told again.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"event":{"kind":1,"path":"YQ==","old":{"name":"YQ==","kind":1,"key":"AAAA"},"error":{"text":"x","kind":"loss"},"plan":{"In":{}}}}`))
	f.Add([]byte(`{"answer":{"summary":{},"status":{},"error":{"text":"e","kind":"unreachable"},"paths":["YQ=="],"ended":true}}`))
	f.Add([]byte(`{"event":null,"answer":{"error":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m message
		if json.Unmarshal(data, &m) != nil {
			return
		}
		if m.Answer != nil {
			m.Answer.Error.decode()
		}
		if m.Event == nil {
			return
		}
		e := m.Event.decode()
		if again := encodeEvent(e).decode(); again.Path != e.Path || (again.Err == nil) != (e.Err == nil) || (again.New == nil) != (e.New == nil) {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}
