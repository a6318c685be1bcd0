package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"ensync/store/backend"
)

// Access is what a server lets its client do.
type Access int

// The kinds of access.
const (
	ReadWrite  Access = iota
	AppendOnly        // no Delete: what is there stays, but for the mutable objects, which can be replaced
	ReadOnly          // nothing but reading
)

// A Place is where a server's store lies.
type Place interface {
	// Open opens the store; backend.ErrNoPlace if there is none.
	Open() (backend.Backend, error)
	// Create makes an empty store, or finds the one that is there.
	Create() error
}

// ServerOptions say how a server serves. The zero value gives full access.
type ServerOptions struct {
	Access  Access
	Program string // this program's version, for the client to tell
	// PingAfter and PingTimeout: a client from which nothing came for so long is asked whether it lives, and given up if
	// it does not answer. 0 means a minute each.
	PingAfter, PingTimeout time.Duration
}

// closeWait bounds how long a server that has lost its client waits for requests in its backend.
const closeWait = 2 * time.Second

// Serve serves one client over in and out, until it leaves (in ends) or ctx ends. It returns nil when the client left.
// What is asked for while the client leaves is not done any more, or done wholly.
func Serve(ctx context.Context, in io.Reader, out io.Writer, place Place, opt ServerOptions) error {
	if _, err := io.WriteString(out, hello(opt.Program).line()); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	closeBoth := func() error {
		var err error
		for _, s := range []any{in, out} {
			if c, ok := s.(io.Closer); ok {
				err = errors.Join(err, c.Close())
			}
		}
		return err
	}
	conn := newStream(in, out, closeBoth)
	s := &server{place: place, access: opt.Access, memory: semaphore.NewWeighted(serverMemory)}
	h := &http.Server{
		Handler:        s,
		Protocols:      onlyHTTP2(),
		HTTP2:          serverHTTP2(opt),
		MaxHeaderBytes: maxHeaders,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       quiet,
	}
	served := make(chan struct{})
	go func() {
		h.Serve(&oneConn{conn: conn}) // until conn is closed
		close(served)
	}()
	select {
	case <-served:
	case <-ctx.Done():
		// A read of standard input that waits in the kernel cannot be ended; it ends with the process.
	}
	h.Close()
	return errors.Join(ctx.Err(), s.close())
}

// quiet is where net/http complains of the other side: whoever does something wrong is told.
var quiet = log.New(io.Discard, "", 0)

func onlyHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

func serverHTTP2(opt ServerOptions) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          2 * inFlight,
		MaxReceiveBufferPerConnection: connWindow,
		MaxReceiveBufferPerStream:     streamWindow,
		MaxReadFrameSize:              frameSize,
		SendPingTimeout:               orElse(opt.PingAfter, time.Minute),
		PingTimeout:                   orElse(opt.PingTimeout, time.Minute),
	}
}

func orElse(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// oneConn is a listener that has one connection, and ends with it.
type oneConn struct {
	conn  *stream
	given bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.given {
		l.given = true
		return l.conn, nil
	}
	<-l.conn.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return pipeAddr{} }

// server answers the requests of one client.
type server struct {
	place    Place
	access   Access
	memory   *semaphore.Weighted
	requests sync.WaitGroup

	mu     sync.Mutex
	b      backend.Backend // nil until it could be opened
	closed bool            // no more requests
}

// enter counts a request in, unless the server has begun to close.
func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.requests.Add(1)
	}
	return !s.closed
}

func (s *server) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.requests.Wait(); close(done) }()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C: // the process ends with them
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b == nil {
		return nil
	}
	return s.b.Close()
}

func (s *server) backend() (backend.Backend, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b == nil {
		b, err := s.place.Open()
		if err != nil {
			return nil, err
		}
		s.b = b
	}
	return s.b, nil
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		return // the client has left
	}
	defer s.requests.Done()
	if err := s.answer(w, r); err != nil {
		fail(w, err)
	}
}

func fail(w http.ResponseWriter, err error) {
	word, status := kindOf(err)
	w.Header().Set(errorHeader, word)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, printable(err.Error()))
}

var errUnknownRequest = fmt.Errorf("%w: this server does not know it; a newer version of ensync may", backend.ErrInvalid)

func (s *server) answer(w http.ResponseWriter, r *http.Request) error {
	if err := s.allowed(r); err != nil {
		return err
	}
	if r.URL.Path == placePath {
		if r.Method == http.MethodPost {
			return s.place.Create()
		}
		return nil
	}
	b, err := s.backend()
	if err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(r.URL.Path, objectPath); ok {
		return s.object(w, r, b, name)
	}
	if name, ok := strings.CutPrefix(r.URL.Path, statePath); ok {
		return s.state(w, r, b, name)
	}
	if prefix, ok := strings.CutPrefix(r.URL.Path, listPath); ok && r.Method == http.MethodGet {
		return list(w, r, b, prefix)
	}
	return errUnknownRequest
}

