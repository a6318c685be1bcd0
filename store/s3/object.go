package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"ensync/store/backend"
)

// Get implements backend.Backend.
func (c *Client) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := errors.Join(backend.CheckName(name), backend.CheckRange(name, offset, length)); err != nil {
		return nil, err
	}
	if offset == 0 && length < 0 {
		data, _, err := c.whole(ctx, name, MaxObject)
		return data, err
	}
	data, err := c.part(ctx, name, offset, length)
	if !errors.Is(err, errRange) {
		return data, err
	}
	// No byte is there: at the end, or beyond it?
	size, err := c.size(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset > size || length > 0 {
		return nil, fmt.Errorf("read %s: %d bytes from %d of %d: %w", name, length, offset, size, io.ErrUnexpectedEOF)
	}
	return []byte{}, nil
}

// Probe implements backend.Prober.
func (c *Client) Probe(ctx context.Context) error {
	err := backend.Moving(ctx, c.requests.moved.Load, func(ctx context.Context) error {
		a, err := c.attempt(ctx, request{method: http.MethodHead, key: c.keyPrefix + "format"})
		if a.status != 0 {
			return nil
		}
		return err
	})
	if err == nil || errors.Is(err, backend.ErrDenied) {
		return err
	}
	if ctx.Err() != nil {
		c.transport.CloseIdleConnections() // the next one is not to wait on a line that is dead
	}
	return fmt.Errorf("reach %s: %w", c.opt.Location, unreachable(err))
}

