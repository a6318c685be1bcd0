package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"ensync/engine"
	"ensync/engine/session"
)

// accept serves connections until ctx ends.
func (s *Service) accept(ctx context.Context, asked chan<- *ending) {
	var conns sync.WaitGroup
	defer conns.Wait()
	// The socket stays, with what nobody accepts any more, until the service is closed: who asks meanwhile waits, and then
	// sees that it has ended.
	stop := context.AfterFunc(ctx, func() { s.socket.SetDeadline(time.Now()) })
	defer stop()
	for {
		c, err := s.socket.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return
		case err != nil: // out of descriptors, or the like
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		default:
			conns.Go(func() { s.serve(ctx, c, asked) })
		}
	}
}

// writeTime is how long a client may take to read one message. Tests make it shorter.
var writeTime = 10 * time.Second

// serve answers one request. The client's end of the connection calls it off, and so does one that does not read.
func (s *Service) serve(ctx context.Context, c net.Conn, asked chan<- *ending) {
	idle := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
	req, err := readRequest(c)
	if !idle() || err != nil {
		c.Close()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan struct{})
	go func() { // ends with the connection
		defer close(gone)
		io.Copy(io.Discard, c)
		cancel()
	}()
	out := &messages{conn: c, failed: cancel}
	a := s.answer(ctx, req, func(e engine.Event) { out.send(message{Event: encodeEvent(e)}) }, asked)
	out.send(message{Answer: &a})
	if a.Ended {
		s.keep(c)
		return
	}
	c.Close()
	<-gone
}

// keep leaves a connection open until the service has given everything back.
func (s *Service) keep(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, c)
}

// messages sends to a client.
type messages struct {
	conn   net.Conn
	failed func()

	mu  sync.Mutex
	err error
}

func (m *messages) send(what message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return
	}
	if m.err = m.conn.SetWriteDeadline(time.Now().Add(writeTime)); m.err == nil {
		m.err = json.NewEncoder(m.conn).Encode(what)
	}
	if m.err != nil {
		m.failed()
	}
}

func (s *Service) answer(ctx context.Context, req request, report func(engine.Event), asked chan<- *ending) answer {
	var a answer
	var err error
	switch req.Op {
	case "sync":
		var what session.Request
		if what, err = req.decodeSync(); err == nil {
			what.Report = report
			s.hurried.Add(1)
			defer s.hurried.Add(-1)
			a.Summary, err = s.Sync(ctx, what)
		}
	case "status":
		status := s.Status
		if req.Brief {
			status = s.brief
		}
		var st Status
		st, err = status(ctx)
		a.Status = &st
	case "unmount":
		if s.tree == nil {
			err = fmt.Errorf("%w: a sync --watch is running; end it with ^C", ErrNotRunning)
			break
		}
		if s.ended() {
			a.Ended = true
			break
		}
		a.Summary, err = s.askEnd(ctx, req.NoSync, report, asked)
		a.Ended = !errors.Is(err, ErrMounted)
		if st, statusErr := s.Status(context.WithoutCancel(ctx)); statusErr == nil {
			a.Status = &st
		}
	case "yield":
		if err = s.yield(); err == nil {
			a.Ended = true
		}
	case "fetch", "pin", "unpin", "pins":
		a, err = s.lazy(ctx, req, report)
	case "pause", "resume":
		s.mu.Lock()
		s.paused = req.Op == "pause"
		s.mu.Unlock()
		s.kickNow()
	default:
		err = fmt.Errorf("request %q: the running mount or watch is of another version; end it and start it again", req.Op)
	}
	a.Error = encodeError(err)
	return a
}

// yield calls the last sync off, if the tree is unmounted.
func (s *Service) yield() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.release == nil {
		return ErrMounted
	}
	s.release()
	return nil
}

// ended reports whether the tree is unmounted already.
func (s *Service) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release != nil
}

// askEnd asks for the unmount and waits for it.
func (s *Service) askEnd(ctx context.Context, noSync bool, report func(engine.Event), asked chan<- *ending) (engine.Summary, error) {
	e := &ending{ctx: ctx, noSync: noSync, report: report, done: make(chan struct{})}
	select {
	case asked <- e:
	case <-ctx.Done(): // or the mount is ending already, and calls this off as well
		return engine.Summary{}, fmt.Errorf("%w: %w", ErrMounted, ctx.Err())
	}
	<-e.done
	return e.sum, e.err
}
