package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// grow makes files of 100 to 1000 bytes, perDir to a directory and 100 directories to the one above.
func grow(root string, files, perDir int) error {
	rng := rand.New(rand.NewPCG(1, uint64(files)))
	content := make([]byte, 1000)
	for i := range files {
		dir := filepath.Join(root, fmt.Sprintf("d%03d", i/perDir/100), fmt.Sprintf("e%05d", i/perDir))
		if i%perDir == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		for k := range content {
			content[k] = byte(rng.Uint32())
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%07d", i)), content[:100+rng.IntN(901)], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// edit rewrites n files, spread over the tree.
func edit(root string, files, perDir, n int) error {
	for k := range n {
		i := k * (files / n)
		path := filepath.Join(root, fmt.Sprintf("d%03d", i/perDir/100), fmt.Sprintf("e%05d", i/perDir), fmt.Sprintf("file-%07d", i))
		if err := os.WriteFile(path, fmt.Appendf(nil, "edited %d at %d", k, time.Now().UnixNano()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// walkers is how many directories a sync looks at at once.
const walkers = 8

// walk lists every directory and stats every name.
func walk(root string) error {
	var seen atomic.Int64
	var failed atomic.Pointer[error]
	slots := make(chan struct{}, walkers)
	var all sync.WaitGroup
	var visit func(dir string)
	visit = func(dir string) {
		defer all.Done()
		slots <- struct{}{}
		below, n, err := look(dir)
		<-slots
		seen.Add(int64(n))
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
		for _, d := range below {
			all.Add(1)
			go visit(d)
		}
	}
	all.Add(1)
	visit(root)
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	fmt.Println(seen.Load(), "names with", runtime.NumCPU(), "CPUs")
	return nil
}

func look(dir string) (below []string, names int, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	list, err := d.Readdirnames(-1)
	for _, name := range list {
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, 0, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			below = append(below, filepath.Join(dir, name))
		}
	}
	return below, len(list), err
}
