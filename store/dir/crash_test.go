package dir

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"ensync/store/backend"
)

// workerEnv makes the test binary a process that writes to the store that it names until it is killed.
const workerEnv = "ENSYNC_DIR_TEST_WORKER"

func TestMain(m *testing.M) {
	if path := os.Getenv(workerEnv); path != "" {
		fmt.Fprintln(os.Stderr, work(path, os.Getenv(workerEnv+"_NAME")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// work puts packs and adds lines to one shared object, and says on stdout what was acknowledged.
func work(path, me string) error {
	ctx := context.Background()
	d, err := Open(path)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("packs/%02x/%s-%d", i%5, me, i)
		if err := d.Put(ctx, name, bytes.Repeat([]byte(name), 5000)); err != nil {
			return err
		}
		fmt.Println("pack", name)
		for {
			data, v, err := d.Load(ctx, "m")
			if err != nil && !errors.Is(err, backend.ErrNotExist) {
				return err
			}
			line := fmt.Sprintf("%s-%d\n", me, i)
			if bytes.Contains(data, []byte(line)) {
				break // the change before, of which nobody could tell, was made
			}
			_, err = d.Swap(ctx, "m", v, append(data, line...))
			if err == nil {
				break
			}
			// Who slept so long that eight others went on in between is told that the outcome is unclear.
			if !errors.Is(err, backend.ErrChanged) && !errors.Is(err, backend.ErrUnavailable) {
				return err
			}
		}
		fmt.Printf("line %s-%d\n", me, i)
	}
}

// TestKilledWriters kills four processes in the middle of their work: everything acknowledged is there, whole and
// once, and nothing else is half there.
func TestKilledWriters(t *testing.T) {
	d := fresh(t, nil)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var packs, lines []string
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			cmd := exec.Command(binary)
			cmd.Env = append(os.Environ(), workerEnv+"="+d.path, fmt.Sprintf("%s_NAME=w%d", workerEnv, w))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Error(err)
				return
			}
			n := 0
			for s := bufio.NewScanner(out); s.Scan(); {
				if n++; n == 20+5*w {
					cmd.Process.Kill()
				}
				mu.Lock()
				if name, ok := strings.CutPrefix(s.Text(), "pack "); ok {
					packs = append(packs, name)
				} else if line, ok := strings.CutPrefix(s.Text(), "line "); ok {
					lines = append(lines, line)
				}
				mu.Unlock()
			}
			if cmd.Wait(); stderr.Len() > 0 {
				t.Errorf("process %d: %s", w, &stderr)
			}
		})
	}
	all.Wait()
	data, _, err := d.Load(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if n := strings.Count("\n"+string(data), "\n"+line+"\n"); n != 1 {
			t.Errorf("line %s is there %d times", line, n)
		}
	}
	listed := map[string]bool{}
	err = d.List(t.Context(), "packs/", func(i backend.Info) error {
		listed[i.Name] = true
		data, err := d.Get(t.Context(), i.Name, 0, -1)
		if err == nil && !bytes.Equal(data, bytes.Repeat([]byte(i.Name), 5000)) {
			err = fmt.Errorf("%s has %d other bytes", i.Name, len(data))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range packs {
		if !listed[name] {
			t.Errorf("the acknowledged %s is missing", name)
		}
	}
}

// BenchmarkPut compares a Put of 8 MiB with what it cannot do without: writing and syncing 8 MiB.
func BenchmarkPut(b *testing.B) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	b.Run("Put", func(b *testing.B) {
		path := b.TempDir()
		if err := Create(path); err != nil {
			b.Fatal(err)
		}
		d, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
		for i := 0; b.Loop(); i++ {
			if err := d.Put(b.Context(), fmt.Sprintf("packs/%02x/%d", i%256, i), data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("WriteSync", func(b *testing.B) {
		path := b.TempDir()
		b.SetBytes(int64(len(data)))
		for i := 0; b.Loop(); i++ {
			f, err := os.Create(fmt.Sprintf("%s/%d", path, i))
			if err != nil {
				b.Fatal(err)
			}
			_, err = f.Write(data)
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
