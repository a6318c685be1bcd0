package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Credentials are what requests are signed with. Printing them shows no secret.
type Credentials struct {
	ID, Secret, Token string
	Expires           time.Time // zero: never
}

// String keeps the secret out of messages.
func (c Credentials) String() string { return "credentials " + c.ID }

// GoString keeps the secret out of %#v.
func (c Credentials) GoString() string { return c.String() }

const (
	maxCredentials = 1 << 20          // bytes of a file, or of a program's output
	renewBefore    = 2 * time.Minute  // their end
	askAgain       = 10 * time.Second // after credentials that were near their end already when they came
	processTime    = 60 * time.Second // of a credential_process
)

// source finds credentials where the programs of AWS find them: the environment, then a profile of the shared files
// (~/.aws/credentials, ~/.aws/config), which may name a program to ask. A profile that is named comes first.
type source struct {
	getenv func(string) string
	name   string // of the profile; "": $AWS_PROFILE, or default

	turn  chan struct{} // holds one token; who has it may use what follows
	known *Credentials
	asked time.Time // when known was found
}

func newSource(getenv func(string) string, profile string) *source {
	s := &source{getenv: getenv, name: profile, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// get returns credentials that are good for a while.
func (s *source) get(ctx context.Context) (Credentials, error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return Credentials{}, ctx.Err()
	}
	if s.known != nil && (s.known.Expires.IsZero() || time.Until(s.known.Expires) > renewBefore || time.Since(s.asked) < askAgain) {
		return *s.known, nil
	}
	c, err := s.find(ctx)
	if err != nil {
		return Credentials{}, err
	}
	s.known, s.asked = &c, time.Now()
	return c, nil
}

// forget makes the next get ask anew.
func (s *source) forget() {
	<-s.turn
	s.known = nil
	s.turn <- struct{}{}
}

func (s *source) find(ctx context.Context) (Credentials, error) {
	if s.name == "" {
		c := Credentials{ID: s.getenv("AWS_ACCESS_KEY_ID"), Secret: s.getenv("AWS_SECRET_ACCESS_KEY"), Token: s.getenv("AWS_SESSION_TOKEN")}
		if c.ID != "" && c.Secret != "" {
			return c, nil
		}
		if c.ID != "" || c.Secret != "" {
			return Credentials{}, errors.New("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set; set both")
		}
	}
	p, err := s.profile()
	if err != nil {
		return Credentials{}, err
	}
	switch {
	case p["aws_access_key_id"] != "" && p["aws_secret_access_key"] != "":
		return Credentials{ID: p["aws_access_key_id"], Secret: p["aws_secret_access_key"], Token: p["aws_session_token"]}, nil
	case p["credential_process"] != "":
		return process(ctx, p["credential_process"])
	}
	return Credentials{}, fmt.Errorf("no credentials for profile %s; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write "+
		"aws_access_key_id and aws_secret_access_key, or credential_process, into %s", s.profileName(), s.file("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
}

func (s *source) profileName() string {
	for _, name := range []string{s.name, s.getenv("AWS_PROFILE")} {
		if name != "" {
			return name
		}
	}
	return "default"
}

// profile returns what both shared files say of the profile; the credentials file wins.
func (s *source) profile() (map[string]string, error) {
	merged := map[string]string{}
	for _, f := range []struct{ path, section string }{
		{s.file("AWS_CONFIG_FILE", "config"), "profile " + s.profileName()},
		{s.file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), s.profileName()},
	} {
		text, err := readBounded(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sections := parseINI(text)
		if s.profileName() == "default" { // the configuration file calls it either way
			for k, v := range sections["default"] {
				merged[k] = v
			}
		}
		for k, v := range sections[f.section] {
			merged[k] = v
		}
	}
	return merged, nil
}

func (s *source) file(variable, name string) string {
	if path := s.getenv(variable); path != "" {
		return path
	}
	return filepath.Join(s.getenv("HOME"), ".aws", name)
}

func readBounded(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCredentials {
		return "", fmt.Errorf("%s: not a file of at most %d bytes; is it the right one?", path, maxCredentials)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// parseINI reads the shared files: [section], name = value, and comments that begin a line. What is indented belongs to
// the line above, and is skipped; what is not understood is skipped, too, as AWS's programs do.
func parseINI(text string) map[string]map[string]string {
	sections, current := map[string]map[string]string{}, map[string]string(nil)
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		line = strings.TrimSpace(line)
		if inner, ok := strings.CutPrefix(line, "["); ok && !indented {
			current = nil
			if name, _, ok := strings.Cut(inner, "]"); ok {
				name = strings.Join(strings.Fields(name), " ")
				if sections[name] == nil {
					sections[name] = map[string]string{}
				}
				current = sections[name]
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && !indented && current != nil && line[0] != '#' && line[0] != ';' {
			current[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return sections
}

// process asks a program for credentials, which it prints as JSON. What it printed is never repeated in an error.
func process(ctx context.Context, command string) (Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, processTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	// A group of its own, so that what it started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 100 * time.Millisecond
	var out limited
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	err := cmd.Run()
	if cause := ctx.Err(); cause != nil {
		return Credentials{}, fmt.Errorf("credential_process: %w", cause)
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("credential_process: %w; run it by hand to see why", err)
	}
	return parseProcess(out.data)
}

// parseProcess reads what a credential_process prints.
func parseProcess(printed []byte) (Credentials, error) {
	var said struct {
		Version                                    int
		AccessKeyId, SecretAccessKey, SessionToken string
		Expiration                                 *time.Time
	}
	if err := json.Unmarshal(printed, &said); err != nil || said.Version != 1 || said.AccessKeyId == "" || said.SecretAccessKey == "" {
		return Credentials{}, errors.New("credential_process: its output is not JSON with Version 1, AccessKeyId and SecretAccessKey; correct the program")
	}
	c := Credentials{ID: said.AccessKeyId, Secret: said.SecretAccessKey, Token: said.SessionToken}
	if said.Expiration != nil {
		c.Expires = *said.Expiration
	}
	return c, nil
}

// limited keeps what is written, up to a bound.
type limited struct{ data []byte }

func (l *limited) Write(p []byte) (int, error) {
	if len(l.data)+len(p) > maxCredentials {
		return 0, errors.New("too much output")
	}
	l.data = append(l.data, p...)
	return len(p), nil
}
