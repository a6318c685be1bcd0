// Package lent lends the content of a request to net/http, which may want to read it even after the request has ended.
package lent

import (
	"io"
	"sync"
)

// Body reads data until it is given back. It is an io.ReadCloser.
type Body struct {
	mu   sync.Mutex
	data []byte
	gone bool
}

// New lends data, which must not be changed before GiveBack has returned.
func New(data []byte) *Body { return &Body{data: data} }

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.gone:
		return 0, io.ErrClosedPipe
	case len(b.data) == 0:
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

// Close implements io.Closer.
func (b *Body) Close() error { return nil }

// GiveBack ends the loan: no byte of the data is read any more.
func (b *Body) GiveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone, b.data = true, nil
}
