// Package memory is a backend that lives in memory: the twin that tests use in place of a real store.
package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"ensync/store/backend"
)

// Backend is one handle on a space of objects. It keeps the promises of backend.Backend and nothing more: it copies
// what it is given and what it gives, and its versions never repeat.
type Backend struct {
	space *space
}

type space struct {
	mu      sync.Mutex
	objects map[string]entry
	swaps   uint64
}

type entry struct {
	data    []byte
	version backend.Version // zero for immutable objects
	time    time.Time
}

// New returns a handle on a new, empty space.
func New() *Backend {
	return &Backend{&space{objects: map[string]entry{}}}
}

// Again returns another handle on the same space, as another process would have it. It stays valid when b is closed.
func (b *Backend) Again() *Backend { return &Backend{b.space} }

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := backend.CheckRange(name, offset, length); err != nil {
		return nil, err
	}
	e, err := b.find(ctx, "read", name, false)
	if err != nil {
		return nil, err
	}
	size := int64(len(e.data))
	if length < 0 {
		length = max(0, size-offset)
	}
	if offset+length > size {
		return nil, fmt.Errorf("read %s: %d bytes from %d of %d: %w", name, length, offset, size, io.ErrUnexpectedEOF)
	}
	return bytes.Clone(e.data[offset:][:length:length]), nil
}

// Renew implements backend.Renewer.
func (b *Backend) Renew(ctx context.Context, name string, data []byte) error {
	e, err := b.find(ctx, "renew", name, false)
	if err != nil {
		return err
	}
	if !bytes.Equal(e.data, data) {
		return fmt.Errorf("renew %s: %w", name, backend.ErrChanged)
	}
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	if _, ok := b.space.objects[name]; ok {
		e.time = time.Now()
		b.space.objects[name] = e
	}
	return nil
}

// Load implements backend.Backend.
func (b *Backend) Load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	e, err := b.find(ctx, "load", name, true)
	if err != nil {
		return nil, "", err
	}
	return bytes.Clone(e.data), e.version, nil
}

func (b *Backend) find(ctx context.Context, what, name string, mutable bool) (entry, error) {
	if err := check(ctx, what, name); err != nil {
		return entry{}, err
	}
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	e, ok := b.space.objects[name]
	if !ok || (e.version != "") != mutable {
		return entry{}, fmt.Errorf("%s %s: %w", what, name, backend.ErrNotExist)
	}
	return e, nil
}

// Put implements backend.Backend.
func (b *Backend) Put(ctx context.Context, name string, data []byte) error {
	if err := check(ctx, "create", name); err != nil {
		return err
	}
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	if _, ok := b.space.objects[name]; ok {
		return fmt.Errorf("create %s: %w", name, backend.ErrExist)
	}
	b.space.objects[name] = entry{data: clone(data), time: time.Now()}
	return nil
}

// Swap implements backend.Backend.
func (b *Backend) Swap(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	if err := check(ctx, "replace", name); err != nil {
		return "", err
	}
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	e, ok := b.space.objects[name]
	if ok && e.version == "" || e.version != old {
		return "", fmt.Errorf("replace %s: %w", name, backend.ErrChanged)
	}
	b.space.swaps++
	e = entry{clone(data), backend.Version(fmt.Sprintf("%d-%.8x", b.space.swaps, sha256.Sum256(data))), time.Now()}
	b.space.objects[name] = e
	return e.version, nil
}

// List implements backend.Backend. What it shows is the space as it was when List was called.
func (b *Backend) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	if err := backend.CheckPrefix(prefix); err != nil {
		return err
	}
	for _, info := range b.snapshot(prefix) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *Backend) snapshot(prefix string) []backend.Info {
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	var infos []backend.Info
	for name, e := range b.space.objects {
		if strings.HasPrefix(name, prefix) {
			infos = append(infos, backend.Info{Name: name, Size: int64(len(e.data)), ModTime: e.time})
		}
	}
	slices.SortFunc(infos, func(x, y backend.Info) int { return strings.Compare(x.Name, y.Name) })
	return infos
}

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, name string) error {
	if err := check(ctx, "delete", name); err != nil {
		return err
	}
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	delete(b.space.objects, name)
	return nil
}

// Location implements backend.Backend.
func (b *Backend) Location() string { return "memory" }

// Close implements backend.Backend. The space lives on in its other handles.
func (b *Backend) Close() error { return nil }

func check(ctx context.Context, what, name string) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	return nil
}

// clone never returns nil, so that an empty object is not mistaken for none.
func clone(data []byte) []byte { return append([]byte{}, data...) }
