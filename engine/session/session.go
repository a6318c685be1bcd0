// Package session opens what a configuration names: the store, its root, the tree on this machine, and their last
// agreement; and syncs them.
package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/config"
	"ensync/engine/localdir"
	"ensync/engine/naming"
	"ensync/engine/remote"
	"ensync/engine/replica"
	"ensync/engine/watch"
	"ensync/keys"
	"ensync/store"
	"ensync/store/backend"
	"ensync/store/backend/limit"
	"ensync/store/cache"
	"ensync/store/dir"
	"ensync/store/pipe"
	"ensync/store/s3"
)

// Options are what a command line adds to a configuration.
type Options struct {
	Key    *keys.Source // replaces the configured passphrase
	Asker  keys.Asker   // asks for passphrases
	Notice func(string) // told of what a user should know although nothing failed; nil: nobody
	// Mount opens the store as a mount wants it, which lives with a store that comes and goes. The local cache holds the
	// content of files too: what was written or read stays readable. A store that is remembered opens also while it is out
	// of reach. And who reads content waits no longer than the configuration says.
	Mount bool
	// Unattended says that nobody can answer what ssh may ask, so that connecting takes no longer than a machine does.
	Unattended bool
	// Open opens the place where the store lies; nil: OpenBackend. What it returns is closed with the store.
	Open func(config.Server) (backend.Backend, error)
}

// Store is an open store with what it stands on.
type Store struct {
	*store.Store
	Config  *config.Config
	Backend backend.Backend
	cache   *cache.Cache
	scratch string // a directory of its own, of a store that is opened for a move
	notice  func(string)
}

// Passphrase reads the passphrase that unlocks the store.
func Passphrase(ctx context.Context, cfg *config.Config, opt Options) ([]byte, error) {
	src, err := source(cfg, opt)
	if err != nil {
		return nil, err
	}
	return src.Read(ctx, opt.Asker, "Passphrase: ")
}

func source(cfg *config.Config, opt Options) (keys.Source, error) {
	if opt.Key != nil {
		return *opt.Key, nil
	}
	return SourceOf(cfg.General.Passphrase)
}

// SourceOf turns a configured passphrase into a source.
func SourceOf(p config.Passphrase) (keys.Source, error) {
	switch p.Kind {
	case config.PassphraseString:
		return keys.ParseSource("string:"+p.Text, p.Dir)
	case config.PassphraseFile:
		return keys.ParseSource("file:"+p.Path, p.Dir)
	case config.PassphraseShell:
		return keys.ParseSource("shell:"+p.Command, p.Dir)
	case config.PassphraseKeyring, config.PassphraseFD:
		return keys.ParseSource(string(p.Kind)+":"+p.Text, p.Dir)
	}
	return keys.ParseSource("prompt", p.Dir)
}

// OpenBackend opens the place where a store lies.
func OpenBackend(server config.Server) (backend.Backend, error) {
	switch server.Kind {
	case config.ServerPath:
		return dir.Open(server.Path)
	case config.ServerShell:
		return openCommand(server, pipe.Options{}), nil
	case config.ServerS3:
		return s3.New(S3Options(server))
	default:
		return nil, fmt.Errorf("open store %s: no kind of store is called %q", server, server.Kind)
	}
}

func openCommand(server config.Server, opt pipe.Options) *pipe.Client {
	opt.Location = server.String()
	return pipe.New(pipe.Command(server.Command, server.Dir), opt)
}

// helloTime is how long a connection that nobody attends may take to be made. One that hangs, because the network went
// away under it, stands in the way of the next attempt.
const helloTime = 10 * time.Second

// S3Options are what a configuration says of a bucket.
func S3Options(server config.Server) s3.Options {
	of := server.S3
	return s3.Options{Endpoint: of.Endpoint, Plain: of.Insecure, Bucket: of.Bucket, Prefix: of.Prefix, Region: of.Region,
		Style: s3.Style(of.Style), CA: of.CA, SkipVerify: of.SkipVerify, Profile: of.Profile, Location: server.String()}
}

