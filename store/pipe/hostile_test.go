package pipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/memory"
)

// ends connects two ends in memory.
func ends() (client, server net.Conn) { return net.Pipe() }

// against returns a client whose server says hello and then answers by h.
func against(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	dial := func(context.Context) (io.ReadWriteCloser, error) {
		client, server := ends()
		go func() {
			io.WriteString(server, hello("hostile").line())
			conn := newStream(server, server, server.Close)
			s := &http.Server{Handler: h, Protocols: onlyHTTP2(), ErrorLog: quiet}
			s.Serve(&oneConn{conn: conn})
		}()
		return client, nil
	}
	c := New(dial, Options{Backoff: time.Millisecond, Stall: 2 * time.Second})
	t.Cleanup(func() { c.Close() })
	return c
}

// TestHostileServer has servers that say what no server of ours says. A client takes none of it for knowledge.
func TestHostileServer(t *testing.T) {
	say := func(status int, word string, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if word != "" {
				w.Header().Set(errorHeader, word)
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	with := func(h http.HandlerFunc, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			h(w, r)
		}
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		for line := bytes.Repeat([]byte("x"), 1<<16); ; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"a status alone":              say(404, "", "not found"),
		"a word alone":                say(200, "not-exist", ""),
		"status and word differ":      say(409, "not-exist", ""),
		"an unknown word":             say(404, "gone", ""),
		"a redirection":               with(say(302, "", ""), "Location", "http://elsewhere/"),
		"no length":                   endless,
		"a length beyond all bounds":  with(say(200, "", "x"), "Content-Length", strconv.Itoa(1<<50)),
		"less than announced":         with(say(200, "", "x"), "Content-Length", "1000"),
		"an endless error":            func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); endless(w, r) },
		"no version":                  say(200, "", ""),
		"a version beyond all bounds": with(say(200, "", ""), versionHeader, strings.Repeat("v", maxVersion+1)),
		"a version with spaces":       with(say(200, "", ""), versionHeader, "a b"),
		"headers beyond all bounds":   with(say(200, "", ""), "X-Much", strings.Repeat("v", 1<<20)),
		"an aborted answer":           func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			c := against(t, h)
			check := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: %v; want that nothing is known", what, err)
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := c.Load(t.Context(), "roots/x")
			check("Load", err)
			_, err = c.Get(t.Context(), "packs/x", 0, 7)
			check("Get", err)
			_, err = c.Swap(t.Context(), "roots/x", "v1", []byte("x"))
			check("Swap", err)
			check("List", c.List(t.Context(), "packs/", func(backend.Info) error { return nil }))
			if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 200<<20 {
				t.Errorf("took %d MiB", (after.TotalAlloc-before.TotalAlloc)>>20)
			}
		})
	}
}

// TestErrorTextIsHarmless: what a server says reaches a terminal without escape sequences, and shortened.
func TestErrorTextIsHarmless(t *testing.T) {
	c := against(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(errorHeader, "denied")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "\x1b]0;owned\a\n\u202e"+strings.Repeat("long ", 10000))
	})
	err := c.Put(t.Context(), "packs/x", nil)
	if !errors.Is(err, backend.ErrDenied) || strings.ContainsAny(err.Error(), "\x1b\a\n\u202e") || len(err.Error()) > 2*maxText {
		t.Errorf("%q", err)
	}
}

