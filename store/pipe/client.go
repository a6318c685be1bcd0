package pipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"ensync/store/backend"
)

// Options say how a client deals with its connection. Zero values mean what is said here.
type Options struct {
	Location string // for messages
	// HelloTimeout bounds connecting, in which ssh may ask for a password. 2 minutes.
	HelloTimeout time.Duration
	// PingAfter and PingTimeout: a server from which nothing came for so long is asked whether it lives, and given up if
	// it does not answer. 20 s each.
	PingAfter, PingTimeout time.Duration
	// Stall is how long requests may wait, on a connection that lives, without any of them getting on. A minute.
	Stall time.Duration
	// ProbeTimeout is how long a connection may take to prove that it survived a suspension of this machine. 5 s.
	ProbeTimeout time.Duration
	// Backoff is what connecting again waits after the first failure, at most; each further one doubles it. 500 ms.
	Backoff time.Duration
}

func (o Options) filled() *Options {
	o.HelloTimeout = orElse(o.HelloTimeout, 2*time.Minute)
	o.PingAfter = orElse(o.PingAfter, 20*time.Second)
	o.PingTimeout = orElse(o.PingTimeout, 20*time.Second)
	o.Stall = orElse(o.Stall, time.Minute)
	o.ProbeTimeout = orElse(o.ProbeTimeout, 5*time.Second)
	o.Backoff = orElse(o.Backoff, 500*time.Millisecond)
	if o.Location == "" {
		o.Location = "pipe"
	}
	return &o
}

// Client is a store behind a command. It implements backend.Backend.
type Client struct {
	opt    *Options
	dial   Dial
	hurry  chan struct{}   // has a value when resume was brought forward
	life   context.Context // ends with Close
	finish context.CancelFunc
	slots  chan struct{}
	upload *semaphore.Weighted
	tasks  sync.WaitGroup

	mu       sync.Mutex
	current  *conn
	attempt  *attempt
	failures int       // of connecting, in a row
	failed   time.Time // the last attempt
	resume   time.Time // no attempt before this
	awaited  bool      // a server has answered, and no call has given it up since
}

// New returns a client that connects by dial, when it is first asked something and whenever the connection was lost.
func New(dial Dial, opt Options) *Client {
	life, finish := context.WithCancel(context.Background())
	return &Client{opt: opt.filled(), dial: dial, hurry: make(chan struct{}, 1), life: life, finish: finish,
		slots: make(chan struct{}, inFlight), upload: semaphore.NewWeighted(uploading)}
}

// Location implements backend.Backend.
func (c *Client) Location() string { return c.opt.Location }

// Close implements backend.Backend. It ends the command.
func (c *Client) Close() error {
	c.finish()
	c.mu.Lock()
	cur := c.current
	c.current = nil
	c.mu.Unlock()
	if cur != nil {
		cur.end(errClosed)
	}
	c.tasks.Wait()
	return nil
}

var errClosed = errors.New("the connection was closed")

// Create makes an empty store at the server's place, or finds the one that is there.
func (c *Client) Create(ctx context.Context) error {
	return c.do(ctx, "create store", c.opt.Location, func(ctx context.Context, k *conn, _ bool) error {
		_, err := k.call(ctx, request{method: http.MethodPost, path: placePath}, 0)
		return err
	})
}

// Hello connects, and returns what the server says of itself.
func (c *Client) Hello(ctx context.Context) (h Hello, err error) {
	err = c.do(ctx, "reach", c.opt.Location, func(ctx context.Context, k *conn, _ bool) error {
		h = k.hello
		_, err := k.call(ctx, request{method: http.MethodGet, path: placePath}, 0)
		return err
	})
	return h, err
}

// Probe implements backend.Prober. What the server takes of an upload, it says.
func (c *Client) Probe(ctx context.Context) error {
	c.hasten()
	k, err := c.connection(ctx)
	if err == nil {
		err = backend.Moving(ctx, k.heard.Load, func(ctx context.Context) error {
			_, err := k.call(ctx, request{method: http.MethodGet, path: placePath}, 0)
			return err
		})
	}
	if err == nil || errors.As(err, new(*refusal)) && !errors.Is(err, backend.ErrUnavailable) {
		return nil
	}
	return fmt.Errorf("reach %s: %w: %w", c.opt.Location, backend.ErrUnavailable, err)
}

// Get implements backend.Backend.
func (c *Client) Get(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	if err := backend.CheckName(name); err != nil {
		return nil, err
	}
	if err := backend.CheckRange(name, offset, length); err != nil {
		return nil, err
	}
	err = c.do(ctx, "read", name, func(ctx context.Context, k *conn, _ bool) error {
		a, err := k.call(ctx, getRequest(name, offset, length), MaxObject)
		if err == nil && length >= 0 && int64(len(a.data)) != length {
			err = fmt.Errorf("%w: %d bytes instead of %d", errCut, len(a.data), length)
		}
		data = a.data
		return err
	})
	return whole(data, err)
}

func getRequest(name string, offset, length int64) request {
	query := url.Values{"offset": {strconv.FormatInt(offset, 10)}, "length": {strconv.FormatInt(length, 10)}}
	return request{method: http.MethodGet, path: objectPath + name, query: query.Encode()}
}

