// Package setup makes what a machine needs to keep a tree the same: the store if there is none, a root in it, and a
// configuration.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ensync/engine/config"
	"ensync/engine/localdir"
	"ensync/engine/session"
	"ensync/keys"
	"ensync/store"
	"ensync/store/backend"
)

// ErrCancelled says that whoever was asked said no.
var ErrCancelled = errors.New("cancelled")

// Names in a new store.
const (
	FirstKey    = "original" // the key of whoever set the store up
	DefaultRoot = "root"
	rootMode    = 0o600 // of a root that setup makes; reference 1.4, step 12
)

// Topic is what a question with a free answer is about.
type Topic int

// The topics.
const (
	Root Topic = iota
	Compression
	Mode
)

// Talk is the conversation with who sets up. Answers end with ErrCancelled when there are no more.
type Talk interface {
	keys.Asker
	Say(text string)
	// Confirm asks for yes or no.
	Confirm(ctx context.Context, question string) (bool, error)
	// Choose asks until valid returns nil. An empty answer is def.
	Choose(ctx context.Context, topic Topic, question, def string, valid func(string) error) (string, error)
}

// Request is what is to be set up. Paths may be relative to the current directory.
type Request struct {
	Config string // the directory for the configuration; must not exist
	Local  string // the tree; must exist
	Remote string // where the store lies: a directory, path:DIRECTORY, shell:COMMAND, s3:ENDPOINT/BUCKET/PREFIX, or a place that ssh reaches
	Key    string // where the passphrase comes from, as keys.ParseSource reads
}

// Run sets up a machine, as reference 1.4 tells. After an error, there is no configuration; a store or a root that was
// made already stays, and the next attempt joins it.
func Run(ctx context.Context, req Request, talk Talk) error {
	s, err := begin(req, talk)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		s.askPlaces, s.askStore, s.reachStore, s.openStore, s.chooseRoot, s.chooseCompression, s.chooseMode, s.probe, s.write,
	} {
		if err := step(ctx); err != nil {
			return errors.Join(err, s.undo())
		}
	}
	talk.Say(fmt.Sprintf("Wrote %s.\nRun \"ensync sync%s\" to sync for the first time.",
		filepath.Join(s.dir, config.FileName), s.argument()))
	return errors.Join(s.store.Close(), s.place.close())
}

type setup struct {
	talk     Talk
	place    place
	dir      string // the configuration directory, absolute
	source   keys.Source
	cfg      *config.Config
	settings config.Settings
	made     []string // what undo removes, in the order of making
	store    *session.Store
	newRoot  string // to be created
}

func begin(req Request, talk Talk) (*setup, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	abs := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(cwd, path)
	}
	dir, err := config.ResolveDir(req.Config, os.Getenv)
	if err != nil {
		return nil, err
	}
	s := &setup{talk: talk, dir: dir}
	if s.place, err = parsePlace(req.Remote, abs); err != nil {
		return nil, err
	}
	if s.source, err = keys.ParseSource(req.Key, cwd); err != nil {
		return nil, err
	}
	s.settings = config.Default(abs(req.Local), "", keySpec(req.Key, abs))
	s.cfg = &config.Config{Dir: dir}
	return s, nil
}

// keySpec is how the configuration names the source of the passphrase: a relative file was relative to here.
func keySpec(spec string, abs func(string) string) string {
	if path, ok := strings.CutPrefix(spec, "file:"); ok {
		return "file:" + abs(path)
	}
	return spec
}

// argument is how the configuration is named on a command line.
func (s *setup) argument() string {
	if def, err := config.ResolveDir("", os.Getenv); err == nil && def == s.dir {
		return ""
	}
	return " " + s.dir
}

