package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"ensync/engine"
)

// The exit codes.
const (
	exitInSync  = 0 // done, and all is in sync
	exitFailed  = 1
	exitUsage   = 2 // the command line is wrong
	exitPartial = 3 // done, but some entries failed or stay out of sync
	exitLoss    = 4 // the loss guard stopped it; nothing was changed
)

var (
	errInterrupted = errors.New("interrupted; what was done up to the last step holds, and the next run goes on from there")
	errUsage       = errors.New("wrong usage")
	errOutOfSync   = errors.New("not everything is in sync")
)

// exitCodes says which kind of error ends with which code. The first that fits counts; any other error is exitFailed.
var exitCodes = []struct {
	kind error
	code int
}{
	{errInterrupted, exitFailed},
	{errUsage, exitUsage},
	{engine.ErrLoss, exitLoss},
	{errOutOfSync, exitPartial},
}

func exitCode(err error) int {
	if err == nil {
		return exitInSync
	}
	if f := (failedAs{}); errors.As(err, &f) {
		return f.Exit
	}
	for _, e := range exitCodes {
		if errors.Is(err, e.kind) {
			return e.code
		}
	}
	return exitFailed
}

// interrupted replaces what the end of ctx made of everything else by its cause.
func interrupted(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (e usageError) Error() string        { return e.err.Error() }
func (e usageError) Unwrap() error        { return e.err }
func (e usageError) Is(target error) bool { return target == errUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// printError prints what went wrong. errOutOfSync alone was told already, entry by entry.
func printError(w io.Writer, err error) {
	if err == nil || err == errOutOfSync {
		return
	}
	for _, e := range split(err) {
		fmt.Fprintf(w, "error: %s\n", indent(e.Error()))
		said := e.Error()
		for cause := errors.Unwrap(e); cause != nil; cause = errors.Unwrap(cause) {
			if text := cause.Error(); !strings.Contains(said, text) {
				fmt.Fprintf(w, "caused by: %s\n", indent(text))
				said = text
			}
		}
	}
	if errors.Is(err, errUsage) {
		fmt.Fprintln(w, "Run the command with --help to see how it is used.")
	}
}

// split takes apart errors that were joined: they stand beside each other and do not cause each other.
func split(err error) []error {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok || !strings.Contains(err.Error(), "\n") {
		return []error{err}
	}
	var all []error
	for _, e := range many.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n        ") }
