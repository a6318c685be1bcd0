package pipe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Dial connects with a server: what is written to the stream the server reads, and the other way round. Close of the
// stream must return at once, and end reads and writes that wait; if there is something to wait for after it, the
// stream has a method Wait.
type Dial func(ctx context.Context) (io.ReadWriteCloser, error)

var (
	// errStalled is the cause of a connection's end whose server lives but does not answer.
	errStalled = errors.New("the server lives, but does not answer")
	errAsleep  = errors.New("the connection did not survive a suspension")
)

// final is an error that connecting again would meet again.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// conn is one connection with a server.
type conn struct {
	http   *http.ClientConn
	stream *stream
	hello  Hello
	opt    *Options

	waiting atomic.Int32 // requests in flight
	moved   atomic.Int64 // when a request last got on: nanoseconds since born
	heard   atomic.Int64 // how often one did
	born    time.Time

	mu    sync.Mutex
	awake time.Time // when the connection was used last, by the clock that stands still while the machine sleeps
	wall  time.Time // the same by the wall clock
	cause error     // why we ended it; nil: we did not
	ended chan struct{}
}

// connect makes a connection. It does not outlive ctx, which is the client's, by more than a moment.
func connect(ctx context.Context, dial Dial, opt *Options) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, opt.HelloTimeout,
		fmt.Errorf("%w within %v", errNoHello, opt.HelloTimeout))
	defer cancel()
	raw, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	c := &conn{opt: opt, born: time.Now(), awake: time.Now(), wall: time.Now().Round(0), ended: make(chan struct{})}
	r := bufio.NewReaderSize(raw, 64<<10)
	c.stream = newStream(&watched{r: r, c: c}, raw, raw.Close)
	if c.hello, err = readHello(r); err == nil {
		c.http, err = clientHTTP2(ctx, c.stream, opt)
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	go c.watch()
	return c, nil
}

func clientHTTP2(ctx context.Context, s *stream, opt *Options) (*http.ClientConn, error) {
	t := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return s, nil },
		Protocols:              onlyHTTP2(),
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaders,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerConnection: connWindow,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReadFrameSize:              frameSize,
			SendPingTimeout:               opt.PingAfter,
			PingTimeout:                   opt.PingTimeout,
		},
	}
	return t.NewClientConn(ctx, "http", "ensync:80")
}

// watched lets a connection see what it receives.
type watched struct {
	r      io.Reader
	c      *conn
	frames frames
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if w.frames.progress(b[:n]) {
		w.c.heard.Add(1)
		w.c.touch()
	}
	return n, err
}

func (c *conn) touch() { c.moved.Store(int64(time.Since(c.born))) }

// watch ends a connection on which requests wait and none gets on.
func (c *conn) watch() {
	tick := time.NewTicker(max(c.opt.Stall/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-c.stream.closed:
			return
		case <-tick.C:
			if c.waiting.Load() > 0 && time.Since(c.born)-time.Duration(c.moved.Load()) > c.opt.Stall {
				c.end(fmt.Errorf("%w for %v", errStalled, c.opt.Stall))
				return
			}
		}
	}
}

// end closes the connection. The first cause is kept. It does not wait for the command's end.
func (c *conn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ended:
	default:
		c.cause = cause
		close(c.ended)
		c.http.Close()
		c.stream.Close()
	}
}

// dead reports whether the connection can't take requests any more.
func (c *conn) dead() bool {
	select {
	case <-c.ended:
		return true
	case <-c.stream.closed:
		return true
	default:
		return c.http.Err() != nil
	}
}

// why says why requests on this connection failed with err.
func (c *conn) why(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return err
}

// roundTrip sends one request. The answer's body must be closed.
func (c *conn) roundTrip(req *http.Request) (*http.Response, error) {
	if err := c.wake(req.Context()); err != nil {
		return nil, err
	}
	if c.waiting.Add(1) == 1 {
		c.touch()
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		c.waiting.Add(-1)
		return nil, err
	}
	resp.Body = &answerBody{resp.Body, sync.OnceFunc(func() { c.waiting.Add(-1) })}
	return resp, nil
}

type answerBody struct {
	io.ReadCloser
	done func()
}

func (b *answerBody) Close() error {
	b.done()
	return b.ReadCloser.Close()
}

// napTime is how much longer than the machine was awake a pause must be for a suspension. The connection may then be
// one of which only we know, and a short probe says so sooner than the pings would.
const napTime = 5 * time.Second

// wake probes the connection if the machine slept since it was used last.
func (c *conn) wake(ctx context.Context) error {
	c.mu.Lock()
	now := time.Now()
	slept := suspended(now.Round(0).Sub(c.wall), now.Sub(c.awake))
	c.awake, c.wall = now, now.Round(0)
	c.mu.Unlock()
	if !slept {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.opt.ProbeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ensync"+placePath, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.RoundTrip(req)
	switch {
	case err == nil:
		return resp.Body.Close()
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	c.end(errAsleep)
	return errAsleep
}

// suspended compares how much time passed by the wall clock and by the clock that stands still while the machine sleeps.
func suspended(wall, running time.Duration) bool { return wall-running > napTime }
