// Package enemy is what whoever keeps a store can do to it and to its clients, as far as they are out to do harm: read all
// that is there and all that goes by, replace and bring back any object, and show each client another store.
//
// It works on any backend, so what holds against it is tried on every transport. Answers that fail, are cut or are lost
// are package faulty's; pages of portals and broken connections belong to the transports and are their tests'.
package enemy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"ensync/store/backend"
)

// State is all that lies in a store, by name. What is in it can be changed, and put back.
type State map[string]Object

// Object is what lies under one name.
type Object struct {
	Data    []byte
	Mutable bool
}

// Take reads all that lies in a store.
func Take(ctx context.Context, b backend.Backend) (State, error) {
	s := State{}
	err := b.List(ctx, "", func(i backend.Info) error { s[i.Name] = Object{}; return nil })
	if err != nil {
		return nil, err
	}
	for name := range s {
		o := Object{Mutable: true}
		o.Data, _, err = b.Load(ctx, name)
		if errors.Is(err, backend.ErrNotExist) {
			o.Mutable = false
			o.Data, err = b.Get(ctx, name, 0, -1)
		}
		if err != nil {
			return nil, err
		}
		s[name] = o
	}
	return s, nil
}

// Put makes a store hold this state: all of it, or only the objects whose names begin with one of the prefixes.
func (s State) Put(ctx context.Context, b backend.Backend, prefixes ...string) error {
	now, err := Take(ctx, b)
	if err != nil {
		return err
	}
	names := maps.Clone(now)
	maps.Copy(names, s)
	for name := range names {
		if len(prefixes) > 0 && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		want, there := s[name]
		if was, ok := now[name]; ok == there && bytes.Equal(was.Data, want.Data) && was.Mutable == want.Mutable {
			continue
		}
		if err := s.put(ctx, b, name); err != nil {
			return fmt.Errorf("put back %s: %w", name, err)
		}
	}
	return nil
}

func (s State) put(ctx context.Context, b backend.Backend, name string) error {
	if err := b.Delete(ctx, name); err != nil {
		return err
	}
	o, there := s[name]
	switch {
	case !there:
		return nil
	case o.Mutable:
		_, err := b.Swap(ctx, name, "", o.Data)
		return err
	}
	return b.Put(ctx, name, o.Data)
}

// Names returns the names of all objects, in order.
func (s State) Names() []string { return slices.Sorted(maps.Keys(s)) }

// With returns a state in which one object holds other data; nil: it is not there.
func (s State) With(name string, data []byte) State {
	next := maps.Clone(s)
	if data == nil {
		delete(next, name)
	} else {
		next[name] = Object{Data: data, Mutable: s[name].Mutable}
	}
	return next
}

// Line is a client's way to the store, which the enemy holds: it can be led elsewhere at any time, and all that goes by is
// kept. All methods may be called concurrently.
type Line struct {
	mu    sync.Mutex
	to    backend.Backend
	calls []string
	bytes [][]byte
}

// NewLine returns a line that leads to a store.
func NewLine(to backend.Backend) *Line { return &Line{to: to} }

// Lead makes the line lead to another store from now on: to a copy, and the client is in a fork of its own, or, if nobody
// else writes there, in a store that stands still.
func (l *Line) Lead(to backend.Backend) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

// Calls returns what was asked so far, a line for each call, as "Get NAME OFFSET LENGTH".
func (l *Line) Calls() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// Sent returns the contents that the client handed over so far.
func (l *Line) Sent() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bytes)
}

// Forget drops what was kept.
func (l *Line) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls, l.bytes = nil, nil
}

func (l *Line) keep(data []byte, format string, args ...any) backend.Backend {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, fmt.Sprintf(format, args...))
	if data != nil {
		l.bytes = append(l.bytes, bytes.Clone(data))
	}
	return l.to
}

// Get implements backend.Backend.
func (l *Line) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	return l.keep(nil, "Get %s %d %d", name, offset, length).Get(ctx, name, offset, length)
}

// Put implements backend.Backend.
func (l *Line) Put(ctx context.Context, name string, data []byte) error {
	return l.keep(data, "Put %s", name).Put(ctx, name, data)
}

// Load implements backend.Backend.
func (l *Line) Load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	return l.keep(nil, "Load %s", name).Load(ctx, name)
}

// Swap implements backend.Backend.
func (l *Line) Swap(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	return l.keep(data, "Swap %s", name).Swap(ctx, name, old, data)
}

// List implements backend.Backend.
func (l *Line) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	return l.keep(nil, "List %s", prefix).List(ctx, prefix, fn)
}

// Delete implements backend.Backend.
func (l *Line) Delete(ctx context.Context, name string) error {
	return l.keep(nil, "Delete %s", name).Delete(ctx, name)
}

// Location implements backend.Backend.
func (l *Line) Location() string { return l.keep(nil, "Location").Location() }

// Close implements backend.Backend. Where the line leads to stays open.
func (l *Line) Close() error { return nil }
