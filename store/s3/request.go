package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"ensync/store/backend"
	"ensync/store/internal/lent"
)

// request is one request. The key is the whole one, with the prefix; none means the bucket.
type request struct {
	method, key string
	params      url.Values
	header      map[string]string
	body        []byte // of a PUT
	limit       int64  // of the answer's body
}

// answer is what a server said to a request that succeeded.
type answer struct {
	status int
	header http.Header
	data   []byte
	size   int64 // as announced
}

// Requests says how many requests of which kind a client made, attempts that failed included, and how many bytes of
// content went.
type Requests struct {
	Gets, Puts, Lists, Deletes, Heads int64
	Up, Down                          int64
}

type requests struct {
	gets, puts, lists, deletes, heads, up, down atomic.Int64
	moved                                       atomic.Int64 // how often something of a body moved
}

// Requests returns what went to the server so far.
func (c *Client) Requests() Requests {
	r := c.requests
	return Requests{Gets: r.gets.Load(), Puts: r.puts.Load(), Lists: r.lists.Load(), Deletes: r.deletes.Load(),
		Heads: r.heads.Load(), Up: r.up.Load(), Down: r.down.Load()}
}

func (r *requests) count(q request) {
	switch {
	case q.key == "":
		r.lists.Add(1)
	case q.method == http.MethodGet:
		r.gets.Add(1)
	case q.method == http.MethodPut:
		r.puts.Add(1)
	case q.method == http.MethodDelete:
		r.deletes.Add(1)
	default:
		r.heads.Add(1)
	}
	r.up.Add(int64(len(q.body)))
}

// errStalled says that nothing moved for too long.
var errStalled = fmt.Errorf("%w: nothing moved for too long", errAgain)

// attempt makes a request once. Errors that wrap errAgain leave open what became of it.
func (c *Client) attempt(ctx context.Context, r request) (answer, error) {
	credentials, err := c.source.get(ctx)
	if err != nil {
		return answer{}, fmt.Errorf("%w: credentials: %w", backend.ErrDenied, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(errClosed) })()
	watch := time.AfterFunc(c.opt.Stall, func() { cancel(errStalled) })
	defer watch.Stop()
	moving := func() { c.requests.moved.Add(1); watch.Reset(c.opt.Stall) }

	req, giveBack := c.build(ctx, r, moving)
	defer giveBack()
	sign(req, req.Header.Get(hashHeader), credentials, c.region, time.Now())
	c.requests.count(r)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return answer{}, c.lost(ctx, err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, size: resp.ContentLength}
	limit := r.limit
	if a.status/100 != 2 {
		limit = maxError
	}
	if a.data, err = readBody(resp, r.method, limit, moving); err != nil {
		return answer{}, c.lost(ctx, err)
	}
	c.requests.down.Add(int64(len(a.data)))
	if a.status/100 != 2 {
		return a, failure(a.status, a.data)
	}
	return a, nil
}

var errClosed = errors.New("the store was closed")

// lost tells why a request has no answer.
func (c *Client) lost(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errStalled) {
		c.transport.CloseIdleConnections() // those that are left are likely dead, too
	}
	if cause != nil {
		return cause
	}
	return fmt.Errorf("%w: %w", errAgain, err)
}

// build makes the HTTP request, not signed yet. giveBack ends the loan of its body.
func (c *Client) build(ctx context.Context, r request, moving func()) (req *http.Request, giveBack func()) {
	u := c.base
	u.Path += "/" + r.key
	u.RawPath = escape(u.Path, "/")
	u.RawQuery = query(r.params)
	req = (&http.Request{Method: r.method, URL: &u, Header: http.Header{}}).WithContext(ctx)
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	sum := sha256.Sum256(r.body)
	req.Header.Set(hashHeader, hex.EncodeToString(sum[:]))
	giveBack = func() {}
	if r.method == http.MethodPut {
		// The server compares it, and those that can keep it with the object.
		req.Header.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
		req.Body = http.NoBody
	}
	if len(r.body) > 0 {
		body := lent.New(r.body)
		giveBack = body.GiveBack
		req.Body, req.ContentLength = progress{body, moving}, int64(len(r.body))
	}
	return req, giveBack
}

// progress tells when something of a body moved.
type progress struct {
	io.ReadCloser
	moved func()
}

func (p progress) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if n > 0 {
		p.moved()
	}
	return n, err
}

// readBody reads a whole body of at most limit bytes. It takes memory only for what arrives.
func readBody(resp *http.Response, method string, limit int64, moving func()) ([]byte, error) {
	if method == http.MethodHead {
		return nil, nil
	}
	size := resp.ContentLength
	if size > limit {
		return nil, fmt.Errorf("%d bytes announced, at most %d expected", size, limit)
	}
	data := make([]byte, 0, min(max(size, 512), 1<<20))
	body := progress{resp.Body, moving}
	for {
		n, err := body.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return nil, fmt.Errorf("an answer of more than %d bytes", limit)
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, err
		case int64(len(data)) == size:
			return data, nil
		case len(data) == cap(data):
			data = append(make([]byte, 0, 4*cap(data)), data...)
		}
	}
}