// allowed refuses what this server's access does not cover.
func (s *server) allowed(r *http.Request) error {
	switch {
	case r.Method == http.MethodGet:
		return nil
	case s.access == ReadOnly:
		return fmt.Errorf("%w: this server is read-only", backend.ErrDenied)
	case s.access == AppendOnly && r.Method == http.MethodDelete:
		return fmt.Errorf("%w: this server is append-only", backend.ErrDenied)
	}
	return nil
}

func (s *server) object(w http.ResponseWriter, r *http.Request, b backend.Backend, name string) error {
	switch r.Method {
	case http.MethodGet:
		return s.get(w, r, b, name)
	case http.MethodPut:
		data, done, err := s.body(r, name, MaxObject)
		if err != nil {
			return err
		}
		defer done()
		return b.Put(r.Context(), name, data)
	case http.MethodPatch:
		renewer, ok := b.(backend.Renewer)
		if !ok {
			return errUnknownRequest
		}
		data, done, err := s.body(r, name, MaxObject)
		if err != nil {
			return err
		}
		defer done()
		return renewer.Renew(r.Context(), name, data)
	case http.MethodDelete:
		return b.Delete(r.Context(), name)
	}
	return errUnknownRequest
}

func (s *server) get(w http.ResponseWriter, r *http.Request, b backend.Backend, name string) error {
	offset, err1 := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
	length, err2 := strconv.ParseInt(r.URL.Query().Get("length"), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("read %s: %w: %w", name, backend.ErrInvalid, err)
	}
	// How much comes is known only when it is there: what is more than that is given back at once.
	room := int64(MaxObject)
	if 0 <= length && length < room {
		room = length
	}
	if err := s.memory.Acquire(r.Context(), room); err != nil {
		return err
	}
	data, err := b.Get(r.Context(), name, offset, length)
	keep := min(room, int64(len(data)))
	s.memory.Release(room - keep)
	defer s.memory.Release(keep)
	if err != nil {
		return err
	}
	return write(w, data)
}

// state answers Load and Swap.
func (s *server) state(w http.ResponseWriter, r *http.Request, b backend.Backend, name string) error {
	switch r.Method {
	case http.MethodGet:
		if err := s.memory.Acquire(r.Context(), maxState); err != nil {
			return err
		}
		defer s.memory.Release(maxState)
		data, version, err := b.Load(r.Context(), name)
		if err != nil {
			return err
		}
		if err := setVersion(w, version); err != nil {
			return err
		}
		return write(w, data)
	case http.MethodPut:
		old := r.Header.Get(versionHeader)
		if old != "" && !validVersion(old) {
			return fmt.Errorf("replace %s: %w: version %.80q", name, backend.ErrInvalid, old)
		}
		data, done, err := s.body(r, name, maxState)
		if err != nil {
			return err
		}
		defer done()
		version, err := b.Swap(r.Context(), name, backend.Version(old), data)
		if err != nil {
			return err
		}
		return setVersion(w, version)
	}
	return errUnknownRequest
}

func setVersion(w http.ResponseWriter, v backend.Version) error {
	if !validVersion(string(v)) {
		return fmt.Errorf("%w: version %.80q can't be told", backend.ErrUnavailable, v)
	}
	w.Header().Set(versionHeader, string(v))
	return nil
}

// body reads a request's content, when there is memory for it.
func (s *server) body(r *http.Request, name string, limit int64) (data []byte, done func(), err error) {
	size := r.ContentLength
	if size < 0 || size > limit {
		return nil, nil, fmt.Errorf("write %s: %w: %d bytes; at most %d are allowed", name, backend.ErrInvalid, size, limit)
	}
	if err := s.memory.Acquire(r.Context(), size); err != nil {
		return nil, nil, err
	}
	data = make([]byte, size)
	if _, err := io.ReadFull(r.Body, data); err != nil {
		s.memory.Release(size)
		return nil, nil, fmt.Errorf("write %s: %w: %v", name, backend.ErrUnavailable, err)
	}
	return data, func() { s.memory.Release(size) }, nil
}

func write(w http.ResponseWriter, data []byte) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data) // a client that does not get it knows by the length
	return nil
}

func list(w http.ResponseWriter, r *http.Request, b backend.Backend, prefix string) error {
	after := r.URL.Query().Get("after")
	var line []byte
	begun := false
	err := b.List(r.Context(), prefix, func(i backend.Info) error {
		if i.Name <= after {
			return nil
		}
		begun = true
		line = appendInfo(line[:0], i)
		_, err := w.Write(line)
		return err
	})
	if err != nil && begun {
		word, _ := kindOf(err)
		fmt.Fprintf(w, "%s%s %s\n", listFailed, word, printable(err.Error()))
		return nil
	}
	if err == nil {
		fmt.Fprintln(w, listEnd)
	}
	return err
}
