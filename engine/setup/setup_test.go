package setup

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/store"
)

// home gives a test a home of its own, and returns a configuration directory in it that does not exist.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	return filepath.Join(dir, ".config", "ensync")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}

// opens opens the store and the root that a configuration names.
func opens(t *testing.T, dir string) {
	t.Helper()
	cfg, err := config.Load(dir)
	must(t, err)
	pass, err := session.Passphrase(t.Context(), cfg, session.Options{})
	must(t, err)
	st, err := session.OpenStore(t.Context(), cfg, pass, session.Options{})
	must(t, err)
	defer st.Close()
	root, err := st.OpenRoot(t.Context())
	must(t, err)
	must(t, root.Close())
}

// TestAutomatic sets a machine up, and again as if it had been cut short before the configuration was written.
func TestAutomatic(t *testing.T) {
	dir := home(t)
	var said []string
	run := func() error {
		return Automatic(t.Context(), dir, "/somewhere", func(s string) { said = append(said, s) })
	}
	must(t, run())
	if len(said) != 4 {
		t.Errorf("said %q, want a line for key, store, tree and configuration", said)
	}
	key := filepath.Join(dir, "key")
	secret := read(t, key)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 || len(bytes.TrimSpace(secret)) < 256 {
		t.Errorf("key of %d bytes, %v, %v", len(secret), info.Mode(), err)
	}
	for _, line := range said {
		if strings.Contains(line, string(secret[:20])) {
			t.Errorf("the key is shown: %s", line)
		}
	}
	opens(t, dir)

	must(t, os.Remove(filepath.Join(dir, config.FileName)))
	said = nil
	must(t, run())
	if !bytes.Equal(secret, read(t, key)) || len(said) != 1 {
		t.Errorf("the second run made %q", said)
	}
	opens(t, dir)
}

// TestAutomaticKeyLost has a store, and neither its key nor a configuration: nothing is made.
func TestAutomaticKeyLost(t *testing.T) {
	dir := home(t)
	say := func(string) {}
	must(t, Automatic(t.Context(), dir, "/somewhere", say))
	must(t, os.Rename(dir, dir+".lost"))
	if err := Automatic(t.Context(), dir, "/somewhere", say); err == nil || !strings.Contains(err.Error(), "ensync setup") {
		t.Fatal(err)
	}
	if !missing(filepath.Join(dir, "key")) || !missing(filepath.Join(dir, config.FileName)) {
		t.Fatal("something was made")
	}
}

// fickle says yes and takes defaults, but no at one question.
type fickle struct {
	Answers
	no    int
	asked int
}

func (f *fickle) Confirm(ctx context.Context, q string) (bool, error) {
	f.asked++
	return f.asked != f.no, nil
}

func (f *fickle) Choose(ctx context.Context, topic Topic, q, def string, valid func(string) error) (string, error) {
	if f.asked++; f.asked == f.no {
		return "", ErrCancelled
	}
	return f.Answers.Choose(ctx, topic, q, def, valid)
}

// TestCancel says no at each question in turn: there is never a configuration, nor a directory for one, and the next
// attempt goes through.
func TestCancel(t *testing.T) {
	long := "string:" + strings.Repeat("a long passphrase ", 20)
	for no := 1; ; no++ {
		base := filepath.Dir(filepath.Dir(home(t)))
		local := filepath.Join(base, "local")
		must(t, os.Mkdir(local, 0o700))
		must(t, os.Mkdir(filepath.Join(base, "store"), 0o700)) // exists, so that it is asked about
		req := Request{Config: filepath.Join(base, "parent", "conf.d"), Local: local, Remote: filepath.Join(base, "store"), Key: long}
		talk := &fickle{no: no, Answers: Answers{Tell: func(string) {}}}
		err := Run(t.Context(), req, talk)
		if talk.asked < no { // there were no more questions
			must(t, err)
			if no != 8 {
				t.Errorf("%d questions, want 7", no-1)
			}
			return
		}
		if !errors.Is(err, ErrCancelled) {
			t.Fatalf("no at question %d: %v", no, err)
		}
		if !missing(filepath.Join(base, "parent")) {
			t.Errorf("no at question %d left %s", no, filepath.Join(base, "parent"))
		}
		talk.no = 0
		must(t, Run(t.Context(), req, talk))
		opens(t, req.Config)
	}
}

// TestNotOurs refuses places that are used for something else, and changes nothing there.
func TestNotOurs(t *testing.T) {
	base := filepath.Dir(filepath.Dir(home(t)))
	local, used := filepath.Join(base, "local"), filepath.Join(base, "used")
	must(t, os.Mkdir(local, 0o700))
	must(t, os.Mkdir(used, 0o700))
	must(t, os.WriteFile(filepath.Join(used, "file"), nil, 0o600))
	talk := &Answers{Tell: func(string) {}}
	for _, remote := range []string{used, "host:dir", "", "path:", filepath.Join(used, "file")} {
		err := Run(t.Context(), Request{Config: filepath.Join(base, "conf"), Local: local, Remote: remote, Key: "string:x"}, talk)
		if err == nil || errors.Is(err, store.ErrWrongPassphrase) {
			t.Errorf("store at %q: %v", remote, err)
		}
		if !missing(filepath.Join(base, "conf")) {
			t.Fatalf("store at %q left a configuration", remote)
		}
	}
	list, err := os.ReadDir(used)
	must(t, err)
	if len(list) != 1 {
		t.Errorf("%v", list)
	}
}
