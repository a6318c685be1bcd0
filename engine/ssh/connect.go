package ssh

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"ensync/store/pipe"
)

// Kind is what lies at a target's path.
type Kind int

// The kinds.
const (
	Directory Kind = iota
	Absent         // nothing, in a directory that exists
	NoParent       // nothing, and the directory above it does not exist either
	Other          // something that is no directory
)

// Found is what a look at the other side found.
type Found struct {
	// Served says that ensync itself is the login shell there, or the command that ssh's configuration there forces: it
	// serves one place, whatever it is asked.
	Served  bool
	Kind    Kind
	Program string // how to start ensync there
}

const (
	// answerWait bounds how long the other side may take for an answer; the first one, in which ssh may have to ask for
	// a password, and the person has to find it.
	answerWait = 2 * time.Minute
	// maxAnswer bounds an answer, with what a talkative login shell says before it.
	maxAnswer = 64 << 10
)

// Connection is an ssh that runs.
type Connection struct {
	target  Target
	process *pipe.Process
	r       *bufio.Reader
	served  bool
}

// Connect starts ssh, and finds out who answers: a shell, or a server.
func Connect(ctx context.Context, t Target) (*Connection, error) {
	// A server ignores what it is asked to run, and says its hello. A shell answers this, and is ready for more.
	cmd := exec.Command("ssh", t.args(`printf '0\0' && exec sh`)...)
	cmd.Stderr = os.Stderr
	process, err := pipe.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", t, err)
	}
	c := &Connection{target: t, process: process, r: bufio.NewReaderSize(process, maxAnswer)}
	if err := c.bounded(ctx, c.greet); err != nil {
		return nil, errors.Join(fmt.Errorf("reach %s: %w", t, err), c.Close())
	}
	return c, nil
}

// bounded runs fn, which reads from the other side, no longer than answerWait and ctx allow.
func (c *Connection) bounded(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWait, fmt.Errorf("no answer within %v", answerWait))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.process.Close() })
	err := fn()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

// greet reads the first answer without consuming a server's hello.
func (c *Connection) greet() error {
	for size := 1; ; size++ {
		seen, err := c.r.Peek(size)
		if err != nil {
			return c.unanswered(seen, err)
		}
		switch seen[size-1] {
		case '\n':
			last := seen[bytes.LastIndexByte(seen[:size-1], '\n')+1 : size-1]
			if _, ok := pipe.ParseHello(string(last)); ok {
				c.served = true
				return nil
			}
		case 0:
			if !bytes.HasSuffix(seen, []byte("0\x00")) {
				return c.unanswered(seen, errors.New("what answers is neither a POSIX shell nor ensync"))
			}
			c.r.Discard(size)
			return nil
		}
	}
}

func (c *Connection) unanswered(seen []byte, err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("ssh ended without an answer")
	}
	if text := strings.TrimSpace(string(seen)); text != "" {
		err = fmt.Errorf("%w; it said %.200q", err, text)
	}
	return fmt.Errorf("%w; what ssh itself says stands above; see whether this works: ssh %s true", err, strings.Join(c.target.args("")[1:], " "))
}

// look is what the shell on the other side does, with the path in $p. It answers with what the path is and how to start
// ensync, both ended by NUL. Only a program that has this very command is ours.
const look = `if test -d "$p"; then printf 'directory\0'
elif test -e "$p" || test -L "$p"; then printf 'other\0'
elif test -d "$(dirname -- "$p")"; then printf 'absent\0'
else printf 'noparent\0'; fi
for e in ensync .local/bin/ensync go/bin/ensync .cargo/bin/ensync /usr/local/bin/ensync ./ensync; do
command -v "$e" >/dev/null 2>&1 && "$e" server --help 2>/dev/null </dev/null | grep -q -e --append-only && break
e=; done
printf '%s\0' "$e"
`

// Look looks at the target's path, and for the program. It changes nothing there.
func (c *Connection) Look(ctx context.Context) (Found, error) {
	if c.served {
		if c.target.Path != "" {
			return Found{}, fmt.Errorf("%s: the other side serves one store, whatever path is asked for; leave the path out (%s:)",
				c.target, c.target.Host)
		}
		return Found{Served: true}, nil
	}
	if c.target.Path == "" {
		return Found{}, fmt.Errorf("%s: no path; name the directory for the store: %s:PATH", c.target, c.target.Host)
	}
	var f Found
	err := c.bounded(ctx, func() error {
		path := c.target.server("")[2]
		if _, err := fmt.Fprintf(c.process, "p=%s\n%s", Quote(path), look); err != nil {
			return err
		}
		kind, err := c.answer()
		if err != nil {
			return err
		}
		if f.Kind, err = parseKind(kind); err != nil {
			return err
		}
		f.Program, err = c.answer()
		return err
	})
	switch {
	case err != nil:
		return Found{}, fmt.Errorf("look at %s: %w", c.target, err)
	case f.Program == "":
		return Found{}, fmt.Errorf("%s: ensync was not found there (or only another program of that name) in PATH, ~/.local/bin, ~/go/bin, /usr/local/bin or its home; "+
			"put the program there (for the same kind of machine, by: scp \"$(command -v ensync)\" %s:) and try again", c.target, c.target.Host)
	}
	return f, nil
}

// answer reads up to the next NUL.
func (c *Connection) answer() (string, error) {
	text, err := c.r.ReadSlice(0)
	if err != nil {
		return "", fmt.Errorf("no sensible answer: %w", err)
	}
	return string(text[:len(text)-1]), nil
}

func parseKind(word string) (Kind, error) {
	for i, w := range []string{"directory", "absent", "noparent", "other"} {
		if w == word {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("no sensible answer: %.80q", word)
}

// Serve turns the connection into one with a server for what was found. It returns the command that reaches that server
// again, and how to dial it: this connection first, then the command.
func (c *Connection) Serve(f Found) (command string, dial pipe.Dial, err error) {
	command = c.target.Command(f.Program)
	if !f.Served {
		line := "exec"
		for _, arg := range c.target.server(f.Program) {
			line += " " + Quote(arg)
		}
		if _, err := fmt.Fprintln(c.process, line); err != nil {
			return "", nil, fmt.Errorf("start the server for %s: %w", c.target, err)
		}
	}
	again := pipe.Command(command, "")
	return command, func(ctx context.Context) (io.ReadWriteCloser, error) {
		if first := c; first != nil {
			c = nil
			return &stream{first.process, first.r}, nil
		}
		return again(ctx)
	}, nil
}

// stream is the process with what was read from it already.
type stream struct {
	*pipe.Process
	r io.Reader
}

func (s *stream) Read(b []byte) (int, error) { return s.r.Read(b) }

// Close ends ssh.
func (c *Connection) Close() error { return c.process.Close() }