func (o Options) open(server config.Server) (backend.Backend, error) {
	switch {
	case o.Open != nil:
		return o.Open(server)
	case o.Mount && server.Kind == config.ServerPath:
		return dir.At(server.Path)
	case o.Unattended && server.Kind == config.ServerShell:
		return openCommand(server, pipe.Options{HelloTimeout: helloTime}), nil
	}
	return OpenBackend(server)
}

// Limit keeps a backend to what a configuration allows of the line.
func Limit(cfg *config.Config, b backend.Backend) backend.Backend {
	net := cfg.Network
	if !net.Limited() {
		return b
	}
	return limit.Wrap(b, func(t time.Time) limit.Rates {
		up, down := net.At(t)
		return limit.Rates{Up: up, Down: down}
	})
}

// OpenStore opens the configured store with a passphrase.
func OpenStore(ctx context.Context, cfg *config.Config, pass []byte, opt Options) (*Store, error) {
	if err := cfg.EnsurePrivateDir(); err != nil {
		return nil, err
	}
	b, err := opt.open(cfg.General.Server)
	if err != nil {
		return nil, err
	}
	b = Limit(cfg, b)
	s := &Store{Config: cfg, Backend: b, notice: opt.Notice}
	if s.notice == nil {
		s.notice = func(string) {}
	}
	err = s.open(ctx, pass, opt)
	if errors.Is(err, store.ErrWrongPassphrase) {
		err = fmt.Errorf("%w; correct passphrase in %s, or give another with --key; ensync key ls shows the keys that there are",
			err, filepath.Join(cfg.Dir, config.FileName))
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, pass []byte, o Options) error {
	mem, err := store.OpenMemory(memoryPath(s.Config))
	if err != nil {
		return err
	}
	opt := StoreOptions(s.Config)
	opt.Memory, opt.CacheData = mem, o.Mount
	if o.Mount {
		opt.Wait = cmp.Or(s.Config.Mount.Wait, forever)
	}
	opt.Local = func(id [16]byte) (store.Cache, string) {
		s.cache = cache.New(cache.DefaultDir(), fmt.Sprintf("%x", id), s.Config.Mount.Cache)
		return s.cache, s.cache.IndexDir()
	}
	if s.Store, err = store.Open(ctx, s.Backend, pass, opt); err != nil {
		if _, known := mem.StoreID(); o.Mount && !known && errors.Is(err, backend.ErrUnavailable) {
			err = fmt.Errorf("%w; %w", err, errFirst)
		}
		return errors.Join(err, s.closeCache())
	}
	if why := s.Assumed(); why != nil {
		s.notice(fmt.Sprintf("%v; what is on this machine can be used, and is synced when the store is back", why))
	}
	return nil
}

// forever is longer than any backend tries.
const forever = 24 * time.Hour

// errFirst says that a machine can't do without the store yet.
var errFirst = errors.New("this machine has nothing of the tree yet: the store must be in reach once")

// StoreOptions are what a configuration says of how to use a store.
func StoreOptions(cfg *config.Config) store.Options {
	levels := map[config.Compression]store.Level{
		config.CompressionNone: store.None, config.CompressionFast: store.Fast,
		config.CompressionDefault: store.Default, config.CompressionBest: store.Best,
	}
	return store.Options{Client: Machine(cfg), Compression: levels[cfg.General.Compression]}
}

func (s *Store) closeCache() error {
	if s.cache == nil {
		return nil
	}
	return s.cache.Close()
}

// Close gives everything back.
func (s *Store) Close() error {
	return errors.Join(s.Store.Close(), s.closeCache(), s.Backend.Close())
}

// OpenRoot opens the configured root.
func (s *Store) OpenRoot(ctx context.Context) (*remote.Encrypted, error) {
	if err := s.Confirm(ctx); err != nil {
		return nil, err
	}
	r, err := remote.OpenRoot(ctx, s.Store, s.Config.General.ServerRoot)
	if errors.Is(err, store.ErrNoRoot) {
		return nil, fmt.Errorf("%w; make it with ensync setup, or name another one as server_root in %s", err,
			filepath.Join(s.Config.Dir, config.FileName))
	}
	if err != nil {
		return nil, err
	}
	return r, r.Keep()
}

// Request is how one sync shall be done.
type Request struct {
	DryRun      bool
	Clean       bool // look at everything, not only where something seems to have changed
	ConfirmLoss bool
	Override    string // a sync mode that stands for all rules; "": the rules hold
	Workers     int
	Resolve     map[string]engine.Decision // see engine.Config
	Estimate    bool                       // see engine.Config
	Report      func(engine.Event)
}

// A Replica is a tree on this machine, of either kind, with its last agreement with the root.
type Replica struct {
	Client   replica.Client
	Ancestor *ancestor.DB
	// Identity tells this tree from another one in its place; nil: it can't be another.
	Identity func() (string, error)
	// Watch knows what changed in the tree since the last sync; nil: nobody does, or the client itself.
	Watch     *watch.Watch
	localPath func(path string) string // where a watched tree has what is at a path
	stamp     stamped                  // nil: there is nothing to leave a stamp on
	owner     string                   // of the stamp: whose state this is
	root      string                   // the identity of the root at the sync under way
	close     []func() error
}

// ancestorName is the database of the last agreement, in the directory of a replica's state.
const ancestorName = "ancestor.sqlite"

// Close closes the replica's files.
func (r *Replica) Close() error {
	var err error
	for i := len(r.close) - 1; i >= 0; i-- {
		err = errors.Join(err, r.close[i]())
	}
	return err
}

// OpenDirectory opens the configured ordinary directory as a replica. scrub makes it forget all hashes first, so that
// every file is read anew.
func (s *Store) OpenDirectory(ctx context.Context, scrub bool) (*Replica, error) {
	return s.openDirectory(ctx, scrub, nil)
}

// WatchDirectory is OpenDirectory with a watch on the tree.
func (s *Store) WatchDirectory(ctx context.Context, scrub bool) (*Replica, error) {
	w, err := watch.Open(ctx, s.Config.General.Path, watch.Options{})
	if err != nil {
		return nil, err
	}
	r, err := s.openDirectory(ctx, scrub, w)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	r.Watch = w
	r.close = append(r.close, w.Close)
	return r, nil
}

func (s *Store) openDirectory(ctx context.Context, scrub bool, w *watch.Watch) (*Replica, error) {
	path := s.Config.General.Path
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the local tree %s: %w; if its disk is not mounted, mount it; nothing was changed", path, err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("open the local tree %s: not a directory; correct path in %s", path,
			filepath.Join(s.Config.Dir, config.FileName))
	}
	if err := s.checkApart(path); err != nil {
		return nil, err
	}
	private := s.Config.PrivateDir()
	unlock, err := lockState(private)
	if err != nil {
		return nil, err
	}
	r, err := s.openUnlocked(ctx, path, private, scrub, w)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	r.close = slices.Insert(r.close, 0, unlock)
	return r, nil
}

func (s *Store) openUnlocked(ctx context.Context, path, private string, scrub bool, w *watch.Watch) (*Replica, error) {
	if err := errors.Join(checkCopied(private), checkMoving(private)); err != nil {
		return nil, err
	}
	cachePath := filepath.Join(private, hashesName)
	if scrub {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(cachePath + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	opt := localdir.Options{Report: s.notice, Owner: s.Config.Rules.SyncsOwner(), Xattrs: s.Config.Rules.SyncsXattrs()}
	if w != nil {
		opt.Changes = w
	}
	d, err := localdir.Open(path, cachePath, s.Store, opt)
	if err != nil {
		return nil, err
	}
	r := &Replica{Identity: d.Identity, close: []func() error{d.Close}}
	if _, number, ok := strings.Cut(Machine(s.Config), "#"); ok {
		r.stamp, r.owner = d, number
	}
	if r.Ancestor, err = ancestor.Open(filepath.Join(private, ancestorName), nil); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.close = append(r.close, r.Ancestor.Close)
	named, err := naming.Open(ctx, d, r.Ancestor, s.notice)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.Client, r.localPath = named, named.LocalPath
	if err := markCopied(private); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
