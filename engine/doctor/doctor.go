// Package doctor examines what a configuration stands on, from the file that names it to the bucket that keeps the
// store, and says of each thing that is not well what to do next.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"ensync/engine/config"
	"ensync/engine/session"
)

// Level is how well something is.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Skip Level = "skip" // it could not be looked at
	Warn Level = "warn" // it works, but not as well or as safely as it could
	Fail Level = "fail" // it does not work, or something is lost
)

// Finding is the result of one check.
type Finding struct {
	Check string // what was looked at
	Level Level
	Says  string
	Next  string // the next step, where it is not well
}

// Options are what an examination needs besides the configuration.
type Options struct {
	// Pass returns the passphrase; nil: nobody has it, and what needs it is skipped.
	Pass   func(context.Context) ([]byte, error)
	Notice func(string) // as in session.Options
	Report func(Finding)
}

// Examine looks at everything that a configuration stands on, and reports each finding as soon as it has it. It changes
// nothing but for a few objects of a self-test in the store, which it removes. The error is that of ctx.
func Examine(ctx context.Context, cfg *config.Config, opt Options) error {
	e := &examination{ctx: ctx, cfg: cfg, opt: opt}
	for _, check := range []func(){e.permissions, e.state, e.tree, e.space, e.cache, e.watches, e.mountHelper, e.store} {
		if ctx.Err() == nil {
			check()
		}
	}
	return ctx.Err()
}

type examination struct {
	ctx context.Context
	cfg *config.Config
	opt Options
}

func (e *examination) ok(check, format string, args ...any) {
	e.report(check, OK, fmt.Sprintf(format, args...), "")
}

func (e *examination) skip(check, format string, args ...any) {
	e.report(check, Skip, fmt.Sprintf(format, args...), "")
}

func (e *examination) warn(check, says, next string) { e.report(check, Warn, says, next) }

func (e *examination) fail(check, says, next string) { e.report(check, Fail, says, next) }

// failed reports an error, which says itself what to do, unless that only came of being stopped.
func (e *examination) failed(check string, err error) { e.fail(check, err.Error(), "") }

func (e *examination) report(check string, level Level, says, next string) {
	if e.ctx.Err() == nil {
		e.opt.Report(Finding{check, level, says, next})
	}
}

// state looks at what this machine remembers.
func (e *examination) state() {
	id, known, err := session.StoreID(e.cfg)
	if err == nil {
		err = session.CheckState(e.cfg)
	}
	switch {
	case err != nil:
		e.failed("state", err)
	case known:
		e.ok("state", "this machine knows store %x", id)
	default:
		e.ok("state", "this configuration was not used with a store yet")
	}
}

// tree looks at the local tree.
func (e *examination) tree() {
	local, err := session.LocalOf(e.cfg, false)
	if err == nil {
		err = session.Apart(e.cfg.General.Server, e.cfg.General.Path)
	}
	if err != nil {
		e.failed("tree", err)
		return
	}
	what, err := treeOf(e.cfg.General.Path)
	switch {
	case err == nil:
		e.ok("tree", "%s is %s", e.cfg.General.Path, what)
	case local.Mount && !local.Directory && errors.Is(err, errNoTree):
		e.ok("tree", "%s is where it was mounted, and is not there now", e.cfg.General.Path)
	case errors.Is(err, syscall.ENOTCONN):
		e.fail("tree", e.cfg.General.Path+" was mounted, and the process behind it has died", "ensync mount clears that, and recovers what was written")
	default:
		e.fail("tree", err.Error(), "if its disk is not mounted, mount it; else correct path in config.toml, or make the directory")
	}
}
