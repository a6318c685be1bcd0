package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ensync/engine"
	"ensync/engine/plan"
	"ensync/engine/service"
	"ensync/engine/session"
)

// syncFlags are the flags of sync.
type syncFlags struct {
	verbose, quiet      int
	itemise, unchanged  bool
	json                bool
	threads             int
	colour, spin        string
	dryRun, confirmLoss bool
	directory           bool
	strategy, override  string
	watch               bool
	quiescence          float64
	reconnect           int

	resolve map[string]engine.Decision // what the command resolve decided
}

func (a *app) syncCommand() *cobra.Command {
	o := &syncFlags{}
	cmd := &cobra.Command{
		Use:   "sync [CONFIG]",
		Short: "Bring the local tree and the store together",
		Long: `Bring the local tree and the store together, once, or with --watch again and again.

If the configuration is mounted, the mount does the syncing, and this command shows
what it does. If it was mounted before, what the mount left here is synced, and so is
the configured directory if it was synced as one before, or with --directory.

With --watch, the next sync comes soon after something changed: here, once the tree is
quiet for --quiescence seconds, and at the latest after twenty times as long; or in the
store. "ensync status" tells how changes are noticed. While a watch runs, "ensync sync"
lets it sync at once, and shows what it does.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.configOnly(args)
			if err != nil {
				return err
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			return a.sync(cmd.Context(), path, o)
		},
	}
	f := cmd.Flags()
	a.keyOption(cmd)
	f.CountVarP(&o.verbose, "verbose", "v", "print more (repeat for more)")
	f.CountVarP(&o.quiet, "quiet", "q", "print less (repeat for less)")
	f.BoolVarP(&o.itemise, "itemise", "i", false, "print a line for each change on stdout, like rsync")
	f.BoolVar(&o.unchanged, "itemise-unchanged", false, "with --itemise, also for what does not change")
	f.BoolVar(&o.json, "json", false, "print a JSON object for each event on stdout")
	f.IntVar(&o.threads, "threads", 0, "directories worked on at once (default: 8)")
	f.StringVar(&o.colour, "colour", "auto", "colours: `WHEN` is auto, always or never")
	f.StringVar(&o.spin, "spin", "auto", "progress line: `WHEN` is auto, always or never")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, show what would be done")
	f.BoolVar(&o.directory, "directory", false, "sync the configured directory, too, though the tree was mounted until now")
	f.StringVar(&o.strategy, "strategy", "auto", "what to look at: auto, fast (what seems changed), clean (everything), scrub (read every file)")
	f.StringVar(&o.override, "override-mode", "", "sync `MODE` for everything instead of the configured rules")
	f.BoolVar(&o.confirmLoss, "confirm-loss", false, "go on although much would be deleted, or the local tree was replaced")
	f.BoolVarP(&o.watch, "watch", "w", false, "keep running, and sync again when something changed")
	f.Float64Var(&o.quiescence, "quiescence", service.DefaultSettle.Seconds(), "with --watch: `SECONDS` without local change before the next sync")
	f.IntVar(&o.reconnect, "reconnect", 0, "with --watch: after an error, start over after `SECONDS`, later after more (0: end)")
	f.SetNormalizeFunc(britishFlags)
	return cmd
}

// britishFlags lets flags be spelled the other way, too.
func britishFlags(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	other := map[string]string{"itemize": "itemise", "itemize-unchanged": "itemise-unchanged", "color": "colour", "spinner": "spin"}
	if n, ok := other[name]; ok {
		name = n
	}
	return pflag.NormalizedName(name)
}

// maxSeconds bounds what may be waited for: a day.
const maxSeconds = 24 * 60 * 60

func (o *syncFlags) check(cmd *cobra.Command) error {
	when := []string{"auto", "always", "never"}
	strategies := []string{"auto", "fast", "clean", "scrub"}
	switch {
	case !slices.Contains(when, o.colour):
		return usagef("--colour %s: not known; allowed are %s", o.colour, strings.Join(when, ", "))
	case !slices.Contains(when, o.spin):
		return usagef("--spin %s: not known; allowed are %s", o.spin, strings.Join(when, ", "))
	case !slices.Contains(strategies, o.strategy):
		return usagef("--strategy %s: not known; allowed are %s", o.strategy, strings.Join(strategies, ", "))
	case cmd.Flags().Changed("threads") && o.threads < 1 || o.threads > 1024:
		return usagef("--threads %d: must be from 1 to 1024", o.threads)
	case o.watch && o.dryRun:
		return usagef("--watch and --dry-run exclude each other")
	case o.watch && o.confirmLoss:
		return usagef("--watch and --confirm-loss exclude each other: confirm one sync, then watch")
	case !o.watch && (cmd.Flags().Changed("quiescence") || cmd.Flags().Changed("reconnect")):
		return usagef("--quiescence and --reconnect need --watch")
	case !(o.quiescence >= 0 && o.quiescence <= maxSeconds) || o.reconnect < 0 || o.reconnect > maxSeconds:
		return usagef("--quiescence and --reconnect must be from 0 to %d", maxSeconds)
	case o.json && o.itemise:
		return usagef("--json and --itemise exclude each other")
	case o.unchanged && !o.itemise:
		return usagef("--itemise-unchanged needs --itemise")
	}
	if o.override != "" {
		if _, err := plan.ParseMode(o.override); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// request is what a sync shall do.
func (o *syncFlags) request(report func(engine.Event)) session.Request {
	return session.Request{Estimate: !o.dryRun, DryRun: o.dryRun, Clean: o.strategy == "clean" || o.strategy == "scrub", ConfirmLoss: o.confirmLoss,
		Override: o.override, Workers: o.threads, Resolve: o.resolve, Report: report}
}

// A display shows what syncs do, in all the forms that were asked for.
type display struct {
	*logger
	*progress
	items *itemiser
	json  *jsonWriter
	dry   bool
	err   error // of writing to stdout

	told  bool           // a sync was shown before
	shown engine.Summary // the last one
}

func (a *app) newDisplay(o *syncFlags) *display {
	on := func(when string) bool { return when == "always" || when == "auto" && isTerminal(a.stderr) }
	d := &display{logger: newLogger(a.stderr, o.verbose, o.quiet, on(o.colour), on(o.spin)), progress: newProgress(nil), dry: o.dryRun}
	if on(o.spin) {
		d.progress = newProgress(a.stderr)
	}
	if o.itemise {
		d.items = &itemiser{w: stickyWriter{a.stdout, &d.err}, unchanged: o.unchanged}
	}
	if o.json {
		d.json = newJSONWriter(stickyWriter{a.stdout, &d.err})
	}
	return d
}

// stickyWriter keeps the first error of a writer.
type stickyWriter struct {
	w   io.Writer
	err *error
}

func (s stickyWriter) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err != nil && *s.err == nil {
		*s.err = fmt.Errorf("write to standard output: %w", err)
	}
	return n, err
}

func (d *display) event(e engine.Event) {
	if e.Kind == engine.Overtaken {
		d.say(editLevel, "another machine was faster; looking again")
	}
	printed := d.logger.event(e)
	if d.items != nil {
		d.items.event(e)
	}
	d.progress.event(e, printed)
	if d.json != nil {
		d.json.event(e)
		d.json.progress(d.meter, e.Kind == engine.Planned && e.Plan.Whole)
	}
}

// begin shows that a sync begins; with sentence, it says so.
func (d *display) begin(sentence string) {
	d.meter = newMeter(time.Now())
	if sentence != "" {
		d.say(editLevel, "%s", sentence)
	}
	if d.json != nil {
		d.json.write(record{Type: "sync_started"})
	}
}

// finish tells what became of a sync, and what stays out of sync. Of another sync that did nothing, nothing is said.
func (d *display) finish(sum engine.Summary, issues func() ([]issueLine, error), err error) error {
	d.progress.end()
	nothing := d.told && sum.In == engine.Counts{} && sum.Out == engine.Counts{} &&
		sum.Unsynced == d.shown.Unsynced && sum.Failed == d.shown.Failed
	d.told, d.shown = true, sum
	result := "in_sync"
	switch {
	case err != nil:
		result = "failed"
	case !sum.Clean():
		result, err = "out_of_sync", errOutOfSync
	}
	if result == "out_of_sync" && !nothing {
		d.listIssues(issues)
	}
	if d.json != nil {
		r := record{Type: "sync_finished", Result: result, Summary: summaryOf(sum, d.dry)}
		if result == "failed" {
			r.ErrorMessage = err.Error()
		}
		d.json.write(r)
	}
	if !nothing {
		d.sayResult(result, sum)
	}
	if d.err != nil {
		return d.err
	}
	return err
}

func (d *display) sayResult(result string, sum engine.Summary) {
	counted := fmt.Sprintf("in: %s, out: %s", countsText(sum.In), countsText(sum.Out))
	if d.dry {
		counted += " (dry run: nothing was changed)"
	}
	if sum.Copies > 0 && !d.dry {
		d.say(warnLevel, "%s made, as both sides had changed; ensync conflicts tells whose they are",
			plural(sum.Copies, "conflict copy was", "conflict copies were"))
	}
	switch result {
	case "in_sync":
		d.say(editLevel, "completed successfully; %s", counted)
	case "out_of_sync":
		d.say(errorLevel, "completed, but %s out of sync and %s failed; %s", plural(sum.Unsynced, "entry is", "entries are"),
			plural(sum.Failed, "entry", "entries"), counted)
	}
}

// issueLine is one entry that is not in sync.
type issueLine struct{ path, kind, reason string }

// listedIssues bounds what a sync lists; ensync status lists all.
const listedIssues = 20

func (d *display) listIssues(issues func() ([]issueLine, error)) {
	if d.dry || !d.shows(warnLevel) {
		return
	}
	list, err := issues()
	if err != nil {
		d.say(errorLevel, "list what is out of sync: %v", err)
	}
	for i, l := range list {
		if i == listedIssues {
			d.say(warnLevel, "  and %d more; ensync status lists all", len(list)-i)
			return
		}
		d.say(warnLevel, "  %s %s: %s", l.kind, printable(l.path), l.reason)
	}
}

// longestReconnect bounds, in seconds, how far failures draw out --reconnect.
const longestReconnect = 300

// sync syncs once or watches.
func (a *app) sync(ctx context.Context, path string, o *syncFlags) error {
	d := a.newDisplay(o)
	run := &syncRun{app: a, flags: o, display: d, path: path}
	defer run.forget()
	for delay := o.reconnect; ; delay = min(2*delay, max(o.reconnect, longestReconnect)) {
		run.synced = false
		err := run.start(ctx)
		if err == nil || err == errOutOfSync || ctx.Err() != nil || !o.watch || o.reconnect == 0 {
			return interrupted(ctx, err)
		}
		if run.synced {
			delay = o.reconnect
		}
		printError(a.stderr, err)
		fmt.Fprintf(a.stderr, "ensync: trying again in %d seconds\n", delay)
		exact := time.Duration(delay) * time.Second
		if err := pause(ctx, exact+rand.N(exact/8+1)); err != nil { // many that failed at once do not come back at once
			return interrupted(ctx, err)
		}
	}
}
