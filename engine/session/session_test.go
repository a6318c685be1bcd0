package session

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ensync/engine"
	"ensync/engine/config"
	"ensync/store"
	"ensync/store/dir"
)

const testPass = "x" // repeated to 256 bytes: a long passphrase costs little to derive a key from

// newStore makes a store with one root and returns where it is.
func newStore(t *testing.T) string {
	t.Helper()
	t.Setenv("ENSYNC_CACHE_DIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "store")
	if err := dir.Create(path); err != nil {
		t.Fatal(err)
	}
	b, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := store.Create(t.Context(), b, store.Params{}, pass(), "original", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateRoot(t.Context(), "root", 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pass() []byte { return []byte(strings.Repeat(testPass, 256)) }

// machine makes a configuration with an empty tree.
func machine(t *testing.T, storePath string) *config.Config {
	t.Helper()
	top := t.TempDir()
	tree := filepath.Join(top, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "[general]\npath = \"" + tree + "\"\nserver = \"path:" + storePath + "\"\nserver_root = \"root\"\n" +
		"passphrase = \"string:" + string(pass()) + "\"\n[[rules.root.files]]\nmode = \"cud/cud\"\n"
	cfgDir := filepath.Join(top, "config")
	if err := os.Mkdir(cfgDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfgDir, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(cfgDir)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func trySync(t *testing.T, cfg *config.Config, req Request) (engine.Summary, error) {
	t.Helper()
	return trySyncWith(context.Background(), cfg, req, Options{})
}

func trySyncWith(ctx context.Context, cfg *config.Config, req Request, opt Options) (engine.Summary, error) {
	p, err := Passphrase(ctx, cfg, opt)
	if err != nil {
		return engine.Summary{}, err
	}
	s, err := OpenStore(ctx, cfg, p, opt)
	if err != nil {
		return engine.Summary{}, err
	}
	defer s.Close()
	root, err := s.OpenRoot(ctx)
	if err != nil {
		return engine.Summary{}, err
	}
	defer root.Close()
	r, err := s.OpenDirectory(ctx, false)
	if err != nil {
		return engine.Summary{}, err
	}
	defer r.Close()
	return s.Sync(ctx, r, root, req)
}

func doSync(t *testing.T, cfg *config.Config) engine.Summary {
	t.Helper()
	sum, err := trySync(t, cfg, Request{})
	if err != nil {
		t.Fatalf("sync: %v", err)
	}
	return sum
}

func TestTwoDirectoriesThroughOneStore(t *testing.T) {
	storePath := newStore(t)
	a, b := machine(t, storePath), machine(t, storePath)
	files := map[string]string{"f": "hello", "d/e/g": strings.Repeat("long ", 5000), "odd\n\xff name": "x", "empty": ""}
	for name, data := range files {
		path := filepath.Join(a.General.Path, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(data), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(a.General.Path, "l")); err != nil {
		t.Fatal(err)
	}
	doSync(t, a)
	sum := doSync(t, b)
	if sum.In.Created != 7 || !sum.Clean() {
		t.Errorf("second machine: %+v", sum)
	}
	for name, data := range files {
		got, err := os.ReadFile(filepath.Join(b.General.Path, name))
		if err != nil || string(got) != data {
			t.Errorf("%q arrived as %.20q, %v", name, got, err)
		}
	}
	for _, m := range []*config.Config{a, b} {
		if sum := doSync(t, m); (sum.In != engine.Counts{}) || (sum.Out != engine.Counts{}) {
			t.Errorf("nothing to do, and yet: %+v", sum)
		}
	}
}

func TestCopiedStateIsRefused(t *testing.T) {
	a := machine(t, newStore(t))
	doSync(t, a)
	private := a.PrivateDir()
	moved := private + ".copy"
	if err := os.CopyFS(moved, os.DirFS(private)); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(filepath.Join(private, "ancestor.sqlite")) // lest the copy gets its inode number by chance
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := os.RemoveAll(private); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(private, os.DirFS(moved)); err != nil {
		t.Fatal(err)
	}
	if _, err := trySync(t, a, Request{}); err == nil || !strings.Contains(err.Error(), "copied") {
		t.Errorf("a copied state was taken: %v", err)
	}
}

func TestAnotherRootIsNotTakenForDeletion(t *testing.T) {
	a := machine(t, newStore(t))
	for _, name := range []string{"f", "g"} {
		if err := os.WriteFile(filepath.Join(a.General.Path, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	doSync(t, a)
	if err := os.Rename(a.General.Path, a.General.Path+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := trySync(t, a, Request{}); err == nil {
		t.Error("a missing root was synced")
	}
	if err := os.Mkdir(a.General.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := trySync(t, a, Request{}); err == nil || !strings.Contains(err.Error(), "confirm-loss") {
		t.Errorf("another, empty root: %v", err)
	}
}

func TestStoreInTheTreeIsRefused(t *testing.T) {
	storePath := newStore(t)
	a := machine(t, storePath)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(storePath), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{storePath, filepath.Dir(storePath), link, filepath.Join(storePath, "roots")} {
		a.General.Path = path
		if _, err := trySync(t, a, Request{}); err == nil || !strings.Contains(err.Error(), "one in the other") {
			t.Errorf("tree %s, store %s: %v", path, storePath, err)
		}
	}
	beside := storePath + "2" // shares only the beginning of the name
	if err := os.Mkdir(beside, 0o755); err != nil {
		t.Fatal(err)
	}
	a.General.Path = beside
	if _, err := trySync(t, a, Request{}); err != nil {
		t.Errorf("a tree beside the store: %v", err)
	}
}
