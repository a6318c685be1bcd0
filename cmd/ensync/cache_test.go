package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCacheIsShared starts eight processes at once on a cache that is not there. They check, read, sync and clean, and
// half of them are killed. No other ever says a word, and all are right.
func TestCacheIsShared(t *testing.T) {
	home := t.TempDir()
	env := append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"), "ENSYNC_CACHE_DIR=", "ENSYNC_CONFIG=")
	command := func(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
		cmd := exec.Command("ensync", args...)
		var stdout, stderr bytes.Buffer
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = home, env, &stdout, &stderr
		return cmd, &stdout, &stderr
	}
	must := func(args ...string) string {
		t.Helper()
		cmd, stdout, stderr := command(args...)
		if err := cmd.Run(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, stderr)
		}
		return stdout.String()
	}
	pass := "string:" + strings.Repeat("a long passphrase, ", 16)
	content := map[string]string{}
	for i := range 60 {
		name := fmt.Sprintf("%d/%d", i%7, i)
		content[name] = strings.Repeat(name+" ", 2000)
		path := filepath.Join(home, "tree0", name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(content[name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		os.MkdirAll(filepath.Join(home, fmt.Sprint("tree", i)), 0o755)
		must("setup", "--yes", "--key", pass, fmt.Sprint("c", i), fmt.Sprint("tree", i), "store")
		if i == 0 {
			must("sync", "-q", "c0")
		}
	}
	must("cache", "clean", "--all")

	work := func(worker, round int, random *rand.Rand) (args []string, want string) {
		switch x := random.IntN(10); {
		case worker == 1 || worker == 2: // one process at a time has a tree
			return []string{"sync", "-q", fmt.Sprint("c", worker)}, ""
		case x < 2:
			return []string{"check", "--read-data", "c0"}, ""
		case x < 4:
			return []string{"cache", "clean", "--all"}, ""
		case x < 5:
			return []string{"cache", "clean", "--older", "1", "c0"}, ""
		}
		name := fmt.Sprintf("%d/%d", (worker*8+round)%7, (worker*8+round)%60)
		return []string{"cat", "--config", "c0", name}, content[name]
	}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 5))
			for round := range 8 {
				args, want := work(worker, round, random)
				cmd, stdout, stderr := command(args...)
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				killed := random.IntN(2) == 0
				if killed {
					time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
					killed = cmd.Process.Kill() == nil
				}
				err := cmd.Wait()
				if killed && err != nil && cmd.ProcessState.ExitCode() == -1 {
					continue
				}
				if err != nil || want != "" && stdout.String() != want {
					t.Errorf("%q: %v, %d bytes\n%s", args, err, stdout.Len(), stderr)
				}
			}
		})
	}
	all.Wait()
	for i := range 3 {
		must("sync", "-q", fmt.Sprint("c", i))
	}
	for name, want := range content {
		for _, tree := range []string{"tree1", "tree2"} {
			if got, err := os.ReadFile(filepath.Join(home, tree, name)); err != nil || string(got) != want {
				t.Errorf("%s/%s: %d bytes, %v", tree, name, len(got), err)
			}
		}
	}
	if out := must("cache", "ls"); strings.Count(out, "\n") != 1 {
		t.Errorf("cache ls: %q", out)
	}
}
