package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// workerEnv makes the test binary a process that works on the cache in the directory that it names.
const workerEnv = "ENSYNC_CACHE_TEST_WORKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(workerEnv); dir != "" {
		seed, _ := strconv.ParseUint(os.Getenv(workerEnv+"_SEED"), 10, 64)
		if err := work(dir, seed); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	sharedStore = "00112233445566778899aabbccddeeff"

	operations = 1000
	perLine    = 20 // operations between two lines of progress
)

// work reads, adds, forgets, cleans, clears, trims and damages, and returns an error as soon as a caller would see one.
func work(dir string, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 1))
	c := New(dir, sharedStore, 300_000)
	defer c.Close()
	c.IndexDir()
	for i := range operations {
		if i%perLine == 0 {
			fmt.Println(i)
		}
		name, offset, length := fmt.Sprintf("packs/%02x/p", random.IntN(40)), int64(random.IntN(5)*1000), int64(random.IntN(3)*2500)
		switch x := random.IntN(1000); {
		case x < 20:
			c.Forget(name, offset, length)
		case x < 30:
			if err := c.Clean(context.Background()); err != nil {
				return fmt.Errorf("clean: %w", err)
			}
		case x < 43:
			if err := c.Clear(context.Background()); err != nil {
				return fmt.Errorf("clear: %w", err)
			}
		case x < 45:
			if err := trimAll(dir, time.Duration(random.IntN(2))*time.Hour); err != nil {
				return fmt.Errorf("trim: %w", err)
			}
		case x < 47:
			os.RemoveAll(dir) // as a user may; it fails if others fill the directory meanwhile
		case x < 60:
			os.Truncate(pathIn(c.dir, keyOf(name, offset, length)), 100)
		case x < 100:
			c.Add(name, offset, length, content(name, offset, length))
		default:
			got, err := c.Get(context.Background(), name, offset, length, func(context.Context) ([]byte, error) {
				return content(name, offset, length), nil
			})
			if err != nil {
				return fmt.Errorf("get: %w", err)
			}
			if !bytes.Equal(got, content(name, offset, length)) {
				return fmt.Errorf("get %s %d+%d: other bytes: %.60q", name, offset, length, got)
			}
		}
	}
	if s := c.Stats(); s.Failed != 0 {
		return fmt.Errorf("%d failures of the cache itself, of which the last took it out of use", s.Failed)
	}
	return nil
}

// trimAll is what ensync cache clean does.
func trimAll(dir string, unused time.Duration) error {
	parts, err := Parts(context.Background(), dir)
	for _, p := range parts {
		_, trimErr := Trim(context.Background(), dir, p.Store, time.Now().Add(time.Minute-unused))
		err = errors.Join(err, trimErr)
	}
	return err
}

// TestProcesses lets 8 processes begin at once on a cache that does not exist. Each is killed twice in the middle of
// its work, and begins again.
func TestProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 2))
			for life := range 3 {
				lines := 1 + random.IntN(operations/perLine/2)
				if life == 2 {
					lines = operations // it lives
				}
				if err := run(binary, dir, w*10+life, lines); err != nil {
					t.Errorf("process %d, life %d: %v", w, life, err)
				}
			}
		})
	}
	all.Wait()
	c := New(dir, sharedStore, 300_000)
	defer c.Close()
	if err := c.Clean(t.Context()); err != nil {
		t.Error(err)
	}
	if bytes, _, err := c.Size(t.Context()); err != nil || bytes > 300_000 {
		t.Errorf("%d bytes are left, %v", bytes, err)
	}
}

// run runs a worker and kills it after so many lines of progress.
func run(binary, dir string, seed, lines int) error {
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), workerEnv+"="+dir, fmt.Sprintf("%s_SEED=%d", workerEnv, seed))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	killed := false
	for s := bufio.NewScanner(out); s.Scan(); {
		if lines--; lines == 0 {
			killed = true
			cmd.Process.Kill()
		}
	}
	err = cmd.Wait()
	if stderr.Len() > 0 {
		return fmt.Errorf("%v: %s", err, &stderr)
	}
	if killed {
		return nil
	}
	return err
}