// TestHostileList has listings that are not in order, not below the prefix, not ended or made of nonsense.
func TestHostileList(t *testing.T) {
	for _, text := range []string{
		"", "packs/a 1 1\n", "packs/a 1 1", "packs/b 1 1\npacks/a 1 1\n.\n", "packs/a 1 1\npacks/a 1 1\n.\n", "roots/x 1 1\n.\n",
		"packs/../x 1 1\n.\n", "packs/A 1 1\n.\n", "packs/a -1 1\n.\n", "packs/a 1\n.\n", "packs/a 1 1 1\n.\n", "packs/a x 1\n.\n",
		"packs/" + strings.Repeat("a", 1<<20) + " 1 1\n.\n", "!nonsense x\n", "packs/a 99999999999999999999 1\n.\n",
	} {
		err := readList(strings.NewReader(text), "packs/", "", func(backend.Info) error { return nil })
		if !errors.Is(err, errCut) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	if err := readList(strings.NewReader("packs/a 1 1\n!denied no\n"), "packs/", "", func(backend.Info) error { return nil }); !errors.Is(err, backend.ErrDenied) {
		t.Error(err)
	}
}

// raw is a client without manners.
type raw struct {
	t *testing.T
	c *http.ClientConn
}

// raws returns a connection with a real server of space.
func raws(t *testing.T, space backend.Backend, opt ServerOptions) *raw {
	t.Helper()
	client, server := ends()
	done := make(chan error, 1)
	go func() { done <- Serve(context.Background(), server, server, shared{space}, opt) }()
	buf := make([]byte, len(hello("").line()))
	if _, err := io.ReadFull(client, buf); err != nil {
		t.Fatal(err)
	}
	c, err := clientHTTP2(t.Context(), newStream(client, client, client.Close), Options{}.filled())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &raw{t, c}
}

// shared is a place whose store is not closed.
type shared struct{ backend.Backend }

func (s shared) Open() (backend.Backend, error) { return s, nil }
func (s shared) Create() error                  { return nil }
func (s shared) Close() error                   { return nil }

// do makes a request and returns the word of the refusal, or "".
func (r *raw) do(method, path string, body io.Reader, size int64, headers ...string) string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://ensync/", body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.URL.Opaque = path
	if body != nil {
		req.ContentLength = size
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.c.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.Header.Get(errorHeader)
}

// TestHostileClient asks for what no client of ours asks for.
func TestHostileClient(t *testing.T) {
	space := memory.New()
	r := raws(t, space, ServerOptions{})
	for _, path := range []string{
		"/1/object/", "/1/object/..", "/1/object/../../etc/passwd", "/1/object/%2e%2e/x", "/1/object//etc/passwd", "/1/object/a//b", "/1/object/A",
		"/1/object/a%00b", "/1/object/a%2fb/", "/1/object/.x", "/1/state/../x", "/1/", "/", "/2/object/a", "/1/object", "/1/nothing",
		"/1/object/" + strings.Repeat("a/", 300) + "a",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "POST"} {
			p := path
			if method == "GET" {
				p += "?offset=0&length=-1"
			}
			if word := r.do(method, p, strings.NewReader("x"), 1); word != "invalid" {
				t.Errorf("%s %.60s: %q, want invalid", method, path, word)
			}
		}
	}
	for _, query := range []string{"", "?offset=0", "?length=0", "?offset=x&length=1", "?offset=-1&length=1", "?offset=9223372036854775807&length=1",
		"?offset=99999999999999999999&length=1"} {
		if word := r.do("GET", "/1/object/a"+query, nil, 0); word != "invalid" {
			t.Errorf("GET %s: %q, want invalid", query, word)
		}
	}
	if word := r.do("GET", "/1/list/..", nil, 0); word != "invalid" {
		t.Errorf("GET /1/list/..: %q", word)
	}
	if word := r.do("PUT", "/1/state/a", strings.NewReader("x"), 1, versionHeader, "a b"); word != "invalid" {
		t.Errorf("PUT of a strange version: %q", word)
	}
	for _, size := range []int64{-1, MaxObject + 1, 1 << 60} {
		if word := r.do("PUT", "/1/object/a", endless{}, size); word != "invalid" && !strings.Contains(word, "invalid") {
			t.Errorf("PUT of %d bytes: %q", size, word)
		}
	}
	if err := space.List(t.Context(), "", func(i backend.Info) error { return fmt.Errorf("%s is there", i.Name) }); err != nil {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestServerMemory announces a hundred big objects and sends none of them: the server sets no memory aside for more
// than it may take, and serves others.
func TestServerMemory(t *testing.T) {
	r := raws(t, memory.New(), ServerOptions{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	for i := range 100 {
		go func() {
			defer func() { ended <- struct{}{} }()
			body, _ := io.Pipe()
			req, _ := http.NewRequestWithContext(ctx, "PUT", fmt.Sprintf("http://ensync/1/object/a%d", i), body)
			req.ContentLength = MaxObject
			if resp, err := r.c.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	runtime.ReadMemStats(&after)
	if took := int64(after.TotalAlloc - before.TotalAlloc); took > serverMemory+50<<20 {
		t.Errorf("%d MiB for bodies that never came", took>>20)
	}
	cancel()
	for range 100 {
		<-ended
	}
	if word := r.do("PUT", "/1/object/b", strings.NewReader("x"), 1); word != "" {
		t.Errorf("afterwards: %q", word)
	}
}

// TestAccess: what a server refuses, by its kind of access.
func TestAccess(t *testing.T) {
	for access, refused := range map[Access]string{ReadWrite: "", AppendOnly: "Delete", ReadOnly: "Put Swap Delete Create"} {
		space := memory.New()
		v, err := space.Swap(t.Context(), "roots/x", "", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if err := space.Put(t.Context(), "packs/x", []byte("x")); err != nil {
			t.Fatal(err)
		}
		c := New(func(context.Context) (io.ReadWriteCloser, error) {
			client, server := ends()
			go Serve(context.Background(), server, server, shared{space}, ServerOptions{Access: access})
			return client, nil
		}, Options{})
		_, swapErr := c.Swap(t.Context(), "roots/x", v, []byte("y"))
		for what, err := range map[string]error{
			"Put": c.Put(t.Context(), "packs/y", nil), "Swap": swapErr, "Delete": c.Delete(t.Context(), "packs/x"), "Create": c.Create(t.Context()),
		} {
			if errors.Is(err, backend.ErrDenied) != strings.Contains(refused, what) || err != nil && !errors.Is(err, backend.ErrDenied) {
				t.Errorf("access %d, %s: %v", access, what, err)
			}
		}
		if _, err := c.Get(t.Context(), "packs/x", 0, -1); (err == nil) != (access != ReadWrite) {
			t.Errorf("access %d: Get of what may be deleted: %v", access, err)
		}
		c.Close()
	}
}

func TestSuspended(t *testing.T) {
	for _, c := range []struct {
		wall, running time.Duration
		want          bool
	}{{time.Hour, time.Hour, false}, {time.Hour, time.Minute, true}, {time.Second, time.Hour, false}, {4 * time.Second, 0, false}} {
		if got := suspended(c.wall, c.running); got != c.want {
			t.Errorf("suspended(%v, %v) = %v", c.wall, c.running, got)
		}
	}
}

// TestWake: a connection over which the machine slept is probed before it is used, and replaced if it is dead.
func TestWake(t *testing.T) {
	dead := make(chan struct{})
	first := true
	c := New(func(context.Context) (io.ReadWriteCloser, error) {
		client, server := ends()
		if first {
			first = false
			server = &frozen{server, dead}
		}
		go Serve(context.Background(), server, server, shared{memory.New()}, ServerOptions{})
		return client, nil
	}, Options{ProbeTimeout: 50 * time.Millisecond})
	defer c.Close()
	if _, err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(dead)
	c.current.mu.Lock()
	c.current.wall = c.current.wall.Add(-time.Hour)
	c.current.mu.Unlock()
	start := time.Now()
	if err := c.Put(t.Context(), "packs/x", nil); err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("after the nap: %v, %v", err, time.Since(start))
	}
}

// frozen is a connection that nothing comes out of any more once dead is closed.
type frozen struct {
	net.Conn
	dead chan struct{}
}

func (f *frozen) Write(b []byte) (int, error) {
	select {
	case <-f.dead:
		return len(b), nil
	default:
		return f.Conn.Write(b)
	}
}