// askPlaces looks at the configuration directory and the local tree.
func (s *setup) askPlaces(ctx context.Context) error {
	if _, err := os.Lstat(s.dir); err == nil {
		return fmt.Errorf("set up %s: %w; choose another directory, or remove it", s.dir, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set up: %w", err)
	}
	if filepath.Ext(s.dir) != "" {
		if err := s.confirm(ctx, fmt.Sprintf("The configuration will be a directory. Really name it %s?", s.dir)); err != nil {
			return err
		}
	}
	if missing(filepath.Dir(s.dir)) {
		if err := s.confirm(ctx, fmt.Sprintf("%s does not exist. Create it, too?", filepath.Dir(s.dir))); err != nil {
			return err
		}
	}
	info, err := os.Stat(s.settings.Path)
	if err != nil {
		return fmt.Errorf("set up: local tree: %w; create the directory first", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("set up: local tree %s: not a directory; name a directory", s.settings.Path)
	}
	return nil
}

// askStore looks at the place of the store before anything is made.
func (s *setup) askStore(ctx context.Context) error {
	if err := s.place.look(ctx, s); err != nil {
		return fmt.Errorf("set up: store: %w", err)
	}
	s.talk.Say(fmt.Sprintf("Local tree:     %s\nStore:          %s\nConfiguration:  %s", s.settings.Path, s.place, s.dir))
	return s.confirm(ctx, "Is that right?")
}

// reachStore connects with the place of the store, as far as it has to be.
func (s *setup) reachStore(ctx context.Context) (err error) {
	if s.settings.Server, err = s.place.reach(ctx, s); err != nil {
		return fmt.Errorf("set up: store: %w", err)
	}
	s.cfg.General.Server, err = config.ParseServer(s.settings.Server, s.dir)
	return err
}

func (s *setup) confirm(ctx context.Context, question string) error {
	yes, err := s.talk.Confirm(ctx, question)
	if err == nil && !yes {
		err = fmt.Errorf("set up: %w", ErrCancelled)
	}
	return err
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// nothingThere reports whether reading a store's keys failed because there is no store.
func nothingThere(err error) bool {
	return errors.Is(err, store.ErrNoStore) || errors.Is(err, backend.ErrNoPlace)
}

// openStore makes the store, or joins the one that is there.
func (s *setup) openStore(ctx context.Context) error {
	opt := session.Options{Asker: s.talk, Notice: s.talk.Say, Open: s.place.open}
	_, err := session.Keys(ctx, s.cfg, opt)
	fresh := nothingThere(err)
	if err != nil && !fresh {
		return err
	}
	if errors.Is(err, backend.ErrNoPlace) && s.place.exists() {
		// One that is not empty is refused when the store is made.
		if err := s.confirm(ctx, fmt.Sprintf("%s exists, but is no store. Really use it?", s.place)); err != nil {
			return err
		}
	}
	var pass []byte
	if fresh {
		pass, err = s.source.ReadNew(ctx, s.talk, "New passphrase")
	} else {
		pass, err = s.source.Read(ctx, s.talk, "Passphrase of the store")
	}
	if err != nil {
		return err
	}
	defer clear(pass)
	if err := s.makeConfigDir(); err != nil {
		return err
	}
	if fresh {
		s.store, err = session.CreateStore(ctx, s.cfg, pass, FirstKey, opt)
	} else {
		s.store, err = session.OpenStore(ctx, s.cfg, pass, opt)
	}
	if fresh && err == nil {
		s.talk.Say(fmt.Sprintf("Made a store in %s.", s.place))
	}
	return err
}

// makeConfigDir makes the configuration directory, and notes what undo has to remove.
func (s *setup) makeConfigDir() error {
	if s.made != nil {
		return nil
	}
	var dirs []string
	for d := s.dir; missing(d); d = filepath.Dir(d) {
		dirs = append([]string{d}, dirs...)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	private := s.cfg.PrivateDir()
	s.made = append(dirs, private)
	for _, name := range []string{"store.json", "store.json.lock", "store.json.tmp", session.MachineFile} {
		s.made = append(s.made, filepath.Join(private, name))
	}
	return nil
}

// undo removes what was made beside the store. A directory that somebody put something into stays.
func (s *setup) undo() error {
	var err error
	if s.store != nil {
		err = s.store.Close()
	}
	err = errors.Join(err, s.place.close())
	for i := len(s.made) - 1; i >= 0; i-- {
		os.Remove(s.made[i])
	}
	return err
}

// probe looks what is odd about the local file system. A probe that fails says nothing.
func (s *setup) probe(context.Context) error {
	d, err := localdir.Open(s.settings.Path, "", nil, localdir.Options{})
	if err != nil {
		return nil
	}
	traits, err := d.Traits()
	if err := errors.Join(err, d.Close()); err != nil {
		return nil
	}
	s.settings.TrustClientMode = !traits.NoModes
	if odd := traits.Sentences(); len(odd) > 0 {
		s.talk.Say(fmt.Sprintf("The file system of %s:\n  %s.", s.settings.Path, strings.Join(odd, ".\n  ")))
	}
	return nil
}

// write makes the root, if it is a new one, and at last the configuration.
func (s *setup) write(ctx context.Context) error {
	if _, err := s.settings.Text(); err != nil {
		return err
	}
	if s.newRoot != "" {
		if _, err := s.store.CreateRoot(ctx, s.newRoot, rootMode); err != nil {
			return err
		}
	}
	return config.Write(s.dir, s.settings)
}
