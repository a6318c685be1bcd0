package config

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"ensync/engine/internal/nearest"
)

// Where a store lies, in words for messages.
const serverForms = `path:DIRECTORY, shell:COMMAND or s3:ENDPOINT/BUCKET/PREFIX`

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

	// What the table [s3] says.
	Region     string // "": that of the environment
	Style      string // path or virtual; "" or auto: by the endpoint
	CA         string // file with certificates to trust instead of the system's, absolute; "": the system's
	SkipVerify bool   // any certificate is taken
	Profile    string // of the shared credentials; "": the environment's
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
	case !validHost(host):
		return s, fmt.Errorf("s3: %q is no host; write s3:ENDPOINT/BUCKET/PREFIX, for instance s3:s3.example.org/backup/laptop", host)
	case !validBucket(s.Bucket):
		return s, fmt.Errorf("s3: %q is no bucket; write s3:ENDPOINT/BUCKET/PREFIX, for instance s3:s3.example.org/backup/laptop", s.Bucket)
	}
	for _, part := range strings.Split(s.Prefix, "/") {
		if part == "." || part == ".." || part == "" && s.Prefix != "" {
			return s, fmt.Errorf("s3: prefix %q has a part that is empty, . or ..; remove it", s.Prefix)
		}
	}
	if len(s.Prefix) > maxPrefix || strings.ContainsFunc(s.Prefix, unicode.IsControl) || !utf8.ValidString(s.Prefix) {
		return s, fmt.Errorf("s3: the prefix is longer than %d bytes, or no text; choose another one", maxPrefix)
	}
	return s, nil
}

// maxPrefix leaves room for the longest name of an object in a key of S3, which has at most 1024 bytes.
const maxPrefix = 400

func validHost(host string) bool {
	u, err := url.Parse("https://" + host)
	return err == nil && u.Host == host && u.Hostname() != "" && !strings.ContainsAny(host, " \t?#%")
}

// validBucket goes by S3's old rule, which is wider than the present one.
func validBucket(name string) bool {
	return len(name) >= 1 && len(name) <= 255 && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_')
	})
}

// Where a passphrase comes from, in words for messages.
const passphraseForms = `prompt, file:PATH, shell:COMMAND, keyring:NAME, fd:NUMBER or string:TEXT`

var passphraseKinds = []string{string(PassphrasePrompt), string(PassphraseString), string(PassphraseFile), string(PassphraseShell),
	string(PassphraseKeyring), string(PassphraseFD)}

// PassphraseKind is where a passphrase comes from.
type PassphraseKind string

// The sources of passphrases.
const (
	PassphrasePrompt PassphraseKind = "prompt" // the terminal
	PassphraseString PassphraseKind = "string" // config.toml itself
	PassphraseFile   PassphraseKind = "file"
	PassphraseShell  PassphraseKind = "shell" // what a command prints

	PassphraseKeyring PassphraseKind = "keyring" // the kernel's
	PassphraseFD      PassphraseKind = "fd"      // a descriptor that is open when the program starts
)

// Passphrase says where a passphrase comes from. Printing it shows no secret.
type Passphrase struct {
	Kind    PassphraseKind
	Text    string // string: the passphrase; keyring: the name of the key; fd: the number
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
	case PassphraseKeyring, PassphraseFD:
		return string(p.Kind) + ":" + p.Text
	}
	return string(p.Kind)
}

// GoString keeps %#v from showing a passphrase.
func (p Passphrase) GoString() string { return p.String() }

// ParsePassphrase reads one of passphraseForms. dir is the directory that a relative path
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
	case PassphraseString, PassphraseKeyring:
		p.Text = rest
	case PassphraseFD:
		if _, err := strconv.ParseUint(rest, 10, 16); err != nil {
			return Passphrase{}, errors.New("fd: needs the number of a descriptor; write " + passphraseForms)
		}
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
