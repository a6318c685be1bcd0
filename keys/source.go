package keys

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MaxPassphrase is how many bytes a passphrase has at most; more is a mistaken file or a command gone wild.
const MaxPassphrase = 1 << 20

// What can go wrong with a passphrase before it is tried on a key.
var (
	ErrBadSource = errors.New("not a passphrase source; use prompt, file:PATH, shell:COMMAND, keyring:NAME, fd:NUMBER or string:TEXT")
	ErrMismatch  = errors.New("the two passphrases differ; nothing was changed")
	ErrTooLong   = fmt.Errorf("passphrase is longer than %d bytes", MaxPassphrase)
)

// Asker asks a person for a secret, without showing what is typed.
type Asker interface {
	// Ask shows prompt and returns the typed line. It returns within 200 ms of the end of ctx.
	Ask(ctx context.Context, prompt string) ([]byte, error)
}

// Source is where a passphrase comes from (reference 2.2). However it is printed, it shows no secret. The zero Source
// is no source at all.
type Source struct {
	kind  string // "prompt", "string", "file", "shell", "keyring" or "fd"
	value string // text, absolute path, command, name or number
	dir   string // working directory of a command
}

// ParseSource reads a specification: "prompt", "string:TEXT", "file:PATH", "shell:COMMAND", "keyring:NAME" or "fd:NUMBER". A
// relative path is below baseDir, and a command runs there. The error never shows spec, which may be a passphrase given by mistake.
func ParseSource(spec, baseDir string) (Source, error) {
	if spec == "prompt" {
		return Source{kind: "prompt"}, nil
	}
	kind, value, ok := strings.Cut(spec, ":")
	switch {
	case !ok:
		return Source{}, ErrBadSource
	case kind == "string", kind == "shell" && value != "":
		return Source{kind: kind, value: value, dir: baseDir}, nil
	case kind == "file" && value != "":
		if !filepath.IsAbs(value) {
			value = filepath.Join(baseDir, value)
		}
		return Source{kind: kind, value: value}, nil
	case kind == "keyring" && value != "" && !strings.ContainsRune(value, 0):
		return Source{kind: kind, value: value}, nil
	case kind == "fd":
		if n, err := strconv.ParseUint(value, 10, 16); err == nil {
			return Source{kind: kind, value: strconv.FormatUint(n, 10)}, nil
		}
	}
	return Source{}, ErrBadSource
}

// Prompts reports whether reading the source asks a person.
func (s Source) Prompts() bool { return s.kind == "prompt" }

// String names the source for messages. Commands are hidden too, since people write secrets into them.
func (s Source) String() string {
	switch s.kind {
	case "prompt":
		return s.kind
	case "file", "keyring", "fd":
		return s.kind + ":" + s.value
	case "":
		return "no passphrase source"
	}
	return s.kind + ":***"
}

// Format makes every verb of package fmt print String.
func (s Source) Format(to fmt.State, _ rune) { _, _ = io.WriteString(to, s.String()) }

// Read returns the passphrase: bytes as they are, but for trailing CR and LF. An empty one is ErrEmptyPassphrase.
// prompt is what ask shows, if the source prompts; ask may be nil if it does not.
func (s Source) Read(ctx context.Context, ask Asker, prompt string) ([]byte, error) {
	pass, err := s.read(ctx, ask, prompt)
	if err == nil && len(pass) == 0 {
		err = ErrEmptyPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("read passphrase from %s: %w", s, err)
	}
	return pass, nil
}

// ReadNew is Read of a passphrase that is to be set: a person types it twice, and ErrMismatch says they differ.
func (s Source) ReadNew(ctx context.Context, ask Asker, prompt string) ([]byte, error) {
	pass, err := s.Read(ctx, ask, prompt)
	if err != nil || !s.Prompts() {
		return pass, err
	}
	again, err := s.Read(ctx, ask, prompt+" (again)")
	if errors.Is(err, ErrEmptyPassphrase) {
		err = fmt.Errorf("read passphrase from %s: %w", s, ErrMismatch)
	}
	if err == nil && subtle.ConstantTimeCompare(pass, again) != 1 {
		err = fmt.Errorf("read passphrase from %s: %w", s, ErrMismatch)
	}
	clear(again)
	if err != nil {
		clear(pass)
		return nil, err
	}
	return pass, nil
}

func (s Source) read(ctx context.Context, ask Asker, prompt string) (pass []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch s.kind {
	case "prompt":
		if ask == nil {
			return nil, errors.New("there is no terminal to ask on")
		}
		pass, err = ask.Ask(ctx, prompt)
	case "string":
		pass = []byte(s.value)
	case "file":
		pass, err = readSecretFile(ctx, s.value)
	case "shell":
		pass, err = runSecretCommand(ctx, s.value, s.dir)
	case "keyring":
		pass, err = readKeyring(s.value)
	case "fd":
		pass, err = readDescriptor(ctx, s.value)
	default:
		return nil, ErrBadSource
	}
	if err == nil && len(pass) > MaxPassphrase {
		err = ErrTooLong
	}
	if err != nil {
		clear(pass)
		return nil, err
	}
	return bytes.TrimRight(pass, "\r\n"), nil
}

// ExposedError warns that others than the owner can read a passphrase file.
type ExposedError struct {
	Path string
	Mode fs.FileMode
}

func (e *ExposedError) Error() string {
	return fmt.Sprintf("passphrase file %s: other users can read it (mode %04o); run chmod 600 on it", e.Path, e.Mode.Perm())
}

// Exposed returns an *ExposedError if the source is a regular file that its group or everyone may read, and nil
// otherwise, also when that can't be told. It is a warning: Read reads such a file all the same.
func (s Source) Exposed() error {
	if s.kind != "file" {
		return nil
	}
	info, err := os.Stat(s.value)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o044 == 0 {
		return nil
	}
	return &ExposedError{Path: s.value, Mode: info.Mode()}
}

// readAll reads a secret up to one byte beyond MaxPassphrase. Unlike io.ReadAll it leaves no copies behind as it grows.
func readAll(r io.Reader) ([]byte, error) {
	buf := make([]byte, MaxPassphrase+1)
	n, err := io.ReadFull(r, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	pass := bytes.Clone(buf[:n])
	clear(buf[:n])
	return pass, err
}
