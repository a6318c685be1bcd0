package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"ensync/engine/plan"
)

// Settings is what a new config.toml is made from. Values are as they stand in the file.
type Settings struct {
	Path            string // absolute
	Server          string // as ParseServer reads
	ServerRoot      string
	Passphrase      string // as ParsePassphrase reads
	Compression     string
	Mode            string // sync mode of the only rule
	TrustClientMode bool   // false where the directory's file system can't keep permissions

	S3Region, S3CA, S3Profile string // for the table [s3]; empty ones are not written
}

// Default returns the settings that setup offers, for a tree, a store and a source of the passphrase: the root named
// root, best compression, and conservative-sync for everything.
func Default(path, server, passphrase string) Settings {
	return Settings{Path: path, Server: server, ServerRoot: "root", Passphrase: passphrase,
		Compression: string(CompressionBest), Mode: "conservative-sync", TrustClientMode: true}
}

// page is what setup writes; reference 1.4, step 16.
var page = template.Must(template.New("config").Parse(`# ensync configuration. ensync reads nothing else; relative paths start from this file's directory.
# Copy only this file to another machine, never the directory internal.ensync beside it.

[general]
# The directory that is kept the same; for "ensync mount", where it appears.
path = {{.Path}}

# Where the store lies; what is in it is encrypted. path:DIRECTORY is a directory on this machine, on a drive or on a
# network share; shell:COMMAND is behind a command, such as ssh; s3:ENDPOINT/BUCKET/PREFIX is in an object store. To use
# another place, run ensync store copy once, and ensync store move on every machine.
server = {{.Server}}

# The name of this tree in the store. Machines with the same name have the same tree.
server_root = {{.ServerRoot}}

# Where the passphrase comes from: prompt, file:PATH, shell:COMMAND, keyring:NAME,
# fd:NUMBER, or string:TEXT (which is only as safe as this file).
passphrase = {{.Passphrase}}

# How much work goes into making the store smaller: none, fast, default or best.
compression = {{.Compression}}
{{if .S3}}
# How the object store is reached. Secret keys are not in this file: they come from the environment (AWS_ACCESS_KEY_ID,
# AWS_SECRET_ACCESS_KEY) or from a profile in ~/.aws/credentials, which may name a credential_process.
[s3]
{{with .S3Region}}region = {{.}}
{{else}}# region = "us-east-1"
{{end}}{{with .S3Profile}}profile = {{.}}
{{else}}# profile = "default"
{{end}}{{with .S3CA}}ca = {{.}}
{{else}}# Certificates to trust instead of the system's.
# ca = "/etc/ssl/mine.pem"
{{end}}# path is https://ENDPOINT/BUCKET, virtual is https://BUCKET.ENDPOINT; auto is virtual for Amazon and path for others.
# style = "auto"
{{end}}
[mount]
# How often a mounted tree is synced at least. What changes here or in the store is synced soon, unless this is 0: then
# only on request and on unmount.
# interval = "30s"
# The room on this machine for content that is also in the store.
# cache = "10GiB"
# How much may be on this machine only, until it is synced; then writing fails. Without this, what the disk has room for.
# unsynced = "20GiB"
# How long reading a file that is not on this machine waits for a store that does not answer.
# wait = "10s"

# What may happen to which files. Each rule whose conditions hold sets what it says; later rules override earlier ones.
# A mode is what may come in to this machine / what may go out to the store: c create, u update, d delete; upper case
# forces it, - forbids it. cud/cud keeps both the same, ---/CUD mirrors this machine to the store.
[[rules.root.files]]
mode = {{.Mode}}
# Whether permissions of local files are to be believed; false for file systems that cannot keep them.
trust_client_unix_mode = {{.TrustClientMode}}
# Whether owners and groups, and extended attributes (user.*), are kept the same, too.
# sync_owner = false
# sync_xattrs = false

# An example: leave temporary files alone.
# [[rules.root.files]]
# name = '\.tmp$'
# mode = "---/---"
`))

// Text returns a commented config.toml with these settings, after checking that Load will understand it.
func (s Settings) Text() ([]byte, error) {
	if _, err := plan.ParseMode(s.Mode); err != nil {
		return nil, err
	}
	values := map[string]any{"TrustClientMode": s.TrustClientMode, "S3": strings.HasPrefix(s.Server, "s3:")}
	for key, value := range map[string]string{"Path": s.Path, "Server": s.Server, "ServerRoot": s.ServerRoot,
		"Passphrase": s.Passphrase, "Compression": s.Compression, "Mode": s.Mode,
		"S3Region": s.S3Region, "S3CA": s.S3CA, "S3Profile": s.S3Profile} {
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("config: the value for %s is not UTF-8, which config.toml must be; use another name", key)
		}
		values[key] = quote(value)
		if value == "" {
			values[key] = "" // the page leaves it out
		}
	}
	var text strings.Builder
	if err := page.Execute(&text, values); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if _, err := Parse("/", []byte(text.String())); err != nil {
		return nil, err
	}
	return []byte(text.String()), nil
}

// quote returns a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Write makes the config.toml of a directory, which is created if need be, readable for its owner only. It never
// replaces one: the error is then fs.ErrExist. When it returns, the file is whole and durable.
func Write(dir string, s Settings) error {
	text, err := s.Text()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, FileName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("config %s: %w; choose another directory", dir, unwrapPath(err))
	}
	if err := create(file, text); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("config %s: %w; edit it, or choose another directory", file, fs.ErrExist)
		}
		return fmt.Errorf("config %s: %w", file, unwrapPath(err))
	}
	return nil
}

// writeBeside writes what a file is to have, durably, to a temporary one beside it, which the caller removes also if that failed.
func writeBeside(file string, text []byte, perm os.FileMode) (temporary string, err error) {
	temporary = file + ".new-" + strconv.Itoa(os.Getpid())
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return temporary, err
	}
	_, err = f.Write(text)
	if perm != 0o600 {
		err = errors.Join(err, f.Chmod(perm))
	}
	// DURABLE: the bytes, before the name shows them.
	return temporary, errors.Join(err, f.Sync(), f.Close())
}

// create makes a new file appear whole.
func create(file string, text []byte) error {
	temporary, err := writeBeside(file, text, 0o600)
	defer os.Remove(temporary)
	if err != nil {
		return err
	}
	if err := os.Link(temporary, file); errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	} else if err != nil { // a file system without hard links
		if _, err := os.Lstat(file); err == nil {
			return fs.ErrExist
		}
		// RACE: a config.toml that another program makes between the look and the rename is replaced by ours.
		if err := os.Rename(temporary, file); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(file))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	// DURABLE: the new name.
	return errors.Join(d.Sync(), d.Close())
}

// EnsurePrivateDir makes the directory for the state of this machine, readable for its owner only, if it is not there.
func (c *Config) EnsurePrivateDir() error {
	dir := c.PrivateDir()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("private directory %s: %w; the configuration directory must be writable", dir, unwrapPath(err))
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("private directory %s: %w", dir, unwrapPath(err))
	}
	if !info.IsDir() {
		return fmt.Errorf("private directory %s: not a directory; move it away", dir)
	}
	return nil
}
