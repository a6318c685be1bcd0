package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/engine/ssh"
	"ensync/store/backend"
	"ensync/store/pipe"
)

// A place is where the store is, or will be.
type place interface {
	fmt.Stringer
	// look asks what has to be asked before the person confirms everything. It connects with nobody.
	look(ctx context.Context, s *setup) error
	// reach connects with another machine, looks there, and returns the server for the configuration.
	reach(ctx context.Context, s *setup) (string, error)
	// exists reports whether something that may hold a store is there.
	exists() bool
	// open opens it, for session.Options.
	open(config.Server) (backend.Backend, error)
	close() error
}

// parsePlace tells what REMOTE means.
func parsePlace(remote string, abs func(string) string) (place, error) {
	path, isPath := strings.CutPrefix(remote, "path:")
	command, isCommand := strings.CutPrefix(remote, "shell:")
	switch {
	case path == "" || isCommand && command == "":
		return nil, errors.New("set up: the place for the store is empty; name a directory")
	case isPath || !strings.Contains(remote, ":"):
		return directory(abs(path)), nil
	case isCommand:
		return &elsewhere{name: remote, reachBy: func(_ context.Context, s *setup) (string, pipe.Dial, error) {
			// Commands run in the configuration directory.
			return command, pipe.Command(command, s.dir), s.makeConfigDir()
		}}, nil
	case strings.HasPrefix(remote, "s3:"):
		server, err := config.ParseServer(remote, "/")
		if err != nil {
			return nil, fmt.Errorf("set up: store: %w", err)
		}
		return bucket{server}, nil
	}
	target, err := ssh.Parse(remote)
	if err != nil {
		return nil, fmt.Errorf("set up: store %w (for a directory of this machine with a colon in its name, write path:DIRECTORY)", err)
	}
	return overSSH(target), nil
}

// directory is a place on this machine.
type directory string

func (d directory) String() string { return string(d) }
func (d directory) close() error   { return nil }
func (d directory) exists() bool   { return !missing(string(d)) }

// isStore reports whether a store is there, or was begun.
func (d directory) isStore() bool {
	b, err := session.OpenBackend(d.server())
	return err == nil && b.Close() == nil
}

func (d directory) server() config.Server {
	return config.Server{Kind: config.ServerPath, Path: string(d)}
}

func (d directory) open(server config.Server) (backend.Backend, error) {
	return session.OpenBackend(server)
}

func (d directory) look(ctx context.Context, s *setup) error {
	if err := session.Apart(d.server(), s.settings.Path); err != nil {
		return fmt.Errorf("local tree %s: %w; choose another directory", s.settings.Path, err)
	}
	info, err := os.Stat(string(d))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if parent := filepath.Dir(string(d)); missing(parent) {
			return s.confirm(ctx, fmt.Sprintf("%s does not exist. Create it, too?", parent))
		}
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s: not a directory; name a directory", d)
	}
	return nil
}

func (d directory) reach(context.Context, *setup) (string, error) { return "path:" + string(d), nil }

// bucket is a place in an object store. Who may use it, and the region, is what the environment says.
type bucket struct{ config.Server }

func (b bucket) look(context.Context, *setup) error { return nil }
func (b bucket) exists() bool                       { return false }
func (b bucket) close() error                       { return nil }

// reach connects with nobody: reading the keys does. What the environment says of the server goes into the
// configuration, so that a sync from elsewhere, a timer's for instance, finds it.
func (b bucket) reach(_ context.Context, s *setup) (string, error) {
	s.settings.S3Region = cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	s.settings.S3Profile = os.Getenv("AWS_PROFILE")
	if ca := os.Getenv("AWS_CA_BUNDLE"); ca != "" && !b.S3.Insecure {
		var err error
		if s.settings.S3CA, err = filepath.Abs(ca); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func (b bucket) open(server config.Server) (backend.Backend, error) {
	return session.OpenBackend(server)
}

// elsewhere is a place behind a command. All of setup talks with it over one connection, so that ssh asks for a password
// only once.
type elsewhere struct {
	name    string
	reachBy func(context.Context, *setup) (command string, dial pipe.Dial, err error)
	used    bool // there is something at the place
	client  *pipe.Client
	ends    []func() error
}

func (e *elsewhere) String() string { return e.name }
func (e *elsewhere) exists() bool   { return e.used }

func (e *elsewhere) look(context.Context, *setup) error { return nil }

func (e *elsewhere) reach(ctx context.Context, s *setup) (string, error) {
	command, dial, err := e.reachBy(ctx, s)
	if err != nil {
		return "", err
	}
	e.client = pipe.New(dial, pipe.Options{Location: e.name})
	e.ends = append(e.ends, e.client.Close)
	hello, err := e.client.Hello(ctx)
	if err != nil {
		return "", err
	}
	s.talk.Say(fmt.Sprintf("Reached an ensync server, version %s.", hello.Program))
	return "shell:" + command, nil
}

// open lends the one connection.
func (e *elsewhere) open(config.Server) (backend.Backend, error) { return lent{e.client}, nil }

func (e *elsewhere) close() error {
	var err error
	for i := len(e.ends) - 1; i >= 0; i-- {
		err = errors.Join(err, e.ends[i]())
	}
	e.ends = nil
	return err
}

// lent is a client that its user can't close.
type lent struct{ *pipe.Client }

func (lent) Close() error { return nil }

// overSSH is a place on a machine that ssh reaches.
func overSSH(target ssh.Target) place {
	e := &elsewhere{name: target.String()}
	e.reachBy = func(ctx context.Context, s *setup) (string, pipe.Dial, error) {
		c, err := ssh.Connect(ctx, target)
		if err != nil {
			return "", nil, err
		}
		e.ends = append(e.ends, c.Close)
		found, err := c.Look(ctx)
		if err != nil {
			return "", nil, err
		}
		e.used = found.Served || found.Kind == ssh.Directory
		switch {
		case found.Served:
		case found.Kind == ssh.Other:
			return "", nil, fmt.Errorf("%s: not a directory; name a directory", target)
		case found.Kind == ssh.NoParent:
			if err := s.confirm(ctx, fmt.Sprintf("The directory above %s does not exist. Create it, too?", target)); err != nil {
				return "", nil, err
			}
		}
		return c.Serve(found)
	}
	return e
}