// Put implements backend.Backend.
func (c *Client) Put(ctx context.Context, name string, data []byte) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	if len(data) > MaxObject {
		return tooBig(name, len(data), MaxObject)
	}
	return c.do(ctx, "create", name, func(ctx context.Context, k *conn, again bool) error {
		_, err := c.send(ctx, k, request{method: http.MethodPut, path: objectPath + name, body: data})
		if !again || !errors.Is(err, backend.ErrExist) {
			return err
		}
		// The answer to an attempt before this one was lost: what is there may be ours.
		a, gerr := k.call(ctx, getRequest(name, 0, -1), MaxObject)
		switch {
		case gerr != nil:
			return gerr
		case bytes.Equal(a.data, data):
			return nil
		}
		return err
	})
}

// Renew implements backend.Renewer; errors.ErrUnsupported if the server does not know it.
func (c *Client) Renew(ctx context.Context, name string, data []byte) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	err := c.do(ctx, "renew", name, func(ctx context.Context, k *conn, _ bool) error {
		_, err := c.send(ctx, k, request{method: http.MethodPatch, path: objectPath + name, body: data})
		return err
	})
	if errors.Is(err, backend.ErrInvalid) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

// Load implements backend.Backend.
func (c *Client) Load(ctx context.Context, name string) (data []byte, version backend.Version, err error) {
	if err := backend.CheckName(name); err != nil {
		return nil, "", err
	}
	err = c.do(ctx, "load", name, func(ctx context.Context, k *conn, _ bool) (err error) {
		data, version, err = k.load(ctx, name)
		return err
	})
	data, err = whole(data, err)
	return data, version, err
}

func (k *conn) load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	a, err := k.call(ctx, request{method: http.MethodGet, path: statePath + name}, maxState)
	if err == nil && a.version == "" {
		err = fmt.Errorf("%w: no version", errCut)
	}
	if err != nil {
		return nil, "", err
	}
	return a.data, a.version, nil
}

// Swap implements backend.Backend. After a lost answer it reads back: content that equals data is taken for this call's.
func (c *Client) Swap(ctx context.Context, name string, old backend.Version, data []byte) (version backend.Version, err error) {
	if err := backend.CheckName(name); err != nil {
		return "", err
	}
	if len(data) > maxState {
		return "", tooBig(name, len(data), maxState)
	}
	if old != "" && !validVersion(string(old)) {
		return "", fmt.Errorf("replace %s: %w", name, backend.ErrChanged) // no server has told of such a version
	}
	err = c.do(ctx, "replace", name, func(ctx context.Context, k *conn, again bool) error {
		if again {
			done, v, err := k.swapped(ctx, name, old, data)
			if version = v; err != nil || done {
				return err
			}
		}
		a, err := c.send(ctx, k, request{method: http.MethodPut, path: statePath + name, version: old, body: data})
		if again && errors.Is(err, backend.ErrChanged) {
			// A lost attempt may have been done only now.
			var done bool
			if done, version, err = k.swapped(ctx, name, old, data); err == nil && !done {
				err = errUnclear
			}
			return err
		}
		if err == nil && a.version == "" {
			err = fmt.Errorf("%w: no version", errCut)
		}
		version = a.version
		return err
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// errUnclear says that a Swap may have been done and overtaken, or not be done at all.
var errUnclear = fmt.Errorf("%w: the connection was lost, and someone else changed it meanwhile: nobody can tell whether this change was made",
	backend.ErrUnavailable)

// swapped finds out what became of a Swap whose answer was lost: done, or to be sent again, or unclear.
func (k *conn) swapped(ctx context.Context, name string, old backend.Version, data []byte) (done bool, v backend.Version, err error) {
	now, v, err := k.load(ctx, name)
	switch {
	case errors.Is(err, backend.ErrNotExist):
		if old != "" {
			return false, "", errUnclear
		}
		return false, "", nil
	case err != nil:
		return false, "", err
	case v == old:
		return false, "", nil
	case bytes.Equal(now, data):
		return true, v, nil
	}
	return false, "", errUnclear
}

// List implements backend.Backend. After a lost connection it goes on where it was.
func (c *Client) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	if err := backend.CheckPrefix(prefix); err != nil {
		return err
	}
	after := ""
	return c.do(ctx, "list", prefix, func(ctx context.Context, k *conn, _ bool) error {
		query := url.Values{}
		if after != "" {
			query.Set("after", after)
		}
		resp, err := k.open(ctx, request{method: http.MethodGet, path: listPath + prefix, query: query.Encode()})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return readList(resp.Body, prefix, after, func(i backend.Info) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			after = i.Name
			return fn(i)
		})
	})
}

// Delete implements backend.Backend.
//
// RACE: a Delete whose answer was lost is sent again. If a mutable object was made anew between the two, the new one is
// deleted, too. Names of immutable objects are never used again.
func (c *Client) Delete(ctx context.Context, name string) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	return c.do(ctx, "delete", name, func(ctx context.Context, k *conn, _ bool) error {
		_, err := k.call(ctx, request{method: http.MethodDelete, path: objectPath + name}, 0)
		return err
	})
}

// send makes a request with a body, when as much may be in flight.
func (c *Client) send(ctx context.Context, k *conn, r request) (answer, error) {
	size := int64(len(r.body))
	if err := c.upload.Acquire(ctx, size); err != nil {
		return answer{}, err
	}
	defer c.upload.Release(size)
	return k.call(ctx, r, 0)
}

func tooBig(name string, size, limit int) error {
	return fmt.Errorf("write %s: %w: %d bytes; at most %d are allowed", name, backend.ErrInvalid, size, limit)
}

// whole returns data without nil for what is empty, and nothing with an error.
func whole(data []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}
