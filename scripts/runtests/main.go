// Command runtests runs go test and says what came of it: failures in full, the rest in a line per package, and a last
// line with the counts.
//
//	go run ./scripts/runtests ./... -- -race -short ./store/... ./engine/...
//
// Each group of arguments between "--" is one run of go test. It exits with 1 if anything failed, and also if nothing
// was run at all, which is what a mistyped pattern looks like.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	sum := newSummary(os.Stdout)
	for _, args := range split(os.Args[1:]) {
		fmt.Println("go test", strings.Join(args, " "))
		if err := run(ctx, sum, args); err != nil {
			sum.broken = append(sum.broken, fmt.Sprintf("go test %s: %v", strings.Join(args, " "), err))
		}
	}
	if !sum.report(time.Since(begin)) {
		stop()
		os.Exit(1)
	}
}

// split parts the arguments at "--".
func split(args []string) [][]string {
	var groups [][]string
	for len(args) > 0 {
		i := slices.Index(args, "--")
		if i < 0 {
			return append(groups, args)
		}
		groups, args = append(groups, args[:i]), args[i+1:]
	}
	return groups
}

// run runs go test once and feeds what it says to the summary. An exit code that the events explain is no error.
func run(ctx context.Context, sum *summary, args []string) error {
	cmd := exec.CommandContext(ctx, cmp.Or(os.Getenv("GO"), "go"), append([]string{"test", "-json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := sum.failed()
	if err := sum.read(out); err != nil {
		return errors.Join(err, cmd.Wait())
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && sum.failed() > before {
		return ctx.Err()
	}
	return err
}

// lines calls f for each line of r, however long.
func lines(r io.Reader, f func([]byte) error) error {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		if len(line) > 0 {
			if err := f(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
