//go:build unix

package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// typist is an Asker who types the lines it was given, and notes what it was shown.
type typist struct {
	lines   []string
	prompts []string
}

func (p *typist) Ask(_ context.Context, prompt string) ([]byte, error) {
	p.prompts = append(p.prompts, prompt)
	if len(p.lines) == 0 {
		return nil, errors.New("terminal was closed")
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	return []byte(line), nil
}

func source(t *testing.T, spec, dir string) Source {
	t.Helper()
	return must[Source](t)(ParseSource(spec, dir))
}

func TestParseSource(t *testing.T) {
	for spec, want := range map[string]string{
		"prompt": "prompt", "string:hunter2": "string:***", "string:": "string:***", "shell:echo hunter2": "shell:***",
		"file:/etc/pass": "file:/etc/pass", "file:pass": "file:/base/pass", "file:../p:q": "file:/p:q",
		"keyring:a b": "keyring:a b", "fd:07": "fd:7",
	} {
		s, err := ParseSource(spec, "/base")
		if err != nil || s.String() != want || s.Prompts() != (spec == "prompt") {
			t.Errorf("%s: %s, %v", spec, s, err)
		}
	}
	for _, spec := range []string{"", "hunter2", "hunter2:x", "prompt:hunter2", "Prompt", "file:", "shell:", " string:hunter2",
		"keyring:", "fd:", "fd:hunter2", "fd:-1", "fd:70000"} {
		if _, err := ParseSource(spec, "/base"); !errors.Is(err, ErrBadSource) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

func TestSourceHidesSecrets(t *testing.T) {
	for _, spec := range []string{"string:hunter2", "shell:echo hunter2"} {
		s := source(t, spec, "/base")
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T %v"} {
			if text := fmt.Sprintf(verb, s, s); strings.Contains(text, "hunter2") {
				t.Errorf("%s shows %s", verb, text)
			}
			if text := fmt.Sprintf(verb, &s, []Source{s}); strings.Contains(text, "hunter2") {
				t.Errorf("%s shows %s", verb, text)
			}
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"pass": "hunter2\r\n\n", "bytes": "\xff\x00 a\tb ", "empty": "\n", "inner": "a\r\nb\r\n", "huge": strings.Repeat("x", MaxPassphrase+1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		spec string
		want string
		err  error // any error if want is empty and this is nil
	}{
		{"string:hunter2", "hunter2", nil},
		{"string: a:b \r\n", " a:b ", nil},
		{"string:", "", ErrEmptyPassphrase},
		{"string:\r\n", "", ErrEmptyPassphrase},
		{"file:pass", "hunter2", nil},
		{"file:bytes", "\xff\x00 a\tb ", nil},
		{"file:inner", "a\r\nb", nil},
		{"file:empty", "", ErrEmptyPassphrase},
		{"file:missing", "", os.ErrNotExist},
		{"file:huge", "", ErrTooLong},
		{"file:.", "", nil},
		{"file:/dev/null", "", ErrEmptyPassphrase},
		{"shell:cat pass", "hunter2", nil},
		{"shell:printf 'a b\\r\\n\\n'", "a b", nil},
		{"shell:pwd", dir, nil},
		{"shell:(sleep 0; echo late) & ", "late", nil},
		{"shell:cat; echo end", "end", nil}, // stdin is empty
		{"shell:true", "", ErrEmptyPassphrase},
		{"shell:echo hunter2; exit 3", "", nil},
		{"shell:echo hunter2; kill -9 $$", "", nil},
		{"shell:exec cat huge", "", ErrTooLong},
		{"shell:cat huge; exec cat /dev/zero", "", ErrTooLong},
	}
	for _, test := range tests {
		got, err := source(t, test.spec, dir).Read(ctx, nil, "")
		if string(got) != test.want || (err == nil) != (test.want != "") || (test.err != nil && !errors.Is(err, test.err)) {
			t.Errorf("%s: %q, %v", test.spec, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error shows the secret: %v", test.spec, err)
		}
	}
	if _, err := (Source{}).Read(ctx, nil, ""); !errors.Is(err, ErrBadSource) {
		t.Errorf("zero source: %v", err)
	}
	if _, err := source(t, "shell:true", filepath.Join(dir, "missing")).Read(ctx, nil, ""); err == nil {
		t.Error("a command in a directory that is not there")
	}
}

func TestReadPrompt(t *testing.T) {
	s := source(t, "prompt", "")
	tests := []struct {
		lines []string
		fresh bool
		want  string
		err   error
		shown string
	}{
		{[]string{"hunter2"}, false, "hunter2", nil, "passphrase"},
		{[]string{"hunter2\r\n"}, false, "hunter2", nil, "passphrase"},
		{[]string{""}, false, "", ErrEmptyPassphrase, "passphrase"},
		{[]string{"hunter2", "hunter2"}, true, "hunter2", nil, "passphrase|passphrase (again)"},
		{[]string{"hunter2", "hunter3"}, true, "", ErrMismatch, "passphrase|passphrase (again)"},
		{[]string{"hunter2", ""}, true, "", ErrMismatch, "passphrase|passphrase (again)"},
		{[]string{""}, true, "", ErrEmptyPassphrase, "passphrase"},
		{[]string{"hunter2"}, true, "", nil, "passphrase|passphrase (again)"},
	}
	for _, test := range tests {
		p := &typist{lines: test.lines}
		read := s.Read
		if test.fresh {
			read = s.ReadNew
		}
		got, err := read(ctx, p, "passphrase")
		if string(got) != test.want || (err == nil) != (test.want != "") || (test.err != nil && !errors.Is(err, test.err)) {
			t.Errorf("%q: %q, %v", test.lines, got, err)
		}
		if shown := strings.Join(p.prompts, "|"); shown != test.shown {
			t.Errorf("%q: shown %s", test.lines, shown)
		}
		if err != nil && strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q: error shows the secret: %v", test.lines, err)
		}
	}
	if _, err := s.Read(ctx, nil, ""); err == nil {
		t.Error("a prompt without a terminal")
	}
	// Other sources are read once, also when the passphrase is new.
	p := &typist{}
	if got, err := source(t, "string:x", "").ReadNew(ctx, p, "new"); string(got) != "x" || err != nil || p.prompts != nil {
		t.Errorf("string: %q, %v, %v", got, err, p.prompts)
	}
}

func TestExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pass")
	s := source(t, "file:"+path, "")
	if err := s.Exposed(); err != nil {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, exposed := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o644: true, 0o611: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var warning *ExposedError
		if errors.As(s.Exposed(), &warning) != exposed || exposed && (warning.Path != path || warning.Mode.Perm() != mode) {
			t.Errorf("mode %o: %v", mode, s.Exposed())
		}
	}
	if err := source(t, "string:x", "").Exposed(); err != nil {
		t.Errorf("string: %v", err)
	}
}

// At the end of the context the command dies with all its children, and what it held open does not keep us waiting.
func TestCommandDiesWithContext(t *testing.T) {
	if inForeground() {
		t.Skip("children of a foreground job are the terminal's to end")
	}
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() {
		_, err := source(t, "shell:exec 3>alive; sleep 1000 & echo up >&3; wait", dir).Read(running, nil, "")
		result <- err
	}()
	alive, err := os.Open(filepath.Join(dir, "alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	if _, err := io.ReadFull(alive, make([]byte, len("up\n"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	// The pipe ends only when the shell and its child, which both hold it, are gone.
	if _, err := io.ReadAll(alive); err != nil {
		t.Error(err)
	}
}

func TestFileReadStopsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s := source(t, "file:"+path, "")
	if _, err := s.Read(ctx, nil, ""); !errors.Is(err, ErrEmptyPassphrase) {
		t.Errorf("a pipe that nobody writes to: %v", err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	running, cancel := context.WithCancel(ctx)
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := s.Read(running, nil, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a pipe whose writer is silent: %v", err)
	}
	if _, err := s.Read(running, nil, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// A descriptor is read once, and no child inherits it.
func TestDescriptor(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	number := int(in.Fd()) // blocking from here on, as what one inherits is
	unix.FcntlInt(uintptr(number), unix.F_SETFD, 0)
	go func() {
		out.WriteString("from a pipe\n")
		out.Close()
	}()
	s := source(t, fmt.Sprint("fd:", number), "/")
	if pass, err := s.Read(ctx, nil, ""); err != nil || string(pass) != "from a pipe" {
		t.Errorf("%q, %v", pass, err)
	}
	if flags, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("children inherit it: %d, %v", flags, err)
	}
	if _, err := s.Read(ctx, nil, ""); !errors.Is(err, ErrEmptyPassphrase) {
		t.Errorf("read again: %v", err)
	}
	if _, err := source(t, "fd:999", "/").Read(ctx, nil, ""); err == nil || !strings.Contains(err.Error(), "nobody opened it") {
		t.Error(err)
	}
}

// Reading a descriptor that nothing comes from ends with the context.
func TestDescriptorStopsWithContext(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := source(t, fmt.Sprint("fd:", in.Fd()), "/").Read(soon, nil, ""); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
