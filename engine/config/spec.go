package config

import (
	"errors"
	"fmt"
	"strings"

	"ensync/engine/internal/nearest"
)

// Where a store lies, in words for messages.
// serverForms is what messages offer. The other kinds are read, so that whoever opens the store can say that it is not
// able to.
const serverForms = `path:DIRECTORY or shell:COMMAND`

// ServerKind is how a store is reached.
type ServerKind string

// The kinds of servers, which are also their prefixes in config.toml.
const (
	ServerPath  ServerKind = "path"
	ServerShell ServerKind = "shell"
	ServerS3    ServerKind = "s3"
)

// Server says where a store lies.
type Server struct {
	Kind    ServerKind
	Path    string // path: the directory, absolute
	Command string // shell: for /bin/sh -c
	Dir     string // shell: where the command runs
	S3      S3     // s3
}

// S3 is a place in an S3-compatible object store. Who may use it is told by the environment, never by config.toml.
type S3 struct {
	Endpoint string // host or host:port
	Insecure bool   // http instead of https
	Bucket   string
	Prefix   string // without slashes at either end; may be empty
}

// ParseServer reads path:DIRECTORY, shell:COMMAND or s3:ENDPOINT/BUCKET/PREFIX. dir is the directory that a relative
// path starts from and in which a command runs. An endpoint is a host, perhaps with a port, reached by https unless
// it is written http://HOST.
func ParseServer(spec, dir string) (Server, error) {
	kind, rest, err := cutKind(spec, serverForms, string(ServerPath), string(ServerShell), string(ServerS3))
	if err != nil {
		return Server{}, fmt.Errorf("%q: %w", spec, err)
	}
	if strings.ContainsRune(rest, 0) {
		return Server{}, fmt.Errorf("%q: a NUL byte; write %s", spec, serverForms)
	}
	if rest == "" {
		return Server{}, fmt.Errorf("%q: nothing after the colon; write %s", spec, serverForms)
	}
	s := Server{Kind: ServerKind(kind)}
	switch s.Kind {
	case ServerPath:
		s.Path = join(dir, rest)
	case ServerShell:
		s.Command, s.Dir = rest, dir
	case ServerS3:
		if s.S3, err = parseS3(rest); err != nil {
			return Server{}, err
		}
	}
	return s, nil
}

// String returns what ParseServer reads.
func (s Server) String() string {
	switch s.Kind {
	case ServerPath:
		return "path:" + s.Path
	case ServerShell:
		return "shell:" + s.Command
	}
	scheme, prefix := "", ""
	if s.S3.Insecure {
		scheme = "http://"
	}
	if s.S3.Prefix != "" {
		prefix = "/" + s.S3.Prefix
	}
	return "s3:" + scheme + s.S3.Endpoint + "/" + s.S3.Bucket + prefix
}

func parseS3(rest string) (S3, error) {
	var s S3
	place, insecure := strings.CutPrefix(rest, "http://")
	s.Insecure = insecure
	place = strings.TrimPrefix(place, "https://")
	host, path, _ := strings.Cut(place, "/")
	s.Endpoint = host
	s.Bucket, s.Prefix, _ = strings.Cut(path, "/")
	s.Prefix = strings.Trim(s.Prefix, "/")
	switch {
	case strings.Contains(host, "@"): // not repeated: it may be a secret
		return s, errors.New("s3: the endpoint holds user data; give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	case host == "" || strings.ContainsAny(host, " \t?#"):
		return s, fmt.Errorf("s3: %q is no host; write s3:ENDPOINT/BUCKET/PREFIX, for instance s3:s3.example.org/backup/laptop", host)
	case s.Bucket == "" || strings.ContainsAny(s.Bucket, " \t?#"):
		return s, fmt.Errorf("s3: %q is no bucket; write s3:ENDPOINT/BUCKET/PREFIX, for instance s3:s3.example.org/backup/laptop", s.Bucket)
	}
	for _, part := range strings.Split(s.Prefix, "/") {
		if part == "." || part == ".." || part == "" && s.Prefix != "" {
			return s, fmt.Errorf("s3: prefix %q has a part that is empty, . or ..; remove it", s.Prefix)
		}
	}
	return s, nil
}

// Where a passphrase comes from, in words for messages.
const passphraseForms = `prompt, string:TEXT, file:PATH or shell:COMMAND`

var passphraseKinds = []string{string(PassphrasePrompt), string(PassphraseString), string(PassphraseFile), string(PassphraseShell)}

// PassphraseKind is where a passphrase comes from.
type PassphraseKind string

// The sources of passphrases.
const (
	PassphrasePrompt PassphraseKind = "prompt" // the terminal
	PassphraseString PassphraseKind = "string" // config.toml itself
	PassphraseFile   PassphraseKind = "file"
	PassphraseShell  PassphraseKind = "shell" // what a command prints
)

// Passphrase says where a passphrase comes from. Printing it shows no secret.
type Passphrase struct {
	Kind    PassphraseKind
	Text    string // string: the passphrase
	Path    string // file: absolute
	Command string // shell: for /bin/sh -c
	Dir     string // shell: where the command runs
}

// String names the source; a passphrase that stands in the configuration is left out.
func (p Passphrase) String() string {
	switch p.Kind {
	case PassphraseString:
		return "string:..."
	case PassphraseFile:
		return "file:" + p.Path
	case PassphraseShell:
		return "shell:" + p.Command
	}
	return string(p.Kind)
}

// GoString keeps %#v from showing a passphrase.
func (p Passphrase) GoString() string { return p.String() }

// ParsePassphrase reads prompt, string:TEXT, file:PATH or shell:COMMAND. dir is the directory that a relative path
// starts from and in which a command runs: the configuration's, or the current one for a command line's --key. The
// error never repeats the specification, which may be a secret.
func ParsePassphrase(spec, dir string) (Passphrase, error) {
	if spec == string(PassphrasePrompt) {
		return Passphrase{Kind: PassphrasePrompt}, nil
	}
	kind, rest, ok := strings.Cut(spec, ":")
	if !ok || rest == "" || strings.ContainsRune(rest, 0) {
		return Passphrase{}, errors.New("the specification is not understood; write " + passphraseForms + nearest.Hint(kind, passphraseKinds))
	}
	p := Passphrase{Kind: PassphraseKind(kind)}
	switch p.Kind {
	case PassphraseString:
		p.Text = rest
	case PassphraseFile:
		p.Path = join(dir, rest)
	case PassphraseShell:
		p.Command, p.Dir = rest, dir
	default:
		return Passphrase{}, errors.New("the specification is of an unknown kind; write " + passphraseForms + nearest.Hint(kind, passphraseKinds))
	}
	return p, nil
}

// cutKind splits KIND:REST.
func cutKind(spec, forms string, kinds ...string) (kind, rest string, err error) {
	kind, rest, ok := strings.Cut(spec, ":")
	if !ok {
		return "", "", fmt.Errorf("no colon; write %s", forms)
	}
	for _, k := range kinds {
		if k == kind {
			return kind, rest, nil
		}
	}
	return "", "", fmt.Errorf("unknown kind %q; write %s%s", kind, forms, nearest.Hint(kind, kinds))
}
