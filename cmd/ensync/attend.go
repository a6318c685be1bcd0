package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"ensync/engine/config"
	"ensync/engine/service"
	"ensync/engine/session"
	"ensync/engine/worktree"
)

// logName is the file, beside the state, to which a mount in the background writes what happens to it. Like every log it
// holds no name of a file.
const logName = "mount.log"

// logMost is how long a log may be when a mount starts; one that is longer makes room, and the one before it goes.
const logMost = 1 << 20

func openLog(cfg *config.Config) (*os.File, error) {
	path := filepath.Join(cfg.PrivateDir(), logName)
	if info, err := os.Stat(path); err == nil && info.Size() > logMost {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// attendant watches over a mount that runs, and tells those who want to know: a log, or the journal of systemd.
type attendant struct {
	out   io.Writer
	stamp bool // with the time; a service manager has its own

	mu    sync.Mutex
	last  string
	at    time.Time
	early []string // what whoever starts the mount in the background is to hear
	ready bool
}

// notice is something that a user should know although nothing failed.
func (t *attendant) notice(text string) {
	t.mu.Lock()
	if t.stamp && !t.ready {
		t.early = append(t.early, text)
	}
	t.mu.Unlock()
	t.say("note: %s", text)
}

// started returns the notices so far, once the tree can be used.
func (t *attendant) started() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready = true
	return t.early
}

// sayAgain is how long the same thing is not said twice: programs read file after file, and each read may fail.
const sayAgain = time.Minute

func (t *attendant) say(format string, args ...any) {
	text, now := fmt.Sprintf(format, args...), time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if text == t.last && now.Sub(t.at) < sayAgain {
		return
	}
	t.last, t.at = text, now
	prefix := "ensync: "
	if t.stamp {
		prefix = fmt.Sprintf("%s [%d] ", now.Format(time.RFC3339), os.Getpid())
	}
	fmt.Fprintln(t.out, prefix+text)
}

// attendTick is how often an attendant looks.
const attendTick = time.Second

// attend tells when the store goes out of reach and comes back, and tells the service manager, if it wants to hear, that
// the mount lives. It returns when ctx ends.
func (t *attendant) attend(ctx context.Context, st *session.Store, svc *service.Service) {
	tick := time.NewTicker(attendTick)
	defer tick.Stop()
	dog := watchdog()
	var away time.Time
	for {
		if since, why := st.Offline(); !since.Equal(away) {
			away = since
			state := "the store is in reach again"
			if !since.IsZero() {
				state = fmt.Sprintf("the store is out of reach: %v", why)
			}
			t.say("%s", state)
			notify("STATUS=" + state)
		}
		if dog > 0 && alive(ctx, svc) == nil {
			notify("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if dog > 2*attendTick {
			tick.Reset(dog / 2)
		}
	}
}

// alive returns nil if the tree answers. While it does not, it does not return either, and the service manager hears nothing.
func alive(ctx context.Context, svc *service.Service) error {
	_, err := svc.Tree().GetAttr(ctx, worktree.RootIno)
	return err
}

// watchdog is within which time systemd wants to hear that we live; 0: it does not.
func watchdog() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}
