package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ensync/store"
	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/dir"
	"ensync/store/pipe"
)

// TestServerConformance runs the suite of all backends against the real program as a server.
func TestServerConformance(t *testing.T) {
	paths := map[backend.Backend]string{}
	connect := func(t *testing.T, path string) backend.Backend {
		c := pipe.New(pipe.Command("exec ensync server "+path, ""), pipe.Options{Location: path})
		paths[c] = path
		t.Cleanup(func() { c.Close() })
		return c
	}
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		path := filepath.Join(t.TempDir(), "store")
		if err := dir.Create(path); err != nil {
			t.Fatal(err)
		}
		return connect(t, path)
	}, backendtest.Options{
		Again:   func(t *testing.T, b backend.Backend) backend.Backend { return connect(t, paths[b]) },
		Writers: 8, Rounds: 4,
	})
}

// TestServersAreKilled kills servers in the middle of what they do. What was acknowledged is there once, and nothing
// else.
func TestServersAreKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if err := dir.Create(path); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	killed, acknowledged := 0, map[string]bool{}
	dial := func(context.Context) (io.ReadWriteCloser, error) {
		cmd := exec.Command("ensync", "server", path)
		p, err := pipe.Start(cmd)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && killed < 40 {
			killed++
			time.AfterFunc(time.Duration(30+killed*3)*time.Millisecond, func() { cmd.Process.Kill() })
		}
		return p, err
	}
	var all sync.WaitGroup
	for client := range 3 {
		c := pipe.New(dial, pipe.Options{Location: path, Backoff: time.Millisecond})
		all.Go(func() {
			defer c.Close()
			for i := range 25 {
				line := fmt.Sprintf("%d.%d", client, i)
				if err := addLine(t.Context(), c, line); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged[line] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	d, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	data, _, err := d.Load(t.Context(), "counter")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(data))
	seen := map[string]bool{}
	for _, line := range lines {
		if seen[line] || !acknowledged[line] {
			t.Errorf("%s: there already: %v, acknowledged: %v", line, seen[line], acknowledged[line])
		}
		seen[line] = true
	}
	if len(lines) != 75 || killed == 0 {
		t.Errorf("%d lines instead of 75; %d servers were killed", len(lines), killed)
	}
}

// addLine puts an object and adds its name to a list, until both are certain.
func addLine(ctx context.Context, b backend.Backend, line string) error {
	const tries = 500
	unsure := func(err error) bool {
		return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrChanged)
	}
	content := []byte(strings.Repeat(line, 10000))
	err := b.Put(ctx, "packs/"+line, content)
	for i := 0; i < tries && errors.Is(err, backend.ErrUnavailable); i++ {
		err = b.Put(ctx, "packs/"+line, content)
	}
	if err != nil && !errors.Is(err, backend.ErrExist) { // there by an attempt that was given up
		return err
	}
	for range tries {
		data, v, err := b.Load(ctx, "counter")
		if err != nil && !errors.Is(err, backend.ErrNotExist) {
			if unsure(err) {
				continue
			}
			return err
		}
		if strings.Contains(" "+string(data), " "+line+" ") {
			return nil
		}
		if _, err = b.Swap(ctx, "counter", v, append(data, line+" "...)); err == nil {
			return nil
		} else if !unsure(err) {
			return err
		}
	}
	return fmt.Errorf("%s: no luck", line)
}

// TestInterruptedWhileConnecting: a command that never answers, and ^C.
func TestInterruptedWhileConnecting(t *testing.T) {
	home := t.TempDir()
	for _, d := range []string{"conf", "tree"} {
		if err := os.Mkdir(filepath.Join(home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text := `[general]
path = "../tree"
server = "shell:echo $$ >started; exec sleep 1000"
server_root = "root"
passphrase = "string:secret"
[[rules.root.files]]
mode = "cud/cud"
`
	if err := os.WriteFile(filepath.Join(home, "conf", "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ensync", "sync", filepath.Join(home, "conf"))
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := filepath.Join(home, "conf", "started")
	for range 500 {
		if pid, _ := os.ReadFile(started); len(pid) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	begin := time.Now()
	cmd.Process.Signal(unix.SIGINT)
	if err := cmd.Wait(); err == nil {
		t.Error("it ended as if all were well")
	}
	if took := time.Since(begin); took > time.Second { // 200 ms on a machine that does nothing else
		t.Errorf("it took %v to end", took)
	} else {
		t.Logf("ended after %v", took)
	}
	pid, err := os.ReadFile(started)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // it is killed when it is clear that it does not end by itself
		if exec.Command("kill", "-0", strings.TrimSpace(string(pid))).Run() != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the command %s lives on", strings.TrimSpace(string(pid)))
}

// TestServerRefusesForgeries: a client that was taken over can't put a head, a list of trees or keys through a server which
// nobody signed who may, nor take away what a store can't do without; and what is honest goes through.
func TestServerRefusesForgeries(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "store")
	if err := dir.Create(path); err != nil {
		t.Fatal(err)
	}
	c := pipe.New(pipe.Command("exec ensync server "+path, ""), pipe.Options{Location: path})
	defer c.Close()
	pass := []byte(strings.Repeat("a long passphrase ", 20))
	s, err := store.Create(ctx, c, store.Params{}, pass, "key", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateRoot(ctx, "home", 0o755); err != nil {
		t.Fatal(err)
	}
	tried := 0
	err = c.List(ctx, "", func(i backend.Info) error {
		data, version, err := c.Load(ctx, i.Name)
		if errors.Is(err, backend.ErrNotExist) {
			return nil // it is never replaced
		}
		if err != nil {
			return err
		}
		tried++
		for _, at := range []int{20, len(data) / 2, len(data) - 1} {
			data[at] ^= 1
			if _, err := c.Swap(ctx, i.Name, version, data); !errors.Is(err, backend.ErrDenied) {
				t.Errorf("%s with another byte %d: %v", i.Name, at, err)
			}
			data[at] ^= 1
		}
		if err := c.Delete(ctx, i.Name); !strings.HasPrefix(i.Name, "roots/") && !errors.Is(err, backend.ErrDenied) {
			t.Errorf("delete %s: %v", i.Name, err)
		}
		return nil
	})
	if err != nil || tried != 4 {
		t.Errorf("%d objects were tried, %v", tried, err)
	}
}
