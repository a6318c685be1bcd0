package pipetest

import (
	"context"
	"io"
	"sync"
	"testing"

	"ensync/store/backend"
	"ensync/store/pipe"
)

// Place is a place whose store is what the function opens; each connection closes its own.
type Place func() (backend.Backend, error)

// Open implements pipe.Place.
func (p Place) Open() (backend.Backend, error) { return p() }

// Create implements pipe.Place: there is a store.
func (p Place) Create() error { return nil }

// Server is what a client may dial.
type Server struct {
	Place   pipe.Place
	Options pipe.ServerOptions
	// Link tells how good connection number n is, counted from 0; nil: all are perfect.
	Link func(n int) Link

	mu     sync.Mutex
	dialed int
	all    sync.WaitGroup
}

// Dial is a pipe.Dial. The server of each connection runs until its link ends.
func (s *Server) Dial(context.Context) (io.ReadWriteCloser, error) {
	s.mu.Lock()
	n := s.dialed
	s.dialed++
	s.mu.Unlock()
	var link Link
	if s.Link != nil {
		link = s.Link(n)
	}
	client, server := link.Pipe()
	s.all.Go(func() { pipe.Serve(context.Background(), server, server, s.Place, s.Options) })
	return client, nil
}

// Dialed tells how many connections there were.
func (s *Server) Dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialed
}

// Wait waits until no connection is served any more.
func (s *Server) Wait() { s.all.Wait() }

// Client returns a client of a server for the store that open opens, at the other end of a link of the given quality.
// The test's end closes it.
func Client(t testing.TB, link Link, open func() (backend.Backend, error)) *pipe.Client {
	s := &Server{Place: Place(open), Link: func(int) Link { return link }}
	c := pipe.New(s.Dial, pipe.Options{Location: "pipetest"})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		s.Wait()
	})
	return c
}
