package setup

import (
	"context"
	"errors"
	"path/filepath"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/store/backend"
)

// Reached is a place for a store that is not that of a configuration, or not yet.
type Reached struct {
	Server  config.Server
	Address config.Address // as a configuration has it
	place   place
}

// Reach finds out how to get to a place that is named as for Run; commands and relative names in a configuration are meant
// from the configuration directory dir. talk is asked what setup would ask. Close must be called.
func Reach(ctx context.Context, remote, dir string, talk Talk) (*Reached, error) {
	abs := func(path string) string {
		if full, err := filepath.Abs(path); err == nil {
			return full
		}
		return path
	}
	p, err := parsePlace(remote, abs)
	if err != nil {
		return nil, err
	}
	s := &setup{talk: talk, place: p, dir: dir, made: []string{}, cfg: &config.Config{Dir: dir}}
	if err := s.reachStore(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	r := &Reached{Server: s.cfg.General.Server, place: p, Address: config.Address{Server: s.settings.Server,
		S3Region: s.settings.S3Region, S3CA: s.settings.S3CA, S3Profile: s.settings.S3Profile}}
	if s3 := &r.Server.S3; r.Server.Kind == config.ServerS3 {
		s3.Region, s3.CA, s3.Profile = s.settings.S3Region, s.settings.S3CA, s.settings.S3Profile
	}
	return r, nil
}

// Options are those with which session opens the place.
func (r *Reached) Options() session.Options {
	return session.Options{Open: func(server config.Server) (backend.Backend, error) { return r.place.open(server) }}
}

// Close ends the connection, if there is one.
func (r *Reached) Close() error { return r.place.close() }

// Configured is the place that a configuration names.
func Configured(cfg *config.Config) *Reached {
	return &Reached{Server: cfg.General.Server, place: configured{}}
}

// configured is a place that needs no finding out.
type configured struct{ place }

func (configured) open(server config.Server) (backend.Backend, error) {
	return session.OpenBackend(server)
}
func (configured) close() error { return nil }

// Open opens the place, where a store must be.
func (r *Reached) Open() (backend.Backend, error) { return r.place.open(r.Server) }
