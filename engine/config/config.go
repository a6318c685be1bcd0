// Package config reads and writes config.toml: which tree is kept the same with which store, under which rules.
//
// The format is the original's (reference 2.1 to 2.4) with [mount], [history] and [network] added. It is stricter in this: an
// unknown table, or an unknown key in a table, is an error instead of being ignored, since a mistyped key that is
// silently ignored is a rule that the user believes in and that does not hold.
package config

import (
	"crypto/sha3"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"

	"ensync/engine/rules"
)

// The names in a configuration directory.
const (
	FileName    = "config.toml"
	privateName = "internal.ensync"
)

// The bounds of a config.toml that is read. The decoder's time grows with more than the square of nesting.
const (
	maxText  = 256 << 10 // bytes
	maxLine  = 4 << 10   // bytes; bounds dotted keys
	maxDepth = 200       // brackets that are open at once
)

// Config is a config.toml that was understood. Relative paths in it are already joined to Dir.
type Config struct {
	Dir     string // the configuration directory, absolute
	General General
	Mount   Mount
	History History
	Network Network
	Rules   *rules.Set
	Hash    [32]byte // SHA3-256 of the file as it is: after a change, clean marks hold no more (reference 1.5, step 5)
}

// General is [general].
type General struct {
	Path        string // the tree: the directory for sync, the mount point for mount
	Server      Server
	ServerRoot  string // the tree's name in the store
	Passphrase  Passphrase
	Compression Compression
	BlockSize   int    // bytes; only for a store that is created
	Chunking    string // "cdc" (by content) or "fixed"; only for a store that is created
}

// Mount is [mount].
type Mount struct {
	Interval time.Duration // between two syncs at most; 0: only on request and on unmount
	Cache    int64         // bytes that clean content may take on this machine
	Unsynced int64         // bytes of content that may be here and not in the store yet; 0: what the disk has room for
	Wait     time.Duration // how long who reads content waits for a store that does not answer; 0: until it is given up
}

// History is [history].
type History struct {
	Keep time.Duration // how long earlier states of the tree can be had back; 0: not at all
}

// Compression is how much work goes into making blocks smaller.
type Compression string

// The grades of compression. The words off and on are read as none and default.
const (
	CompressionNone    Compression = "none"
	CompressionFast    Compression = "fast"
	CompressionDefault Compression = "default"
	CompressionBest    Compression = "best"
)

// What holds where config.toml says nothing, and the bounds of what it may say.
const (
	DefaultBlockSize = 1<<20 - 512 // 1 MiB less what a stored block adds; reference 2.2
	MinBlockSize     = 256
	MaxBlockSize     = 1 << 30
	DefaultInterval  = 30 * time.Second
	DefaultCache     = 10 << 30
	DefaultWait      = 10 * time.Second
	MinCache         = 64 << 20 // room for a few blocks in flight
	MinUnsynced      = 64 << 20
	DefaultKeep      = 30 * day
)

// ResolveDir returns the absolute configuration directory: flag (a --config or CONFIG argument) if it is not empty,
// else $ENSYNC_CONFIG, else ~/.config/ensync. Each may also name the config.toml in it. getenv is os.Getenv.
func ResolveDir(flag string, getenv func(string) string) (string, error) {
	for _, named := range []string{flag, getenv("ENSYNC_CONFIG")} {
		if named == "" {
			continue
		}
		dir, err := filepath.Abs(named)
		if err != nil {
			return "", fmt.Errorf("config %s: %w; name it by an absolute path", named, err)
		}
		if filepath.Base(dir) == FileName {
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				dir = filepath.Dir(dir)
			}
		}
		return dir, nil
	}
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("config: $HOME is not set; name the configuration with --config or $ENSYNC_CONFIG")
	}
	return filepath.Join(home, ".config", "ensync"), nil
}

// PrivateDir returns where the state of this machine lies, given a configuration directory.
func PrivateDir(dir string) string { return filepath.Join(dir, privateName) }

// PrivateDir returns where the state of this machine lies. It is not to be copied to another machine.
func (c *Config) PrivateDir() string { return PrivateDir(c.Dir) }

// Load reads a configuration; path is its directory or the config.toml in it. The error is fs.ErrNotExist if there is
// none; otherwise it names file, table and key of each mistake, one a line. It never contains a passphrase.
func Load(path string) (*Config, error) {
	dir, err := ResolveDir(path, func(string) string { return "" })
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, FileName)
	text, err := read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("config %s: %w; make one with ensync setup, or name another with --config", file, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", file, err)
	}
	return Parse(dir, text)
}

// read returns a file's bytes, if they are not too many.
func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, unwrapPath(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, unwrapPath(err)
	}
	return text, nil
}

// unwrapPath drops the path from an error whose message will name it anyway.
func unwrapPath(err error) error {
	var detail *fs.PathError
	if errors.As(err, &detail) {
		return detail.Err
	}
	return err
}

// Parse reads the text of the config.toml of a directory, which must be an absolute path. Errors are as of Load.
func Parse(dir string, text []byte) (*Config, error) {
	file := filepath.Join(dir, FileName)
	if len(text) > maxText {
		return nil, fmt.Errorf("config %s: longer than %d bytes; is it the right file?", file, maxText)
	}
	if err := checkShape(text); err != nil {
		return nil, fmt.Errorf("config %s: %w", file, err)
	}
	var table map[string]any
	if err := toml.Unmarshal(text, &table); err != nil {
		return nil, fmt.Errorf("config %s: %w", file, syntaxError(text, err))
	}
	c, problems := decode(dir, table)
	if len(problems) > 0 {
		for i, p := range problems {
			problems[i] = fmt.Errorf("config %s: %w", file, p)
		}
		return nil, errors.Join(problems...)
	}
	c.Hash = sha3.Sum256(text)
	return c, nil
}

// checkShape refuses texts that would keep the decoder busy. It counts brackets in strings and comments too, which
// few texts have so many of without closing them.
func checkShape(text []byte) error {
	depth, line, start := 0, 1, 0
	for i, b := range text {
		switch b {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		case '\n':
			line, start = line+1, i+1
		}
		if depth > maxDepth || i-start >= maxLine {
			return fmt.Errorf("line %d: nested too deeply or longer than %d bytes; break it up", line, maxLine)
		}
	}
	return nil
}
