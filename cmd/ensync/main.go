// Command ensync keeps a directory tree the same on all of a person's machines, through an encrypted store.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"ensync/fusefs"
)

// eventsName is the name that a mount gives its process that tells watchers of changes.
const eventsName = "ensync-events"

func main() { os.Exit(run()) }

// run is main with an exit code, for tests that run it as a program.
func run() int {
	protect()
	boundMemory()
	ctx, stop := interruptible(os.Stderr)
	defer stop()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	if os.Args[0] == eventsName {
		if fusefs.Reenact(os.Stdin, os.Stdout) != nil {
			return exitFailed
		}
		return 0
	}
	if isMountHelper(os.Args) {
		return a.mountHelper(ctx, os.Args[1:])
	}
	var err error
	if isLoginShell(os.Args) {
		err = a.loginShell(ctx)
	} else {
		err = a.command().ExecuteContext(ctx)
	}
	if a.release != nil {
		a.release()
	}
	printError(os.Stderr, err)
	return exitCode(err)
}

// protect keeps secrets out of core dumps, and what we write out of other users' reach.
func protect() {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	unix.Umask(0o077)
	hideMemory()
}

// boundMemory makes the collector work harder before the heap grows beyond what a sync needs, whatever the size of trees
// and files: blocks being sealed, packs in flight and a few directories. $GOMEMLIMIT replaces the number.
func boundMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(192 << 20)
	}
}

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP ends. A second one kills. Under nohup, which
// ignores it, SIGHUP is none.
func interruptible(stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	signal.Notify(signals, ends...)
	go func() {
		select {
		case <-ctx.Done():
		case s := <-signals:
			signal.Stop(signals)
			signal.Reset(ends...)
			fmt.Fprintf(stderr, "\nensync: stopping because of a signal (%v); once more kills it\n", s)
			cancel(errInterrupted)
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}
