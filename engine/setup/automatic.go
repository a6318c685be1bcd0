package setup

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/keys"
	"ensync/store"
)

// keyFile is the name, beside config.toml, of a passphrase that nobody has to know.
const keyFile = "key"

// keyBytes of randomness are 256 characters of base64: more than enough to be guessed never, and long enough to be
// stretched quickly.
const keyBytes = 192

// Automatic sets up a first machine without asking anything: a store in the user's data directory, a random key in a
// file beside the configuration, and a configuration for a tree at path. say is told of each thing made. A run that was
// cut short is completed by the next; a store or key that is there already is used and never replaced.
func Automatic(ctx context.Context, dir, path string, say func(string)) error {
	place, err := dataDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	key := filepath.Join(dir, keyFile)
	if missing(key) && directory(place).isStore() {
		return fmt.Errorf("set up: there is a store in %s already, but neither a configuration nor a key for it in %s; "+
			"join it with ensync setup", place, dir)
	}
	if err := makeKey(key, say); err != nil {
		return err
	}
	settings := config.Default(path, "path:"+place, "file:"+keyFile)
	if err := makeStore(ctx, dir, place, key, settings.ServerRoot, say); err != nil {
		return err
	}
	if err := config.Write(dir, settings); err != nil {
		return err
	}
	say(fmt.Sprintf("Made the configuration %s; it says how to move to a store elsewhere.", filepath.Join(dir, config.FileName)))
	return nil
}

// dataDir is where the store goes.
func dataDir() (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("set up: %w", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "ensync", "store"), nil
}

// makeKey makes a random passphrase in a file that only its owner can read, unless there is one.
func makeKey(path string, say func(string)) error {
	if !missing(path) {
		return nil
	}
	random := make([]byte, keyBytes)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(random) + "\n")
	// DURABLE: without the key, what is stored under it is lost.
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	say(fmt.Sprintf("Made the key %s; keep a copy elsewhere: without it, nothing in the store can be read.", path))
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeStore makes store and root, as far as they are not there.
func makeStore(ctx context.Context, dir, place, key, root string, say func(string)) error {
	source, err := keys.ParseSource("file:"+key, dir)
	if err != nil {
		return err
	}
	pass, err := source.Read(ctx, nil, "")
	if err != nil {
		return err
	}
	defer clear(pass)
	cfg := &config.Config{Dir: dir}
	cfg.General.Server = directory(place).server()
	cfg.General.Compression = config.CompressionBest
	cfg.Mount.Cache = config.DefaultCache
	_, err = session.Keys(ctx, cfg, session.Options{})
	fresh := nothingThere(err)
	if err != nil && !fresh {
		return err
	}
	var st *session.Store
	if fresh {
		st, err = session.CreateStore(ctx, cfg, pass, FirstKey, session.Options{})
	} else {
		st, err = session.OpenStore(ctx, cfg, pass, session.Options{})
	}
	if err != nil {
		return err
	}
	if fresh {
		say(fmt.Sprintf("Made a store in %s.", place))
	}
	_, err = st.CreateRoot(ctx, root, rootMode)
	if errors.Is(err, store.ErrRootExists) {
		err = nil
	} else if err == nil {
		say(fmt.Sprintf("Made the tree %s in it.", root))
	}
	return errors.Join(err, st.Close())
}

// MakeMountPoint makes the directory that a tree is to be mounted at, if it is missing and the one above it is there.
// It reports whether it did.
func MakeMountPoint(path string) (bool, error) {
	if !missing(path) {
		return false, nil
	}
	if err := os.Mkdir(path, 0o700); errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("mount at %s: %w; create the directory above it first", path, fs.ErrNotExist)
	} else if err != nil {
		return false, fmt.Errorf("mount at %s: %w", path, err)
	}
	return true, nil
}
