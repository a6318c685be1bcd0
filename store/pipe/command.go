package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

const (
	// endWait is how long a command may take to end by itself after its standard input ended. Then it is told to, and
	// killWait later it is killed. A server does not need to end in order: what it has acknowledged is durable, and what
	// it has not nobody relies on.
	endWait  = 150 * time.Millisecond
	killWait = time.Second
	// statusWait is how long we wait for the exit status of a command that closed its standard output.
	statusWait = time.Second
)

// Statuses of /bin/sh, which ssh passes on.
const (
	statusNotRunnable = 126
	statusNotFound    = 127
)

// Command returns a Dial that runs command by /bin/sh in the directory dir. It inherits standard error, and the
// terminal if there is one, so that ssh can ask what it has to ask. What it says where nobody may look, errors repeat.
func Command(command, dir string) Dial {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		cmd := exec.Command("/bin/sh", "-c", command)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		var said lastWords
		if !term.IsTerminal(int(os.Stderr.Fd())) {
			cmd.Stderr = io.MultiWriter(&said, os.Stderr)
			cmd.WaitDelay = statusWait // somebody whom it started may keep standard error open for ever
		}
		p, err := Start(cmd)
		if err != nil {
			return nil, err
		}
		p.said = &said
		return p, nil
	}
}

// lastWords keeps the end of what is written.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b[max(0, len(b)-maxText):]...)
	l.text = l.text[max(0, len(l.text)-maxText/4):]
	return len(b), nil
}

// String is what was said, for the end of a message.
func (l *lastWords) String() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := printable(strings.Join(strings.Fields(string(l.text)), " ")); text != "" {
		return fmt.Sprintf("; it said %q", text)
	}
	return ""
}

// Start runs a command, and connects with its standard input and output.
func Start(cmd *exec.Cmd) (*Process, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	cmd.Stdin, cmd.Stdout = childIn, childOut
	// Without a terminal, what the command starts can be ended with it. With one it must stay in the group that the
	// terminal talks with: ssh may ask for a password, and ^C ends all.
	group := !hasTerminal()
	if group {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	err = cmd.Start()
	childIn.Close()
	childOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, final{fmt.Errorf("start the command: %w", err)}
	}
	p := &Process{cmd: cmd, group: group, in: in, out: out, exited: make(chan struct{})}
	go func() {
		p.status = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Process is a command that was started, as a stream to its standard input and output.
type Process struct {
	cmd    *exec.Cmd
	group  bool // it leads a process group of its own
	in     *os.File
	out    *os.File
	exited chan struct{}
	status error // of Wait, when exited
	said   *lastWords
	once   sync.Once
}

// Read implements io.Reader. At the end it tells how the command ended.
func (p *Process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err == io.EOF {
		err = p.ended()
	}
	return n, err
}

// Write implements io.Writer.
func (p *Process) Write(b []byte) (int, error) { return p.in.Write(b) }

func (p *Process) ended() error {
	timer := time.NewTimer(statusWait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return io.EOF
	case <-p.exited:
	}
	var exit *exec.ExitError
	if !errors.As(p.status, &exit) {
		return io.EOF
	}
	switch exit.ExitCode() {
	case statusNotFound:
		return final{fmt.Errorf("the command ended with %w: a program was not found; install ensync on the other side, or name it with its path", exit)}
	case statusNotRunnable:
		return final{fmt.Errorf("the command ended with %w: a program can't be run", exit)}
	}
	return fmt.Errorf("the command ended with %w%s", exit, p.said)
}

// Close ends the standard input and output; it does not wait. A command that goes on all the same is ended.
func (p *Process) Close() error {
	p.once.Do(func() {
		p.in.Close()
		p.out.Close()
		go p.finish()
	})
	return nil
}

// finish sees to it that the command ends.
func (p *Process) finish() {
	for _, step := range []struct {
		wait time.Duration
		then syscall.Signal
	}{{endWait, syscall.SIGTERM}, {killWait, syscall.SIGKILL}} {
		timer := time.NewTimer(step.wait)
		select {
		case <-p.exited:
			timer.Stop()
			return
		case <-timer.C:
			p.signal(step.then)
		}
	}
}

func (p *Process) signal(s syscall.Signal) {
	if p.group {
		syscall.Kill(-p.cmd.Process.Pid, s)
		return
	}
	p.cmd.Process.Signal(s)
}

func hasTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return err == nil && tty.Close() == nil
}

// Wait waits for the end of the command.
func (p *Process) Wait() { <-p.exited }
