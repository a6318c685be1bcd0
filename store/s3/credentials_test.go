package s3

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/s3/s3test"
)

// environ makes files in a home directory and returns the environment of a process there.
func environ(t *testing.T, files map[string]string, vars map[string]string) func(string) string {
	home := t.TempDir()
	for name, text := range files {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(name string) string {
		if name == "HOME" {
			return home
		}
		return strings.ReplaceAll(vars[name], "~", home)
	}
}

func TestCredentials(t *testing.T) {
	files := map[string]string{
		".aws/credentials": "# a comment\n[default]\naws_access_key_id=fid\naws_secret_access_key = fse=cret\n; x\n[work]\nAWS_ACCESS_KEY_ID = wid\naws_secret_access_key = ws\naws_session_token = wt\n",
		".aws/config":      "[default]\nregion = eu-west-1\naws_access_key_id = not this\ns3 =\n  region = no\n[profile program]\nregion=eu-west-2\ncredential_process = printf '{\"Version\":1,\"AccessKeyId\":\"pid\",\"SecretAccessKey\":\"ps\",\"SessionToken\":\"pt\",\"Expiration\":\"2999-01-01T00:00:00Z\"}'\n[profile bad]\ncredential_process = echo hush\n[profile fails]\ncredential_process = exit 3\n",
		"other":            "[default]\naws_access_key_id = oid\naws_secret_access_key = os\n",
	}
	env := map[string]string{"AWS_ACCESS_KEY_ID": "eid", "AWS_SECRET_ACCESS_KEY": "es", "AWS_SESSION_TOKEN": "et"}
	for _, c := range []struct {
		name, profile string
		vars          map[string]string
		want          string // ID secret token; or a part of the error
	}{
		{"environment", "", env, "eid es et"},
		{"a named profile comes first", "work", env, "wid ws wt"},
		{"default profile", "", nil, "fid fse=cret "},
		{"AWS_PROFILE", "", map[string]string{"AWS_PROFILE": "work"}, "wid ws wt"},
		{"another file", "", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "~/other"}, "oid os "},
		{"a program", "program", nil, "pid ps pt"},
		{"a program that says nonsense", "bad", nil, "its output is not JSON"},
		{"a program that fails", "fails", nil, "exit status 3; run it by hand"},
		{"an unknown profile", "none", nil, "no credentials for profile none"},
		{"half of them", "", map[string]string{"AWS_ACCESS_KEY_ID": "eid"}, "set both"},
	} {
		got, err := newSource(environ(t, files, c.vars), c.profile).get(t.Context())
		text := got.ID + " " + got.Secret + " " + got.Token
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.Contains(text, c.want)) || strings.Contains(text, "hush") {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
}

// TestCredentialsAreRenewed: a program is asked again before its answer ends, and not before that; a program whose answers
// are always near their end is not asked for each request.
func TestCredentialsAreRenewed(t *testing.T) {
	for in, want := range map[time.Duration]string{time.Hour: "x\n", time.Minute: "x\nx\n", -time.Hour: "x\nx\n"} {
		getenv := environ(t, nil, map[string]string{"AWS_CONFIG_FILE": "~/config"})
		log := filepath.Join(getenv("HOME"), "log")
		text := fmt.Sprintf("[default]\ncredential_process = echo x >>%s; printf '{\"Version\":1,\"AccessKeyId\":\"i\",\"SecretAccessKey\":\"s\",\"Expiration\":\"%s\"}'\n",
			log, time.Now().Add(in).UTC().Format(time.RFC3339))
		if err := os.WriteFile(getenv("AWS_CONFIG_FILE"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSource(getenv, "")
		for range 2 { // each time after a while
			for range 3 {
				if _, err := s.get(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s.asked = s.asked.Add(-askAgain)
		}
		if got, _ := os.ReadFile(log); string(got) != want {
			t.Errorf("ends in %v: asked %q", in, got)
		}
	}
}

// TestSlowProgram: a call ends with its context although a program, or another call that waits for it, goes on.
func TestSlowProgram(t *testing.T) {
	getenv := environ(t, map[string]string{".aws/config": "[default]\ncredential_process = sleep 20\n"}, nil)
	c := client(t, s3test.Start(t), func(o *Options) { o.Getenv = getenv })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	done := make(chan error)
	for range 2 {
		go func() { done <- c.Put(ctx, "x", nil) }()
	}
	for range 2 {
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 250*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	}
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		opt         Options
		url, region string
	}{
		{Options{Endpoint: "h:1", Bucket: "b", Plain: true}, "http://h:1/b", "us-east-1"},
		{Options{Endpoint: "h", Bucket: "b", Style: StyleVirtual}, "https://b.h", "us-east-1"},
		{Options{Endpoint: "s3.eu-central-1.amazonaws.com", Bucket: "b"}, "https://b.s3.eu-central-1.amazonaws.com", "eu-central-1"},
		{Options{Endpoint: "s3.dualstack.eu-central-1.amazonaws.com", Bucket: "b", Style: StyleAuto}, "https://b.s3.dualstack.eu-central-1.amazonaws.com", "eu-central-1"},
		{Options{Endpoint: "s3.amazonaws.com", Bucket: "b.c"}, "https://s3.amazonaws.com/b.c", "us-east-1"},
		{Options{Endpoint: "s3.eu-central-1.amazonaws.com", Bucket: "b", Style: StylePath, Region: "x"}, "https://s3.eu-central-1.amazonaws.com/b", "x"},
		{Options{Endpoint: "amazonaws.com.example.org", Bucket: "b"}, "https://amazonaws.com.example.org/b", "us-east-1"},
	} {
		c.opt.Getenv = s3test.Getenv
		got, err := New(c.opt)
		if err != nil || got.base.String() != c.url || got.region != c.region {
			t.Errorf("%+v: %v, region %s, %v", c.opt, &got.base, got.region, err)
		}
		got.Close()
	}
}

// TestTLS: a certificate is checked, against the file that was named, unless it shall not be.
func TestTLS(t *testing.T) {
	s := s3test.Start(t)
	secure := httptest.NewTLSServer(s.Config.Handler)
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Options)
		good   bool
	}{
		"unknown":  {func(*Options) {}, false},
		"named":    {func(o *Options) { o.CA = ca }, true},
		"insecure": {func(o *Options) { o.SkipVerify = true }, true},
	} {
		cl := client(t, s, func(o *Options) {
			o.Plain, o.Endpoint = false, strings.TrimPrefix(secure.URL, "https://")
			c.change(o)
		})
		_, _, err := cl.Load(t.Context(), "none")
		if c.good != errors.Is(err, backend.ErrNotExist) || !c.good && !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Options{Endpoint: "h", Bucket: "b", CA: ca + "x", Getenv: s3test.Getenv}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
