package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"ensync/engine"
	"ensync/engine/session"
)

// accept serves connections until ctx ends.
func (s *Service) accept(ctx context.Context, l net.Listener, asked chan<- *ending) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer c.Close()
			s.serve(ctx, c, asked)
		})
	}
}

// serve answers one request. The client's end of the connection calls it off.
func (s *Service) serve(ctx context.Context, c net.Conn, asked chan<- *ending) {
	req, err := readRequest(c)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the connection, which serve's caller closes
		var one [1]byte
		c.Read(one[:])
		cancel()
	}()
	out := json.NewEncoder(c)
	var mu sync.Mutex
	report := func(e engine.Event) {
		mu.Lock()
		defer mu.Unlock()
		out.Encode(message{Event: encodeEvent(e)})
	}
	a := s.answer(ctx, req, report, asked)
	mu.Lock()
	defer mu.Unlock()
	out.Encode(message{Answer: &a})
}

func (s *Service) answer(ctx context.Context, req request, report func(engine.Event), asked chan<- *ending) answer {
	var a answer
	var err error
	switch req.Op {
	case "sync":
		a.Summary, err = s.Sync(ctx, session.Request{DryRun: req.DryRun, Clean: req.Clean, ConfirmLoss: req.ConfirmLoss,
			Override: req.Override, Workers: req.Workers, Report: report})
	case "status":
		var st Status
		st, err = s.Status(ctx)
		a.Status = &st
	case "unmount":
		a.Summary, err = s.end(ctx, req.NoSync, report, asked)
	case "pause", "resume":
		s.mu.Lock()
		s.paused = req.Op == "pause"
		s.mu.Unlock()
	default:
		err = fmt.Errorf("request %q: this mount is of another version; unmount it and mount again", req.Op)
	}
	a.Error = encodeError(err)
	return a
}

// end asks for the unmount and waits for it.
func (s *Service) end(ctx context.Context, noSync bool, report func(engine.Event), asked chan<- *ending) (engine.Summary, error) {
	e := &ending{noSync: noSync, report: report, done: make(chan struct{})}
	select {
	case asked <- e:
	case <-ctx.Done():
		return engine.Summary{}, errors.New("the mount is ending already")
	}
	<-e.done
	return e.sum, e.err
}
