package engine

import (
	"context"
	"io"

	"ensync/engine/replica"
)

// movingStep is after how many bytes of one file it is told again how far it is.
const movingStep = 1 << 20

// watched tells how far the content of a file is, each time that it is opened from the beginning.
func (p *pass) watched(side Side, path string, source replica.Source) replica.Source {
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, err := source(ctx)
		if err != nil {
			return nil, err
		}
		return &moving{ReadCloser: r, tell: func(n int64) { p.tell(Event{Kind: Moving, Side: side, Path: path, Bytes: n}) }}, nil
	}
}

// moving is content on its way.
type moving struct {
	io.ReadCloser
	tell       func(n int64)
	read, told int64
}

func (m *moving) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	if m.read += int64(n); m.read-m.told >= movingStep {
		m.told = m.read
		m.tell(m.read)
	}
	return n, err
}
