package pipe

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"ensync/store/backend"
	"ensync/store/internal/lent"
)

// request is one request of the protocol.
type request struct {
	method, path, query string
	version             backend.Version
	body                []byte
}

// answer is what a server said to a request that succeeded.
type answer struct {
	data    []byte
	version backend.Version
}

// call makes a request, and reads an answer of at most limit bytes. A *refusal is what the server told; any other error
// means that what became of the request is not known.
func (c *conn) call(ctx context.Context, r request, limit int64) (answer, error) {
	resp, err := c.open(ctx, r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{version: backend.Version(resp.Header.Get(versionHeader))}
	if a.version != "" && !validVersion(string(a.version)) {
		return answer{}, fmt.Errorf("%w: version %.80q", errCut, printable(string(a.version)))
	}
	if a.data, err = readBody(resp, limit); err != nil {
		return answer{}, err
	}
	return a, nil
}

// readBody reads the whole content of an answer whose length was announced. It takes memory only for what arrives.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	size := resp.ContentLength
	if size < 0 || size > limit {
		return nil, fmt.Errorf("%w: %d bytes announced, at most %d expected", errCut, size, limit)
	}
	const trusted = 1 << 20
	data := make([]byte, 0, min(size, trusted))
	for {
		n, err := resp.Body.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) == size:
			return data, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %v", errCut, err)
		case len(data) == cap(data):
			data = append(make([]byte, 0, min(size, 4*int64(cap(data)))), data...)
		}
	}
}

// open makes a request, and returns the answer if it is no refusal.
func (c *conn) open(ctx context.Context, r request) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "ensync", Path: r.path, RawQuery: r.query}
	req := (&http.Request{Method: r.method, URL: &u, Header: http.Header{}}).WithContext(ctx)
	if len(r.body) > 0 {
		body := lent.New(r.body)
		defer body.GiveBack()
		req.Body, req.ContentLength = body, int64(len(r.body))
	}
	if r.version != "" {
		req.Header.Set(versionHeader, string(r.version))
	}
	resp, err := c.roundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK && resp.Header.Get(errorHeader) == "" {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4*maxText))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errCut, err)
	}
	if refused := parseRefusal(resp.Header.Get(errorHeader), resp.StatusCode, text); refused != nil {
		return nil, refused
	}
	return nil, fmt.Errorf("%w: status %d", errCut, resp.StatusCode)
}
