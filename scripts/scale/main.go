// Command scale measures what a sync costs when there are very many files: time against a bare walk of the same tree,
// memory, what is read, and what lies in the store.
//
//	go run ./scripts/scale -ensync bin/ensync [-files 10000,100000,1000000] [-flat] [-dir DIR]
//
// Files are small (100 to 1000 bytes, all different), 100 to a directory; with -flat they all lie in one. The walk is
// what any program pays that has to look at every file: list each directory, stat each name, with as many goroutines as a
// sync has. It fails if a sync takes more memory than the bound, if a renaming reads or stores content again, or if the
// trees differ in the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "-walk" { // this program as a child, to be measured like the other
		exit(walk(os.Args[2]))
		return
	}
	binary := flag.String("ensync", "bin/ensync", "the program to measure")
	files := flag.String("files", "10000,100000,1000000", "how many files")
	flat := flag.Bool("flat", false, "all files in one directory")
	dir := flag.String("dir", "", "where to work (default: a temporary directory)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, *binary, *dir, strings.Split(*files, ","), *flat))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, dir string, sizes []string, flat bool) error {
	base, err := os.MkdirTemp(dir, "ensync-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	fmt.Printf("%s/%s, %d CPUs, in %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), base)
	for _, text := range sizes {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-files %s: write numbers with commas between them", text)
		}
		s := &scale{binary: binary, base: filepath.Join(base, text), files: n, perDir: 100}
		if flat {
			s.perDir = n
		}
		if err := errors.Join(s.run(ctx), os.RemoveAll(s.base)); err != nil {
			return fmt.Errorf("%d files: %w", n, err)
		}
	}
	return nil
}
