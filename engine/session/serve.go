package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"ensync/store"
	"ensync/store/backend"
	"ensync/store/dir"
	"ensync/store/pipe"
)

// Serve serves the store in a directory to one client, over in and out, until the client leaves. program is this
// program's version. Nothing outside of the directory is touched.
func Serve(ctx context.Context, path string, in io.Reader, out io.Writer, access pipe.Access, program string) error {
	return pipe.Serve(ctx, in, out, directory(path), pipe.ServerOptions{Access: access, Program: program})
}

// directory is a place for a store. It implements pipe.Place.
type directory string

func (d directory) Open() (backend.Backend, error) {
	b, err := dir.Open(string(d))
	if err != nil {
		return nil, err
	}
	return store.Guard(b), nil
}

func (d directory) Create() error {
	err := dir.Create(string(d))
	if errors.Is(err, fs.ErrExist) { // no second attempt helps
		err = fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	return err
}
