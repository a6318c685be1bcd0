//go:build !linux && !darwin && !freebsd

package fusefs

import "context"

// Server serves one mounted tree; on this system there is none.
type Server struct{}

// Mount returns ErrNotSupported.
func Mount(context.Context, Tree, Options) (*Server, error) { return nil, ErrNotSupported }

// ClearStale finds nothing to clear.
func ClearStale(context.Context, string) (bool, error) { return false, nil }

// MountPoint returns "".
func (s *Server) MountPoint() string { return "" }

// Wait returns at once.
func (s *Server) Wait() {}

// Done returns a closed channel.
func (s *Server) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Unmount returns ErrNotSupported.
func (s *Server) Unmount(context.Context) error { return ErrNotSupported }

// Detach returns ErrNotSupported.
func (s *Server) Detach(context.Context) error { return ErrNotSupported }

// Stats returns nil.
func (s *Server) Stats() map[string]uint64 { return nil }
