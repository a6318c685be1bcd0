package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"

	"ensync/engine"
	"ensync/engine/session"
)

// Client asks a running mount.
type Client struct{ socket string }

// Dial finds the running mount of a configuration directory; ErrNotRunning if there is none.
func Dial(ctx context.Context, configDir string) (*Client, error) {
	c := &Client{socket: socketPath(configDir)}
	conn, err := c.connect(ctx)
	if errors.Is(err, ErrNotRunning) {
		second, pathErr := secondPath(configDir)
		if pathErr != nil {
			return nil, fmt.Errorf("%w (%w)", err, pathErr)
		}
		c.socket = second
		conn, err = c.connect(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, conn.Close()
}

func (c *Client) connect(ctx context.Context) (conn net.Conn, err error) {
	err = atSocket(c.socket, func(short string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	switch {
	case err == nil || ctx.Err() != nil:
		return conn, err
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("ask the mount: %w; only who mounted it, and root, may do that", err)
	}
	return nil, ErrNotRunning
}

// ask sends a request and returns the answer. When ctx ends, the service calls the request off.
func (c *Client) ask(ctx context.Context, req request, report func(engine.Event)) (answer, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return answer{}, err
	}
	in := json.NewDecoder(conn)
	for {
		var m message
		err := in.Decode(&m)
		switch {
		case ctx.Err() != nil:
			return answer{}, ctx.Err()
		case err != nil:
			return answer{}, fmt.Errorf("the mount ended before it answered: %w; look at it with ensync status", err)
		case m.Event != nil:
			if report != nil {
				report(m.Event.decode())
			}
		case m.Answer != nil && m.Answer.Ended:
			io.Copy(io.Discard, conn) // until the service is closed, or ctx ends
			return *m.Answer, m.Answer.Error.decode()
		case m.Answer != nil:
			return *m.Answer, m.Answer.Error.decode()
		}
	}
}

// Sync lets the mount sync now, and reports what it tells.
func (c *Client) Sync(ctx context.Context, req session.Request) (engine.Summary, error) {
	a, err := c.ask(ctx, encodeSync(req), req.Report)
	return a.Summary, err
}

// Status asks how things are.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return c.status(ctx, request{Op: "status"})
}

// Brief is Status without what it takes a look into the tree to tell: Pending, Failed and Content are empty.
func (c *Client) Brief(ctx context.Context) (Status, error) {
	return c.status(ctx, request{Op: "status", Brief: true})
}

func (c *Client) status(ctx context.Context, req request) (Status, error) {
	a, err := c.ask(ctx, req, nil)
	if err == nil && a.Status == nil {
		err = errors.New("the mount gave no status")
	}
	if err != nil {
		return Status{}, err
	}
	return *a.Status, nil
}

// Pause stops the timer until Resume; requests are still served.
func (c *Client) Pause(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: "pause"}, nil)
	return err
}

// Resume starts the timer again.
func (c *Client) Resume(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: "resume"}, nil)
	return err
}

// Yield lets a mount that is unmounted already, and syncs once more, leave that to the next one. It returns when its process
// has given everything back; ErrMounted if it is still mounted.
func (c *Client) Yield(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: "yield"}, nil)
	return err
}

// Unmount lets the mount sync, unmount and end, and returns when its process has given everything back. An error that is
// ErrMounted says that it goes on: the tree is in use, or ctx ended. After any other error it has ended, and what could
// not be synced stays in its state; what that is, the second result tells.
func (c *Client) Unmount(ctx context.Context, noSync bool, report func(engine.Event)) (engine.Summary, Pending, error) {
	a, err := c.ask(ctx, request{Op: "unmount", NoSync: noSync}, report)
	if a.Status == nil {
		return a.Summary, Pending{}, err
	}
	return a.Summary, a.Status.Pending, err
}