// part reads a range. errRange if no byte of the object is in it.
func (c *Client) part(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	// No object has more than MaxObject bytes, so a byte more than these is not asked for. Without a length one byte
	// is asked for: a range can't be empty.
	ask := int64(MaxObject)
	if length >= 0 {
		ask = min(max(length, 1), MaxObject)
	}
	r := request{method: http.MethodGet, key: c.keyPrefix + name, limit: ask,
		header: map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", offset, offset+ask-1)}}
	err = c.do(ctx, "read", name, r, func(a answer, err error, _ bool) error {
		if err != nil {
			return err
		}
		from := fmt.Sprintf("bytes %d-%d/", offset, offset+int64(len(a.data))-1)
		if a.status != http.StatusPartialContent || !strings.HasPrefix(a.header.Get("Content-Range"), from) {
			return fmt.Errorf("%w: the server answers a range from %d with status %d and %.60q", backend.ErrUnavailable,
				offset, a.status, printable(a.header.Get("Content-Range")))
		}
		data = a.data
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case length == 0:
		return []byte{}, nil
	case int64(len(data)) < length:
		return nil, fmt.Errorf("read %s: %d bytes from %d, %d are there: %w", name, length, offset, len(data), io.ErrUnexpectedEOF)
	}
	return data, nil
}

// size asks for an object's size. A HEAD has no body, so its 404 is not certain.
func (c *Client) size(ctx context.Context, name string) (size int64, err error) {
	err = c.do(ctx, "read", name, request{method: http.MethodHead, key: c.keyPrefix + name}, func(a answer, err error, _ bool) error {
		if size = a.size; err == nil && (size < 0 || a.header.Get("ETag") == "") {
			err = fmt.Errorf("%w: no size", backend.ErrUnavailable)
		}
		return err
	})
	return size, err
}

// Load implements backend.Backend.
func (c *Client) Load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	if err := backend.CheckName(name); err != nil {
		return nil, "", err
	}
	return c.whole(ctx, name, maxState)
}

// whole reads an object and its version.
func (c *Client) whole(ctx context.Context, name string, limit int64) (data []byte, v backend.Version, err error) {
	err = c.do(ctx, "read", name, request{method: http.MethodGet, key: c.keyPrefix + name, limit: limit}, func(a answer, err error, _ bool) error {
		if err != nil {
			return err
		}
		data = a.data
		v, err = version(a)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return data, v, nil
}

// version reads the entity tag, which S3 gives with every object: an answer without one is somebody else's. It is
// opaque; an MD5 on most servers, so content that comes back has the old version again.
func version(a answer) (backend.Version, error) {
	tag := a.header.Get("ETag")
	if inner, ok := strings.CutPrefix(tag, `"`); ok {
		tag = strings.TrimSuffix(inner, `"`)
	}
	if a.status != http.StatusOK || !validVersion(tag) {
		return "", fmt.Errorf("%w: an answer with status %d and entity tag %.40q is not one of S3", errAgain, a.status, printable(tag))
	}
	return backend.Version(tag), nil
}

func validVersion(v string) bool {
	for i := range len(v) {
		if v[i] <= ' ' || v[i] > '~' {
			return false
		}
	}
	return v != "" && len(v) <= maxETag
}

var create = map[string]string{"If-None-Match": "*"}

// Put implements backend.Backend. S3 answers when the object is durable.
func (c *Client) Put(ctx context.Context, name string, data []byte) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	if len(data) > MaxObject {
		return tooBig(name, len(data), MaxObject)
	}
	r := request{method: http.MethodPut, key: c.keyPrefix + name, header: create, body: data, limit: maxError}
	return c.do(ctx, "write", name, r, func(a answer, err error, again bool) error {
		if err == nil {
			_, err = version(a)
			return err
		}
		if !errors.Is(err, errCondition) {
			return err
		}
		if again {
			// It may be there because an attempt was done whose answer was lost.
			switch now, _, err := c.whole(ctx, name, MaxObject); {
			case errors.Is(err, backend.ErrNotExist):
				return errAgain // deleted in between
			case err != nil:
				return err
			case bytes.Equal(now, data):
				return nil
			}
		}
		return backend.ErrExist
	})
}

// Swap implements backend.Backend. After a lost answer it reads back: content that equals data is taken for this call's.
func (c *Client) Swap(ctx context.Context, name string, old backend.Version, data []byte) (v backend.Version, err error) {
	if err := backend.CheckName(name); err != nil {
		return "", err
	}
	if len(data) > maxState {
		return "", tooBig(name, len(data), maxState)
	}
	r := request{method: http.MethodPut, key: c.keyPrefix + name, header: create, body: data, limit: maxError}
	if old != "" {
		if !validVersion(string(old)) {
			return "", fmt.Errorf("replace %s: %w", name, backend.ErrChanged) // no server has told of such a version
		}
		r.header = map[string]string{"If-Match": `"` + string(old) + `"`}
	}
	err = c.do(ctx, "replace", name, r, func(a answer, err error, again bool) error {
		switch {
		case err == nil:
			v, err = version(a)
			return err
		case errors.Is(err, backend.ErrNotExist) && old == "" || !errors.Is(err, backend.ErrNotExist) && !errors.Is(err, errCondition):
			return err
		case !again:
			return backend.ErrChanged
		}
		v, err = c.swapped(ctx, name, old, data)
		return err
	})
	if err != nil {
		return "", err
	}
	return v, nil
}

// swapped finds out what became of a Swap that had a lost answer and whose condition does not hold now.
func (c *Client) swapped(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	now, v, err := c.whole(ctx, name, maxState)
	switch {
	case errors.Is(err, backend.ErrNotExist) && old == "", err == nil && v == old:
		return "", errAgain
	case errors.Is(err, backend.ErrNotExist):
		return "", errUnclear
	case err != nil:
		return "", err
	case bytes.Equal(now, data):
		return v, nil
	}
	return "", errUnclear
}

// Delete implements backend.Backend. It has no condition: some servers take one, do not look at it, and delete.
//
// RACE: a Delete whose answer was lost is sent again. If a mutable object was made anew between the two, the new one is
// deleted, too. Names of immutable objects are never used again.
func (c *Client) Delete(ctx context.Context, name string) error {
	if err := backend.CheckName(name); err != nil {
		return err
	}
	r := request{method: http.MethodDelete, key: c.keyPrefix + name, limit: maxError}
	return c.do(ctx, "delete", name, r, func(a answer, err error, _ bool) error {
		if errors.Is(err, backend.ErrNotExist) {
			return nil
		}
		if err == nil && a.status != http.StatusNoContent && len(a.data) > 0 {
			err = fmt.Errorf("%w: an answer with status %d and %d bytes is not one of S3", errAgain, a.status, len(a.data))
		}
		return err
	})
}

func tooBig(name string, size, limit int) error {
	return fmt.Errorf("write %s: %w: %d bytes; at most %d are allowed", name, backend.ErrInvalid, size, limit)
}
